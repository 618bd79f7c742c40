"""A log that was tampered with is found out, whatever was changed."""

import itertools
from pathlib import Path

import pytest

from stretto_core.entries import Entry, next_hash
from stretto_core.ot import apply
from stretto_core.protocol import NO_HASH, PAGE_ENTRIES
from stretto_server.journal.interface import Snapshot
from stretto_server.journal.sqlite import SqliteJournal
from stretto_server.verification import find_problems, read_log
from tests.server.tampering import tamper

ANN, BOB = "client-of-ann-000000", "client-of-bob-000000"
COUNT = 12


async def written(path: Path, floor: int = 0, snapshot: int = 8, count: int = COUNT) -> None:
    """Write a document by two clients, with a snapshot, compacted to ``floor``."""
    journal = SqliteJournal(path)
    await journal.start()
    await journal.create("notes", "epoch", 0)
    text, hashes, entries, texts = "", [NO_HASH], [], [""]
    for version in range(1, count + 1):
        entry = Entry((ANN, BOB)[version % 2], (version + 1) // 2, (f"{version} ",), "ann", version)
        entries.append(entry)
        hashes.append(next_hash(hashes[-1], entry))
        text = apply(text, entry.op)
        texts.append(text)
    await journal.append("notes", "epoch", 0, entries, hashes[1:])
    await journal.snapshot("notes", "epoch", Snapshot(snapshot, hashes[snapshot], texts[snapshot]))
    await journal.compact("notes", "epoch", floor)
    await journal.close()


async def problems(path: Path) -> list[str]:
    journal = SqliteJournal(path, read_only=True)
    await journal.start()
    try:
        loaded = await journal.load("notes")
        assert loaded is not None
        return await find_problems(journal, "notes", loaded)
    finally:
        await journal.close()


@pytest.mark.parametrize("snapshot", [0, 1, 8, COUNT])
@pytest.mark.parametrize("floor", [0, 1, 5, 8])
async def test_an_honest_log_is_clean(tmp_path: Path, floor: int, snapshot: int) -> None:
    await written(tmp_path / "a.db", floor, snapshot)
    assert await problems(tmp_path / "a.db") == []


async def test_a_log_of_several_pages_is_clean(tmp_path: Path) -> None:
    await written(tmp_path / "a.db", 0, 700, 2 * PAGE_ENTRIES + 1)
    assert await problems(tmp_path / "a.db") == []


TAMPERED: dict[str, tuple[str, str]] = {
    "a wrong hash": (
        "UPDATE entries SET hash = x'0102030405060708' WHERE version = 9",
        "version 9: hash 0102",
    ),
    "a changed op": ("UPDATE entries SET op = '[\"other \"]' WHERE version = 9", "version 9: hash"),
    "an op that does not fit": (
        "UPDATE entries SET op = '[-9999]' WHERE version = 11",
        "does not apply",
    ),
    "a seq twice": ("UPDATE entries SET seq = 5 WHERE version = 12", "seq 5 of"),
    "a seq left out": ("UPDATE entries SET seq = 9 WHERE version = 12", "seq 9 of"),
    "another client": (
        "UPDATE entries SET client = 'client-of-eve-000000' WHERE version = 10",
        "version 10: hash",
    ),
    "a wrong snapshot": ("UPDATE snapshots SET text = x'6f74686572'", "is not the replayed text"),
    "a wrong snapshot's hash": (
        "UPDATE snapshots SET hash = x'0102030405060708'",
        "has another hash",
    ),
    "a missing entry": ("DELETE FROM entries WHERE version = 9", "version 9"),
    "a missing end": (
        "DELETE FROM entries WHERE version = 12",
        "the log ends at version 11, the head is 12",
    ),
    "a long missing end": (
        "DELETE FROM entries WHERE version > 9",
        "the log ends at version 9, the head is 12",
    ),
    "a wrong head": (
        "UPDATE documents SET hash = x'0102030405060708'",
        "the head's hash is 0102030405060708",
    ),
    "a record that forgot": ("UPDATE clients SET last_seq = 3", "ends with seq 3, its log with 6"),
}


@pytest.mark.parametrize(("statement", "said"), TAMPERED.values(), ids=TAMPERED)
@pytest.mark.parametrize("floor", [0, 8])
async def test_what_was_tampered_with_is_found(
    tmp_path: Path, floor: int, statement: str, said: str
) -> None:
    await written(tmp_path / "a.db", floor)
    tamper(tmp_path / "a.db", statement)
    found = await problems(tmp_path / "a.db")
    if floor and said == "is not the replayed text":
        return  # with the entries below it gone, nothing tells what it should be
    assert said in "\n".join(found)


async def test_an_entry_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    await written(tmp_path / "a.db")
    tamper(tmp_path / "a.db", "UPDATE entries SET op = '{' WHERE version = 3")
    with pytest.raises(ValueError):
        await problems(tmp_path / "a.db")


@pytest.mark.parametrize("first", [1, 5, COUNT, COUNT + 1])
async def test_the_log_is_read_from_any_version(tmp_path: Path, first: int) -> None:
    await written(tmp_path / "a.db")
    journal = SqliteJournal(tmp_path / "a.db", read_only=True)
    await journal.start()
    loaded = await journal.load("notes")
    assert loaded is not None
    rows = [row async for row in read_log(journal, "notes", loaded.head, first)]
    await journal.close()
    assert [version for version, _, _ in rows] == list(range(first, COUNT + 1))
    assert [entry.at_ms for _, entry, _ in rows] == list(range(first, COUNT + 1))
    for (_, _, before), (_, entry, after) in itertools.pairwise(rows):
        assert next_hash(before, entry) == after
