"""What ``stretto doctor`` finds, and that it fails only for what keeps a server from working."""

import importlib.metadata
import os
import resource
import sqlite3
import time
from pathlib import Path

import pytest
from aiohttp import web

from stretto_server.doctor import (
    EXPECTED_CONNECTIONS,
    OTHER_FILES,
    check_disk,
    check_fsync,
    check_libraries,
    check_open_files,
    check_page,
    check_python,
    examine,
)
from stretto_server.journal.postgres_session import migrate_database
from stretto_server.journal.sqlite_file import MIGRATIONS
from tests.server.conftest import Serve
from tests.server.wire import SECRET
from tests.services.postgres_server import running_postgres
from tests.services.processes import running
from tests.services.redis_server import RedisServer

Output = pytest.CaptureFixture[str]


async def report(
    output: Output, environ: dict[str, str] | None = None, **arguments: str | None
) -> tuple[int, list[str]]:
    """Return the exit code and the lines about settings, journal, disk and port."""
    given = {"STRETTO_SECRET": SECRET, "STRETTO_HOST": "127.0.0.1", "STRETTO_PORT": "0"}
    code = await examine(
        given | (environ or {}),
        dev=None,
        data=arguments.get("data"),
        journal=arguments.get("journal"),
    )
    lines = output.readouterr().out.splitlines()
    assert all(line[:6] in ("ok    ", "warn  ", "fail  ") for line in lines)
    assert code == any(line.startswith("fail") for line in lines)
    return code, [line for line in lines if ": " in line]


async def test_a_fresh_folder_is_fine(tmp_path: Path, capsys: Output) -> None:
    code, lines = await report(capsys, data=str(tmp_path / "a" / "b"))
    assert code == 0
    text = "\n".join(lines)
    assert "settings: valid, production" in text
    assert "stretto.db is new" in text
    assert "no server holds it" in text
    assert "fsync takes" in text
    assert "is free" in text
    assert os.listdir(tmp_path) == []


async def test_a_redis_says_what_it_would_lose(tmp_path: Path, capsys: Output) -> None:
    redis = RedisServer(tmp_path / "redis", appendfsync="everysec")
    with running(redis):
        code, lines = await report(capsys, journal=redis.url)
    text = "\n".join(lines)
    assert code == 0
    assert "ok    journal: the redis:// journal answers" in text
    assert "warn  journal: appendfsync is everysec" in text
    code, lines = await report(capsys, journal=redis.url)
    assert code == 1
    assert any("fail  journal: cannot reach" in line for line in lines)


async def test_a_postgresql_without_our_schema_fails(capsys: Output) -> None:
    with running_postgres(fsync="off") as postgres:
        code, lines = await report(capsys, journal=postgres.url)
        assert code == 1
        assert any("run `stretto migrate`" in line for line in lines)
        await migrate_database(postgres.url)
        code, lines = await report(capsys, journal=postgres.url)
    assert code == 0
    assert any("warn  journal: fsync is off" in line for line in lines)


async def test_every_wrong_setting_is_a_line(tmp_path: Path, capsys: Output) -> None:
    code, lines = await report(
        capsys, {"STRETTO_SECRET": "short", "STRETTO_DRAIN_S": "soon"}, data=str(tmp_path)
    )
    assert code == 1
    failed = [line for line in lines if line.startswith("fail")]
    assert len(failed) == 2
    assert SECRET not in "\n".join(lines)


async def test_a_memory_journal_is_worth_a_warning(capsys: Output) -> None:
    code, lines = await report(capsys, journal="memory://")
    assert code == 0
    assert any("forgets everything" in line for line in lines)


