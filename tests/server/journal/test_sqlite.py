import asyncio
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stretto_core.entries import ClientRecord
from stretto_core.errors import EpochChanged, Unavailable
from stretto_core.protocol import NO_HASH
from stretto_server.journal.interface import Appended, Conflict, Head, Journal, Loaded, Snapshot
from stretto_server.journal.ownership import read_owner
from stretto_server.journal.sqlite import SqliteJournal
from tests.contracts.journal_clients import Reopen
from tests.contracts.journal_samples import (
    ALICE,
    ALL,
    DOC,
    EPOCH,
    A,
    append,
    chain,
    entry,
    opened,
    typed,
    whole_log,
    written,
)
from tests.contracts.journal_suite import JournalSuite


class TestSqliteJournal(JournalSuite):
    @pytest.fixture
    async def journal(self, path: Path) -> AsyncIterator[Journal]:
        async with opened(SqliteJournal(path)) as journal:
            yield journal

    @pytest.fixture
    async def reopen(self, journal: Journal, path: Path) -> AsyncIterator[Reopen]:
        async with opened_later(path) as reopened:

            async def close_and_start() -> Journal:
                await journal.close()
                await reopened.start()
                return reopened

            yield close_and_start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def foreign_file(path: Path, tmp_path: Path) -> Path:
    """Put what is no database where the journal should be; return where to move it."""
    path.write_text("This is no database. " * 100)
    return tmp_path / "foreign.txt"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(path, lock_wait_s=0.05)
    async with opened(journal):
        yield journal


class opened_later:  # noqa: N801 - reads as a context manager
    """A journal that the test starts itself, closed at the end in any case."""

    def __init__(self, path: Path) -> None:
        self._journal = SqliteJournal(path)

    async def __aenter__(self) -> SqliteJournal:
        return self._journal

    async def __aexit__(self, *_: object) -> None:
        await self._journal.close()


def contents(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def move(source: Path, target: Path) -> Path:
    return source.rename(target)


@contextmanager
def busy_writer(journal: SqliteJournal) -> Iterator[None]:
    """Keep the writer thread from committing while the block runs."""
    started, release = threading.Event(), threading.Event()

    def block(_: sqlite3.Connection) -> None:
        started.set()
        assert release.wait(10)

    journal._writer.submit(block)
    try:
        assert started.wait(10)
        yield
    finally:
        release.set()


async def test_a_thousand_appends_share_a_commit(journal: SqliteJournal) -> None:
    docs = [f"doc-{number}" for number in range(100)]
    for doc in docs:
        await journal.create(doc, EPOCH, 0)
    before = journal.commits
    entries = typed(10)
    hashes = chain(entries)
    with busy_writer(journal):
        appends = [
            asyncio.ensure_future(journal.append(doc, EPOCH, base, [entries[base]], [hashes[base]]))
            for base in range(10)
            for doc in docs
        ]
        await asyncio.sleep(0)  # every append is queued now
    assert await asyncio.gather(*appends) == [Appended()] * 1_000
    assert journal.commits - before == 2  # the group that blocked, and all the rest
    assert (await whole_log(journal, "doc-99")).entries == tuple(entries)


async def test_one_refused_request_spoils_nothing(journal: SqliteJournal) -> None:
    await written(journal, typed(1))
    before = journal.commits
    with busy_writer(journal):
        work: list[Awaitable[object]] = [
            append_at(journal, 1, 2),
            journal.append("unknown", EPOCH, 0, [entry()], ["00" * 8]),
            append_at(journal, 1, 2),
            append_at(journal, 2, 3),
        ]
        tasks = [asyncio.ensure_future(item) for item in work]
        await asyncio.sleep(0)
    first, unknown, lost, second = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, second) == (Appended(), Appended())
    assert isinstance(lost, Conflict)
    assert isinstance(unknown, Exception)
    assert journal.commits - before == 2
    assert (await whole_log(journal)).entries == tuple(typed(3))


async def test_appends_around_a_renewal_in_one_commit(journal: SqliteJournal) -> None:
    await written(journal, typed(1))
    before, hashes = journal.commits, chain(typed(4))
    with busy_writer(journal):
        work: list[Awaitable[object]] = [
            append_at(journal, 1, 2),
            journal.renew(DOC, EPOCH, "epoch-two"),
            append_at(journal, 2, 3),
            journal.snapshot(DOC, EPOCH, Snapshot(2, hashes[1], "stale")),
            journal.renew(DOC, EPOCH, "epoch-three"),
            append_at(journal, 2, 3, epoch="epoch-two"),
        ]
        tasks = [asyncio.ensure_future(item) for item in work]
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    head = Head("epoch-two", 2, hashes[1], 0)
    assert results[:2] == [Appended(), head]
    assert isinstance(results[2], EpochChanged)
    assert results[3:] == [None, head, Appended()]
    assert journal.commits - before == 2
    loaded = await journal.load(DOC)
    assert loaded == Loaded(
        Head("epoch-two", 3, hashes[2], 0), Snapshot(0, NO_HASH, ""), tuple(typed(3))
    )


