"""A WebSocket after its handshake: bytes to the session, frames to the transport."""

import asyncio
from collections import deque
from typing import Final, Protocol

from stretto_core.eio.stall import Stall
from stretto_core.eio.violations import Reason, Violation
from stretto_core.eio.websocket import (
    CLOSE_CODES,
    Close,
    Event,
    FrameReader,
    Opcode,
    Ping,
    close_frame,
    encode_frame,
)
from stretto_server.engine.reset import reset
from stretto_server.engine.timers import NEVER, Timers

CLOSING_MS: Final = 1_000
"""How long a peer may take nothing, and answer nothing, before its transport is ended."""
LAST_WORDS_MS: Final = 30_000
"""How long a peer may take that reads slowly, but reads."""
NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
HIGH_WATER: Final = 64 * 1024


class Owner(Protocol):
    """The session's shell, as its connections see it."""

    @property
    def timers(self) -> Timers:
        """The timers of the server."""

    def frame_received(self, connection: "WebSocketConnection", frame: str | bytes) -> None:
        """Take a message."""

    def frame_refused(self, connection: "WebSocketConnection", reason: Reason) -> None:
        """Take note of bytes that were no frame."""

    def connection_lost(self, connection: "WebSocketConnection", *, error: bool) -> None:
        """Take note of a transport that ended."""

    def writing_paused(self, connection: "WebSocketConnection") -> None:
        """Hold frames back."""

    def writing_resumed(self, connection: "WebSocketConnection") -> None:
        """Write what was held back."""


class WebSocketConnection(asyncio.Protocol):
    """The protocol of one transport; ``number`` is its name in the session's actions.

    It has no task and no queue: what arrives is handled as it arrives, and what is written
    goes to the transport, whose asking to pause the session heeds.
    """

    __slots__ = (
        *("_closing", "_ending", "_full", "_greeting", "_held", "_ping", "_reader"),
        *("_transport", "_unread", "_until", "deflate_from", "due", "number", "socket"),
        "watched",
    )

    def __init__(
        self, socket: Owner, number: int, reader: FrameReader, deflate_from: int | None
    ) -> None:
        self.socket = socket
        self.number = number
        self.deflate_from = deflate_from
        self.due = self.watched = NEVER
        self._reader = reader
        self._closing = False
        self._full = False
        self._held = False
        self._ending: Stall | None = None
        self._until = NEVER
        self._unread: deque[Event] | None = None
        self._ping: bytes | None = None
        self._greeting = b""
        self._transport: asyncio.Transport | None = None

    def take(self, transport: asyncio.Transport, greeting: bytes) -> None:
        """Own a transport from now on; ``greeting`` leaves with the first frames."""
        self._transport = transport
        self._greeting = greeting
        transport.set_write_buffer_limits(high=HIGH_WATER)
        transport.set_protocol(self)

    def greet(self) -> None:
        """Send the greeting now, if it has not left."""
        if self._greeting:
            self.write(b"")

    @property
    def unwritten(self) -> int:
        """The bytes that the transport holds."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        """Hand messages over; answer what RFC 6455 wants answered."""
        socket = self.socket
        text = self._reader.whole_text(data) if not self._held else None
        if text is not None:
            if not self._closing:
                socket.frame_received(self, text)
            return
        events = self._reader.feed(data)
        if self._unread is not None:
            self._unread.extend(events)
        elif events:
            self._read(deque(events))

    def _read(self, events: deque[Event]) -> None:
        """Handle what was received, or keep it: one read may bring thousands too many."""
        socket = self.socket
        while events:
            if self._held:
                self._unread = events
                return
            event = events.popleft()
            kind = type(event)
            if kind is str or kind is bytes:
                if not self._closing:
                    socket.frame_received(self, event)  # type: ignore[arg-type]
            elif isinstance(event, Ping):
                self._pong(event.data)
            elif isinstance(event, Close):
                self._answer_close()
            elif isinstance(event, Violation) and not self._closing:
                socket.frame_refused(self, event.reason)

    def eof_received(self) -> bool:
        """Let the transport close."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the session."""
        self._transport = self._unread = None
        self.socket.timers.set(self, None)
        self.socket.connection_lost(self, error=error is not None)

    def pause_writing(self) -> None:
        """Tell the session that its peer reads slowly."""
        self._full = True
        self.socket.writing_paused(self)

    def resume_writing(self) -> None:
        """Tell the session that there is room again."""
        self._full = False
        ping, self._ping = self._ping, None
        if ping is not None:
            self._pong(ping)
        self.socket.writing_resumed(self)

    # What the session calls.

    def write(self, data: bytes) -> None:
        """Write frames; nothing happens after the end."""
        transport = self._transport
        # A transport that is lost already says so later, and complains of each write until then.
        if transport is not None and not self._closing and not transport.is_closing():
            if self._greeting:
                data, self._greeting = self._greeting + data, b""
            transport.write(data)

    def close(self, code: int) -> None:
        """Send a close frame; the transport ends with the peer's answer, or soon.

        At once where the peer is told of an error: RFC 6455, "7.1.7. Fail the WebSocket
        Connection".
        """
        if self._transport is None or self._closing:
            return
        self.write(close_frame(code))
        self._begin_to_end()
        self.resume_reading()
        if code != NORMAL:
            self._transport.close()

    def abort(self) -> None:
        """End the transport at once, whatever it holds."""
        if self._transport is not None:
            self._closing = True
            reset(self._transport)

    def pause_reading(self) -> None:
        """Take nothing from the peer for a while: TCP makes it wait."""
        if self._transport is not None and not self._closing:
            self._held = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what the peer sends again, and first what it had sent."""
        self._held = False
        unread, self._unread = self._unread, None
        if unread is not None:
            self._read(unread)
        if self._transport is not None and not self._held:
            self._transport.resume_reading()

    def tick(self, now: int) -> None:
        """End a transport whose peer did not answer the close frame, unless it still reads."""
        held, ending = self.unwritten, self._ending
        if held and ending is not None and now < self._until and not ending.is_over(held, now):
            self.socket.timers.set(self, ending.by)
        else:
            self.abort()

    def _begin_to_end(self) -> None:
        """Say nothing more; give the peer time to read what was said."""
        self._closing = True
        timers = self.socket.timers
        now = timers.now()
        self._ending = Stall(CLOSING_MS, self.unwritten, now + CLOSING_MS)
        self._until = now + LAST_WORDS_MS
        timers.set(self, self._ending.by)

    def _pong(self, data: bytes) -> None:
        """Answer a ping ("5.5.3. Pong"), not behind what waits: it may come between messages.

        A peer that pings and does not read gets an answer to its last ping only.
        """
        if self._full:
            self._ping = data
        else:
            self.write(encode_frame(Opcode.PONG, data))

    def _answer_close(self) -> None:
        if self._transport is None:
            return
        if not self._closing:
            self.write(close_frame())
            self._begin_to_end()
        self._transport.close()


def close_code(violation: Reason | None) -> int:
    """Return the status that tells a peer what it did wrong; 1000 where it did nothing."""
    if violation is None:
        return NORMAL
    return CLOSE_CODES.get(violation, PROTOCOL_ERROR)
