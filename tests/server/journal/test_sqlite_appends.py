"""The log in front of the documents' own entries: nobody can tell whether it is there."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from stretto_core.entries import ClientRecord, Entry
from stretto_core.errors import StrettoError, Unavailable
from stretto_server.journal import sqlite_appends, sqlite_file
from stretto_server.journal import sqlite_catalog as catalog
from stretto_server.journal import sqlite_queries as queries
from stretto_server.journal.interface import Appended, Conflict, Journal, Snapshot
from stretto_server.journal.memory import MemoryJournal
from stretto_server.journal.sqlite import SqliteJournal
from stretto_server.journal.sqlite_appends import JournalWriter, open_journal_writer
from stretto_server.journal.sqlite_file import MIGRATIONS, create_file, open_reader, open_writer
from stretto_server.journal.sqlite_thread import TransactionThread
from tests.contracts.journal_clients import Reopen
from tests.contracts.journal_samples import (
    ALICE,
    ALL,
    BOB,
    DOC,
    EPOCH,
    A,
    B,
    chain,
    entry,
    opened,
    typed,
    whole_log,
    written,
)
from tests.contracts.journal_suite import JournalSuite


class TestEmptiedAtOnce(JournalSuite):
    """The contract holds, too, where nothing stays in the log."""

    @pytest.fixture(autouse=True)
    def short_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_appends, "LOG_ROWS", 1)

    @pytest.fixture
    async def journal(self, path: Path) -> AsyncIterator[Journal]:
        async with opened(SqliteJournal(path)) as journal:
            yield journal

    @pytest.fixture
    async def reopen(self, journal: Journal) -> Reopen:
        async def close_and_start() -> Journal:
            await journal.close()
            await journal.start()
            return journal

        return close_and_start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def writer(path: Path) -> Iterator[JournalWriter]:
    create_file(path)
    with closing(open_journal_writer(path, 1)) as writer:
        queries.create(writer, DOC, EPOCH, 500)
        yield writer


def counts(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return how many rows the log and the documents' own entries have."""
    found = [
        connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("log", "batches")
    ]
    return found[0], found[1]


def append(writer: JournalWriter, base: int, *entries: Entry) -> object:
    hashes = [f"{version:016x}" for version in range(base + 1, base + 1 + len(entries))]
    return writer.append(DOC, EPOCH, base, entries, hashes)


def test_the_log_is_emptied_when_it_has_many_rows(
    writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_appends, "LOG_ROWS", 40)
    for base in range(39):
        assert append(writer, base, *typed(1, first_seq=base + 1)) == Appended()
        if base % 7 == 0:
            writer.flush()
    writer.flush()
    assert counts(writer) == (39, 0)
    assert queries.recorded_client(writer, 1, A) is None
    append(writer, 39, *typed(1, first_seq=40))
    writer.flush()
    assert counts(writer) == (0, 40)
    assert queries.recorded_client(writer, 1, A) == ClientRecord(40, 40, ALICE)
    loaded = queries.load(writer, DOC)
    assert loaded is not None
    assert loaded.entries == tuple(typed(40))
    assert loaded.head.hash == f"{40:016x}"


def test_the_log_is_emptied_when_it_is_long(
    writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_appends, "LOG_CHARS", 1_000)
    append(writer, 0, entry(op=("x" * 400,)))
    writer.flush()
    assert counts(writer) == (1, 0)
    append(writer, 1, entry(seq=2, op=("x" * 600,)))
    writer.flush()
    assert counts(writer) == (0, 2)


def test_what_is_not_inserted_yet_counts(writer: JournalWriter) -> None:
    append(writer, 0, *typed(2))
    result = writer.append(DOC, EPOCH, 0, typed(1), chain(typed(1)))
    assert isinstance(result, Conflict)
    assert result.missed == tuple(typed(2))
    assert result.head.version == 2


def test_records_are_not_kept_for_ever(
    writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_appends, "KNOWN_CLIENTS", 3)
    monkeypatch.setattr(sqlite_appends, "LOG_ROWS", 5)
    for number in range(1, 30):
        client = f"client-number-{number:04d}"
        assert append(writer, number - 1, entry(client, 1)) == Appended()
        writer.flush()
        assert sum(len(live.records) for live in writer._live.values()) <= 8
    again = writer.append(DOC, EPOCH, 29, [entry("client-number-0001", 1)], ["0" * 16])
    assert type(again).__name__ == "StaleClient"


def test_one_hash_is_needed_for_each_entry(writer: JournalWriter) -> None:
    with pytest.raises(ValueError, match="one hash"):
        writer.append(DOC, EPOCH, 0, typed(2), ["0" * 16])


