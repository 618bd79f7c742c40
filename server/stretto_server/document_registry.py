"""Which documents are in memory: loaded once, kept while used, written out when idle.

A document hears what other nodes do to it from before it is loaded until it leaves. One
whose history the journal no longer continues is loaded anew under the feet of its members.
"""

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from stretto_core.errors import (
    EpochChanged,
    NotFound,
    StrettoError,
    VersionAhead,
    VersionGone,
)
from stretto_core.protocol import Limits, ServerEvent
from stretto_server.bus.interface import Bus
from stretto_server.document_actor import DocumentActor
from stretto_server.document_log import HistoryLost, now_ms
from stretto_server.head_checks import HeadChecks
from stretto_server.history import compact
from stretto_server.journal.interface import Head, Journal, OutcomeUnknown
from stretto_server.metrics import Metrics
from stretto_server.open_document import OpenDocument
from stretto_server.presence.interface import Presence

logger = logging.getLogger(__name__)

IDLE_S: Final = 5.0
"""A document that nobody has open leaves memory after this long."""

MOST_KEPT: Final = 64
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 1.0
"""Between attempts to load a document anew while the journal does not answer."""


def _expected(_problem: Exception) -> None:
    """Do nothing about a history that was lost on purpose."""


class _Ear:
    """Hears a document's channel; keeps what it hears until the document is loaded."""

    def __init__(self) -> None:
        self._document: OpenDocument | None = None
        self._kept: list[bytes] = []
        self._missed = False

    def hear(self, message: bytes) -> None:
        if self._document is not None:
            self._document.hear(message)
        elif len(self._kept) < MOST_KEPT:
            self._kept.append(message)
        else:
            self._missed = True

    def missed(self) -> None:
        if self._document is not None:
            self._document.missed()
        else:
            self._missed = True

    def lend(self, document: OpenDocument) -> None:
        """Let ``document`` hear what was kept, and everything from now on."""
        self._document = document
        for message in self._kept:
            document.hear(message)
        self._kept.clear()
        if self._missed:
            document.missed()


