"""The Socket.IO server with the rules of the wire contract: our engine, and who handles what.

Each client event goes to one :class:`Receiver` and nowhere else; python-socketio's handlers
are not used.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from aiohttp import web

from stretto_core.eio.actions import CloseReason
from stretto_core.eio.socketio import MAX_ATTACHMENTS, SocketPacket
from stretto_core.eio.violations import Reason
from stretto_server.addresses import client_address
from stretto_server.bus.local import LocalBus, Missed
from stretto_server.engine.codecs import JsonCodec
from stretto_server.engine.engine_server import EngineServer
from stretto_server.engine.engine_socket import EngineSocket, Pause
from stretto_server.engine.members import Member, SocketClient
from stretto_server.engine.socket_server import SocketServer
from stretto_server.settings import Settings

INFLIGHT_EVENTS: Final = 200
"""Events of one connection that are handled at the same time. Rates are limited elsewhere."""
TOO_MANY: Final = "Too many connections"


class Receiver(Protocol):
    """What handles one namespace."""

    async def connect(self, engine_sid: str, sid: str, auth: object) -> dict[str, Any] | None:
        """Accept a client (None), or return the CONNECT_ERROR payload.

        Closing the transport instead is the receiver's doing.
        """

    async def connected(self, sid: str) -> None:
        """Continue after the client was told that it is connected."""

    async def disconnect(self, sid: str) -> None:
        """Forget a client that is gone."""

    def receive_at_once(
        self, sid: str, event: str, arguments: list[Any], answer: Callable[[dict[str, Any]], None]
    ) -> bool:
        """Handle an event without a task; else False, and nothing was done.

        ``answer`` is called once with the ack object, now or later. Never raises.
        """

    async def receive(self, sid: str, event: str, arguments: list[Any]) -> dict[str, Any]:
        """Return the ack object of one event; never raises."""

    async def refuse(
        self, sid: str, event: str, arguments: list[Any], error: dict[str, Any]
    ) -> None:
        """Tell of a failure that no ack callback waits for."""


class Transports(Protocol):
    """What is told of transports that come and go."""

    def admit(self, engine_sid: str, address: str) -> object | None:
        """Count a transport in; None refuses it."""

    def depart(self, engine_sid: str) -> None:
        """Count a transport out."""


class SlowReaders(Protocol):
    """What is told of connections that read too slowly."""

    def slowed(self, engine_sid: str) -> None:
        """Note that broadcasts to a connection are held back from now on."""

    async def caught_up(self, engine_sid: str, missed: Missed) -> None:
        """Tell a connection what it missed."""

    def gone(self, engine_sid: str) -> None:
        """Forget a connection."""


class Sockets(SocketServer):
    """The Socket.IO server; :attr:`receivers` maps namespaces to what handles them."""

    def __init__(self, settings: Settings, bus: LocalBus, transports: Transports) -> None:
        super().__init__(
            client_manager=bus,
            cors_allowed_origins=allowed_origins(settings),
            ping_interval=settings.ping_interval,
            ping_timeout=settings.ping_timeout,
            max_http_buffer_size=settings.limits.message_bytes,
            max_send_buffer=settings.limits.unsent_bytes,
            connect_timeout=settings.connect_timeout,
            max_inflight_events=INFLIGHT_EVENTS,
            compression=settings.compression,
            transports=served_transports(settings),
        )
        # The contract answers every event of any name, so none ends a connection.
        self.codec = JsonCodec(
            None,
            max_bytes=settings.limits.message_bytes,
            max_attachments=MAX_ATTACHMENTS,
            reserved=frozenset(),
        )
        self.receivers: Mapping[str, Receiver] = {}
        self.slow_readers: SlowReaders | None = None
        self._bus = bus
        self._transports = transports
        self._trusted_proxies = settings.trusted_proxies
        self.eio.on_slow = self._slow

    async def close_transport(self, engine_sid: str) -> None:
        """Close one transport, and with it all its namespaces; its client may come back."""
        socket = self.eio.sockets.get(engine_sid)
        if socket is not None:
            socket.close(leaving=True)

    async def stop(self) -> None:
        """Close every transport and wait for events under way."""
        await self.shutdown()
        await self._events.finish()

    # Transports.

    def admit(self, socket: EngineSocket, request: web.BaseRequest) -> str | None:
        """Count a transport in."""
        forwarded = request.headers.getall("X-Forwarded-For", ())
        address = client_address(request.remote, forwarded, self._trusted_proxies)
        return None if self._transports.admit(socket.sid, address) is not None else TOO_MANY

    async def _depart(self, client: SocketClient, reason: CloseReason) -> None:
        try:
            await super()._depart(client, reason)
        finally:
            self._bus.forget(client.socket.sid)
            if self.slow_readers is not None:
                self.slow_readers.gone(client.socket.sid)
            self._transports.depart(client.socket.sid)

    def _slow(self, engine_sid: str, _size: int) -> bool:
        """Hold back broadcasts to a reader that does not keep up, and its requests as well.

        What it asked for is still answered, so it may ask nothing more.
        """
        self._bus.hold_back(engine_sid)
        self.eio.sockets[engine_sid].pause_reading(Pause.SLOW)
        if self.slow_readers is not None:
            self.slow_readers.slowed(engine_sid)
        return True

    def drained(self, socket: EngineSocket) -> None:
        """Let broadcasts go on, and tell what was missed."""
        socket.resume_reading(Pause.SLOW)
        missed = self._bus.let_go(socket.sid)
        if self.slow_readers is not None and missed:
            self.eio.keep(self.slow_readers.caught_up(socket.sid, missed))

    # Namespaces.

    def _serves(self, namespace: str) -> bool:
        return namespace in self.receivers

    async def ask(self, member: Member, auth: Any) -> Any:
        """Ask the receiver of the namespace."""
        receiver = self.receivers[member.namespace]
        return await receiver.connect(member.client.socket.sid, member.sid, auth)

    async def joined(self, member: Member) -> None:
        """Let the receiver continue."""
        await self.receivers[member.namespace].connected(member.sid)

    async def left(self, member: Member, reason: CloseReason) -> None:
        """Tell the receiver."""
        await self.receivers[member.namespace].disconnect(member.sid)

    # Events.

    def dispatch(self, member: Member, packet: SocketPacket) -> None:
        """Hand an event to its receiver.

        Tasks start in the order in which they are made, so what a receiver does before
        its first suspension happens in the order of arrival.
        """
        if not isinstance(packet.data[0], str):
            member.client.socket.refuse(Reason.INVALID_PAYLOAD)
        elif member.client.running or not self._handled_at_once(member, packet):
            # Behind events that run or wait, so that nothing is overtaken.
            self._events.put(member.client, self._handle(member, packet))

    def _handled_at_once(self, member: Member, packet: SocketPacket) -> bool:
        receiver = self.receivers[member.namespace]

        def answer(ack: dict[str, Any]) -> None:
            if packet.id is not None:
                self._answer(member, packet, ack)
            elif not ack["ok"]:
                self.keep(self._refused(member, packet, ack["error"]))

        event, *arguments = packet.data
        return receiver.receive_at_once(member.sid, event, arguments, answer)

    async def _handle(self, member: Member, packet: SocketPacket) -> None:
        event, *arguments = packet.data
        answer = await self.receivers[member.namespace].receive(member.sid, event, arguments)
        if packet.id is not None:
            self._answer(member, packet, answer)
        elif not answer["ok"]:
            await self._refused(member, packet, answer["error"])

    async def _refused(self, member: Member, packet: SocketPacket, error: dict[str, Any]) -> None:
        event, *arguments = packet.data
        await self.receivers[member.namespace].refuse(member.sid, event, arguments, error)

    def keep(self, work: Awaitable[Any]) -> "asyncio.Future[Any]":
        """Run something that nobody waits for, and keep it until it ends."""
        engine: EngineServer = self.eio
        return engine.keep(work)


def served_transports(settings: Settings) -> list[str] | None:
    """Return what Engine.IO takes: None for all.

    Each request of a polling client may reach another of several workers on one port.
    """
    return ["websocket"] if settings.workers > 1 else None


def allowed_origins(settings: Settings) -> list[str] | str | None:
    """Return what Engine.IO takes: None allows the page's own origin only."""
    if "*" in settings.allowed_origins:
        return "*"
    return list(settings.allowed_origins) or None
