"""Rows to entries and back; the statements themselves are in the contract suite."""

from typing import Any

import pytest

from stretto_core.entries import ClientRecord
from stretto_server.journal.interface import Head
from stretto_server.journal.postgres_queries import (
    entry_columns,
    read_head,
    read_log,
    read_record,
    require_whole,
)
from tests.contracts.journal_samples import ALICE, chain, typed


def row(first: int, last: int) -> dict[str, Any]:
    """Return a row with the entries from version ``first`` to ``last``."""
    entries = typed(last)
    names = ("clients", "seqs", "ops", "authors", "times", "hashes")
    columns = zip(names, entry_columns(entries, chain(entries)), strict=True)
    return {
        "versions": list(range(first, last + 1)),
        **{name: column[first - 1 :] for name, column in columns},
    }


def test_entries_come_back_as_they_went() -> None:
    log = read_log(row(2, 4), 2)
    head = Head("e", 4, chain(typed(4))[-1], 1)
    assert require_whole(log, head, 1) == tuple(typed(4)[1:])
    nothing = dict.fromkeys(row(1, 1))
    assert read_log(nothing, 1) == []


def test_what_is_missing_raises() -> None:
    with pytest.raises(ValueError, match="version 1 is missing"):
        read_log(row(2, 4), 1)
    log = read_log(row(1, 3), 1)
    with pytest.raises(ValueError, match="ends at version 3"):
        require_whole(log, Head("e", 4, "", 0), 0)
    with pytest.raises(ValueError, match="ends with hash"):
        require_whole(log, Head("e", 3, "00", 0), 0)
    with pytest.raises(ValueError):
        entry_columns(typed(2), chain(typed(1)))


def test_heads_and_records() -> None:
    head = {"epoch": "e", "version": 3, "hash": b"\xff\0", "floor": 1}
    assert read_head(head) == Head("e", 3, "ff00", 1)
    record = {"last_seq": 2, "last_version": 3, "author": ALICE.encode(), "fenced": True}
    assert read_record(record) == ClientRecord(2, 3, ALICE, fenced=True)
    assert read_record(dict.fromkeys(record)) == ClientRecord()
