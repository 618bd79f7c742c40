"""A clock that the test turns, a transport that remembers, and what stands around a socket."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

from stretto_core.eio import actions as do
from stretto_core.eio.actions import CloseReason
from stretto_core.eio.session import Session
from stretto_core.eio.violations import Reason
from stretto_core.eio.websocket import FrameReader
from stretto_server.engine.connection import WebSocketConnection
from stretto_server.engine.engine_socket import EngineSocket, Host
from stretto_server.engine.environ import Handshake
from stretto_server.engine.timers import Timers

HANDSHAKE = Handshake(
    method="GET",
    raw_path="/engine.io/?EIO=4",
    path="/engine.io/",
    query="EIO=4",
    version=(1, 1),
    remote="192.0.2.1",
    scheme="http",
    headers=((b"Host", b"example.org"),),
)


class Alarm:
    """What ``call_at`` returns."""

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at, self.callback, self.cancelled = at, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """As much of an event loop as :class:`Timers` asks for."""

    def __init__(self) -> None:
        self.ms = 5_000
        self.alarms: list[tuple[float, int, Alarm]] = []
        self._order = count()

    def time(self) -> float:
        return self.ms / 1000

    def call_at(self, at: float, callback: Callable[[], None]) -> Alarm:
        alarm = Alarm(at, callback)
        heapq.heappush(self.alarms, (at, next(self._order), alarm))
        return alarm

    @property
    def waiting(self) -> list[float]:
        """When alarms go off, in milliseconds from now."""
        left = [
            alarm.at * 1000 - self.ms
            for _, _, alarm in sorted(self.alarms, key=lambda a: a[:2])
            if not alarm.cancelled
        ]
        return [round(each, 3) for each in left]

    def advance(self, ms: int) -> None:
        """Let time pass, and everything that is due happen on the way."""
        until = self.ms + ms
        while self.alarms and self.alarms[0][0] * 1000 <= until:
            at, _, alarm = heapq.heappop(self.alarms)
            self.ms = max(self.ms, round(at * 1000))
            if not alarm.cancelled:
                alarm.callback()
        self.ms = until

    def timers(self) -> Timers:
        """Return timers that run on this clock."""
        timers = Timers()
        loop: Any = self
        timers._loop = loop
        return timers


class FakeTransport(asyncio.Transport):
    """Takes what is written at once, unless it is ``full``: then it holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.full = False
        self.held = 0
        self.high = 0
        self.reading = True
        self.closing = False
        self.aborted = False
        self.protocol: Any = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol  # type: ignore[no-any-return]

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = 65_536 if high is None else high

    def get_write_buffer_size(self) -> int:
        return self.held

    def write(self, data: Any) -> None:
        before = self.held
        self.written += data
        if self.full:
            self.held += len(data)
        if before <= self.high < self.held:
            self.protocol.pause_writing()

    def drain(self, size: int | None = None) -> None:
        """Let the peer take some or all of what is held."""
        paused = self.held > self.high
        self.held -= self.held if size is None else size
        if not self.held:
            self.full = False
        if paused and self.held <= self.high:
            self.protocol.resume_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def take_written(self) -> bytes:
        """Return what was written since the last time."""
        data, self.written = self.written, b""
        return data

    def lose(self, error: Exception | None = None) -> None:
        """End, as the loop tells the protocol."""
        self.closing = True
        self.protocol.connection_lost(error)


class FakeObserver:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def connecting(self, socket: EngineSocket, request: Any) -> None:
        return None

    def message(self, socket: EngineSocket, data: str | bytes) -> None:
        self.told.append(data)

    def drained(self, socket: EngineSocket) -> None:
        self.told.append("<drained>")

    def closed(self, socket: EngineSocket, reason: CloseReason) -> None:
        self.told.append(reason)


class FakeHost:
    """The server of sockets: remembers, and flushes when the test says that the turn is over."""

    write_timeout_ms = 1_000

    def __init__(self, settings: do.SessionSettings | None = None) -> None:
        self.clock = Clock()
        self.timers = self.clock.timers()
        self.settings = settings or do.SessionSettings(unsent_bytes=100)
        self.seen = FakeObserver()
        self.observer: Any = self.seen
        self.gathered: list[EngineSocket] = []
        self.turns = 0
        self.answers: list[do.Respond | do.Refuse] = []
        self.forgotten: list[str] = []
        self.keeps_slow = False
        self.slow: list[int] = []
        self.aborted = 0
        self.violations: list[Reason] = []

    def begin_gathering(self) -> None:
        self.turns += 1

    def end_turn(self) -> None:
        gathered = self.gathered.copy()
        self.gathered.clear()
        for socket in gathered:
            socket.flush()

    def answer(self, action: do.Respond | do.Refuse) -> None:
        self.answers.append(action)

    def forget(self, socket: EngineSocket) -> None:
        self.forgotten.append(socket.sid)
        self.timers.set(socket, None)

    def ask_about_slow(self, socket: EngineSocket, size: int) -> bool:
        self.slow.append(size)
        return self.keeps_slow

    def note_aborted(self) -> None:
        self.aborted += 1

    def note_violation(self, reason: Reason) -> None:
        self.violations.append(reason)

    # Sockets of this server.

    def connection(self, socket: Any, number: int = 1, **options: Any) -> WebSocketConnection:
        return connection_of(self, socket, number, **options)

    def websocket(self, sid: str = "sid", **options: Any) -> EngineSocket:
        return open_websocket(self, sid, **options)

    def polling(self, sid: str = "sid", poll: int = 100) -> EngineSocket:
        socket = open_polling(self, sid, poll)
        self.answers.clear()
        return socket


class AnyHost(Host, Protocol):
    """A server, real or not, with the settings of its sessions."""

    settings: do.SessionSettings


def connection_of(
    host: AnyHost, socket: Any, number: int = 1, deflate_from: int | None = None
) -> WebSocketConnection:
    """Return a connection that owns a :class:`FakeTransport`."""
    reader = FrameReader(host.settings.max_payload, deflate=deflate_from is not None)
    connection = WebSocketConnection(socket, number, reader, deflate_from)
    connection.take(FakeTransport(), b"")
    return connection


def open_websocket(host: AnyHost, sid: str = "sid", **options: Any) -> EngineSocket:
    """Return a socket that is open on a WebSocket, after its open packet."""
    socket = EngineSocket(host, sid, HANDSHAKE)
    connection = socket.connection = connection_of(host, socket, **options)
    socket.deflate_from = connection.deflate_from
    number = connection.number
    socket.open(*Session.open_websocket(sid, host.settings, number, host.timers.now()))
    transport_of(socket).take_written()
    return socket


def open_polling(host: AnyHost, sid: str = "sid", poll: int = 100) -> EngineSocket:
    """Return a socket that is open over polling, its first GET answered."""
    socket = EngineSocket(host, sid, HANDSHAKE)
    socket.open(*Session.open_polling(sid, host.settings, poll, host.timers.now()))
    assert socket.core is not None
    socket.perform(socket.core.poll_sent(poll))
    return socket


def transport_of(owner: EngineSocket | WebSocketConnection | None) -> FakeTransport:
    """Return the transport of a connection, or of a socket's connection."""
    connection = owner.connection if isinstance(owner, EngineSocket) else owner
    assert connection is not None
    transport = connection._transport
    assert isinstance(transport, FakeTransport)
    return transport