def test_a_log_that_was_left_is_emptied_at_the_next_start(path: Path) -> None:
    create_file(path)
    with closing(open_journal_writer(path, 1)) as writer:
        queries.create(writer, DOC, EPOCH, 500)
        append(writer, 0, *typed(3), entry(B, 1, user=BOB, at_ms=7_000))
        writer.flush()
        append(writer, 4, *typed(2, first_seq=4))
        writer.flush()
        assert counts(writer) == (2, 0)
    with closing(open_reader(path, 1)) as reader:
        assert counts(reader) == (2, 0)
        before = queries.load(reader, DOC), catalog.documents(reader, "", "", 9)
        assert queries.client(reader, DOC, A) == ClientRecord(5, 6, ALICE)
        assert queries.client(reader, DOC, B) == ClientRecord(1, 4, BOB)
        assert queries.client(reader, DOC, "client-unknown-000") is None
    with closing(open_journal_writer(path, 1)) as writer:
        assert counts(writer) == (0, 2)
        assert queries.recorded_client(writer, 1, A) == ClientRecord(5, 6, ALICE)
        assert queries.recorded_client(writer, 1, B) == ClientRecord(1, 4, BOB)
        used = writer.execute("SELECT client, used_ms FROM clients ORDER BY client").fetchall()
        assert used == [(A, 1_005), (B, 7_000)]
        assert (queries.load(writer, DOC), catalog.documents(writer, "", "", 9)) == before
    assert before[1][0].updated_ms == 1_005
    assert before[1][0].head.version == 6


def test_entries_of_the_first_schema_are_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_file(path)
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", MIGRATIONS[:1])
    entries = [entry(op=(1, 'é"\0\n', -2)), entry(seq=2, op=()), entry(B, 1, ("😀",), BOB)]
    hashes = chain(entries)
    with closing(open_writer(path, 1)) as old:
        old.execute(
            "INSERT INTO documents VALUES (7, ?, ?, 3, ?, 0, ?, 500, 1000)",
            (DOC, EPOCH, bytes.fromhex(hashes[-1]), bytes(8)),
        )
        for version, (one, digest) in enumerate(zip(entries, hashes, strict=True), 1):
            op = one.to_json().split('"op":')[1].split(',"user"')[0]
            row = (7, version, bytes.fromhex(digest), one.client, one.seq, op, one.user, one.at_ms)
            old.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    monkeypatch.undo()
    with closing(open_journal_writer(path, 1)) as writer:
        page = queries.read(writer, DOC, EPOCH, 1, 10, None)
        assert page.entries == tuple(entries)
        assert page.hash == page.head.hash == hashes[-1]
        assert [queries.read(writer, DOC, EPOCH, n, 1, None).hash for n in (1, 2, 3)] == hashes


async def test_a_full_disk_refuses_only_what_does_not_fit(path: Path) -> None:
    create_file(path)

    def limited() -> JournalWriter:
        writer = open_journal_writer(path, 1)
        writer.execute("PRAGMA max_page_count = 40")
        return writer

    thread = TransactionThread("limited", path, limited, writes=True, flush=JournalWriter.flush)
    thread.start()
    for doc in ("a", "b", "c"):
        await thread.submit(partial(queries.create, doc=doc, epoch=EPOCH, at_ms=0))
    texts = {"a": "x", "b": "x" * 400_000, "c": "y"}
    futures = []
    for doc, text in texts.items():
        new = [entry(op=(text,))]
        futures.append(thread.defer(_appending(doc, new)))
    found = await asyncio.gather(*futures, return_exceptions=True)
    assert (found[0], found[2]) == (Appended(), Appended())
    assert isinstance(found[1], Unavailable)
    heads = [await thread.submit(partial(_version, doc)) for doc in texts]
    assert heads == [1, 0, 1]
    await thread.stop()


def _appending(doc: str, new: Sequence[Entry]) -> "partial[object]":
    return partial(_append_to, doc, new)


def _append_to(doc: str, new: Sequence[Entry], writer: JournalWriter) -> object:
    return writer.append(doc, EPOCH, 0, new, chain(new))


def _version(doc: str, writer: JournalWriter) -> int:
    row = queries.find(writer, doc)
    assert row is not None
    return row.head.version


async def test_reading_beside_the_owner_goes_through_the_log(path: Path) -> None:
    async with (
        opened(SqliteJournal(path)) as journal,
        opened(SqliteJournal(path, read_only=True)) as reader,
    ):
        await written(journal, typed(3))
        for base in (3, 4):
            new = typed(1, first_seq=base + 1)
            await journal.append(DOC, EPOCH, base, new, chain(typed(base + 1))[-1:])
        assert (await whole_log(reader)).entries == tuple(typed(5))
        await journal.fence(DOC, EPOCH, B, BOB, 1)  # empties the log
        assert (await whole_log(reader)).entries == tuple(typed(5))
        assert await reader.client(DOC, A) == ClientRecord(5, 5, ALICE)


# Whatever is done, it answers as the reference does.

CLIENTS = ((A, ALICE), (B, BOB), ("client-of-carol-00", "carol"))
WEIGHTS = {
    **{"append": 60, "stale append": 3, "create": 6, "reopen": 2, "fence": 2, "expire": 2},
    **{"delete": 1, "replace": 2, "snapshot": 8, "compact": 6, "read": 20},
    **{"lost append": 3, "lost snapshot": 3, "renew": 3, "stale renew": 2, "heads": 10},
}


