"""A document as an application sees it: a thin shell around the replica.

:class:`~stretto_core.replica.Replica` decides; here its requests are sent, its effects
reported, and the time passes that it knows nothing of.
"""

import asyncio
import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol
from weakref import WeakSet

from stretto_client import sender
from stretto_client.backoff import Random
from stretto_client.changes import Changes
from stretto_client.cursors import Cursor, OwnCursor, Ranges
from stretto_client.edits import moved
from stretto_client.listeners import HandlerT, Listeners
from stretto_client.sender import UNREADABLE, Keep, Sender
from stretto_core.errors import NotJoined, StrettoError, error_from_payload
from stretto_core.ot import Component
from stretto_core.protocol import DOCS, ServerEvent
from stretto_core.replica import (
    Changed,
    Closed,
    Confirmed,
    Effect,
    Opened,
    Origin,
    Replica,
    Returned,
    RoleChanged,
)

logger = logging.getLogger(__name__)


class Status(StrEnum):
    """Where the user's edits are. ``saved`` means: all of them are in the journal."""

    SAVED = "saved"
    SAVING = "saving"
    OFFLINE = "offline"


class Link(sender.Link, Protocol):
    """What a document needs of its client."""

    def document_changed(self, document: "LiveDocument", change: Changed) -> None:
        """Hear of every change."""

    def document_closed(self, document: "LiveDocument") -> None:
        """Forget a document."""


@dataclass(slots=True)
class _Watch:
    """Somebody waits for an edit, and wants to know whether it was refused."""

    edit: int
    refusal: StrettoError | None = None


