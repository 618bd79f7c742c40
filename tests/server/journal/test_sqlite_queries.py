import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stretto_core.protocol import NO_HASH
from stretto_server.journal import sqlite_queries as queries
from stretto_server.journal.interface import Snapshot
from stretto_server.journal.sqlite_appends import JournalWriter, open_journal_writer
from stretto_server.journal.sqlite_file import create_file
from tests.contracts.journal_samples import ALICE, DOC, EPOCH, chain, entry, typed


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[JournalWriter]:
    create_file(tmp_path / "journal.db")
    with closing(open_journal_writer(tmp_path / "journal.db", 1)) as connection:
        yield connection


def count(connection: sqlite3.Connection, table: str) -> int:
    (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(rows)


def test_entries_are_packed_compactly() -> None:
    entries = [entry(op=(3, "é\0", -1)), entry(op=("x",))]
    place, hashes, text = queries.pack(5, 7, entries, ["00112233445566ff", "0" * 16])
    assert place == queries.place_of(5, 9)
    assert hashes == bytes.fromhex("00112233445566ff") + bytes(8)
    assert text == f"[{entries[0].to_json()},{entries[1].to_json()}]"
    assert '"op":[3,"é\\u0000",-1]' in text


def test_places_of_documents_do_not_overlap() -> None:
    first, end = queries.bounds_of(3, 5)
    inside = [queries.place_of(3, version) for version in (6, 2**32 - 1)]
    assert all(first < place < end for place in inside)
    outside = [queries.place_of(3, 5), queries.place_of(4, 0), queries.place_of(2, 2**32 - 1)]
    assert not any(first < place < end for place in outside)


def test_a_deleted_document_leaves_no_row(connection: JournalWriter) -> None:
    queries.create(connection, DOC, EPOCH, 0)
    connection.append(DOC, EPOCH, 0, typed(3), chain(typed(3)))
    connection.rest(DOC)
    queries.fence(connection, DOC, EPOCH, "another-client-000", ALICE, 0)
    snapshot = Snapshot(3, chain(typed(3))[-1], "text")
    queries.keep_snapshot(connection, DOC, EPOCH, snapshot)
    queries.replace(connection, DOC, "epoch-two", typed(2), chain(typed(2)), 0)
    tables = ("documents", "batches", "log", "clients", "snapshots")
    assert [count(connection, table) for table in tables] == [1, 2, 0, 1, 0]
    assert queries.delete(connection, DOC, None, False)
    assert [count(connection, table) for table in tables] == [0, 0, 0, 0, 0]


def test_a_version_is_taken_once(connection: JournalWriter) -> None:
    queries.create(connection, DOC, EPOCH, 0)
    for _ in range(2):
        connection.append(DOC, EPOCH, 0, typed(1), [NO_HASH])
        if count(connection, "batches"):
            break
        connection.rest(DOC)
        connection.execute("UPDATE documents SET version = 0")  # as a damaged file might say
        connection.execute("DELETE FROM clients")
    with pytest.raises(sqlite3.IntegrityError):
        connection.rest(DOC)


@pytest.mark.parametrize("table", ["batches", "log"])
def test_a_page_may_begin_and_end_anywhere(connection: JournalWriter, table: str) -> None:
    queries.create(connection, DOC, EPOCH, 0)
    hashes = chain(typed(10))
    for base, end in ((0, 4), (4, 5), (5, 10)):
        connection.append(DOC, EPOCH, base, typed(10)[base:end], hashes[base:end])
    connection.flush()
    if table == "batches":
        connection.rest(DOC)
    assert count(connection, table) == 3
    for first in range(1, 12):
        for limit in range(12 - first):
            page = queries.read(connection, DOC, EPOCH, first, limit, None)
            assert page.entries == tuple(typed(10)[first - 1 : first - 1 + limit])
            assert page.hash == [NO_HASH, *hashes][first - 1 + len(page.entries)]


def test_the_log_is_read_along_its_key(connection: sqlite3.Connection) -> None:
    plan = connection.execute(
        "EXPLAIN QUERY PLAN SELECT entries FROM batches WHERE place > 1 AND place < 2"
        " ORDER BY place"
    ).fetchall()
    assert [row[3] for row in plan] == [
        "SEARCH batches USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
    ]