def drawn(dice: random.Random) -> tuple[object, ...]:
    """Return a step at random."""
    (name,) = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
    doc = dice.choice("abc")
    if "append" in name:
        return name, doc, dice.choices(CLIENTS, k=dice.randint(1, 3))
    if name == "fence":
        return name, doc, dice.choice(CLIENTS)
    if name in ("snapshot", "lost snapshot", "compact", "read"):
        return name, doc, dice.randint(0, 30)
    return name, doc


class Pair:
    """The same steps on both journals."""

    def __init__(self, path: Path) -> None:
        self.ours = SqliteJournal(path)
        self.reference = MemoryJournal()
        self.at_ms = 1_000

    async def take(self, step: tuple[object, ...]) -> None:
        name, doc, *rest = step
        self.at_ms += 1
        if name == "reopen":
            await self.ours.close()
            await self.ours.start()
            return
        head = await self.reference.load(str(doc))
        epoch, version, reached = "epoch-a", 0, "0" * 16
        if head is not None:
            epoch, version, reached = head.head.epoch, head.head.version, head.head.hash
        calls = [
            await self._call(journal, str(name), str(doc), epoch, version, reached, rest)
            for journal in (self.ours, self.reference)
        ]
        assert calls[0] == calls[1], step

    async def _call(
        self,
        journal: Journal,
        name: str,
        doc: str,
        epoch: str,
        version: int,
        reached: str,
        rest: Sequence[object],
    ) -> object:
        match name, rest:
            case "append" | "stale append" | "lost append", [list(who)]:
                new = [
                    await self._next(doc, client, user, who[:at])
                    for at, (client, user) in enumerate(who)
                ]
                base = max(0, version - 1) if name == "stale append" else version
                known = "e" * 16 if name == "lost append" else reached
                hashes = chain(new, known)
                return await told(journal.append(doc, epoch, base, new, hashes, base_hash=known))
            case "fence", [(str(client), str(user))]:
                return await told(journal.fence(doc, epoch, client, user, self.at_ms))
            case "snapshot" | "lost snapshot", [int(number)]:
                number = min(number, version)
                digest = await self._hash_at(doc, epoch, number)
                if name == "lost snapshot":
                    digest = "e" * 16
                snapshot = Snapshot(number, digest, f"text {number}")
                return await told(journal.snapshot(doc, epoch, snapshot))
            case "compact", [int(number)]:
                return await told(journal.compact(doc, epoch, number))
            case "read", [int(number)]:
                return await told(journal.read(doc, epoch, number, 5, 400))
            case "heads", _:
                return await journal.heads([doc, "unknown", "c", "a"])
            case "renew", _:
                return await told(journal.renew(doc, epoch, f"epoch-{self.at_ms}"))
            case "stale renew", _:
                return await told(journal.renew(doc, "epoch-of-old", f"epoch-{self.at_ms}"))
            case "create", _:
                return await told(journal.create(doc, f"epoch-{self.at_ms}", self.at_ms))
            case "delete", _:
                return await told(journal.delete(doc))
            case "replace", _:
                new = typed(2)
                return await told(
                    journal.replace(doc, f"epoch-{self.at_ms}", new, chain(new), self.at_ms)
                )
            case _:
                return await told(journal.expire_clients(self.at_ms - 3))

    async def _hash_at(self, doc: str, epoch: str, version: int) -> str:
        """Return the history hash at a version, or one of none where that is gone."""
        try:
            return (await self.reference.read(doc, epoch, version + 1, 0)).hash
        except StrettoError:
            return "e" * 16

    async def _next(
        self, doc: str, client: str, user: str, before: Sequence[tuple[str, str]]
    ) -> Entry:
        record = await self.reference.client(doc, client) or ClientRecord()
        earlier = sum(name == client for name, _ in before)
        return entry(client, record.last_seq + 1 + earlier, (f"{self.at_ms}é",), user, self.at_ms)

    async def compare(self) -> None:
        for journal_doc in ("a", "b", "c"):
            states = [
                (
                    await journal.load(journal_doc),
                    [
                        await journal.client(journal_doc, name)
                        for name in (A, B, "client-of-carol-00")
                    ],
                    await journal.documents(),
                )
                for journal in (self.ours, self.reference)
            ]
            assert states[0] == states[1]


async def told(call: Awaitable[object]) -> object:
    try:
        return await call
    except StrettoError as error:
        return error.to_payload() | {"message": ""}


@pytest.mark.parametrize("rows", [1, 3, 7, ALL])
async def test_it_answers_as_the_journal_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(sqlite_appends, "LOG_ROWS", rows)
    for seed in range(3):
        dice = random.Random(seed)
        pair = Pair(tmp_path / f"{seed}.db")
        async with opened(pair.ours):
            for doc in "abc":
                await pair.take(("create", doc))
            for _ in range(40):
                for _ in range(5):
                    await pair.take(drawn(dice))
                await pair.compare()
