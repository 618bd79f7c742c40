"""A thread that owns one SQLite connection and runs what it is given in transactions.

Nothing waits for a timer: the thread takes everything that is queued, runs it in one
transaction and commits; while it does, the next group gathers. So an idle journal
commits at once, and a busy one commits ever larger groups. Futures are resolved only
after the commit, all of a group in one call into the event loop.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from stretto_core.errors import Unavailable
from stretto_server.journal.interface import OutcomeUnknown
from stretto_server.journal.sqlite_file import primary_code, unavailable

Result = TypeVar("Result")
Connection = TypeVar("Connection", bound=sqlite3.Connection)

NOT_WRITTEN: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}
)
"""COMMIT failed before the frame that makes it count was whole. After any other failure,
a failed fsync above all, a crash may still bring the transaction back."""


@dataclass(slots=True, eq=False)
class _Request:
    """One piece of work and what became of it. ``prepare`` None: it is deferred."""

    work: Callable[[Any], Any]
    prepare: Callable[[Any], object] | None
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class TransactionThread(Generic[Connection]):
    """Runs requests on a connection of its own, a group at a time, in order.

    ``connect`` opens the connection; it is called in the thread, and again after every
    transaction that failed as a whole, so that the thread works again once the cause is
    gone. With ``writes`` the transactions are writing ones. ``flush`` writes what deferred
    requests have left to write. Use it from one event loop.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        connect: Callable[[], Connection],
        *,
        writes: bool,
        flush: Callable[[Connection], object] = lambda _: None,
    ) -> None:
        self.commits = 0
        """How many groups were committed since the thread was made."""
        self._name = name
        self._path = path
        self._connect = connect
        self._writes = writes
        self._flush = flush
        self._connection: Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._queue: SimpleQueue[_Request | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; it opens its connection for the first request."""
        self._loop = asyncio.get_running_loop()
        self._identity = None
        # A daemon, so that a program that forgets to close still ends; what it had not
        # committed by then was never acknowledged.
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def submit(
        self,
        work: Callable[[Connection], Result],
        prepare: Callable[[Connection], object] | None = None,
    ) -> asyncio.Future[Result]:
        """Queue ``work``; the future resolves once its transaction is committed.

        ``work`` runs in the thread, inside a savepoint, and may run again when the
        transaction had to be given up. ``prepare`` (else ``flush``) runs before that
        savepoint. The work's exceptions come out of the future, those of SQLite as
        Unavailable (nothing was written); a failed COMMIT as Unavailable or
        OutcomeUnknown. Cancelling the future does not stop the work. Raises Unavailable
        when the thread is not running.
        """
        return self._put(work, prepare or self._flush)

    def defer(self, work: Callable[[Connection], Result]) -> asyncio.Future[Result]:
        """Do as :meth:`submit` for work that writes nothing yet, and so needs no savepoint.

        What it leaves to ``flush`` is written before the group is committed.
        """
        return self._put(work, None)

    def _put(
        self,
        work: Callable[[Connection], Result],
        prepare: Callable[[Connection], object] | None,
    ) -> asyncio.Future[Result]:
        if self._loop is None:
            raise Unavailable(f"the journal {self._path} is not open")
        future: asyncio.Future[Result] = self._loop.create_future()
        self._queue.put(_Request(work, prepare, future))
        return future

    async def stop(self) -> None:
        """Finish what is queued, close the connection, end the thread. Cancel-safe."""
        if self._loop is not None:
            self._loop = None
            self._queue.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        running = True
        while running:
            group = [self._queue.get()]
            group.extend(self._queue.get() for _ in range(self._queue.qsize()))
            running = group[-1] is not None
            requests = [request for request in group if request is not None]
            if requests:
                self._transact(requests)
                _report(requests)
            del group, requests  # while it waits, the thread keeps nobody's entries alive
        self._drop_connection()

    def _transact(self, group: Sequence[_Request]) -> None:
        """Run ``group`` in one transaction and note in each request what became of it."""
        committing = False
        try:
            connection = self._begin()
            try:
                for request in group:
                    _attempt(connection, request, self._path)
                    if not connection.in_transaction:
                        return self._transact_each(group, request)
                self._flush(connection)
            except sqlite3.Error:
                if len(group) == 1:
                    raise
                return self._transact_each(group, None)
            committing = True
            connection.execute("COMMIT")
        except Exception as error:  # whatever it is, the thread lives on and callers hear of it
            self._drop_connection()
            for request in group:
                request.error = self._failure(error, committing)
        else:
            self.commits += 1

    def _begin(self) -> Connection:
        identity = _identity(self._path)
        if self._identity not in (None, identity):
            # What it went on writing, nobody would find; and SQLite would replay the log
            # of the old file (-wal) into one that was put in its place.
            raise Unavailable(
                f"the journal {self._path} was moved or replaced: put it back, "
                "and replace it, without its -wal and -shm files, only while the server is stopped"
            )
        if self._connection is None:
            self._connection = self._connect()
            self._identity = identity
        self._connection.execute("BEGIN IMMEDIATE" if self._writes else "BEGIN")
        return self._connection

    def _transact_each(self, group: Sequence[_Request], culprit: _Request | None) -> None:
        """Run each request by itself: one made SQLite give up the whole transaction.

        It does so when the disk is full, say. The others may still succeed. Where it is
        not known which it was, each is tried.
        """
        self._drop_connection()
        for request in group:
            if request is not culprit:
                request.error = None
                self._transact([request])

    def _failure(self, error: Exception, committing: bool) -> Exception:
        """Return what a caller is told when the whole transaction failed with ``error``.

        Each caller gets an exception of its own: one that several raise collects the
        tracebacks of all.
        """
        told: Exception
        if isinstance(error, Unavailable):
            told = Unavailable(error.message)
        else:
            told = unavailable(self._path, error)
        if committing and self._writes and primary_code(error) not in NOT_WRITTEN:
            told = OutcomeUnknown(str(told))
        told.__cause__ = error
        return told

    def _drop_connection(self) -> None:
        """Close the connection, which rolls back; the next transaction opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells the file at ``path`` from every other; None when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _attempt(connection: sqlite3.Connection, request: _Request, path: Path) -> None:
    """Run one request so that it leaves nothing behind when it fails.

    Raises what SQLite raises where that concerns requests before it, too.
    """
    if request.prepare is None:
        try:
            request.result = request.work(connection)
        except sqlite3.Error:
            raise
        except Exception as error:
            request.error = error
        return
    request.prepare(connection)
    connection.execute("SAVEPOINT request")
    try:
        request.result = request.work(connection)
    except Exception as error:
        request.error = unavailable(path, error) if isinstance(error, sqlite3.Error) else error
        if not connection.in_transaction:
            return
        connection.execute("ROLLBACK TO request")
    connection.execute("RELEASE request")


def _report(group: Sequence[_Request]) -> None:
    """Resolve the futures of ``group``, in their event loop."""
    try:
        group[0].future.get_loop().call_soon_threadsafe(_resolve, group)
    except RuntimeError:
        return  # the loop was closed: nobody waits any more


def _resolve(group: Sequence[_Request]) -> None:
    for request in group:
        if request.future.done():
            continue  # its caller was cancelled
        if request.error is not None:
            request.future.set_exception(request.error)
        else:
            request.future.set_result(request.result)
