import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stretto_core.errors import Unavailable
from stretto_server.journal import sqlite_file
from stretto_server.journal.sqlite_file import (
    APPLICATION_ID,
    MIGRATIONS,
    create_file,
    open_reader,
    open_writer,
    unavailable,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.db"
    create_file(path)
    return path


def pragma(connection: sqlite3.Connection, name: str) -> object:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return value


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)


def test_a_writer_is_durable(path: Path) -> None:
    with closing(open_writer(path, 1.5)) as connection:
        assert pragma(connection, "journal_mode") == "wal"
        assert pragma(connection, "synchronous") == 2
        assert pragma(connection, "foreign_keys") == 1
        assert pragma(connection, "busy_timeout") == 1_500
        assert pragma(connection, "user_version") == len(MIGRATIONS)
        assert pragma(connection, "application_id") == APPLICATION_ID


def test_opening_again_migrates_nothing(path: Path) -> None:
    for _ in range(2):
        open_writer(path, 1).close()
    with closing(open_reader(path, 1)) as connection:
        assert pragma(connection, "user_version") == len(MIGRATIONS)


def test_a_migration_adds_to_what_there_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_writer(path, 1).close()
    more = (*MIGRATIONS, ("CREATE TABLE more (id INTEGER)",))
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", more)
    with pytest.raises(Unavailable, match="start the server on it once"):
        open_reader(path, 1)
    with closing(open_writer(path, 1)) as connection:
        assert connection.execute("SELECT count(*) FROM more").fetchone() == (0,)
        assert pragma(connection, "user_version") == len(more)
    open_reader(path, 1).close()


def test_a_migration_that_fails_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_writer(path, 1).close()
    broken = (*MIGRATIONS, ("CREATE TABLE more (id INTEGER)", "CREATE TABLE more (id INTEGER)"))
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", broken)
    with pytest.raises(sqlite3.OperationalError):
        open_writer(path, 1)
    monkeypatch.undo()
    with closing(open_writer(path, 1)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE name = 'more'")
        assert tables.fetchall() == []


@pytest.mark.parametrize("opener", [open_writer, open_reader])
def test_a_newer_schema_is_left_alone(path: Path, opener: type) -> None:
    open_writer(path, 1).close()
    change(path, f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(Unavailable, match="install the newer version"):
        opener(path, 1)


@pytest.mark.parametrize("opener", [open_writer, open_reader])
def test_a_database_of_another_program_is_left_alone(path: Path, opener: type) -> None:
    change(path, "CREATE TABLE theirs (id INTEGER)")
    before = path.read_bytes()
    with pytest.raises(Unavailable, match="another program"):
        opener(path, 1)
    assert path.read_bytes() == before


@pytest.mark.parametrize("opener", [open_writer, open_reader])
def test_a_missing_file_is_not_created(tmp_path: Path, opener: type) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        opener(tmp_path / "missing.db", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_does_not_write(path: Path) -> None:
    open_writer(path, 1).close()
    connection = open_reader(path, 1)
    with closing(connection), pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM documents")


def test_an_empty_file_cannot_be_read_yet(path: Path) -> None:
    with pytest.raises(Unavailable, match="start the server on it once"):
        open_reader(path, 1)


def test_a_file_system_without_shared_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # SQLite answers with the mode that it stayed in, as it does there.
    monkeypatch.setattr(sqlite_file, "WRITER_SETTINGS", ("PRAGMA journal_mode = DELETE",))
    with pytest.raises(Unavailable, match="local disk"):
        open_writer(path, 1)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (sqlite3.SQLITE_FULL, "free some space"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "may not be written"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "keeps it locked"),
        (sqlite3.SQLITE_IOERR_FSYNC, "check it and the system's log"),
        (sqlite3.SQLITE_CORRUPT_INDEX, "restore a backup"),
        (sqlite3.SQLITE_MISUSE, "SQLite refused"),
        (None, "SQLite refused"),
    ],
)
def test_an_error_tells_what_to_do(code: int | None, advice: str) -> None:
    error = sqlite3.OperationalError("as SQLite puts it")
    if code is not None:
        error.sqlite_errorcode = code
    failure = unavailable(Path("/data/journal.db"), error)
    assert advice in failure.message
    assert "/data/journal.db" in failure.message
    assert "as SQLite puts it" in failure.message
    assert failure.__cause__ is error
