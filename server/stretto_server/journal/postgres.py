"""The PostgreSQL journal: any number of nodes on one database."""

import logging
from collections.abc import Sequence
from typing import Any, Final

from stretto_core.entries import ClientRecord, Entry
from stretto_core.errors import EpochChanged, Forbidden, NotFound, VersionGone
from stretto_core.protocol import NO_HASH
from stretto_server.journal import postgres_durability as durability
from stretto_server.journal import postgres_queries as queries
from stretto_server.journal.interface import (
    Appended,
    AppendResult,
    Conflict,
    DocumentInfo,
    Head,
    Loaded,
    Page,
    Snapshot,
    StaleClient,
)
from stretto_server.journal.postgres_queries import (
    entry_columns,
    read_head,
    read_log,
    read_record,
    require_whole,
)
from stretto_server.journal.postgres_session import TIMEOUT_S, PostgresSession
from stretto_server.journal.rules import fill_page, require_history, require_readable

logger = logging.getLogger(__name__)

NOTHING: Final = bytes.fromhex(NO_HASH)


class PostgresJournal:
    """A :class:`~stretto_server.journal.interface.Journal` in PostgreSQL 13 or newer.

    Each method is one statement in a transaction of its own; those that write lock the
    row of their document. With ``read_only`` writing methods raise Unavailable. A call
    takes ``timeout_s`` at most, and a quarter of a second while the server is away. Use
    it from one event loop.
    """

    def __init__(self, url: str, *, read_only: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        self._read_only = read_only
        self._session = PostgresSession(url, read_only=read_only, timeout_s=timeout_s)

    async def start(self) -> None:
        """Connect, look whether the schema is ours, and log what this server would lose.

        Raises Unavailable with what to do.
        """
        try:
            await self._session.start()
            if not self._read_only:
                for weakness in await self.weaknesses():
                    logger.warning("the journal %s: %s", self._session.place, weakness)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Give all connections up; twice is fine. What was not answered is unknown."""
        await self._session.close()

    async def weaknesses(self) -> list[str]:
        """Return what makes this server lose acknowledged edits, with what to do about it."""
        (row,) = await self._session.read(durability.QUERY)
        return durability.find_weaknesses(row)

    async def create(self, doc: str, epoch: str, at_ms: int) -> Head:
        """Create ``doc`` empty, or leave the one that exists."""
        return read_head(await self._session.write(queries.CREATE, doc, epoch, NOTHING, at_ms))

    async def load(self, doc: str) -> Loaded | None:
        """Return the newest snapshot and all entries after it; None when unknown."""
        rows = await self._session.read(queries.LOAD, doc)
        if not rows:
            return None
        (row,) = rows
        with self._session.intact(doc):
            head, snapshot = read_head(row), Snapshot(0, NO_HASH, "")
            if row["snapshot_version"] is not None:
                snapshot = Snapshot(
                    row["snapshot_version"], row["snapshot_hash"].hex(), row["content"].decode()
                )
            log = read_log(row, snapshot.version + 1)
            return Loaded(head, snapshot, require_whole(log, head, snapshot.version))

    async def append(
        self,
        doc: str,
        epoch: str,
        base: int,
        entries: Sequence[Entry],
        hashes: Sequence[str],
        *,
        base_hash: str | None = None,
    ) -> AppendResult:
        """Append ``entries`` at versions ``base + 1 …``, all or none.

        With ``base_hash`` a head at ``base`` that has another hash is a conflict too, with
        nothing missed: it belongs to a history that lost its tail and went on without it.
        """
        columns = entry_columns(entries, hashes)
        expected = None if base_hash is None else bytes.fromhex(base_hash)
        row = await self._session.write(queries.APPEND, doc, epoch, base, expected, *columns)
        _require_found(doc, row)
        if row["outcome"] == "appended":
            return Appended()
        with self._session.intact(doc):
            if row["outcome"] == "stale":
                return StaleClient(row["client"], read_record(row))
            head = read_head(row)
            if row["outcome"] == "gone":
                raise VersionGone(details={"floor": head.floor})
            missed: tuple[Entry, ...] = ()
            if head.version > base:
                missed = require_whole(read_log(row, base + 1), head, base)
            return Conflict(head, missed)

    async def read(
        self, doc: str, epoch: str, first: int, limit: int, max_bytes: int | None = None
    ) -> Page:
        """Return up to ``limit`` entries from version ``first`` on (0: only the hash)."""
        limit = max(limit, 0)
        rows = await self._session.read(queries.READ, doc, first, limit, max_bytes)
        head = require_history(doc, read_head(rows[0]) if rows else None, epoch)
        require_readable(head, first)
        (row,) = rows
        with self._session.intact(doc):
            before = row["floor_hash"].hex()
            start = first if first == head.floor + 1 else first - 1
            log = read_log(row, start)
            if start < first:
                (_, before), *log = log
            if not log and limit and head.version >= first:
                raise ValueError("the log ends below the document's version")
            entries, last = fill_page(log[:limit], max_bytes)
            return Page(first, entries, last or before, head)

    async def heads(self, docs: Sequence[str]) -> list[Head | None]:
        """Return where the histories of ``docs`` stand; None for one that does not exist."""
        rows = await self._session.read(queries.HEADS, docs)
        found = {row["doc"]: read_head(row) for row in rows}
        return [found.get(doc) for doc in docs]

    async def renew(self, doc: str, epoch: str, new_epoch: str) -> Head:
        """Give the history of ``epoch`` as it stands the epoch ``new_epoch``."""
        row = await self._session.write(queries.RENEW, doc, epoch, new_epoch)
        if row is None:
            raise NotFound(f"there is no document {doc}")
        return read_head(row)

    async def client(self, doc: str, client: str) -> ClientRecord | None:
        """Return what is known of a replica; None when unknown or expired."""
        rows = await self._session.read(queries.CLIENT, doc, client)
        return read_record(rows[0]) if rows else None

    async def fence(self, doc: str, epoch: str, client: str, user: str, at_ms: int) -> int:
        """Durably stop ``client`` from committing anything more; return its ``last_seq``."""
        row = await self._session.write(queries.FENCE, doc, epoch, client, user.encode(), at_ms)
        _require_found(doc, row)
        if row["outcome"] == "forbidden":
            raise Forbidden("this client belongs to another user")
        return int(row["last_seq"])

    async def snapshot(self, doc: str, epoch: str, snapshot: Snapshot) -> None:
        """Keep ``snapshot`` if it is newer than the kept one and of this epoch."""
        await self._session.write(
            queries.SNAPSHOT,
            *(doc, epoch, snapshot.version),
            *(bytes.fromhex(snapshot.hash), snapshot.text.encode()),
        )

    async def compact(self, doc: str, epoch: str, floor: int) -> Head:
        """Forget entries up to version ``floor``, but none above the snapshot."""
        row = await self._session.write(queries.COMPACT, doc, epoch, floor)
        _require_found(doc, row)
        with self._session.intact(doc):
            if row["outcome"] == "damaged":
                raise ValueError("the snapshot's version is missing from the log")
            return read_head(row)

    async def replace(
        self,
        doc: str,
        epoch: str,
        entries: Sequence[Entry],
        hashes: Sequence[str],
        at_ms: int,
    ) -> Head:
        """Start another history under a new ``epoch``; the old one is gone."""
        columns = entry_columns(entries, hashes)
        await self._session.write(queries.REPLACE, doc, epoch, NOTHING, at_ms, *columns)
        return Head(epoch, len(entries), hashes[-1] if hashes else NO_HASH, 0)

    async def delete(
        self, doc: str, *, epoch: str | None = None, unless_written: bool = False
    ) -> bool:
        """Delete the document with all it has; tell whether there was something to delete."""
        row = await self._session.write(queries.DELETE, doc, epoch, unless_written)
        return bool(row["deleted"])

    async def documents(
        self, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[DocumentInfo]:
        """Return documents by id, those after ``after`` whose id starts with ``prefix``."""
        rows = await self._session.read(queries.DOCUMENTS, prefix, after, max(limit, 0))
        return [
            DocumentInfo(row["doc"], read_head(row), row["created_ms"], row["updated_ms"])
            for row in rows
        ]

    async def expire_clients(self, before_ms: int) -> int:
        """Forget client records last used before ``before_ms``; return how many."""
        return await self._session.sweep(queries.EXPIRE, before_ms)


def _require_found(doc: str, row: Any) -> None:
    """Raise NotFound or EpochChanged where a function of the schema says so."""
    outcome = row["outcome"]
    if outcome == "missing":
        raise NotFound(f"there is no document {doc}")
    if outcome == "epoch":
        raise EpochChanged(details={"epoch": row["epoch"]})
