"""One Engine.IO client: performs what its session decides."""

import asyncio
from collections.abc import Callable
from enum import Flag, auto
from typing import Any, Final, Protocol

from aiohttp import web

from stretto_core.eio import actions as do
from stretto_core.eio.actions import Action, CloseReason
from stretto_core.eio.session import Phase, Session
from stretto_core.eio.stall import Stall
from stretto_core.eio.violations import Reason
from stretto_core.eio.websocket import Opcode, encode_frame
from stretto_server.engine.connection import WebSocketConnection, close_code
from stretto_server.engine.encoded import Encoded, frame_for
from stretto_server.engine.environ import Handshake
from stretto_server.engine.timers import NEVER, Timers

MOST_PENDING: Final = 64
"""Frames gathered for one connection in one turn; more leave at once, so that its transport
can say that it is full."""
LARGE: Final = 16 * 1024
"""A frame of so many bytes leaves at once as well, with those before it."""


class Pause(Flag):
    """Why a client is not read from."""

    EVENTS = auto()
    """Too many of its events are handled."""
    CHANGES = auto()
    """It joins and leaves too often."""
    SLOW = auto()
    """It takes too slowly what it gets."""


class Observer(Protocol):
    """What is told of clients: the handlers of an application, or Socket.IO above."""

    def connecting(self, socket: "EngineSocket", request: web.BaseRequest) -> Any:
        """Accept a client (None), or return why not, as JSON will have it; may be awaitable."""

    def message(self, socket: "EngineSocket", data: str | bytes) -> None:
        """Take a message. Never raises."""

    def drained(self, socket: "EngineSocket") -> None:
        """Take note that a slow client has caught up."""

    def closed(self, socket: "EngineSocket", reason: CloseReason) -> None:
        """Take note that a client is gone."""


class Host(Protocol):
    """The server, as its sockets see it."""

    timers: Timers
    observer: Observer
    write_timeout_ms: int

    gathered: "list[EngineSocket]"
    """Those to be flushed at the end of this turn of the loop."""

    def begin_gathering(self) -> None:
        """Flush what is gathered at the end of this turn."""

    def answer(self, action: do.Respond | do.Refuse) -> None:
        """Answer an HTTP request."""

    def forget(self, socket: "EngineSocket") -> None:
        """Let a sid be unknown."""

    def ask_about_slow(self, socket: "EngineSocket", size: int) -> bool:
        """Ask the application whether to keep a slow client."""

    def note_aborted(self) -> None:
        """Count a connection that is cut off."""

    def note_violation(self, reason: Reason) -> None:
        """Count what a peer did wrong."""


