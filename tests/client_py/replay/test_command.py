"""``stretto replay`` for real: clean on a sound server, and not fooled by a broken one."""

import asyncio
import os
import signal
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
    ("fault", "kills", "limit", "symptom"),
    [("early-ack", 2, 300, "is lost"), ("no-dedup", 0, 500, "again")],
)
async def test_a_broken_server_is_found_out(
    fault: str, kills: int, limit: int, symptom: str, environ: Mapping[str, str]
) -> None:
    command = f"{sys.executable} {FAULTY} {fault} serve --dev"
    code, output = await run_stretto(
        *("replay", SVELTE, "--limit", str(limit), "--kill", str(kills), "--seed", "3"),
        *("--server-cmd", command),
        environ=environ,
    )
    assert code == 1, output
    assert "VIOLATION" in output
    assert symptom in output


async def test_a_server_that_does_not_come_back_is_a_violation(
    environ: Mapping[str, str], tmp_path: Path
) -> None:
    code, output = await run_stretto(
        *("replay", SVELTE, "--limit", "300", "--kill", "1", "--seed", "3"),
        *("--server-cmd", f"{sys.executable} {FAULTY} once {tmp_path / 'started'} serve --dev"),
        environ=environ,
    )
    assert code == 1, output
    assert "VIOLATION: playing stopped: the server did not start" in output
    assert "this server starts once" in output
    assert "VIOLATION: the server ended with exit code 3" in output
    assert "fresh process" in output


async def test_a_replay_that_is_terminated_ends_its_server(
    environ: Mapping[str, str], tmp_path: Path
) -> None:
    marker = tmp_path / "started"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stretto_server", "replay", SVELTE, "--server-cmd"),
        f"{sys.executable} {FAULTY} once {marker} serve --dev",
        env=dict(environ),
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert process.stderr is not None
    async with asyncio.timeout(30):
        await process.stderr.readline()  # the first tenth is played
        process.terminate()
        await process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(marker.read_text()), 0)


async def test_wrong_usage_exits_with_two(environ: Mapping[str, str], tmp_path: Path) -> None:
    code, output = await run_stretto("replay", str(tmp_path / "nothing.json"), environ=environ)
    assert code == 2
    assert "cannot read" in output
    code, output = await run_stretto(
        "replay", SVELTE, "--url", "http://127.0.0.1:9", "--kill", "1", environ=environ
    )
    assert code == 2
    assert "--url excludes" in output
    code, output = await run_stretto("replay", SVELTE, "--limit", "-1", environ=environ)
    assert code == 2
    assert "invalid count" in output


async def test_a_server_that_is_not_there_is_named(environ: Mapping[str, str]) -> None:
    code, output = await run_stretto(
        "replay", SVELTE, "--url", "http://127.0.0.1:9", environ=environ
    )
    assert code == 1
    assert "no guest token from http://127.0.0.1:9" in output


async def test_a_trace_of_nothing_is_played(environ: Mapping[str, str], tmp_path: Path) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text('{"startContent": "", "endContent": "", "txns": [{"patches": []}]}')
    code, output = await run_stretto("replay", str(empty), environ=environ)
    assert code == 0, output