async def append_at(journal: SqliteJournal, base: int, seq: int, *, epoch: str = EPOCH) -> object:
    hashes = chain(typed(seq))
    return await journal.append(DOC, epoch, base, typed(1, first_seq=seq), hashes[-1:])


async def test_a_cancelled_append_neither_stops_nor_breaks_the_writer(
    journal: SqliteJournal,
) -> None:
    await written(journal, typed(1))
    with busy_writer(journal):
        cancelled = asyncio.ensure_future(append_at(journal, 1, 2))
        kept = asyncio.ensure_future(append_at(journal, 2, 3))
        await asyncio.sleep(0)
        cancelled.cancel()
    assert await kept == Appended()
    assert cancelled.cancelled()
    assert (await whole_log(journal)).entries == tuple(typed(3))


async def test_closing_commits_what_is_queued(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.start()
    await written(journal, typed(1))
    tasks = [asyncio.ensure_future(append_at(journal, base, base + 1)) for base in (1, 2, 3)]
    await asyncio.sleep(0)
    await journal.close()
    await journal.close()
    assert await asyncio.gather(*tasks) == [Appended()] * 3
    assert sorted(file.name for file in path.parent.iterdir()) == ["journal.db", "journal.db.lock"]
    with pytest.raises(Unavailable, match="not open"):
        await append_at(journal, 4, 5)
    with pytest.raises(Unavailable, match="not open"):
        await journal.load(DOC)
    async with opened(journal):
        assert (await whole_log(journal)).entries == tuple(typed(4))


async def test_reads_do_not_wait_for_writes(journal: SqliteJournal) -> None:
    await written(journal, typed(1))
    with busy_writer(journal):
        task = asyncio.ensure_future(append_at(journal, 1, 2))
        await asyncio.sleep(0)
        assert (await whole_log(journal)).entries == tuple(typed(1))
    await task


async def test_nobody_else_may_read_the_files(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "journal.db"
    async with opened(SqliteJournal(path)) as journal:
        await written(journal, typed(1))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(
        ["journal.db", "journal.db-shm", "journal.db-wal", "journal.db.lock"], 0o600
    )
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_path_with_characters_of_a_uri(tmp_path: Path) -> None:
    path = tmp_path / "50%?mode=memory#1 ü.db"
    async with opened(SqliteJournal(path)) as journal:
        await written(journal, typed(1))
    assert path.stat().st_size > 0


async def test_a_second_writer_is_refused(journal: SqliteJournal, path: Path) -> None:
    await written(journal, typed(1))
    journal.write_owner("http://127.0.0.1:8080")
    second = SqliteJournal(path)
    with pytest.raises(Unavailable) as raised:
        await second.start()
    assert str(path) in raised.value.message
    assert "http://127.0.0.1:8080" in raised.value.message
    assert "stop that one" in raised.value.message
    assert read_owner(path) == "http://127.0.0.1:8080"
    assert await append(journal, *typed(1, first_seq=2), base=1) == Appended()
    await journal.close()
    assert read_owner(path) is None
    async with opened(second):
        assert (await whole_log(second)).head.version == 2


async def test_a_start_that_fails_gives_the_file_up(path: Path, foreign_file: Path) -> None:
    journal = SqliteJournal(path)
    with pytest.raises(Unavailable, match="no SQLite database"):
        await journal.start()
    assert read_owner(path) is None
    move(path, foreign_file)
    async with opened(journal):
        await written(journal, typed(1))


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot open the journal"):
        await SqliteJournal(tmp_path / "file" / "journal.db").start()
    with pytest.raises(Unavailable, match="cannot open the journal"):
        await SqliteJournal(tmp_path).start()


async def test_reading_beside_the_writer(journal: SqliteJournal, path: Path) -> None:
    await written(journal, typed(2))
    async with opened(SqliteJournal(path, read_only=True)) as reader:
        assert (await whole_log(reader)).entries == tuple(typed(2))
        await append(journal, *typed(1, first_seq=3), base=2)
        assert (await whole_log(reader)).entries == tuple(typed(3))
        assert await reader.client(DOC, A) == ClientRecord(3, 3, ALICE)
        assert await reader.heads([DOC]) == await journal.heads([DOC])
        assert [info.doc for info in await reader.documents()] == [DOC]
    assert await append(journal, *typed(1, first_seq=4), base=3) == Appended()


async def test_reading_a_file_that_nobody_has_open(path: Path) -> None:
    async with opened(SqliteJournal(path)) as journal:
        await written(journal, typed(2))
    before = contents(path)
    async with opened(SqliteJournal(path, read_only=True)) as reader:
        assert (await whole_log(reader)).entries == tuple(typed(2))
    assert contents(path) == before
    async with opened(SqliteJournal(path)) as journal:
        assert (await whole_log(journal)).entries == tuple(typed(2))


WRITING: dict[str, Callable[[Journal], Awaitable[object]]] = {
    "create": lambda journal: journal.create(DOC, EPOCH, 0),
    "append": lambda journal: journal.append(DOC, EPOCH, 0, [], []),
    "fence": lambda journal: journal.fence(DOC, EPOCH, A, ALICE, 0),
    "snapshot": lambda journal: journal.snapshot(DOC, EPOCH, Snapshot(1, "00" * 8, "")),
    "compact": lambda journal: journal.compact(DOC, EPOCH, 1),
    "renew": lambda journal: journal.renew(DOC, EPOCH, "epoch-two"),
    "replace": lambda journal: journal.replace(DOC, EPOCH, [], [], 0),
    "delete": lambda journal: journal.delete(DOC),
    "expire_clients": lambda journal: journal.expire_clients(ALL),
}


@pytest.mark.parametrize("method", WRITING)
async def test_opened_for_reading_it_never_writes(
    journal: SqliteJournal, path: Path, method: str
) -> None:
    await written(journal, typed(2))
    async with opened(SqliteJournal(path, read_only=True)) as reader:
        with pytest.raises(Unavailable, match="for reading alone"):
            await WRITING[method](reader)
    assert (await whole_log(journal)).entries == tuple(typed(2))


async def test_opened_for_reading_it_owns_nothing(path: Path) -> None:
    reader = SqliteJournal(path, read_only=True)
    with pytest.raises(Unavailable, match="cannot be opened"):
        await reader.start()
    assert list(path.parent.iterdir()) == []
    with pytest.raises(Unavailable):
        reader.write_owner("http://127.0.0.1:8080")


async def test_a_file_that_vanished_does_not_come_back_empty(
    journal: SqliteJournal, path: Path
) -> None:
    await written(journal, typed(1))
    moved = move(path, path.with_name("moved.db"))
    with pytest.raises(Unavailable, match="put it back"):
        await append_at(journal, 1, 2)
    with pytest.raises(Unavailable, match="put it back"):
        await journal.load(DOC)
    assert contents(path) is None
    move(moved, path)
    assert await append_at(journal, 1, 2) == Appended()
    assert (await whole_log(journal)).entries == tuple(typed(2))


async def test_a_file_put_in_its_place_is_left_alone(
    journal: SqliteJournal, path: Path, tmp_path: Path
) -> None:
    await written(journal, typed(1))
    async with opened(SqliteJournal(tmp_path / "backup.db")) as backup:
        await written(backup, typed(3))
    move(tmp_path / "backup.db", path)
    before = contents(path)
    with pytest.raises(Unavailable, match="moved or replaced"):
        await append_at(journal, 1, 2)
    await journal.close()
    assert contents(path) == before


@pytest.mark.parametrize("acknowledged", [1, 200, 777])
async def test_nothing_acknowledged_is_lost_by_a_kill(path: Path, acknowledged: int) -> None:
    versions = await asyncio.to_thread(_killed_after, path, acknowledged)
    async with opened(SqliteJournal(path)) as journal:
        for doc, version in versions.items():
            page = await whole_log(journal, doc, "epoch")
            seqs = [item.seq for item in page.entries]
            assert seqs == list(range(1, page.head.version + 1))
            # An append that was under way may have been committed, but no more than that one.
            assert version <= page.head.version <= version + 1
            if seqs:
                assert page.hash == page.head.hash == chain(page.entries)[-1]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def _killed_after(path: Path, acknowledged: int) -> dict[str, int]:
    """Kill a stream of appends once it has printed so much; return the last versions told."""
    script = Path(__file__).with_name("append_stream.py")
    with subprocess.Popen(
        [sys.executable, script, path], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acknowledged)]
        process.kill()
        lines.extend(process.stdout)
    told = [line.split() for line in lines if line.endswith("\n")]
    assert len(told) >= acknowledged
    return {doc: int(version) for doc, version in told}
