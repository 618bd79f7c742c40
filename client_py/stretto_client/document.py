"""A document as an application sees it: a thin shell around the replica.

:class:`~stretto_core.replica.Replica` decides; here its requests are sent, its effects
reported, and the time passes that it knows nothing of.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from stretto_client.backoff import repeat_delay
from stretto_client.listeners import HandlerT, Listeners
from stretto_core.errors import InvalidRequest, NotJoined, StrettoError, error_from_payload
from stretto_core.ot import Component, map_position
from stretto_core.protocol import DOCS, ServerEvent
from stretto_core.replica import (
    Changed,
    Closed,
    Confirmed,
    Effect,
    Opened,
    Origin,
    Replica,
    Request,
    Returned,
    RoleChanged,
)

CURSOR_INTERVAL_S: Final = 0.1
"""A moving cursor is told of at most ten times a second."""


class Status(StrEnum):
    """Where the user's edits are. ``saved`` means: all of them are in the journal."""

    SAVED = "saved"
    SAVING = "saving"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Another member's selections, as ``(anchor, head)`` in code points of the text shown."""

    member_id: str
    user: dict[str, str]
    ranges: list[tuple[int, int]]


class Link(Protocol):
    """What a document needs of its client."""

    @property
    def is_connected(self) -> bool:
        """Whether requests can be sent now."""

    async def request(self, namespace: str, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send one request."""

    def token_refused(self) -> None:
        """Get another token, then call :meth:`LiveDocument.token_renewed`."""

    def document_changed(self, document: "LiveDocument", change: Changed) -> None:
        """Hear of every change."""

    def document_closed(self, document: "LiveDocument") -> None:
        """Forget a document."""


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
        keep: Callable[[Replica], None] | None = None,
        rand: Callable[[], float] = random.random,
    ) -> None:
        """Use :meth:`RealtimeClient.open`; ``keep`` stores the replica after each change."""
        self.replica = replica
        self.returned: list[Returned] = []
        """What was given back so far, for applications that did not listen in time."""
        self._link = link
        self._keep = keep
        self._random = rand
        self._listeners = Listeners()
        self._members: dict[str, dict[str, Any]] = {}
        self._queues: set[asyncio.Queue[Changed | None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._progress = asyncio.Event()
        self._retry: asyncio.TimerHandle | None = None
        self._failures = 0
        self._cursor: list[tuple[int, int]] | None = None
        self._cursor_stale = False
        self._cursor_timer: asyncio.TimerHandle | None = None
        self._status = Status.OFFLINE
        self._left = False

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
        self._advance()

    async def saved(self) -> None:
        """Wait until every edit made so far is in the journal, or was given back.

        Offline it waits for the connection. Raises the error that closed the document.
        Cancelling is safe.
        """
        made = self.replica.made
        while self.replica.settled < made:
            await self._next_progress()

    async def opened(self) -> None:
        """Wait until the document is known. Raises the error that closed it."""
        while not self.replica.known:
            await self._next_progress()

    async def _next_progress(self) -> None:
        if self.replica.closed is not None:
            raise self.replica.closed
        if self._left:
            raise NotJoined("this document was closed")
        self._progress.clear()
        await self._progress.wait()

    async def changes(self) -> AsyncIterator[Changed]:
        """Give every change of the text from now on, until the document is closed."""
        queue: asyncio.Queue[Changed | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            while (change := await queue.get()) is not None:
                yield change
        finally:
            self._queues.discard(queue)

    def on(self, event: str, handler: HandlerT) -> HandlerT:
        """Call ``handler`` for every ``event``; see the class for their names."""
        return self._listeners.add(event, handler)

    async def set_cursor(self, ranges: Iterable[tuple[int, int]] | None) -> None:
        """Show this user's selections, or nothing, to the others.

        They are sent once no edit is unsaved, and follow the text until they are set again.
        """
        self._cursor = None if ranges is None else [(int(a), int(h)) for a, h in ranges]
        self._cursor_stale = True
        self._send_cursor()

    async def close(self) -> None:
        """Leave the document. Unsaved edits are not waited for: await :meth:`saved` first."""
        if self._left:
            return
        self._left = True
        was_open = self.replica.is_open
        self._link.document_closed(self)
        await self.stop()
        if was_open and self._link.is_connected:
            with suppress(StrettoError):
                await self._link.request(DOCS, "close", {"doc": self.id})

    async def stop(self) -> None:
        """Stop every task and timer, as when the client closes."""
        self._left = True
        for timer in (self._retry, self._cursor_timer):
            if timer is not None:
                timer.cancel()
        for queue in self._queues:
            queue.put_nowait(None)
        self._progress.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listeners.stop()

    # What the client tells.

    def connected(self) -> None:
        """Go on: the client is connected."""
        self._failures = 0
        self._advance()
        self._tell_status()

    def disconnected(self) -> None:
        """Wait: the connection is lost."""
        self.replica.disconnected()
        self._cancel_retry()
        self._tell_status()

    def failed(self, error: StrettoError) -> None:
        """End: the client gave up for good."""
        self._report(self.replica.close(error))

    def token_renewed(self) -> None:
        """Send what an expired token held up."""
        self.replica.resend()
        self._cancel_retry()
        self._advance()

    def received(self, event: str, payload: dict[str, Any]) -> None:
        """Take an event of this document."""
        if event == ServerEvent.PRESENCE:
            self._take_presence(payload)
        elif event == ServerEvent.CLOSED:
            self._report(self.replica.close(error_from_payload(payload.get("error", {}))))
        elif event != ServerEvent.REFUSED:  # our requests have acks
            self._report(self.replica.received(event, payload))
        self._advance()

    # Requests.

    def _advance(self) -> None:
        """Send what the replica wants to send."""
        while self._link.is_connected and self._retry is None and not self._left:
            request = self.replica.next_request()
            if request is None:
                break
            if self._keep is not None:
                self._keep(self.replica)  # before it leaves: a seq means one operation
            task = asyncio.create_task(self._perform(request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._send_cursor()

    async def _perform(self, request: Request) -> None:
        try:
            answer = await self._link.request(DOCS, request.event, request.payload)
        except StrettoError as error:
            effects = self.replica.failed(request, error)
            self._wait_after(error)
        else:
            self._failures = 0
            effects = self.replica.answered(request, answer)
        self._report(effects)
        self._advance()

    def _wait_after(self, error: StrettoError) -> None:
        """Do not send again at once what was just refused for a while."""
        if error.code == "token_expired":
            self._link.token_refused()
        if not (error.retryable or error.code in ("token_expired", "internal_error")):
            return
        delay = repeat_delay(self._failures, self._random, error.retry_after_ms)
        self._failures += 1
        self._cancel_retry()
        self._retry = asyncio.get_running_loop().call_later(delay, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._advance()

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    # Effects.

    def _report(self, effects: Sequence[Effect]) -> None:
        if effects and self._keep is not None:
            self._keep(self.replica)
        for effect in effects:
            self._tell(effect)
        if effects:
            self._progress.set()
        self._tell_status()

    def _tell(self, effect: Effect) -> None:
        match effect:
            case Changed():
                self._carry_cursor(effect)
                for queue in self._queues:
                    queue.put_nowait(effect)
                self._listeners.emit("change", effect)
                self._link.document_changed(self, effect)
            case Opened():
                self._members = {member["id"]: member for member in effect.answer["members"]}
                self._cursor_stale = self._cursor is not None
                self._listeners.emit("presence", self.members)
            case Returned():
                self.returned.append(effect)
                self._listeners.emit("returned", effect)
            case RoleChanged():
                self._listeners.emit("role", effect.role)
            case Closed():
                for queue in self._queues:
                    queue.put_nowait(None)
                self._listeners.emit("closed", effect)
            case Confirmed():
                self._listeners.emit("confirmed", effect)

    def _tell_status(self) -> None:
        status = self.status
        if status is not self._status:
            self._status = status
            self._progress.set()
            self._listeners.emit("status", status)

    def _take_presence(self, payload: dict[str, Any]) -> None:
        for member in [*payload.get("joined", ()), *payload.get("updated", ())]:
            self._members[member["id"]] = member
        for member_id in payload.get("left", ()):
            self._members.pop(member_id, None)
        self._listeners.emit("presence", self.members)

    # The own cursor.

    def _carry_cursor(self, change: Changed) -> None:
        if self._cursor is not None:
            bias: Any = 1 if change.origin is Origin.LOCAL else -1
            self._cursor = [
                (map_position(anchor, change.op, bias), map_position(head, change.op, bias))
                for anchor, head in self._cursor
            ]

    def _send_cursor(self) -> None:
        if not self._cursor_stale or self._cursor_timer is not None or self._left:
            return
        if not self._link.is_connected or not self.replica.is_open or any(self.replica.pending):
            return
        self._cursor_stale = False
        ranges = None if self._cursor is None else [list(pair) for pair in self._cursor]
        payload = {"doc": self.id, "version": self.version, "ranges": ranges}
        task = asyncio.create_task(self._perform_cursor(payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._cursor_timer = asyncio.get_running_loop().call_later(
            CURSOR_INTERVAL_S, self._cursor_rested
        )

    def _cursor_rested(self) -> None:
        self._cursor_timer = None
        self._send_cursor()

    async def _perform_cursor(self, payload: dict[str, Any]) -> None:
        with suppress(StrettoError):  # at most once; the next one heals it
            await self._link.request(DOCS, "cursor", payload)


def moved(text: str, position: int, length: int, to: int) -> list[Component]:
    """Return the operation that moves a span; ``to`` counts after its removal.

    Raises InvalidRequest when the span or the target lies outside the text.
    """
    span = text[position : position + length]
    if min(position, length, to) < 0 or len(span) != length or to > len(text) - length:
        raise InvalidRequest("the span or its target lies outside the text")
    if to <= position:
        return [to, span, position - to, -length]
    return [position, -length, to - position, span]