class EngineSocket:
    """The shell of one :class:`~stretto_core.eio.session.Session`.

    ``pending`` holds the frames of this turn of the loop, which leave in one write. It is
    None while frames must go through the session: over polling, behind others, or nowhere.
    ``client`` belongs to the layer above.
    """

    __slots__ = (
        *("_keep", "_stall", "client", "connection", "core", "deflate_from", "due", "handshake"),
        *("held", "paused", "pending", "resumed", "server", "session", "sid", "told_closed"),
        *("trial", "watched"),
    )

    def __init__(self, server: Host, sid: str, handshake: Handshake) -> None:
        self.server = server
        self.sid = sid
        self.handshake = handshake
        self.core: Session | None = None
        self.connection: WebSocketConnection | None = None
        self.trial: WebSocketConnection | None = None
        self.pending: list[bytes] | None = None
        self.deflate_from: int | None = None
        self.session: dict[str, Any] | None = None
        self.client: Any = None
        self.held: list[Encoded] | None = None
        self.paused = Pause(0)
        self.told_closed = False
        self.resumed: asyncio.Future[None] | None = None
        self.due = self.watched = NEVER
        self._stall: Stall | None = None
        self._keep = False

    @property
    def timers(self) -> Timers:
        """The timers of the server."""
        return self.server.timers

    @property
    def closed(self) -> bool:
        """Whether the session is over or ends."""
        return self.core is not None and self.core.phase is not Phase.OPEN

    @property
    def upgraded(self) -> bool:
        """Whether the client is on a WebSocket."""
        return self.connection is not None

    @property
    def unsent(self) -> int:
        """The bytes that wait here and in the transport."""
        held = self.connection.unwritten if self.connection is not None else 0
        return held + (self.core.unsent if self.core is not None else 0)

    def open(self, core: Session, actions: list[Action]) -> None:
        """Begin: the application accepted the client."""
        self.core = core
        self.perform(actions)
        held, self.held = self.held, None
        for encoded in held or ():
            self.send(encoded)

    # To the client.

    def send(self, encoded: Encoded, *, volatile: bool = False) -> None:
        """Send a packet; a volatile one is dropped when it would have to wait long."""
        if self.pending is None:
            self._send_slowly(encoded, volatile)
        elif self.deflate_from is None:
            self.write_frames(self.pending, encoded.frames)
        else:
            self.write_frames(self.pending, encoded.deflated(self.deflate_from))

    def send_text(self, payload: bytes) -> None:
        """Send a packet that is text alone and for nobody else: its payload with the ``4``."""
        pending = self.pending
        if pending is not None and self.deflate_from is None:
            self.write_frames(pending, encode_frame(Opcode.TEXT, payload))
        else:
            self.send(Encoded(payload))

    def write_frames(self, pending: list[bytes], frames: bytes) -> None:
        """Write frames at the end of this turn; ``pending`` is the socket's own list."""
        if not pending:
            gathered = self.server.gathered
            if not gathered:
                self.server.begin_gathering()
            gathered.append(self)
        pending.append(frames)
        if len(pending) >= MOST_PENDING or len(frames) >= LARGE:
            self.flush()

    def _send_slowly(self, encoded: Encoded, volatile: bool) -> None:
        core = self.core
        if core is None:
            # The application is still deciding whether to accept this client.
            self.held = [*(self.held or ()), encoded]
            return
        if core.over and not (volatile or self._keep):
            self.server.note_aborted()
            self.perform(core.abort())
            return
        packets = encoded.packets
        if volatile and len(packets) > 1:
            # A packet and its attachments arrive together or not at all.
            if not core.writable:
                return
            volatile = False
        for packet in packets:
            self.perform(core.send(packet, volatile=volatile))

    def flush(self) -> None:
        """Write the frames of this turn."""
        pending, connection = self.pending, self.connection
        if pending and connection is not None:
            data = pending[0] if len(pending) == 1 else b"".join(pending)
            pending.clear()
            connection.write(data)

    def close(self, *, leaving: bool = False) -> None:
        """End the session from this side; a server that is ``leaving`` is to be asked again."""
        if self.core is not None:
            self.perform(self.core.close(self.server.timers.now(), leaving=leaving))

    def abort(self) -> None:
        """End the session at once, without a word."""
        if self.core is not None:
            self.perform(self.core.abort())

    def refuse(self, reason: Reason) -> None:
        """End the session for what a message of its client held."""
        if self.core is not None:
            self.perform(self.core.refuse(reason))

    def pause_reading(self, why: Pause) -> None:
        """Take nothing from the client until :meth:`resume_reading`.

        Its silence is forgiven; where it does not even take what it gets, over a WebSocket
        the stall ends it and over polling the missing pong does.
        """
        if self.core is None or self.closed:
            return
        if not self.paused and self.connection is not None:
            self.connection.pause_reading()
        self.paused |= why
        if self.connection is not None or why is not Pause.SLOW:
            self.core.stop_reading()

    def resume_reading(self, why: Pause) -> None:
        """Take what the client sends again, unless there is another reason not to."""
        if self.core is None or not self.paused & why:
            return
        self.paused &= ~why
        if self.paused:
            return
        self.core.resume_reading(self.server.timers.now())
        if self.connection is not None:
            self.connection.resume_reading()
        if self.resumed is not None and not self.resumed.done():
            self.resumed.set_result(None)
        self._refresh()

    async def reading(self) -> None:
        """Wait while nothing is to be taken from the client. Cancelling is safe."""
        while self.paused and not self.closed:
            if self.resumed is None or self.resumed.done():
                self.resumed = asyncio.get_running_loop().create_future()
            await asyncio.wait([self.resumed])

    # From the client.

    def frame_received(self, connection: WebSocketConnection, frame: str | bytes) -> None:
        """Take a frame; a message of a healthy connection goes straight on."""
        if self.pending is not None and connection is self.connection:
            # What the session would do with it ("Session.direct").
            if type(frame) is bytes:
                self.server.observer.message(self, frame)
                return
            if frame[:1] == "4":
                self.server.observer.message(self, frame[1:])
                return
        core = self.core
        if core is not None:
            self.perform(core.frame(connection.number, frame, self.server.timers.now()))

    def frame_refused(self, connection: WebSocketConnection, reason: Reason) -> None:
        """Take note of bytes that were no frame."""
        if self.core is not None:
            self.perform(self.core.frame_refused(connection.number, reason))

    def connection_lost(self, connection: WebSocketConnection, *, error: bool) -> None:
        """Take note of a transport that ended."""
        actions = []
        if self.core is not None:
            actions = self.core.websocket_lost(connection.number, error=error)
        if connection is self.connection:
            self.connection = None
            self.pending = None
            self._stall = None
        if connection is self.trial:
            self.trial = None
        self.perform(actions)

    def writing_paused(self, connection: WebSocketConnection) -> None:
        """Hold frames back: the transport has enough."""
        if self.core is not None and connection is self.connection:
            self.core.pause_writing(connection.number)
            timeout = self.server.write_timeout_ms
            by = self.server.timers.now() + timeout
            self._stall = Stall(timeout, connection.unwritten, by)
            self._refresh()

    def writing_resumed(self, connection: WebSocketConnection) -> None:
        """Write what was held back."""
        if self.core is not None and connection is self.connection:
            self._stall = None
            self.perform(self.core.resume_writing(connection.number))

    def tick(self, now: int) -> None:
        """Do what is due."""
        if self.core is None:
            return
        held = self.connection.unwritten if self.connection is not None else 0
        if self._stall is not None and self._stall.is_over(held, now):
            self.server.note_aborted()
            self.perform(self.core.abort())
            return
        self.perform(self.core.tick(now))

    # What the session decided.

    def perform(self, actions: list[Action]) -> None:
        """Do what the session asks for, then follow its state."""
        for action in actions:
            _PERFORM[type(action)](self, action)
        self._refresh()

    def _refresh(self) -> None:
        core = self.core
        if core is None:
            return
        if core.direct is None or self.connection is None:
            if self.pending is not None:
                self.flush()
                self.pending = None
        elif self.pending is None:
            self.pending = []
        due = core.deadline
        if self._stall is not None and due is not None:
            due = min(due, self._stall.by)
        if due != self.due:
            self.server.timers.set(self, due)

    def _respond(self, action: do.Respond | do.Refuse) -> None:
        self.server.answer(action)

    def _write_frames(self, action: do.WriteFrames) -> None:
        connection = self._connection(action.websocket)
        if connection is None:
            return
        if connection is self.connection:
            self.flush()
        threshold = self.deflate_from
        connection.write(b"".join([frame_for(one.frame, threshold) for one in action.packets]))

    def _close_websocket(self, action: do.CloseWebSocket) -> None:
        connection = self._connection(action.websocket)
        if connection is None:
            return
        if action.abort:
            connection.abort()
            return
        if connection is self.connection:
            self.flush()
        connection.close(close_code(action.violation))

    def _connection(self, number: int) -> WebSocketConnection | None:
        for one in (self.connection, self.trial):
            if one is not None and one.number == number:
                return one
        return None

    def _deliver(self, action: do.Deliver) -> None:
        # What came before the end counts; the application may have ended it meanwhile.
        if not self.told_closed:
            self.server.observer.message(self, action.data)

    def _upgraded(self, _action: do.Upgraded) -> None:
        self.connection, self.trial = self.trial, None
        if self.paused and self.connection is not None:
            self.connection.pause_reading()
        if self.connection is not None:
            self.deflate_from = self.connection.deflate_from

    def _overflowed(self, action: do.Overflowed) -> None:
        self._keep = self.server.ask_about_slow(self, action.size)

    def _drained(self, _action: do.Drained) -> None:
        self.server.observer.drained(self)

    def _closed(self, action: do.Closed) -> None:
        self.told_closed = True
        if action.violation is not None:
            self.server.note_violation(action.violation)
        self.server.observer.closed(self, action.reason)

    def _discard(self, _action: do.Discard) -> None:
        if self.resumed is not None and not self.resumed.done():
            self.resumed.set_result(None)
        self.server.forget(self)

    def _nothing(self, _action: do.Opened) -> None:
        """The application accepted the client before the session began."""


_PERFORM: Final[dict[type, Callable[[EngineSocket, Any], None]]] = {
    do.Respond: EngineSocket._respond,
    do.Refuse: EngineSocket._respond,
    do.WriteFrames: EngineSocket._write_frames,
    do.CloseWebSocket: EngineSocket._close_websocket,
    do.Deliver: EngineSocket._deliver,
    do.Opened: EngineSocket._nothing,
    do.Upgraded: EngineSocket._upgraded,
    do.Overflowed: EngineSocket._overflowed,
    do.Drained: EngineSocket._drained,
    do.Closed: EngineSocket._closed,
    do.Discard: EngineSocket._discard,
}
