"""Listings and heads through the log; what they promise is in the contract suite."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stretto_core.protocol import NO_HASH
from stretto_server.journal import sqlite_catalog as catalog
from stretto_server.journal import sqlite_queries as queries
from stretto_server.journal.interface import DocumentInfo, Head
from stretto_server.journal.sqlite_appends import JournalWriter, open_journal_writer
from stretto_server.journal.sqlite_file import create_file
from tests.contracts.journal_samples import EPOCH, chain, typed

DOCS = ("a", "b", "c")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[JournalWriter]:
    create_file(tmp_path / "journal.db")
    with closing(open_journal_writer(tmp_path / "journal.db", 1)) as connection:
        for doc in DOCS:
            queries.create(connection, doc, EPOCH, 500)
        yield connection


def given(connection: JournalWriter, filed: bool) -> list[Head]:
    """Append two rows to ``a``, one to ``c``; return the heads. ``filed``: not in the log."""
    hashes = chain(typed(5))
    for doc, base, end in (("a", 0, 2), ("c", 0, 1), ("a", 2, 5)):
        connection.append(doc, EPOCH, base, typed(5)[base:end], hashes[base:end])
    connection.flush()
    if filed:
        connection.rest(None)
    (logged,) = connection.execute("SELECT count(*) FROM log").fetchone()
    assert logged == (0 if filed else 3)
    return [
        Head(EPOCH, 5, hashes[4], 0),
        Head(EPOCH, 0, NO_HASH, 0),
        Head(EPOCH, 1, hashes[0], 0),
    ]


@pytest.mark.parametrize("filed", [True, False])
def test_heads_are_those_of_the_log(connection: JournalWriter, filed: bool) -> None:
    a, b, c = given(connection, filed)
    asked = ["c", "unknown", "a", "b", "c"]
    assert catalog.heads(connection, asked) == [c, None, a, b, c]
    assert catalog.heads(connection, []) == []


@pytest.mark.parametrize("filed", [True, False])
def test_a_listing_tells_when_the_log_was_written(connection: JournalWriter, filed: bool) -> None:
    a, b, c = given(connection, filed)
    assert catalog.documents(connection, "", "", 9) == [
        DocumentInfo("a", a, 500, 1_005),
        DocumentInfo("b", b, 500, 500),
        DocumentInfo("c", c, 500, 1_001),
    ]
    assert [info.doc for info in catalog.documents(connection, "", "a", 1)] == ["b"]


def test_the_log_is_looked_through_once_for_any_number(connection: JournalWriter) -> None:
    given(connection, filed=False)
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    catalog.heads(connection, [*DOCS] * 100)
    assert len([text for text in statements if "FROM log" in text]) == 1


def test_a_name_with_anything_in_it_is_found(connection: sqlite3.Connection) -> None:
    name = "o'\"%_\U0001f642"
    head = queries.create(connection, name, EPOCH, 1)
    assert catalog.heads(connection, [name]) == [head]
