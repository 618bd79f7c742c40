import asyncio
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from stretto_core.errors import NotFound, Unavailable
from stretto_server.journal.interface import OutcomeUnknown
from stretto_server.journal.sqlite_thread import TransactionThread

LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


class Faulty(sqlite3.Connection):
    """A connection on which COMMIT fails as planted."""

    planted: list[Exception]

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        if sql == "COMMIT" and self.planted:
            raise self.planted.pop(0)
        return super().execute(sql, *parameters)  # type: ignore[arg-type]


class Bench:
    """A thread on a table of numbers, with faults to plant."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.planted: list[Exception] = []
        self.pages: int | None = None
        self.opened = 0
        self.writer = TransactionThread("writer", path, self.connect, writes=True)
        self.reader = TransactionThread("reader", path, self.connect, writes=False)

    def connect(self) -> sqlite3.Connection:
        self.opened += 1
        connection = sqlite3.connect(self.path, factory=Faulty, isolation_level=None, timeout=0.05)
        connection.planted = self.planted
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS numbers (n INTEGER, filler TEXT)")
        if self.pages is not None:
            connection.execute(f"PRAGMA max_page_count = {self.pages}")
        return connection

    def add(self, number: int, filler: str = "") -> asyncio.Future[int]:
        return self.writer.submit(partial(add, number, filler))

    async def numbers(self) -> list[int]:
        return await self.reader.submit(
            lambda file: [n for (n,) in file.execute("SELECT n FROM numbers ORDER BY n")]
        )

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep the writer from taking the next group while the block queues it."""
        release = threading.Event()
        started = threading.Event()

        def block(_: sqlite3.Connection) -> None:
            started.set()
            assert release.wait(10)

        self.writer.submit(block)
        try:
            assert started.wait(10)
            yield
        finally:
            release.set()


def add(number: int, filler: str, file: sqlite3.Connection) -> int:
    file.execute("INSERT INTO numbers VALUES (?, ?)", (number, filler))
    return number


def io_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    return error


def disk_full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "numbers.db")
    bench.writer.start()
    bench.reader.start()
    await bench.add(0)
    yield bench
    await bench.reader.stop()
    await bench.writer.stop()


async def outcomes(*futures: asyncio.Future[int]) -> list[object]:
    results = await asyncio.gather(*futures, return_exceptions=True)
    return [type(result) if isinstance(result, BaseException) else result for result in results]


async def test_a_group_is_one_commit_in_order(bench: Bench) -> None:
    before = bench.writer.commits
    with bench.busy():
        futures = [bench.add(number) for number in range(1, 50)]
    assert await asyncio.gather(*futures) == list(range(1, 50))
    assert bench.writer.commits == before + 2
    assert await bench.numbers() == list(range(50))


async def test_a_request_that_raises_leaves_nothing_behind(bench: Bench) -> None:
    def half(error: Exception, file: sqlite3.Connection) -> int:
        add(99, "", file)
        raise error

    with bench.busy():
        futures = [
            bench.add(1),
            bench.writer.submit(partial(half, NotFound())),
            bench.writer.submit(partial(half, RuntimeError("a bug"))),
            bench.writer.submit(lambda file: file.execute("SELECT nonsense").fetchone()),
            bench.add(2),
        ]
    assert await outcomes(*futures) == [1, NotFound, RuntimeError, Unavailable, 2]
    assert await bench.numbers() == [0, 1, 2]


async def test_nothing_is_told_before_the_commit(bench: Bench) -> None:
    with bench.busy():
        first = bench.add(1)
        second = bench.writer.submit(lambda _: first.done())
    assert (await first, await second) == (1, False)