async def test_a_running_server_is_recognised(serve: Serve, tmp_path: Path, capsys: Output) -> None:
    journal = f"sqlite:///{tmp_path}/notes.db"
    server = await serve(journal=journal)
    await server.documents.edit("notes", ["x"])
    port = server.url.rpartition(":")[2]
    code, lines = await report(capsys, {"STRETTO_PORT": port}, journal=journal)
    text = "\n".join(lines)
    assert code == 0
    assert f"is whole, schema {len(MIGRATIONS)}" in text
    assert f"held by {server.url}" in text
    assert "a Stretto serves" in text
    await server.documents.edit("notes", ["y"])


async def test_a_port_of_another_program_fails(tmp_path: Path, capsys: Output) -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    code, lines = await report(capsys, {"STRETTO_PORT": str(port)}, data=str(tmp_path))
    await runner.cleanup()
    assert code == 1
    assert any(line.startswith("fail  port: cannot listen") for line in lines)


async def test_a_damaged_journal_fails(serve: Serve, tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "notes.db"
    server = await serve(journal=f"sqlite:///{path}")
    for number in range(30):
        await server.documents.edit(f"doc-{number}", ["x" * 2_000])
    await server.stop()
    with path.open("r+b") as file:
        file.seek(4096 * 6)
        file.write(b"\xff" * 4096 * 3)
    code, lines = await report(capsys, journal=f"sqlite:///{path}")
    assert code == 1
    assert any("restore a backup" in line for line in lines)


@pytest.mark.parametrize("kind", ["another program", "a newer version", "no database"])
async def test_a_file_that_is_not_ours_fails(tmp_path: Path, capsys: Output, kind: str) -> None:
    path = tmp_path / "notes.db"
    if kind == "no database":
        path.write_bytes(b"text" * 2_000)
    else:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE others (a)")
        if kind == "a newer version":
            connection.execute(f"PRAGMA application_id = {0x53545254}")
            connection.execute("PRAGMA user_version = 99")
        connection.commit()
        connection.close()
    code, lines = await report(capsys, journal=f"sqlite:///{path}")
    assert code == 1
    assert any(line.startswith("fail  journal: ") for line in lines)


def test_python() -> None:
    assert check_python((3, 11, 0)).verdict == "ok"
    assert check_python((3, 10, 9)).verdict == "fail"


def test_libraries() -> None:
    assert {finding.verdict for finding in check_libraries()} == {"ok"}

    def version(name: str) -> str:
        if name in ("orjson", "uvloop"):
            raise importlib.metadata.PackageNotFoundError(name)
        return {"aiohttp": "3.14.2", "pyjwt": "2.14", "marshmallow": "4.0.0rc1"}.get(name, "99.0")

    found = {finding.text.split()[0]: finding.verdict for finding in check_libraries(version)}
    assert found == {
        "aiohttp": "fail",
        "marshmallow": "ok",
        "orjson": "fail",
        "pyjwt": "ok",
        "python-socketio": "ok",
        "uvloop": "warn",
    }


def test_page(tmp_path: Path) -> None:
    assert check_page(tmp_path).verdict == "ok"
    assert check_page(None).verdict == "warn"
    assert "make run" in check_page(None).text


def test_open_files() -> None:
    assert check_open_files().verdict in ("ok", "warn")
    assert check_open_files(EXPECTED_CONNECTIONS + OTHER_FILES).verdict == "ok"
    assert check_open_files(resource.RLIM_INFINITY).verdict == "ok"
    few = check_open_files(1024)
    assert few.verdict == "warn"
    assert "ulimit -n" in few.text


def test_disk(tmp_path: Path) -> None:
    assert check_disk(tmp_path, 2 * 1024**3).verdict == "ok"
    assert check_disk(tmp_path, 1024**2).verdict == "warn"


def test_fsync(tmp_path: Path) -> None:
    assert check_fsync(tmp_path).text.startswith("disk: fsync takes ")
    assert check_fsync(tmp_path / "none").verdict == "fail"

    def slow(_descriptor: int) -> None:
        time.sleep(0.021)

    assert check_fsync(tmp_path, slow).verdict == "warn"
    assert os.listdir(tmp_path) == []
