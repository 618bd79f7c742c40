"""PostgreSQL and SQLite that are killed, hang, are locked, have no space, or lose their tail."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.faults.points import UNDER_WAY, Order
from tests.faults.stage import SLACK, Stage, staged
from tests.services.postgres_server import USER, PostgresServer
from tests.services.processes import as_user

BACK_S = 6.0
FILE_BYTES = 16_384
"""A process that may write no larger files finds its disk full."""


@contextmanager
def no_space(*pids: int, user: str | None = None) -> Iterator[None]:
    """Have processes find no room in any file, as on a disk that is full.

    They belong to ``user``, if that is not us: so must whoever limits them.
    """
    limit(pids, str(FILE_BYTES), user)
    try:
        yield
    finally:
        limit([pid for pid in pids if Path(f"/proc/{pid}").exists()], "unlimited", user)


def limit(pids: Sequence[int], size: str, user: str | None) -> None:
    """Set the soft limit for files of processes."""
    prefix = [] if user is None else as_user(user)
    for pid in pids:
        command = [*prefix, "prlimit", "--pid", str(pid), f"--fsize={size}:"]
        subprocess.run(command, check=True)


async def test_postgres_is_killed(tmp_path: Path) -> None:
    async with staged(tmp_path, "postgres", seed=16) as stage:
        assert stage.postgres is not None
        stage.add_writers(5)
        await stage.begin()
        backs = []
        for _ in range(2):
            stage.postgres.kill()
            await asyncio.to_thread(stage.postgres.start)
            began = time.monotonic()
            await stage.crowd.committed(1)
            backs.append(time.monotonic() - began)
        stage.healed()
        await stage.recover()
        stage.figures["back_s"] = max(backs)
        await stage.finish("16 PostgreSQL killed twice")
    assert max(backs) < BACK_S


@pytest.mark.soak
@pytest.mark.parametrize("seconds", [4.0, 30.0])
async def test_postgres_hangs(tmp_path: Path, seconds: float) -> None:
    async with staged(tmp_path, "postgres", seed=16) as stage:
        assert stage.postgres is not None
        stage.add_writers(4)
        await stage.begin()
        stage.postgres.hang()
        await stage.within(seconds)
        stage.postgres.wake()
        stage.healed()
        await stage.recover()
        await stage.finish(f"16 PostgreSQL hung {seconds:g} s")


@pytest.mark.soak
async def test_postgres_ends_sessions_and_holds_locks(tmp_path: Path) -> None:
    async with staged(tmp_path, "postgres", seed=16) as stage:
        assert stage.postgres is not None
        stage.add_writers(4)
        await stage.begin()
        connection = await asyncpg.connect(stage.postgres.url)
        for _ in range(3):
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            await stage.crowd.committed(1)
        async with connection.transaction():
            await connection.execute("SELECT * FROM stretto_documents FOR UPDATE")
            await stage.within(3.0)
        await connection.close()
        stage.healed()
        await stage.recover()
        await stage.finish("16 PostgreSQL ended sessions and held a lock for 3 s")


@pytest.mark.soak
async def test_postgres_has_no_space(tmp_path: Path) -> None:
    async with staged(tmp_path, "postgres", seed=16) as stage:
        assert stage.postgres is not None
        stage.add_writers(4)
        await stage.begin()
        with no_space(*processes_of(stage.postgres), user=USER):
            await stage.within(3.0)
        if not stage.postgres.runs():  # it may give up, and an operator starts it again
            await asyncio.to_thread(stage.postgres.start)
        assert any(one.log.refused for one in stage.crowd.writers)
        stage.healed()
        await stage.recover()
        await stage.finish("16 PostgreSQL without space for 3 s")


def processes_of(server: PostgresServer) -> list[int]:
    return list(server._processes())


# SQLite.


def intact(stage: Stage) -> None:
    with closing(sqlite3.connect(stage.folder / "stretto.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_sqlite_has_no_space(tmp_path: Path) -> None:
    async with staged(tmp_path, "sqlite", seed=17) as stage:
        stage.add_writers(4)
        await stage.begin()
        with no_space(stage.nodes[0].pid):
            await stage.within(2.0)
        told = {error.code for one in stage.crowd.writers for error in one.log.refused}
        assert told == {"unavailable"}
        stage.healed()
        await stage.recover()
        await stage.finish("17 SQLite without space for 2 s")
        intact(stage)


HOLD = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
database.execute("ROLLBACK")
"""


@pytest.mark.soak
async def test_sqlite_is_locked_by_another_process(tmp_path: Path) -> None:
    async with staged(tmp_path, "sqlite", seed=17) as stage:
        stage.add_writers(4)
        await stage.begin()
        command = [sys.executable, "-c", HOLD, str(tmp_path / "stretto.db"), "3"]
        holder = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        await holder.communicate()
        assert holder.returncode == 0
        stage.healed()
        await stage.recover()
        await stage.finish("17 SQLite locked for 3 s")
        intact(stage)


async def test_sqlite_loses_the_end_of_its_log(tmp_path: Path) -> None:
    """As on a disk that lied: what was acknowledged is gone, and everybody hears of it."""
    async with staged(tmp_path, "sqlite", seed=17) as stage:
        stage.may_lose = True
        stage.add_writers(4)
        await stage.begin(each=10)
        node = stage.nodes[0]
        node.trigger.arm(Order(UNDER_WAY, 2))
        assert await node.died(20 * SLACK)
        log = tmp_path / "stretto.db-wal"
        os.truncate(log, log.stat().st_size // 2)
        await node.restart()
        stage.healed()
        await stage.recover()
        verdict = await stage.finish("17 SQLite lost half of its write-ahead log")
        intact(stage)
        assert verdict.figures["given_back"], "nobody was given anything back"


@pytest.mark.soak
async def test_sqlite_is_killed_in_a_commit(tmp_path: Path) -> None:
    async with staged(tmp_path, "sqlite", seed=17) as stage:
        stage.add_writers(4)
        await stage.begin()
        for passage in (1, 4, 9):
            node = stage.nodes[0]
            node.trigger.arm(Order(UNDER_WAY, passage, int(signal.SIGKILL)))
            assert await node.died(20 * SLACK)
            intact(stage)
            await node.restart()
        stage.healed()
        await stage.recover()
        await stage.finish("17 SQLite killed in three commits")
        intact(stage)


@pytest.mark.soak
async def test_sqlite_may_only_be_read(tmp_path: Path) -> None:
    """A node that could save nothing does not start; once it can, all is there."""
    async with staged(tmp_path, "sqlite", seed=17, before=powerless()) as stage:
        stage.add_writers(4)
        await stage.begin()
        node = stage.nodes[0]
        node.kill()
        allow(tmp_path, 0o500, 0o400)
        try:
            with pytest.raises(RuntimeError, match="stretto: "):
                await node.restart()
        finally:
            allow(tmp_path, 0o700, 0o600)
        await node.restart()
        stage.healed()
        await stage.recover()
        await stage.finish("17 SQLite read-only at a start")
        intact(stage)


def powerless() -> list[str]:
    """Return what to put before a command so that even root must respect permissions."""
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []


def allow(folder: Path, of_folder: int, of_files: int) -> None:
    """Set the permissions of the database and of the folder that it is in."""
    folder.chmod(of_folder)
    for path in folder.glob("stretto.db*"):
        path.chmod(of_files)