class LiveDocument:
    """One document, open for as long as :meth:`close` was not called.

    Edits apply to :attr:`text` before the call returns, also offline; :meth:`saved` waits
    until they are in the server's journal. Positions and lengths count code points.

    Events of :meth:`on`: ``change`` (:class:`~stretto_core.replica.Changed`), ``status``
    (:class:`Status`), ``confirmed`` (:class:`~stretto_core.replica.Confirmed`: an own
    operation is in the journal), ``presence`` (the list of members), ``returned``
    (:class:`~stretto_core.replica.Returned`: text of the user's that could not stay in the
    document), ``role`` (str), ``closed`` (:class:`~stretto_core.replica.Closed`).
    """

    def __init__(
        self,
        link: Link,
        replica: Replica,
        *,
        keep: Keep | None = None,
        returned: Iterable[Mapping[str, Any]] = (),
        rand: Random = random.random,
    ) -> None:
        """Use :meth:`RealtimeClient.open`; ``returned`` is what :meth:`unsent` once held."""
        self.replica = replica
        self.returned = [_returned_from(payload) for payload in returned]
        """What was given back and no handler of ``returned`` took: see :meth:`take_returned`."""
        self.openers = 0
        """How many calls wait for the opening."""
        self._link = link
        self._keep = keep
        self._listeners = Listeners()
        self._members: dict[str, dict[str, Any]] = {}
        self._readers: WeakSet[Changes] = WeakSet()
        self._progress = asyncio.Event()
        self._watches: list[_Watch] = []
        self._settled = replica.settled
        self._sender = Sender(
            link, replica, keep=keep, store=self._store, report=self._report, rand=rand
        )
        self._cursor = OwnCursor(self._may_send_cursor, self._tell_cursor)
        self._status = Status.OFFLINE
        self._left = False
        self._gone = asyncio.Event()

    @property
    def id(self) -> str:
        """The document's id."""
        return self.replica.doc

    @property
    def text(self) -> str:
        """The text, unsaved edits included."""
        return self.replica.text

    @property
    def version(self) -> int:
        """The newest version that is part of :attr:`text`."""
        return self.replica.version

    @property
    def role(self) -> str:
        """``viewer``, ``editor`` or ``owner``."""
        return self.replica.role

    @property
    def status(self) -> Status:
        """Whether everything is in the journal, on its way, or waiting for a connection."""
        if not (self._link.is_connected and self.replica.is_open):
            return Status.OFFLINE
        return Status.SAVED if self.replica.is_saved else Status.SAVING

    @property
    def is_over(self) -> bool:
        """Whether it was closed, by the server or by us; open it again to go on."""
        return self._left or self.replica.closed is not None

    @property
    def members(self) -> list[dict[str, Any]]:
        """Everybody who has the document open, yourself included."""
        return list(self._members.values())

    @property
    def cursors(self) -> list[Cursor]:
        """The others' cursors, mapped to the text shown."""
        found = []
        for member in self._members.values():
            if member["id"] == self.replica.member_id or not member.get("ranges"):
                continue
            with suppress(StrettoError):  # too old to be mapped: its next one heals it
                ranges = self.replica.shown_ranges(
                    member["ranges"], member["version"], member["user"]["id"]
                )
                found.append(Cursor(member["id"], member["user"], ranges))
        return found

    async def insert(self, position: int, text: str) -> None:
        """Insert ``text``. Raises what :meth:`apply` raises."""
        await self.apply([position, text])

    async def delete(self, position: int, length: int) -> None:
        """Delete ``length`` code points. Raises what :meth:`apply` raises."""
        await self.apply([position, -length])

    async def replace(self, position: int, length: int, text: str) -> None:
        """Replace ``length`` code points by ``text``. Raises what :meth:`apply` raises."""
        await self.apply([position, text, -length])

    async def move(self, position: int, length: int, to: int) -> None:
        """Move ``length`` code points; ``to`` counts after their removal."""
        await self.apply(moved(self.text, position, length, to))

    async def apply(self, op: Sequence[Component]) -> None:
        """Apply an operation to :attr:`text` at once; it is sent when a connection allows.

        Raises InvalidOperation when it does not fit, Forbidden for a viewer, and the error
        that closed the document. Nothing suspends, so there is nothing to cancel.
        """
        self.edit(op)

    def edit(self, op: Sequence[Component]) -> None:
        """Do what :meth:`apply` does, from code that is not a coroutine."""
        if self._left:
            raise NotJoined("this document was closed")
        self._report(self.replica.edit(op))

    async def commit(self, op: Sequence[Component]) -> int:
        """Apply ``op`` and wait until it is in the journal; return the replica's version.

        Raises what :meth:`apply` and :meth:`saved` raise, and the error with which the server
        refused the edit. Cancelling does not take the edit back.
        """
        self.edit(op)
        watch = _Watch(self.replica.made)
        self._watches.append(watch)
        try:
            while self.replica.settled < watch.edit:
                await self._next_progress()
        finally:
            self._watches.remove(watch)
        if watch.refusal is not None:
            raise watch.refusal
        return self.version

    async def saved(self) -> None:
        """Wait until every edit made so far is in the journal, or was given back.

        Offline it waits for the connection. Raises the error that closed the document.
        Cancelling is safe.
        """
        made = self.replica.made
        while self.replica.settled < made:
            await self._next_progress()

    async def opened(self) -> None:
        """Wait until the text is known. Raises the error that closed it; cancelling is safe."""
        while not self.replica.known:
            await self._next_progress()

    async def _next_progress(self) -> None:
        if self.replica.closed is not None:
            raise self.replica.closed
        if self._left:
            raise NotJoined("this document was closed")
        self._progress.clear()
        await self._progress.wait()

    def changes(self) -> Changes:
        """Return an iterator over every change of the text from now on.

        It ends with the document, and raises Busy when it is read too slowly.
        """
        reader = Changes()
        if self.is_over:
            reader.end()
        self._readers.add(reader)
        return reader

    def take_returned(self) -> list[Returned]:
        """Return what was given back so far and forget it: it is the application's now."""
        taken, self.returned = self.returned, []
        self._store()
        return taken

    def unsent(self) -> dict[str, Any] | None:
        """Return what must not be lost with this process, as JSON; None when nothing is."""
        replica = self.replica
        has_edits = replica.in_flight is not None or bool(replica.buffer)
        if not has_edits and not self.returned:
            return None
        return {
            "state": replica.state() if has_edits else None,
            "returned": [_returned_payload(returned) for returned in self.returned],
        }

    def on(self, event: str, handler: HandlerT) -> HandlerT:
        """Call ``handler`` for every ``event``; see the class for their names."""
        return self._listeners.add(event, handler)

    async def set_cursor(self, ranges: Iterable[tuple[int, int]] | None) -> None:
        """Show this user's selections, or nothing, to the others.

        They are sent once no edit is unsaved, and follow the text until they are set again.
        """
        self._cursor.set(ranges)

    async def close(self) -> None:
        """Leave the document. Unsaved edits are not waited for: await :meth:`saved` first.

        Cancelled, it is left all the same.
        """
        if self._left:
            await self._gone.wait()
            return
        was_open = self.replica.is_open
        try:
            await self._halt()
            if was_open and self._link.is_connected:
                with suppress(StrettoError):
                    await self._link.request(DOCS, "close", {"doc": self.id})
        finally:
            self._gone.set()
            self._link.document_closed(self)

    async def stop(self) -> None:
        """End as when the client closes: the server learns it from the connection."""
        try:
            await self._halt()
        finally:
            self._gone.set()

    async def _halt(self) -> None:
        """Stop every task and timer."""
        self._left = True
        self._end_readers()
        self._progress.set()
        await self._sender.stop()
        await self._cursor.stop()
        await self._listeners.stop()

    # What the client tells.

    def connected(self) -> None:
        """Go on: the client is connected."""
        self._sender.connected()
        self._report([])

    def disconnected(self) -> None:
        """Wait: the connection is lost."""
        self._sender.disconnected()
        self._tell_status()

    def failed(self, error: StrettoError) -> None:
        """End: the client gave up for good."""
        self._report(self.replica.close(error))

    def token_renewed(self) -> None:
        """Send what an expired token held up."""
        self._sender.token_renewed()
        self._report([])

    def received(self, event: str, payload: dict[str, Any]) -> None:
        """Take an event of this document."""
        if self._left:
            return
        try:
            effects = self._read(event, payload)
        except UNREADABLE:
            logger.exception("cannot read the event %s of %s", event, self.id)
            self._sender.unreadable()
            effects = []
        self._report(effects)

    def _read(self, event: str, payload: dict[str, Any]) -> list[Effect]:
        if event == ServerEvent.PRESENCE:
            self._take_presence(payload)
        elif event == ServerEvent.CLOSED:
            return self.replica.close(error_from_payload(payload.get("error", {})))
        elif event != ServerEvent.REFUSED:  # our requests have acks
            return self.replica.received(event, payload)
        return []

    # Effects.

    def _store(self) -> None:
        if self._keep is not None and not self._left:  # afterwards another goes on from it
            self._keep.changed(self.id, self.unsent)

    def _report(self, effects: Sequence[Effect]) -> None:
        """Tell what happened, and send what that allows."""
        if effects:
            self._note_returned(effects)
            for effect in effects:
                self._note(effect)
            self._store()
            self._progress.set()
        for effect in effects:
            self._tell(effect)
        self._sender.advance()
        self._cursor.advance()
        self._tell_status()

    def _note(self, effect: Effect) -> None:
        """Take in what must agree with the text before any handler runs."""
        if isinstance(effect, Changed):
            self._cursor.carry(effect)
            for reader in list(self._readers):
                reader.put(effect)
        elif isinstance(effect, Opened):
            self._members = {member["id"]: member for member in effect.answer["members"]}
            self._cursor.reopened()
        elif isinstance(effect, Closed):
            self._end_readers()

    def _note_returned(self, effects: Sequence[Effect]) -> None:
        """Keep what is given back, and the reason for those whose edit it was."""
        settled, self._settled = self._settled, self.replica.settled
        for effect in effects:
            if not isinstance(effect, Returned):
                continue
            if not self._listeners.has("returned"):
                self.returned.append(effect)
            for watch in self._watches:
                if settled < watch.edit <= self._settled:
                    watch.refusal = effect.error

    def _tell_status(self) -> None:
        status = self.status
        if status is not self._status:
            self._status = status
            self._listeners.put("status", status)
        self._listeners.flush()

    def _tell(self, effect: Effect) -> None:
        """Let handlers hear of an effect once all of them are noted."""
        match effect:
            case Changed():
                self._listeners.put("change", effect)
                self._link.document_changed(self, effect)
            case Opened():
                self._listeners.put("presence", self.members)
            case Returned():
                self._listeners.put("returned", effect)
            case RoleChanged():
                self._listeners.put("role", effect.role)
            case Closed():
                self._listeners.put("closed", effect)
            case Confirmed():
                self._listeners.put("confirmed", effect)

    def _end_readers(self) -> None:
        for reader in list(self._readers):
            reader.end()

    def _take_presence(self, payload: dict[str, Any]) -> None:
        for member in [*payload.get("joined", ()), *payload.get("updated", ())]:
            self._members[member["id"]] = member
        for member_id in payload.get("left", ()):
            self._members.pop(member_id, None)
        self._listeners.put("presence", self.members)

    # The own cursor.

    def _may_send_cursor(self) -> bool:
        """Its positions count in a version that the others have: nothing may be pending."""
        return (
            self._link.is_connected
            and self.replica.is_open
            and not self._left
            and not any(self.replica.pending)
        )

    async def _tell_cursor(self, ranges: Ranges | None) -> bool:
        payload = {"doc": self.id, "version": self.version, "ranges": ranges}
        try:
            await self._link.request(DOCS, "cursor", payload)
        except StrettoError as error:
            return error.retryable  # what else was refused would be refused again
        return False


def _returned_payload(returned: Returned) -> dict[str, Any]:
    error = returned.error
    return {
        "text": returned.text,
        "origin": returned.origin,
        "error": None if error is None else error.to_payload(),
    }


def _returned_from(payload: Mapping[str, Any]) -> Returned:
    error = payload["error"]
    return Returned(
        payload["text"],
        Origin(payload["origin"]),
        None if error is None else error_from_payload(error),
    )
