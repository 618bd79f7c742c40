"""Nodes that die, drain and hang: faults 1 to 5."""

from pathlib import Path

from tests.faults.stage import staged


async def test_all_nodes_are_killed_at_once(tmp_path: Path) -> None:
    async with staged(tmp_path, nodes=1, seed=2) as stage:
        stage.add_writers(5)
        await stage.begin()
        for node in stage.nodes:
            node.kill()
        for node in stage.nodes:
            await node.restart()
        stage.healed()
        await stage.recover()
        verdict = await stage.finish()
    print("2 kill all nodes:", verdict)
    assert verdict.holds, verdict
