"""Servers that are broken on purpose: the oracle finds them out from what clients saw."""

import asyncio
from pathlib import Path

from tests.faults.oracle import Verdict, judge
from tests.faults.stage import DOC, staged
from tests.faults.transports import Mischief

BROKEN = Path(__file__).parents[1] / "client_py" / "faulty_server.py"


async def test_acknowledging_before_the_journal_has_it_is_found(tmp_path: Path) -> None:
    async with staged(tmp_path, "sqlite", seed=1, program=[str(BROKEN), "early-ack"]) as stage:
        stage.add_writers(6, per_s=50.0)
        await stage.begin()
        found: Verdict | None = None
        for _ in range(5):
            await stage.crowd.committed(3)
            stage.nodes[0].kill()
            await stage.nodes[0].restart()
            found = judge(await stage.evidence())
            if not found.holds:
                break
    assert found is not None
    assert "L" in found.broken(), found


async def test_committing_twice_is_found(tmp_path: Path) -> None:
    async with staged(tmp_path, "sqlite", seed=1, program=[str(BROKEN), "no-dedup"]) as stage:
        for number in range(3):
            stage.crowd.add(stage.front.url, DOC, mischief=Mischief(number, part=0.3))
        await stage.crowd.open()
        stage.crowd.begin()
        await asyncio.sleep(3.0)
        found = judge(await stage.evidence())
    assert "O" in found.broken(), found
