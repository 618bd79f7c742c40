"""A journal that tells other nodes over the bus what was written to it.

For journals that cannot publish by themselves. A node that dies between the commit and the
message leaves a gap, which the next frame or the next look at the heads shows.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from stretto_core.entries import ClientRecord, Entry
from stretto_core.errors import Unavailable
from stretto_server.journal.frames import (
    LOST_RACE,
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
    Journal,
    Loaded,
    Page,
    Snapshot,
)

Publish = Callable[[str, bytes], Awaitable[None]]


class PublishedJournal:
    """Another :class:`~stretto_server.journal.interface.Journal`, and what becomes of it told.

    ``publish`` takes a room and a message; it may raise Unavailable. Nobody waits for it:
    what was written counts.
    """

    def __init__(self, journal: Journal, publish: Publish) -> None:
        self._journal = journal
        self._publish = publish
        self._telling: set[asyncio.Future[None]] = set()

    async def start(self) -> None:
        """Open the journal. Raises Unavailable with what to do."""
        await self._journal.start()

    async def close(self) -> None:
        """Tell what is left to tell, and close the journal; twice is fine."""
        await asyncio.gather(*self._telling)
        await self._journal.close()

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
        """Append, then tell of it."""
        result = await self._journal.append(doc, epoch, base, entries, hashes, base_hash=base_hash)
        if entries and isinstance(result, Appended):
            ops = ",".join([entry.to_json() for entry in entries])
            head, tail, whole = ops_frame(doc, epoch, base, hashes, len(ops))
            self._tell(doc, f"{head}{ops if whole else ''}{tail}")
        elif isinstance(result, Conflict) and result.missed:
            self._tell(doc, LOST_RACE.decode())
        return result

    async def renew(self, doc: str, epoch: str, new_epoch: str) -> Head:
        """Give the history another epoch, then tell of it."""
        head = await self._journal.renew(doc, epoch, new_epoch)
        if head.epoch == new_epoch:
            before, after = renewed_frame(doc, new_epoch)
            self._tell(doc, f'{before}{head.version},"hash":"{head.hash}"{after}')
        return head

    async def replace(
        self,
        doc: str,
        epoch: str,
        entries: Sequence[Entry],
        hashes: Sequence[str],
        at_ms: int,
    ) -> Head:
        """Start another history, then tell of it."""
        head = await self._journal.replace(doc, epoch, entries, hashes, at_ms)
        self._tell(doc, replaced_frame(doc, head))
        return head

    async def delete(
        self, doc: str, *, epoch: str | None = None, unless_written: bool = False
    ) -> bool:
        """Delete, then tell of it."""
        (head,) = await self._journal.heads([doc])
        deleted = await self._journal.delete(doc, epoch=epoch, unless_written=unless_written)
        if deleted and head is not None:
            before, after = deleted_frame(doc)
            self._tell(doc, f'{before}"{head.epoch}"{after}')
        return deleted

    def _tell(self, doc: str, message: str) -> None:
        telling = asyncio.ensure_future(self._publish_quietly(f"doc:{doc}", message.encode()))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _publish_quietly(self, room: str, message: bytes) -> None:
        with contextlib.suppress(Unavailable):  # the bus counts it; others look at the heads
            await self._publish(room, message)

    # What changes nothing that others have to hear of.

    async def create(self, doc: str, epoch: str, at_ms: int) -> Head:
        """Create ``doc`` empty, or leave the one that exists."""
        return await self._journal.create(doc, epoch, at_ms)

    async def load(self, doc: str) -> Loaded | None:
        """Return the newest snapshot and all entries after it."""
        return await self._journal.load(doc)

    async def read(
        self, doc: str, epoch: str, first: int, limit: int, max_bytes: int | None = None
    ) -> Page:
        """Return up to ``limit`` entries from version ``first`` on."""
        return await self._journal.read(doc, epoch, first, limit, max_bytes)

    async def heads(self, docs: Sequence[str]) -> list[Head | None]:
        """Return where the histories of ``docs`` stand."""
        return await self._journal.heads(docs)

    async def client(self, doc: str, client: str) -> ClientRecord | None:
        """Return what is known of a replica."""
        return await self._journal.client(doc, client)

    async def fence(self, doc: str, epoch: str, client: str, user: str, at_ms: int) -> int:
        """Durably stop ``client`` from committing anything more."""
        return await self._journal.fence(doc, epoch, client, user, at_ms)

    async def snapshot(self, doc: str, epoch: str, snapshot: Snapshot) -> None:
        """Keep ``snapshot`` if it is newer than the kept one."""
        await self._journal.snapshot(doc, epoch, snapshot)

    async def compact(self, doc: str, epoch: str, floor: int) -> Head:
        """Forget entries up to version ``floor``."""
        return await self._journal.compact(doc, epoch, floor)

    async def documents(
        self, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[DocumentInfo]:
        """Return documents by id."""
        return await self._journal.documents(prefix, after, limit)

    async def expire_clients(self, before_ms: int) -> int:
        """Forget client records last used before ``before_ms``."""
        return await self._journal.expire_clients(before_ms)
