"""The Redis journal: any number of nodes on one Redis, its Sentinels' primary, or a cluster.

Each method is one Lua script, so it happens wholly or not at all, and between two scripts
nothing is held. What was appended is published in the same script
(:mod:`stretto_server.journal.frames`), so every node hears of commits in their order.
"""

import logging
from collections.abc import Sequence

from stretto_core.entries import ClientRecord, Entry
from stretto_core.errors import Forbidden, NotFound, VersionGone
from stretto_core.protocol import NO_HASH
from stretto_server.journal import redis_catalog as catalog
from stretto_server.journal.frames import (
    deleted_frame,
    ops_frame,
    renewed_frame,
    replaced_frame,
)
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
from stretto_server.journal.redis_records import (
    HEAD_FIELDS,
    entry_arguments,
    keys_of,
    publish_arguments,
    read_entries,
    read_hash,
    read_head,
    read_record,
    require_full,
    require_whole,
)
from stretto_server.journal.redis_session import RedisSession
from stretto_server.journal.rules import fill_page, require_history, require_readable
from stretto_server.redis_client.servers import TIMEOUT_S
from stretto_server.redis_client.url import RedisUrl

logger = logging.getLogger(__name__)


class RedisJournal:
    """A :class:`~stretto_server.journal.interface.Journal` in Redis 7 or newer, or Valkey.

    With ``read_only`` writing methods raise Unavailable. A call takes ``timeout_s`` at
    most, and a quarter of a second while the connection is away. Use it from one loop.
    """

    def __init__(self, url: str, *, read_only: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        """Take the URL in. Raises ValueError when it is none."""
        self._read_only = read_only
        self._session = RedisSession(url, read_only=read_only, timeout_s=timeout_s)

    @property
    def url(self) -> RedisUrl:
        """Where the journal lies."""
        return self._session.url

    async def start(self) -> None:
        """Connect, look whether this Redis will do, and log what it would lose.

        Raises Unavailable with what to do.
        """
        try:
            await self._session.start()
            if not self._read_only:
                for weakness in await self.weaknesses():
                    logger.warning("the journal %s: %s", self._session.url, weakness)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Give the connections up; twice is fine. What was not answered is unknown."""
        await self._session.close()

    async def weaknesses(self) -> list[str]:
        """Return what makes this Redis lose acknowledged edits, with what to do about it."""
        return await self._session.weaknesses()

    async def create(self, doc: str, epoch: str, at_ms: int) -> Head:
        """Create ``doc`` empty, or leave the one that exists."""
        _, head = await self._session.run("create", doc, doc, epoch, NO_HASH, at_ms)
        with self._session.intact(doc):
            return read_head(head)

    async def load(self, doc: str) -> Loaded | None:
        """Return the newest snapshot and all entries after it; None when unknown."""
        try:
            _, fields, kept_snapshot, rows = await self._session.run("load", doc)
        except NotFound:
            return None
        with self._session.intact(doc):
            head, snapshot = read_head(fields), Snapshot(0, NO_HASH, "")
            version, digest, text = kept_snapshot
            if version is not None:
                snapshot = Snapshot(int(version), digest.decode(), text.decode())
            kept = read_entries(rows, snapshot.version + 1)
            return Loaded(head, snapshot, require_whole(kept, head, snapshot.version))

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
        batch, size = entry_arguments(entries, hashes)
        publish = publish_arguments(doc, self._session.sharded)
        frame = ops_frame(doc, epoch, base, hashes, size)
        outcome, *parts = await self._session.run(
            "append", doc, epoch, base, base_hash or "", *publish, *frame, *batch
        )
        if outcome == b"appended":
            if parts:
                logger.warning(
                    "the journal %s published nothing: %s", self._session.url, parts[0].decode()
                )
            return Appended()
        with self._session.intact(doc):
            if outcome == b"stale":
                return StaleClient(parts[0].decode(), read_record(parts[1]))
            if outcome == b"gone":
                raise VersionGone(details={"floor": int(parts[0])})
            head = read_head(parts[0])
            kept = read_entries(parts[1], base + 1)
            missed = require_whole(kept, head, base) if head.version > base else ()
            return Conflict(head, missed)

    async def read(
        self, doc: str, epoch: str, first: int, limit: int, max_bytes: int | None = None
    ) -> Page:
        """Return up to ``limit`` entries from version ``first`` on (0: only the hash)."""
        limit, most = max(limit, 0), -1 if max_bytes is None else max_bytes
        _, fields, before, rows = await self._session.run("read", doc, epoch, first, limit, most)
        with self._session.intact(doc):
            head = require_history(doc, read_head(fields), epoch)
            require_readable(head, first)
            kept = read_entries(rows, first)
            if len(kept) < min(limit, head.version + 1 - first):
                require_full(rows, max_bytes)
            entries, last = fill_page([(one.entry, one.hash) for one in kept], max_bytes)
            return Page(first, entries, last or read_hash(before), head)

    async def heads(self, docs: Sequence[str]) -> list[Head | None]:
        """Return where the histories of ``docs`` stand; None for one that does not exist."""
        metas = [keys_of(doc)[0] for doc in docs]
        replies = await self._session.read_each(metas, "HMGET", *HEAD_FIELDS)
        found: list[Head | None] = []
        for doc, fields in zip(docs, replies, strict=True):
            with self._session.intact(doc):
                found.append(None if fields[0] is None else read_head(fields))
        return found

    async def renew(self, doc: str, epoch: str, new_epoch: str) -> Head:
        """Give the history of ``epoch`` as it stands the epoch ``new_epoch``."""
        publish = publish_arguments(doc, self._session.sharded)
        frame = renewed_frame(doc, new_epoch)
        _, head = await self._session.run("renew", doc, epoch, new_epoch, *publish, *frame)
        with self._session.intact(doc):
            return read_head(head)

    async def client(self, doc: str, client: str) -> ClientRecord | None:
        """Return what is known of a replica; None when unknown or expired."""
        data = await self._session.read(keys_of(doc)[2], "HGET", client)
        with self._session.intact(doc):
            return None if data is None else read_record(data)

    async def fence(self, doc: str, epoch: str, client: str, user: str, at_ms: int) -> int:
        """Durably stop ``client`` from committing anything more; return its ``last_seq``."""
        outcome, *parts = await self._session.run("fence", doc, epoch, client, user, at_ms)
        if outcome == b"forbidden":
            raise Forbidden("this client belongs to another user")
        return int(parts[0])

    async def snapshot(self, doc: str, epoch: str, snapshot: Snapshot) -> None:
        """Keep ``snapshot`` if it is newer than the kept one and of this epoch."""
        await self._session.run(
            "snapshot", doc, epoch, snapshot.version, snapshot.hash, snapshot.text
        )

    async def compact(self, doc: str, epoch: str, floor: int) -> Head:
        """Forget entries up to version ``floor``, but none above the snapshot."""
        _, head = await self._session.run("compact", doc, epoch, floor)
        with self._session.intact(doc):
            return read_head(head)

    async def replace(
        self,
        doc: str,
        epoch: str,
        entries: Sequence[Entry],
        hashes: Sequence[str],
        at_ms: int,
    ) -> Head:
        """Start another history under a new ``epoch``; the old one is gone."""
        batch, _ = entry_arguments(entries, hashes)
        new = Head(epoch, len(entries), hashes[-1] if hashes else NO_HASH, 0)
        publish = publish_arguments(doc, self._session.sharded)
        _, head = await self._session.run(
            "replace",
            *(doc, doc, epoch, NO_HASH, at_ms),
            *publish,
            replaced_frame(doc, new),
            *batch,
        )
        with self._session.intact(doc):
            return read_head(head)

    async def delete(
        self, doc: str, *, epoch: str | None = None, unless_written: bool = False
    ) -> bool:
        """Delete the document with all it has; tell whether there was something to delete."""
        publish = publish_arguments(doc, self._session.sharded)
        (outcome,) = await self._session.run(
            "delete",
            *(doc, doc, epoch or "", int(unless_written)),
            *publish,
            *deleted_frame(doc),
        )
        return bool(outcome == b"deleted")

    async def documents(
        self, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[DocumentInfo]:
        """Return documents by id, those after ``after`` whose id starts with ``prefix``."""
        return await catalog.documents(self._session, prefix, after, limit)

    async def expire_clients(self, before_ms: int) -> int:
        """Forget client records last used before ``before_ms``; return how many."""
        return await catalog.expire_clients(self._session, before_ms)
