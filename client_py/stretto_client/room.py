"""Rooms as an application sees them: a thin shell around the replica.

:class:`~stretto_core.room.RoomReplica` knows what a room holds; here requests are sent, and
rooms joined again whenever a connection is back or something was missed.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol
from weakref import WeakSet

from stretto_client.backoff import repeat_delay
from stretto_client.messages import Message, Messages
from stretto_core.errors import (
    Busy,
    NotJoined,
    RateLimited,
    RoomFull,
    StrettoError,
    TokenExpired,
    Unavailable,
    error_from_payload,
)
from stretto_core.protocol import ROOMS, ServerEvent
from stretto_core.room import Change, RoomReplica
from stretto_core.roster import NO_STATUS


class Link(Protocol):
    """What rooms need of their client."""

    error: StrettoError | None
    """Why it gave up for good."""

    @property
    def is_connected(self) -> bool:
        """Whether requests can be sent now."""

    async def request(self, namespace: str, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send one request."""

    def token_refused(self) -> None:
        """Get another token."""


class LiveRoom:
    """A room, joined for as long as :meth:`leave` was not called; see :meth:`RealtimeClient.room`.

    What it holds is not durable, and messages arrive at most once. While the connection is
    away the copy here stays as it was and requests raise Unavailable; afterwards the room is
    joined again with the same status, and what changed meanwhile is told by events.

    Events, by :meth:`RealtimeClient.on`: ``room.member_joined``, ``room.member_left`` and
    ``room.member_updated`` ``{room, member}``, ``room.message``, ``room.state`` ``{room,
    revision, changes, by}`` and ``room.metadata`` as the wire contract has them (``by`` is
    None where it is not known who), ``room.role`` ``{room, role}``, ``room.closed`` ``{room,
    error}``. All but the last are of what others did.
    """

    def __init__(
        self,
        room: str,
        link: Link,
        tell: Callable[[str, Any], None],
        *,
        status: object = NO_STATUS,
        metadata: Mapping[str, Any] | None = None,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._replica = RoomReplica(room)
        self._link = link
        self._tell = tell
        self._status = status
        self._join_metadata = metadata
        self._random = rand
        self._readers: WeakSet[Messages] = WeakSet()
        self._joining: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()
        self._turn = asyncio.Lock()
        self._is_known = False
        self._is_joined = False
        self._error: StrettoError | None = None
        self.gone = asyncio.Event()
        """Set once the server knows that the room was left, or need not be told."""

    @property
    def id(self) -> str:
        """The room's id."""
        return self._replica.room

    @property
    def member_id(self) -> str | None:
        """Who this client is in the room; another one after a lost connection."""
        return self._replica.member_id

    @property
    def members(self) -> list[dict[str, Any]]:
        """Everybody in the room, yourself included, as ``{id, user, status?}``."""
        return list(self._replica.members.values())

    @property
    def state(self) -> dict[str, Any]:
        """The shared state, a copy of its keys and values."""
        return dict(self._replica.state)

    @property
    def revision(self) -> int:
        """The revision of :attr:`state`."""
        return self._replica.revision

    @property
    def metadata(self) -> dict[str, Any]:
        """What the room is found by."""
        return dict(self._replica.metadata)

    @property
    def error(self) -> StrettoError | None:
        """Why the room is over for this client; None while it goes on."""
        return self._error

    @property
    def is_known(self) -> bool:
        """Whether it was ever joined."""
        return self._is_known

    def messages(self) -> Messages:
        """Return an iterator over the messages that arrive from now on."""
        reader = Messages()
        if self._error is not None:
            reader.end()
        self._readers.add(reader)
        return reader

    async def send(self, event: str, data: Any = None) -> None:
        """Send a message to the others; ``data`` is what JSON holds, and bytes.

        Raises Forbidden, TooLarge, InvalidRequest, Unavailable when there is no connection
        or it was lost (then it is unknown whether the message was sent), and what ended the
        room. Too many messages are held back, not refused. Cancelling does not unsend.
        """
        await self._request("send", {"event": event, "data": data})

    async def set_state(self, changes: Mapping[str, Any], if_revision: int | None = None) -> int:
        """Change keys of the state, None removes one; return the new revision.

        Raises RevisionConflict where the state is not at ``if_revision``, and what
        :meth:`send` raises.
        """
        payload: dict[str, Any] = {"changes": dict(changes)}
        if if_revision is not None:
            payload["if_revision"] = if_revision
        self._replica.writing()
        answer = await self._write("set_state", payload)
        self._report(self._replica.written(answer["revision"], payload["changes"]))
        revision: int = answer["revision"]
        return revision

    async def set_status(self, status: Any) -> None:
        """Show a status of this member to all. Raises what :meth:`send` raises."""
        await self._request("set_status", {"status": status})
        self._status = status

    async def set_metadata(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Replace keys of the metadata; return the whole.

        Raises Forbidden for all but the room's creator and owners, and what :meth:`send`
        raises.
        """
        self._replica.writing(metadata=True)
        answer = await self._write("set_metadata", {"metadata": dict(metadata)}, metadata=True)
        self._replica.described(answer["metadata"])
        self._report([])
        return self.metadata

    async def leave(self) -> None:
        """Leave the room. Cancelling is safe: the room is over at once."""
        if self._error is not None:
            return
        self.end(NotJoined("this room was left"))
        try:
            if self._link.is_connected:
                with suppress(StrettoError):
                    await self._link.request(ROOMS, "leave", {"room": self.id})
        finally:
            self.gone.set()

    async def joined(self) -> None:
        """Wait until the room is joined. Raises the error that ended it."""
        while not self._is_joined:
            await self._next_progress()

    # What the client tells.

    def connected(self) -> None:
        """Join: the client is connected."""
        self._join()

    def disconnected(self) -> None:
        """Wait: the connection is lost."""
        self._is_joined = False
        self._cancel_join()
        self._wake()

    def received(self, event: str, payload: dict[str, Any]) -> None:
        """Take an event of this room."""
        if self._error is not None:
            return
        if event == ServerEvent.MESSAGE:
            self._take_message(payload)
        elif event == ServerEvent.CLOSED:
            self.close(error_from_payload(payload.get("error", {})))
        elif event == ServerEvent.ROLE:
            self._tell("room.role", payload)
        else:
            self._report(self._replica.receive(event, payload))

    def close(self, error: StrettoError) -> None:
        """End: the right is gone, or the client gave up."""
        if self._error is None:
            self.end(error)
            self.gone.set()
            self._tell("room.closed", {"room": self.id, "error": error})

    def end(self, error: StrettoError) -> None:
        """Stop everything; ``error`` is what calls raise from now on."""
        self._error = error
        self._is_joined = False
        self._cancel_join()
        for reader in list(self._readers):
            reader.end()
        self._wake()

    # Joining.

    def _join(self) -> None:
        if self._joining is None and self._error is None and self._link.is_connected:
            self._replica.joining()
            self._joining = asyncio.create_task(self._keep_joining())

    def _cancel_join(self) -> None:
        joining, self._joining = self._joining, None
        if joining is not None and joining is not asyncio.current_task():
            joining.cancel()

    async def _keep_joining(self) -> None:
        for attempt in itertools.count():
            try:
                answer = await self._link.request(ROOMS, "join", self._join_payload())
            except StrettoError as error:
                if not self._passes(error):
                    self.close(error)
                    return
                if isinstance(error, TokenExpired):
                    self._link.token_refused()
                await asyncio.sleep(repeat_delay(attempt, self._random, error.retry_after_ms))
            else:
                self._joining = None
                self._is_known = self._is_joined = True
                self._report(self._replica.joined(answer))
                self._wake()
                return

    def _join_payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = {"room": self.id}
        if self._status is not NO_STATUS:
            payload["status"] = self._status
        if self._join_metadata is not None:
            payload["metadata"] = dict(self._join_metadata)
        return payload

    def _passes(self, error: StrettoError) -> bool:
        """Tell whether trying again can help.

        After a lost connection our own former place may still be taken for a while.
        """
        return (
            error.retryable
            or error.code in (TokenExpired.code, "internal_error")
            or (self._is_known and isinstance(error, RoomFull))
        )

    # Requests.

    async def _request(self, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send a request; one that comes too early is sent again, before all later ones."""
        async with self._turn:
            pass  # whoever was refused before us goes first
        try:
            return await self._request_once(event, payload)
        except (RateLimited, Busy) as error:
            refused = error.retry_after_ms
        async with self._turn:
            return await patiently(
                lambda: self._request_once(event, payload), self._random, refused
            )

    async def _request_once(self, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        while not self._is_joined:
            if self._error is None and not self._link.is_connected:
                raise Unavailable("not connected")
            await self._next_progress()
        return await self._link.request(ROOMS, event, {"room": self.id, **payload})

    async def _write(
        self, event: str, payload: dict[str, Any], *, metadata: bool = False
    ) -> dict[str, Any]:
        """Send a change; tell the replica where it failed."""
        try:
            return await self._request(event, payload)
        except BaseException as error:
            certain = isinstance(error, StrettoError) and not (
                error.retryable or error.code == "internal_error"
            )
            self._replica.not_written(metadata=metadata, unknown=not certain)
            self._report([])
            raise

    async def _next_progress(self) -> None:
        if self._error is not None:
            raise self._error
        self._progress.clear()
        await self._progress.wait()

    def _wake(self) -> None:
        self._progress.set()

    # Events.

    def _report(self, changes: Sequence[Change]) -> None:
        """Tell what changed, and join again where something was missed."""
        for change in changes:
            self._tell(change.event, change.payload)
        if self._replica.must_join:
            self._join()

    def _take_message(self, payload: dict[str, Any]) -> None:
        sender = payload["from"]
        message = Message(
            self.id,
            payload["event"],
            payload["data"],
            sender["id"],
            sender["user"],
            payload["at_ms"],
        )
        for reader in list(self._readers):
            reader.put(message)
        self._tell("room.message", payload)


async def patiently(
    request: Callable[[], Awaitable[dict[str, Any]]],
    rand: Callable[[], float],
    refused_ms: int | None = None,
) -> dict[str, Any]:
    """Return the answer to a request that is sent again while there are too many.

    ``refused_ms`` is how long to wait first where it was refused already.
    """
    attempt = 0
    while True:
        if refused_ms is not None:
            await asyncio.sleep(repeat_delay(attempt, rand, refused_ms))
            attempt += 1
        try:
            return await request()
        except (RateLimited, Busy) as error:
            refused_ms = error.retry_after_ms or 0
