"""``stretto replay`` for real: clean on a sound server, and not fooled by a broken one."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from stretto_client.replay.child import process_environ, run_stretto

ROOT = Path(__file__).parents[3]
FRIENDS = str(ROOT / "bench" / "traces" / "friendsforever.schedule.jsonl.gz")
SVELTE = str(ROOT / "bench" / "traces" / "sveltecomponent.json.gz")
FAULTY = ROOT / "tests" / "client_py" / "faulty_server.py"


@pytest.fixture
def environ() -> Mapping[str, str]:
    return {**process_environ(), "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("trace", [SVELTE, FRIENDS], ids=["sveltecomponent", "friendsforever"])
async def test_killed_servers_lose_nothing(trace: str, environ: Mapping[str, str]) -> None:
    code, output = await run_stretto(
        "replay", trace, "--limit", "500", "--kill", "1", "--seed", "7", environ=environ
    )
    assert code == 0, output
    assert "server killed 1 times" in output
    assert "clean: all replicas equal" in output
    assert "stretto docs verify" in output


@pytest.mark.parametrize(
    ("fault", "kills", "symptom"), [("early-ack", 2, "is lost"), ("no-dedup", 0, "again")]
)
async def test_a_broken_server_is_found_out(
    fault: str, kills: int, symptom: str, environ: Mapping[str, str]
) -> None:
    command = f"{sys.executable} {FAULTY} {fault} serve --dev"
    code, output = await run_stretto(
        *("replay", SVELTE, "--limit", "300", "--kill", str(kills), "--seed", "3"),
        *("--server-cmd", command),
        environ=environ,
    )
    assert code == 1, output
    assert "VIOLATION" in output
    assert symptom in output


async def test_wrong_usage_exits_with_two(environ: Mapping[str, str], tmp_path: Path) -> None:
    code, output = await run_stretto("replay", str(tmp_path / "nothing.json"), environ=environ)
    assert code == 2
    assert "cannot read" in output
    code, output = await run_stretto(
        "replay", SVELTE, "--url", "http://127.0.0.1:9", "--kill", "1", environ=environ
    )
    assert code == 2
    assert "--url excludes" in output
