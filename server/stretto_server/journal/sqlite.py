"""The default journal: one SQLite file, one writer, durable against kill and power loss."""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from stretto_core.entries import ClientRecord, Entry
from stretto_core.errors import Unavailable
from stretto_server.journal import sqlite_catalog as catalog
from stretto_server.journal import sqlite_queries as queries
from stretto_server.journal.interface import (
    AppendResult,
    DocumentInfo,
    Head,
    Loaded,
    Page,
    Snapshot,
)
from stretto_server.journal.ownership import Ownership
from stretto_server.journal.sqlite_appends import JournalWriter, open_journal_writer
from stretto_server.journal.sqlite_file import create_file, create_folders, open_reader
from stretto_server.journal.sqlite_thread import TransactionThread

Result = TypeVar("Result")


class SqliteJournal:
    """A :class:`~stretto_server.journal.interface.Journal` in the file at ``path``.

    Writes of all documents are committed in groups by one thread
    (:mod:`stretto_server.journal.sqlite_thread`); reads have a thread and a connection
    of their own and never wait for a write. Locks of other programs are waited for up to
    ``lock_wait_s`` seconds.

    Opened for writing it owns the file alone. With ``read_only`` it may be used beside
    the owner; writing methods then raise Unavailable. Use it from one event loop.
    """

    def __init__(self, path: Path, *, read_only: bool = False, lock_wait_s: float = 2.0) -> None:
        self._path = path
        self._read_only = read_only
        self._ownership = Ownership(path)
        self._writer = TransactionThread(
            "journal-writer",
            path,
            partial(open_journal_writer, path, lock_wait_s),
            writes=True,
            flush=JournalWriter.flush,
        )
        self._reader = TransactionThread(
            "journal-reader", path, partial(open_reader, path, lock_wait_s), writes=False
        )

    @property
    def commits(self) -> int:
        """How many groups of writes were committed: each cost one fsync at most."""
        return self._writer.commits

    async def start(self) -> None:
        """Open the file, creating it and its folders where needed, and bring it up to date.

        Raises Unavailable with what to do: another server owns the file, a newer version
        wrote it, it may not be read or written, it is not ours.
        """
        try:
            if not self._read_only:
                create_folders(self._path)
                await self._ownership.acquire()
                create_file(self._path)
                self._writer.start()
                await self._writer.submit(_nothing)
            self._reader.start()
            await self._reader.submit(_nothing)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Commit what is queued, end the threads, give the file up; twice is fine.

        Cancelled, it still commits, but keeps the file owned: close again.
        """
        # The writer goes last: the last connection that may write tidies the WAL away.
        await self._reader.stop()
        await self._writer.stop()
        self._ownership.release()

    def write_owner(self, text: str) -> None:
        """Leave ``text`` (the server's URL) for :func:`~.ownership.read_owner` to find."""
        self._ownership.write(text)

    async def create(self, doc: str, epoch: str, at_ms: int) -> Head:
        """Create ``doc`` empty, or leave the one that exists."""
        return await self._write(lambda file: queries.create(file, doc, epoch, at_ms))

    async def load(self, doc: str) -> Loaded | None:
        """Return the newest snapshot and all entries after it; None when unknown."""
        return await self._read(lambda file: queries.load(file, doc))

    def append(
        self,
        doc: str,
        epoch: str,
        base: int,
        entries: Sequence[Entry],
        hashes: Sequence[str],
        *,
        base_hash: str | None = None,
    ) -> Awaitable[AppendResult]:
        """Append ``entries`` at versions ``base + 1 …``, all or none, durably."""
        if self._read_only:
            raise self._not_for_writing()
        return self._writer.defer(
            lambda file: file.append(doc, epoch, base, entries, hashes, base_hash)
        )

    async def read(
        self, doc: str, epoch: str, first: int, limit: int, max_bytes: int | None = None
    ) -> Page:
        """Return up to ``limit`` entries from version ``first`` on (0: only the hash)."""
        return await self._read(
            lambda file: queries.read(file, doc, epoch, first, limit, max_bytes)
        )

    async def heads(self, docs: Sequence[str]) -> list[Head | None]:
        """Return where the histories of ``docs`` stand; None for one that does not exist."""
        return await self._read(lambda file: catalog.heads(file, docs))

    async def renew(self, doc: str, epoch: str, new_epoch: str) -> Head:
        """Give the history of ``epoch`` as it stands the epoch ``new_epoch``."""
        return await self._change(doc, lambda file: queries.renew(file, doc, epoch, new_epoch))

    async def client(self, doc: str, client: str) -> ClientRecord | None:
        """Return what is known of a replica; None when unknown or expired."""
        return await self._read(lambda file: queries.client(file, doc, client))

    async def fence(self, doc: str, epoch: str, client: str, user: str, at_ms: int) -> int:
        """Durably stop ``client`` from committing anything more; return its ``last_seq``."""
        return await self._change(
            doc, lambda file: queries.fence(file, doc, epoch, client, user, at_ms)
        )

    async def snapshot(self, doc: str, epoch: str, snapshot: Snapshot) -> None:
        """Keep ``snapshot`` if it is newer than the kept one and of this epoch."""
        return await self._write(lambda file: queries.keep_snapshot(file, doc, epoch, snapshot))

    async def compact(self, doc: str, epoch: str, floor: int) -> Head:
        """Forget entries up to version ``floor``, but none above the snapshot."""
        return await self._change(doc, lambda file: queries.compact(file, doc, epoch, floor))

    async def replace(
        self,
        doc: str,
        epoch: str,
        entries: Sequence[Entry],
        hashes: Sequence[str],
        at_ms: int,
    ) -> Head:
        """Start another history under a new ``epoch``; the old one is gone."""
        return await self._change(
            doc, lambda file: queries.replace(file, doc, epoch, entries, hashes, at_ms)
        )

    async def delete(
        self, doc: str, *, epoch: str | None = None, unless_written: bool = False
    ) -> bool:
        """Delete the document with all it has; tell whether there was something to delete."""
        return await self._change(
            doc, lambda file: queries.delete(file, doc, epoch, unless_written)
        )

    async def documents(
        self, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[DocumentInfo]:
        """Return documents by id, those after ``after`` whose id starts with ``prefix``."""
        return await self._read(lambda file: catalog.documents(file, prefix, after, limit))

    async def expire_clients(self, before_ms: int) -> int:
        """Forget client records last used before ``before_ms``; return how many."""
        return await self._change(None, lambda file: queries.expire_clients(file, before_ms))

    async def _write(
        self,
        work: Callable[[JournalWriter], Result],
        prepare: Callable[[JournalWriter], object] | None = None,
    ) -> Result:
        if self._read_only:
            raise self._not_for_writing()
        return await self._writer.submit(work, prepare)

    async def _change(self, doc: str | None, work: Callable[[JournalWriter], Result]) -> Result:
        """Write to what is known of a document (None: of all) while appending."""
        return await self._write(work, lambda file: file.rest(doc))

    def _not_for_writing(self) -> Unavailable:
        return Unavailable(f"the journal {self._path} was opened for reading alone")

    async def _read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        return await self._reader.submit(work)


def _nothing(connection: sqlite3.Connection) -> None:
    """Make a thread open its connection, so that starting reports what is wrong with it."""
