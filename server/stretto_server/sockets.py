"""python-socketio's server with the rules of the wire contract around it.

It dispatches a client's ``connect`` and ``disconnect`` *events* to the handlers of the
same names, lets every exception of a handler out as a log line per packet, says
"Unable to connect" for an unknown namespace and negotiates permessage-deflate for every
browser. Here each client event goes to one :class:`Receiver` and nowhere else.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

import socketio
from aiohttp import web
from engineio import exceptions as engineio_exceptions
from engineio.async_drivers import aiohttp as aiohttp_driver
from socketio import packet

from stretto_server import wire_json
from stretto_server.bus.local import LocalBus
from stretto_server.settings import Settings


CLOSE_S: Final = 1.0
"""How long a transport may take to send what is left before it is closed."""


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


class Sockets(socketio.AsyncServer):  # type: ignore[misc]
    """The Socket.IO server; :attr:`receivers` maps namespaces to what handles them."""

    def __init__(self, settings: Settings, bus: LocalBus, transports: Transports) -> None:
        quiet = logging.getLogger("stretto_server.packets")
        quiet.setLevel(logging.CRITICAL)  # at lower levels they print packets, tokens included
        super().__init__(
            client_manager=bus,
            async_mode="aiohttp",
            json=wire_json,
            logger=quiet,
            engineio_logger=quiet,
            cors_allowed_origins=_origins(settings.allowed_origins),
            ping_interval=settings.ping_interval,
            ping_timeout=settings.ping_timeout,
            max_http_buffer_size=settings.limits.message_bytes,
        )
        self.receivers: Mapping[str, Receiver] = {}
        self._transports = transports
        self._running: set[asyncio.Task[None]] = set()
        self.eio._async = {
            **self.eio._async,
            "websocket": _websocket_driver(compress=settings.compression),
        }

    async def close_transport(self, engine_sid: str) -> None:
        """Close one transport, and with it all its namespaces."""
        socket = self.eio.sockets.get(engine_sid)
        if socket is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):  # a reader that stalls is not waited for
                await self.eio.disconnect(engine_sid)
        # The writer ends, and closes the WebSocket, only when it is given None; without it
        # a client that does not close by itself would keep both sides waiting.
        socket.queue.put_nowait(None)

    async def stop(self) -> None:
        """Stop the engine's own task and wait for events under way."""
        if self.eio.service_task_handle is not None:
            await self.shutdown()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> bool | None:
        request: web.Request = environ["aiohttp.request"]
        if self._transports.admit(eio_sid, request.remote or "") is None:
            return False
        await super()._handle_eio_connect(eio_sid, environ)
        return None

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        await super()._handle_eio_disconnect(eio_sid, reason)
        self._binary_packet.pop(eio_sid, None)
        self._transports.depart(eio_sid)

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        """Close the transport quietly when a packet is malformed."""
        try:
            await super()._handle_eio_message(eio_sid, data)
        except (ValueError, TypeError, LookupError, RecursionError):
            await self.close_transport(eio_sid)

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        namespace = namespace or "/"
        receiver = self.receivers.get(namespace)
        if receiver is None:
            await self._refuse_connect(eio_sid, namespace, {"message": "Invalid namespace"})
            return
        sid = await self.manager.pre_connect(eio_sid, namespace)
        if sid is None:
            raise ValueError("joined already")
        refusal = await receiver.connect(eio_sid, sid, data)
        if eio_sid not in self.eio.sockets or self.eio.sockets[eio_sid].closed:
            await self.manager.disconnect(sid, namespace, ignore_queue=True)
            return
        if refusal is not None:
            await self.manager.disconnect(sid, namespace, ignore_queue=True)
            await self._refuse_connect(eio_sid, namespace, refusal)
            return
        await self._send_packet(
            eio_sid, self.packet_class(packet.CONNECT, {"sid": sid}, namespace=namespace)
        )
        await self.manager.connect(sid, namespace)
        await receiver.connected(sid)

    async def _refuse_connect(self, eio_sid: str, namespace: str, error: dict[str, Any]) -> None:
        await self._send_packet(
            eio_sid, self.packet_class(packet.CONNECT_ERROR, data=error, namespace=namespace)
        )

    async def _trigger_event(self, event: str, namespace: str, *args: Any) -> None:
        """Serve python-socketio's own call: only a disconnection arrives this way."""
        if event == "disconnect" and namespace in self.receivers:
            await self.receivers[namespace].disconnect(args[0])

    async def _handle_event(
        self, eio_sid: str, namespace: str | None, id: int | None, data: Any
    ) -> None:
        """Handle one client event off the read path.

        Tasks start in the order in which they are made, so what a receiver does before
        its first suspension happens in the order of arrival.
        """
        namespace = namespace or "/"
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is None or not self.manager.is_connected(sid, namespace):
            return
        if not isinstance(data, list) or not data or not isinstance(data[0], str):
            raise ValueError("an event is a list that starts with its name")
        task = asyncio.create_task(self._run_event(eio_sid, namespace, sid, id, data))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run_event(
        self, eio_sid: str, namespace: str, sid: str, id: int | None, data: list[Any]
    ) -> None:
        receiver = self.receivers[namespace]
        event, arguments = data[0], data[1:]
        answer = await receiver.receive(sid, event, arguments)
        if id is not None:
            await self._send_packet(
                eio_sid,
                self.packet_class(
                    packet.ACK, namespace=namespace, id=id, data=[answer], binary=False
                ),
            )
        elif not answer["ok"]:
            await receiver.refuse(sid, event, arguments, answer["error"])

    async def _send_packet(self, eio_sid: str, pkt: Any) -> None:
        with contextlib.suppress(engineio_exceptions.SocketIsClosedError):
            await super()._send_packet(eio_sid, pkt)


def _origins(allowed: tuple[str, ...]) -> list[str] | str | None:
    """Return what Engine.IO takes: None allows the page's own origin only."""
    if "*" in allowed:
        return "*"
    return list(allowed) or None


def _websocket_driver(*, compress: bool) -> type[aiohttp_driver.WebSocket]:
    """Return Engine.IO's aiohttp driver with permessage-deflate only where asked for.

    aiohttp accepts it from every browser unless told otherwise, at 90 kB per connection,
    and Engine.IO has no option to tell it.
    """

    class Driver(aiohttp_driver.WebSocket):  # type: ignore[misc]
        async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
            self._sock = web.WebSocketResponse(
                max_msg_size=self.server.max_http_buffer_size, compress=compress
            )
            await self._sock.prepare(environ["aiohttp.request"])
            self.environ = environ
            await self.handler(self)
            return self._sock

    return Driver
