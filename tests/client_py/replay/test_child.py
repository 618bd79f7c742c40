"""The server that is killed: its command, its life, and when it dies."""

import asyncio
import random
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from stretto_client.replay.child import Child, Killer, free_port, process_environ, run_stretto
from stretto_core.errors import Unavailable


def test_the_command_is_completed(tmp_path: Path) -> None:
    child = Child(None, tmp_path, {})
    assert child.journal == f"sqlite:///{tmp_path / 'stretto.db'}"
    assert child._command[:3] == [sys.executable, "-m", "stretto_server"]
    assert "--dev" in child._command
    assert child._environ["STRETTO_LIMITS"] == "off"


def test_what_is_given_stays(tmp_path: Path) -> None:
    child = Child("other serve --dev --port=8123 --journal memory://", tmp_path, {})
    assert (child.port, child.journal, child.url) == (
        8123,
        "memory://",
        "http://127.0.0.1:8123",
    )
    assert child._command[0] == "other"
    assert child._command.count("--dev") == 1


async def test_a_child_lives_is_killed_and_lives_again(tmp_path: Path) -> None:
    child = Child(None, tmp_path, process_environ())
    await child.start()
    await child.kill()
    await child.kill()
    assert child.kills == 1
    await child.start()
    assert await child.stop() == 0
    assert await child.stop() == 0


async def test_a_child_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    program = "import sys; print('no luck'); sys.exit(3)"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)}"
    with pytest.raises(Unavailable, match="no luck"):
        await Child(command, tmp_path, process_environ()).start()


async def test_the_command_runs_in_a_fresh_process() -> None:
    code, output = await run_stretto("--help", environ=process_environ())
    assert code == 0
    assert "serve" in output


def test_free_ports_are_ports() -> None:
    assert 0 < free_port() < 65536


class Victim:
    """Counts its lives."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def kill(self) -> None:
        self.log.append("kill")

    async def start(self) -> None:
        self.log.append("start")


async def test_it_kills_only_while_a_submit_is_in_flight() -> None:
    victim: Any = Victim()
    killer = Killer(victim, 1, 100, 3)
    answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    answered.set_result({})
    waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    await killer.submitted(waiting)
    assert victim.log == []  # its moment has not come
    killer.played = 100
    await killer.submitted(answered)
    assert victim.log == []  # answered already
    assert killer.left == 1
    await killer.submitted(waiting)
    assert victim.log == ["kill", "start"]
    assert killer.left == 0
    await killer.submitted(waiting)
    assert len(victim.log) == 2
    waiting.cancel()


async def test_a_server_that_does_not_come_back_is_no_passing_loss() -> None:
    class Dead(Victim):
        async def start(self) -> None:
            raise Unavailable("the server did not start")

    victim: Any = Dead()
    killer = Killer(victim, 1, 100, 3)
    killer.played = 100
    waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    await killer.submitted(waiting)
    assert "did not start" in killer.failure.result().message
    waiting.cancel()


async def test_the_moments_follow_from_the_seed() -> None:
    victim: Any = Victim()
    moments = [Killer(victim, 3, 1_000, seed)._moments for seed in (1, 1, 2)]
    assert moments[0] == moments[1] != moments[2]
    assert all(50 <= moment <= 950 for moment in moments[0])
    assert isinstance(random.Random(1), random.Random)