async def test_a_group_is_told_in_one_call(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    calls: list[object] = []
    call = loop.call_soon_threadsafe

    def counted(callback: Callable[..., object], *arguments: object) -> asyncio.Handle:
        calls.append(callback)
        return call(callback, *arguments)

    with bench.busy():
        futures = [bench.add(number) for number in range(100)]
        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    await asyncio.gather(*futures)
    assert len(calls) == 2  # the request that kept it busy, and the hundred


async def test_a_commit_that_was_refused_wrote_nothing(bench: Bench) -> None:
    bench.planted.append(disk_full())
    with pytest.raises(Unavailable, match="free some space"):
        await bench.add(1)
    assert await bench.numbers() == [0]
    assert await bench.add(2) == 2
    assert await bench.numbers() == [0, 2]


@pytest.mark.parametrize("error", [io_error(), RuntimeError("out of the blue")])
async def test_what_a_failed_commit_did_is_unknown(bench: Bench, error: Exception) -> None:
    with bench.busy():
        futures = [bench.add(1), bench.add(2)]
        bench.planted.extend([disk_full(), error])
    assert await outcomes(*futures) == [OutcomeUnknown, OutcomeUnknown]
    first, second = (future.exception() for future in futures)
    assert first is not second
    assert first is not None
    assert first.__cause__ is error
    assert await bench.numbers() == [0]
    assert await bench.add(3) == 3


async def test_reading_has_no_unknown_outcome(bench: Bench) -> None:
    await bench.numbers()
    bench.planted.append(io_error())
    with pytest.raises(Unavailable, match="the disk reports an error"):
        await bench.numbers()
    assert await bench.numbers() == [0]


async def test_a_full_disk_refuses_only_what_does_not_fit(bench: Bench) -> None:
    bench.pages = 8
    bench.planted.append(disk_full())  # makes it open another connection, with the limit
    assert await outcomes(bench.add(-1)) == [Unavailable]
    with bench.busy():
        futures = [bench.add(1), bench.add(2, "x" * 100_000), bench.add(3)]
    assert await outcomes(*futures) == [1, Unavailable, 3]
    assert "free some space" in str(futures[1].exception())
    assert await bench.numbers() == [0, 1, 3]
    bench.pages = 10_000
    await outcomes(bench.add(4, "x" * 100_000))
    assert await bench.add(5, "x" * 100_000) == 5


async def test_a_file_that_may_not_grow(bench: Bench) -> None:
    await bench.numbers()
    with files_that_may_not_grow(Path(f"{bench.path}-wal")):
        results = [await outcomes(bench.add(number)) for number in (1, 2)]
    assert results == [[OutcomeUnknown], [OutcomeUnknown]]
    assert await bench.add(3) == 3
    assert await bench.numbers() == [0, 3]


@contextmanager
def files_that_may_not_grow(like: Path) -> Iterator[None]:
    """Let no file of this process grow beyond the size of ``like``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (like.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_file_locked_by_another_process(bench: Bench) -> None:
    with locked_elsewhere(bench.path):
        with pytest.raises(Unavailable, match="another process keeps it locked"):
            await bench.add(1)
        assert await bench.numbers() == [0]
    assert await bench.add(2) == 2
    assert await bench.numbers() == [0, 2]


@contextmanager
def locked_elsewhere(path: Path) -> Iterator[None]:
    """Have another process hold the write lock on the file at ``path``."""
    with subprocess.Popen(
        [sys.executable, "-c", LOCKER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as locker:
        assert locker.stdout is not None
        assert locker.stdout.readline() == b"locked\n"
        yield
        locker.communicate()


async def test_a_damaged_file(bench: Bench) -> None:
    await bench.reader.stop()
    await bench.writer.stop()
    good = bench.path.read_bytes()
    bench.path.write_bytes(good[:100] + b"\xff" * (len(good) - 100))
    bench.writer.start()
    with pytest.raises(Unavailable, match="damaged"):
        await bench.add(1)
    bench.path.write_bytes(good)
    assert await bench.add(2) == 2
    with closing(sqlite3.connect(bench.path)) as connection:
        assert connection.execute("SELECT n FROM numbers").fetchall() == [(0,), (2,)]


async def test_a_connection_that_cannot_be_opened(bench: Bench) -> None:
    class Refusal(Unavailable):
        pass

    def refuse() -> sqlite3.Connection:
        raise failures.pop()

    failures: list[Exception] = [OSError("gone"), Refusal("no"), io_error()]
    thread = TransactionThread("refused", bench.path, refuse, writes=True)
    thread.start()
    for message in ("the disk reports an error", "no", "gone"):
        with pytest.raises(Unavailable, match=message):
            await thread.submit(lambda _: None)
    await thread.stop()


async def test_cancelling_a_future_does_not_stop_the_work(bench: Bench) -> None:
    with bench.busy():
        cancelled, kept = bench.add(1), bench.add(2)
        cancelled.cancel()
    assert await kept == 2
    assert await bench.numbers() == [0, 1, 2]


async def test_stopping_finishes_what_is_queued(bench: Bench) -> None:
    with bench.busy():
        futures = [bench.add(number) for number in (1, 2)]
        stopping = asyncio.ensure_future(bench.writer.stop())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="not open"):
            bench.add(3)
    await stopping
    await bench.writer.stop()
    assert await asyncio.gather(*futures) == [1, 2]
    assert await bench.numbers() == [0, 1, 2]


def test_a_loop_that_was_closed_harms_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "numbers.db")

    async def leave_work_behind() -> None:
        bench.writer.start()
        bench.add(1, "x" * 1_000_000)

    asyncio.run(leave_work_behind())
    asyncio.run(bench.writer.stop())
    with closing(sqlite3.connect(bench.path)) as connection:
        assert connection.execute("SELECT n FROM numbers").fetchall() == [(1,)]