@dataclass(eq=False, slots=True)
class _Shelf:
    """The place of one document: ``users`` are calls under way that need it in memory."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    document: OpenDocument | None = None
    ear: _Ear | None = None
    users: int = 0
    idle: asyncio.TimerHandle | None = None


class DocumentRegistry:
    """Finds documents in memory, and loads or creates those that are not there yet."""

    def __init__(
        self,
        journal: Journal,
        bus: Bus,
        limits: Limits,
        metrics: Metrics,
        *,
        history_hours: float,
        presence: Presence | None = None,
    ) -> None:
        self._presence = presence
        self._journal = journal
        self._bus = bus
        self._limits = limits
        self._history_ms = int(history_hours * 3_600_000)
        self._metrics = metrics
        self._shelves: dict[str, _Shelf] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._checks = HeadChecks(lambda: self, journal, metrics)

    def __iter__(self) -> Iterator[OpenDocument]:
        return iter([shelf.document for shelf in self._shelves.values() if shelf.document])

    def start(self) -> None:
        """Look for what other nodes did and the bus did not tell, if there are any."""
        if self._bus.shared:
            self._checks.start()

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
                document = shelf.document or await self._load(shelf, doc, create=create)
            yield document

    @contextlib.asynccontextmanager
    async def entering(self, doc: str, *, create: bool) -> AsyncIterator[OpenDocument]:
        """Do as :meth:`using`, while nobody deletes, replaces or unloads the document."""
        async with self._held(doc) as shelf, shelf.lock:
            yield shelf.document or await self._load(shelf, doc, create=create)

    @contextlib.asynccontextmanager
    async def exclusive(self, doc: str) -> AsyncIterator[OpenDocument | None]:
        """Give a document, if it is in memory, while nobody loads or unloads it."""
        async with self._held(doc) as shelf, shelf.lock:
            yield shelf.document

    async def reload(self, doc: str) -> None:
        """Load the history anew into a document in memory, inside :meth:`exclusive`."""
        document = self._shelves[doc].document
        assert document is not None
        before, actor = document.actor, await self._load_actor(doc, create=True)
        if actor.authority.epoch == before.authority.epoch:  # then members go on submitting
            clients = {seat.client for seat in document.seats.values()}
            await asyncio.gather(*(actor.log.enroll(client) for client in clients))
        actor.audience = len(document.seats)
        document.actor = actor
        self._watch(document)
        before.on_lost = _expected
        before.lose(HistoryLost("it was loaded anew"))  # answers what is queued
        await before.stop()
        if self._bus.shared:
            actor.look_later()  # what was heard in between went to the actor before

    async def drop(self, doc: str) -> None:
        """Forget a document in memory, inside :meth:`exclusive`."""
        shelf = self._shelves[doc]
        document, shelf.document = shelf.document, None
        ear, shelf.ear = shelf.ear, None
        if document is not None:
            document.roster.close()
            if ear is not None:
                await self._bus.unfollow(document.actor.room, ear)

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
            if document.actor.lost:
                continue
            try:
                async with asyncio.timeout(max(0.01, deadline - time.monotonic())):
                    await document.actor.flush()
                    await document.actor.log.snapshot()
            except (TimeoutError, StrettoError, OutcomeUnknown) as error:
                logger.warning("document %s was not flushed: %r", document.actor.doc, error)

    async def close(self) -> None:
        """Stop every timer and task."""
        await self._checks.close()
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

    async def _load(self, shelf: _Shelf, doc: str, *, create: bool) -> OpenDocument:
        """Put a document on its shelf. Raises NotFound, Unavailable; then there is none."""
        ear, room = _Ear(), f"doc:{doc}"
        await self._bus.follow(room, ear)
        try:
            actor = await self._load_actor(doc, create=create)
        except BaseException:
            await self._bus.unfollow(room, ear)
            raise
        document = OpenDocument(
            actor, self._bus, self._journal, self._limits, self._metrics, self._presence
        )
        document.on_missed = self._checks.soon
        self._watch(document)
        shelf.document, shelf.ear = document, ear
        ear.lend(document)
        document.roster.resync()
        return document

    async def _load_actor(self, doc: str, *, create: bool) -> DocumentActor:
        loaded = await self._journal.load(doc)
        if loaded is None:
            if not create:
                raise NotFound
            await self._journal.create(doc, secrets.token_hex(8), now_ms())
            loaded = await self._journal.load(doc)
            if loaded is None:
                raise NotFound
        return DocumentActor(doc, loaded, self._journal, self._bus, self._limits, self._metrics)

    # Histories that the journal does not continue.

    def _watch(self, document: OpenDocument) -> None:
        doc = document.actor.doc

        def lost(problem: Exception) -> None:
            logger.warning("document %s is loaded anew: %s", doc, problem)
            self._keep(self._load_anew(document))

        document.actor.on_lost = lost

    async def _load_anew(self, document: OpenDocument) -> None:
        doc, pause = document.actor.doc, FIRST_PAUSE_S
        while True:
            async with self._held(doc) as shelf, shelf.lock:
                if shelf.document is not document or not document.actor.lost:
                    return
                try:
                    return await self._replace_history(document)
                except (StrettoError, OutcomeUnknown, HistoryLost) as error:
                    logger.warning("document %s is not loaded yet: %r", doc, error)
                except Exception:  # its members must not be left without it
                    logger.exception("document %s could not be loaded", doc)
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _replace_history(self, document: OpenDocument) -> None:
        """Load what the journal has now, and tell the members what became of theirs."""
        doc, known = document.actor.doc, document.actor.authority
        (head,) = await self._journal.heads([doc])
        if head is None and (known.version or not document.seats):
            return await self._dismiss_all(document)
        if head is not None and not await self._continues(document, head):
            self._metrics.history_divergence.inc()
            logger.error(
                "document %s: the journal has lost version %d, which was acknowledged; its "
                "members get back what they have that is not in it",
                doc,
                known.version,
            )
            await self._journal.renew(doc, head.epoch, secrets.token_hex(8))
        await self.reload(doc)
        now = document.actor.authority
        if now.epoch != known.epoch:
            document.announce_reset()
        else:
            document.tell_all(ServerEvent.BEHIND, version=now.version)

    async def _continues(self, document: OpenDocument, head: Head) -> bool:
        """Tell whether the journal has the history known here, or openly another one.

        What was compacted cannot be compared: then no member can go on from there either.
        """
        known = document.actor.authority
        try:
            page = await self._journal.read(document.actor.doc, known.epoch, known.version + 1, 0)
        except (EpochChanged, VersionGone):
            return True
        except VersionAhead:
            return False
        return page.hash == known.hash

    async def _dismiss_all(self, document: OpenDocument) -> None:
        for connection in list(document.seats):
            await document.dismiss(connection, NotFound("the document was deleted"))
        await self.drop(document.actor.doc)
        await document.actor.stop()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Leaving memory.

    def _start_unload(self, doc: str) -> None:
        self._keep(self._unload(doc))

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
                await self.drop(doc)
            if shelf.users == 0:
                self._shelves.pop(doc, None)

    async def _write_out(self, document: OpenDocument) -> None:
        actor = document.actor
        if actor.lost:
            return
        try:
            await actor.flush()
            if actor.authority.version == 0:
                if len(document.roster.members):  # somebody has it open on another node
                    return
                await self._journal.delete(
                    actor.doc, epoch=actor.authority.epoch, unless_written=True
                )
                return
            await actor.log.snapshot()
            await compact(self._journal, actor.doc, actor.authority.epoch, self._history_ms)
        except (StrettoError, OutcomeUnknown) as error:
            logger.warning("document %s was not written out: %r", actor.doc, error)
