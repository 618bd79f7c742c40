"""Making a history from a text, and forgetting the oldest part of one."""

import asyncio
import logging
import time
from pathlib import Path

import pytest

from stretto_core.entries import Entry, next_hash
from stretto_core.errors import InvalidOperation, Unavailable
from stretto_core.ot import apply, inserted_length
from stretto_core.protocol import NO_HASH, is_client_id
from stretto_server import history
from stretto_server.app import NODE
from stretto_server.history import compact, expire_clients, new_history
from stretto_server.journal.interface import Snapshot
from stretto_server.journal.memory import MemoryJournal
from stretto_server.journal.sqlite import SqliteJournal
from tests.server.conftest import Serve

CLIENT = "client-000000000000"
NOW = 1_700_000_000_000


@pytest.mark.parametrize("text", ["", "x", "abc", "abcd", "😀é\u0000x" * 5])
@pytest.mark.parametrize("most", [1, 3, 100])
def test_a_history_writes_its_text_in_pieces(text: str, most: int) -> None:
    entries, hashes = new_history(text, "ann", NOW, most)
    written, reached = "", NO_HASH
    for number, (entry, digest) in enumerate(zip(entries, hashes, strict=True), 1):
        assert entry.seq == number
        assert (entry.user, entry.at_ms) == ("ann", NOW)
        assert is_client_id(entry.client)
        assert inserted_length(entry.op) <= most
        written = apply(written, entry.op)
        reached = next_hash(reached, entry)
        assert digest == reached
    assert written == text
    assert len(entries) == max(1, -(-len(text) // most))  # an empty text is written too


def test_two_histories_have_two_clients() -> None:
    (one,), (two,) = (new_history("x", "ann", NOW, 9)[0] for _ in range(2))
    assert one.client != two.client


def test_text_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidOperation):
        new_history("a\ud800", "ann", NOW, 9)


async def journal_of(ages_ms: list[int], snapshot: int) -> MemoryJournal:
    """Return a journal with a document whose entries are so old."""
    journal = MemoryJournal()
    await journal.start()
    await journal.create("notes", "epoch", 0)
    now = time.time_ns() // 1_000_000
    entries = [
        Entry(CLIENT, number, ("x",), "ann", now - age) for number, age in enumerate(ages_ms, 1)
    ]
    hashes = [NO_HASH]
    for entry in entries:
        hashes.append(next_hash(hashes[-1], entry))
    await journal.append("notes", "epoch", 0, entries, hashes[1:])
    await journal.snapshot("notes", "epoch", Snapshot(snapshot, hashes[snapshot], "x" * snapshot))
    return journal


@pytest.fixture
def _few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT_VERSIONS", 3)


HOUR = 3_600_000


@pytest.mark.usefixtures("_few_kept")
@pytest.mark.parametrize(
    ("ages", "snapshot", "floor"),
    [
        ([9 * HOUR] * 20, 20, 17),
        ([9 * HOUR] * 20, 5, 5),
        ([9 * HOUR] * 20, 0, 0),
        ([9 * HOUR] * 7 + [0] * 13, 20, 7),
        ([0] * 20, 20, 0),
        ([9 * HOUR, 0], 2, 0),
    ],
    ids=["the last versions", "the snapshot", "no snapshot", "age", "all young", "short"],
)
async def test_what_is_forgotten(ages: list[int], snapshot: int, floor: int) -> None:
    journal = await journal_of(ages, snapshot)
    assert await compact(journal, "notes", "epoch", HOUR) == floor
    loaded = await journal.load("notes")
    assert loaded is not None
    assert loaded.head.floor == floor
    assert await compact(journal, "notes", "epoch", HOUR) == floor
    await journal.close()


async def test_a_thousand_versions_stay() -> None:
    journal = await journal_of([9 * HOUR] * 1_100, 1_100)
    assert await compact(journal, "notes", "epoch", HOUR) == 100
    await journal.close()


async def test_a_document_that_is_gone_has_nothing_to_forget() -> None:
    journal = MemoryJournal()
    await journal.start()
    assert await compact(journal, "notes", "epoch", HOUR) == 0
    await journal.close()


async def test_clients_that_were_not_used_for_long_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(history, "EXPIRE_EVERY_S", 0.0)
    caplog.set_level(logging.WARNING)
    asked: list[int] = []

    class Journal(MemoryJournal):
        async def expire_clients(self, before_ms: int) -> int:
            asked.append(int(time.time() * 1000) - before_ms)
            if len(asked) == 1:
                raise Unavailable
            return 0

    expiring = asyncio.create_task(expire_clients(Journal()))
    async with asyncio.timeout(5):
        while len(asked) < 3:
            await asyncio.sleep(0)
    expiring.cancel()
    await asyncio.wait([expiring])
    assert all(abs(age - 30 * 24 * 3_600_000) < 10_000 for age in asked)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_server_forgets_them_when_it_starts(serve: Serve, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'stretto.db'}"
    old, new = (
        Entry(f"client-{n:012d}", 1, ("x",), "ann", n) for n in (1, int(time.time() * 1000))
    )
    journal = SqliteJournal(tmp_path / "stretto.db")
    await journal.start()
    await journal.create("notes", "epoch", 1)
    hashes = [next_hash(NO_HASH, old)]
    await journal.append("notes", "epoch", 0, [old, new], [*hashes, next_hash(hashes[0], new)])
    await journal.close()
    server = await serve(journal=url)
    found = server._app[NODE].journal
    async with asyncio.timeout(5):
        while await found.client("notes", old.client) is not None:
            await asyncio.sleep(0.01)
    assert await found.client("notes", new.client) is not None
