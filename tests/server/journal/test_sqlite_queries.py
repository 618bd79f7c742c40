import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto_core.protocol import NO_HASH
from stretto_server.journal import sqlite_queries as queries
from stretto_server.journal.interface import Snapshot
from stretto_server.journal.sqlite_file import create_file, open_writer
from tests.contracts.journal_samples import ALICE, DOC, EPOCH, chain, entry, typed


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    create_file(tmp_path / "journal.db")
    connection = open_writer(tmp_path / "journal.db", 1)
    yield connection
    connection.close()


def count(connection: sqlite3.Connection, table: str) -> int:
    (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(rows)


def test_entries_are_encoded_compactly() -> None:
    (new,) = queries.encode([entry(op=(3, "é\0", -1))], ["00112233445566ff"])
    assert new.op == '[3,"é\\u0000",-1]'
    assert new.hash == bytes.fromhex("00112233445566ff")


def test_a_deleted_document_leaves_no_row(connection: sqlite3.Connection) -> None:
    new = queries.encode(typed(3), chain(typed(3)))
    queries.create(connection, DOC, EPOCH, 0)
    queries.append(connection, DOC, EPOCH, 0, new)
    queries.fence(connection, DOC, EPOCH, "another-client-000", ALICE, 0)
    snapshot = Snapshot(3, chain(typed(3))[-1], "text")
    queries.keep_snapshot(connection, DOC, EPOCH, snapshot)
    queries.replace(connection, DOC, "epoch-two", new[:1], 0)
    tables = ("documents", "entries", "clients", "snapshots")
    assert [count(connection, table) for table in tables] == [1, 1, 1, 0]
    assert queries.delete(connection, DOC, None, False)
    assert [count(connection, table) for table in tables] == [0, 0, 0, 0]


def test_a_version_is_taken_once(connection: sqlite3.Connection) -> None:
    new = queries.encode(typed(1), [NO_HASH])
    queries.create(connection, DOC, EPOCH, 0)
    queries.append(connection, DOC, EPOCH, 0, new)
    connection.execute("UPDATE documents SET version = 0")  # as a damaged file might say
    connection.execute("DELETE FROM clients")
    with pytest.raises(sqlite3.IntegrityError):
        queries.append(connection, DOC, EPOCH, 0, new)


def test_the_log_is_read_along_its_key(connection: sqlite3.Connection) -> None:
    plan = connection.execute(
        "EXPLAIN QUERY PLAN SELECT op FROM entries WHERE document = 1 AND version > 2"
        " ORDER BY version"
    ).fetchall()
    assert [row[3] for row in plan] == [
        "SEARCH entries USING PRIMARY KEY (document=? AND version>?)"
    ]
