"""Which documents are in memory: loaded once, kept while used, written out when idle."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Final

from stretto_core.errors import NotFound, StrettoError
from stretto_core.protocol import Limits
from stretto_server.bus.interface import Bus
from stretto_server.document_actor import DocumentActor
from stretto_server.document_log import now_ms
from stretto_server.history import compact
from stretto_server.journal.interface import Journal, OutcomeUnknown
from stretto_server.open_document import OpenDocument

logger = logging.getLogger(__name__)

IDLE_S: Final = 5.0
"""A document that nobody has open leaves memory after this long."""


@dataclass(eq=False, slots=True)
class _Shelf:
    """The place of one document: ``users`` are calls under way that need it in memory."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    document: OpenDocument | None = None
    users: int = 0
    idle: asyncio.TimerHandle | None = None


class DocumentRegistry:
    """Finds documents in memory, and loads or creates those that are not there yet."""

    def __init__(self, journal: Journal, bus: Bus, limits: Limits, *, history_hours: float) -> None:
        self._journal = journal
        self._bus = bus
        self._limits = limits
        self._history_ms = int(history_hours * 3_600_000)
        self._shelves: dict[str, _Shelf] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[OpenDocument]:
        return iter([shelf.document for shelf in self._shelves.values() if shelf.document])

    def get(self, doc: str) -> OpenDocument | None:
        """Return a document that is in memory."""
        shelf = self._shelves.get(doc)
        return shelf.document if shelf is not None else None

    @contextlib.asynccontextmanager
    async def using(self, doc: str, *, create: bool) -> AsyncIterator[OpenDocument]:
        """Give a document that stays in memory meanwhile.

        Raises NotFound when it does not exist and is not to be created.
        """
        async with self._held(doc) as shelf:
            async with shelf.lock:
                if shelf.document is None:
                    shelf.document = await self._load(doc, create=create)
            yield shelf.document

    @contextlib.asynccontextmanager
    async def entering(self, doc: str, *, create: bool) -> AsyncIterator[OpenDocument]:
        """Do as :meth:`using`, while nobody deletes, replaces or unloads the document."""
        async with self._held(doc) as shelf, shelf.lock:
            if shelf.document is None:
                shelf.document = await self._load(doc, create=create)
            yield shelf.document

    @contextlib.asynccontextmanager
    async def exclusive(self, doc: str) -> AsyncIterator[OpenDocument | None]:
        """Give a document, if it is in memory, while nobody loads or unloads it."""
        async with self._held(doc) as shelf, shelf.lock:
            yield shelf.document

    async def reload(self, doc: str) -> DocumentActor:
        """Load the history anew into a document in memory, inside :meth:`exclusive`."""
        document = self._shelves[doc].document
        assert document is not None
        document.actor = (await self._load(doc, create=True)).actor
        document.actor.audience = len(document.seats)
        return document.actor

    def drop(self, doc: str) -> None:
        """Forget a document in memory, inside :meth:`exclusive`."""
        shelf = self._shelves[doc]
        if shelf.document is not None:
            shelf.document.roster.close()
            shelf.document = None

    def release(self, doc: str) -> None:
        """Say that a document may have become idle."""
        shelf = self._shelves.get(doc)
        if shelf is None or shelf.users or (shelf.document and shelf.document.seats):
            return
        if shelf.idle is not None:
            shelf.idle.cancel()
        delay = IDLE_S if shelf.document is not None else 0.0
        shelf.idle = asyncio.get_running_loop().call_later(delay, self._start_unload, doc)

    async def drain(self, timeout_s: float) -> None:
        """Answer everything queued and write snapshots, while time lasts."""
        deadline = time.monotonic() + timeout_s
        for document in self:
            try:
                async with asyncio.timeout(max(0.01, deadline - time.monotonic())):
                    await document.actor.flush()
                    await document.actor.log.snapshot()
            except (TimeoutError, StrettoError, OutcomeUnknown) as error:
                logger.warning("document %s was not flushed: %r", document.actor.doc, error)

    async def close(self) -> None:
        """Stop every timer and task."""
        for shelf in self._shelves.values():
            if shelf.idle is not None:
                shelf.idle.cancel()
            if shelf.document is not None:
                shelf.document.roster.close()
                await shelf.document.actor.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._shelves.clear()

    @contextlib.asynccontextmanager
    async def _held(self, doc: str) -> AsyncIterator[_Shelf]:
        shelf = self._shelves.setdefault(doc, _Shelf())
        shelf.users += 1
        try:
            yield shelf
        finally:
            shelf.users -= 1
            self.release(doc)

    async def _load(self, doc: str, *, create: bool) -> OpenDocument:
        loaded = await self._journal.load(doc)
        if loaded is None:
            if not create:
                raise NotFound
            await self._journal.create(doc, secrets.token_hex(8), now_ms())
            loaded = await self._journal.load(doc)
            if loaded is None:
                raise NotFound
        actor = DocumentActor(doc, loaded, self._journal, self._bus, self._limits)
        return OpenDocument(actor, self._bus, self._journal, self._limits)

    def _start_unload(self, doc: str) -> None:
        task = asyncio.create_task(self._unload(doc))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _unload(self, doc: str) -> None:
        shelf = self._shelves.get(doc)
        if shelf is None:
            return
        async with shelf.lock:
            document = shelf.document
            if shelf.users or (document is not None and document.seats):
                return
            if document is not None:
                await self._write_out(document)
                written = document.actor.authority.version > 0
                if written and (shelf.users or document.seats or not document.actor.idle):
                    return  # one that nobody wrote to is no longer in the journal
                self.drop(doc)
            if shelf.users == 0:
                self._shelves.pop(doc, None)

    async def _write_out(self, document: OpenDocument) -> None:
        actor = document.actor
        try:
            await actor.flush()
            if actor.authority.version == 0:
                await self._journal.delete(
                    actor.doc, epoch=actor.authority.epoch, unless_written=True
                )
                return
            await actor.log.snapshot()
            await compact(self._journal, actor.doc, actor.authority.epoch, self._history_ms)
        except (StrettoError, OutcomeUnknown) as error:
            logger.warning("document %s was not written out: %r", actor.doc, error)
