"""python-engineio under the rules of the wire contract: ``STRETTO_ENGINE=stock``.

It is here for comparison: slow readers are neither bounded nor told. python-socketio
dispatches a client's ``connect`` and ``disconnect`` *events* to the handlers of the same
names, lets every exception of a handler out as a log line per packet, says "Unable to
connect" for an unknown namespace and negotiates permessage-deflate for every browser. Here
each client event goes to one :class:`~stretto_server.sockets.Receiver` and nowhere else.
"""

import asyncio
import base64
import contextlib
import logging
from collections.abc import Awaitable, Mapping
from typing import Any, Final

import socketio
from aiohttp import web
from engineio import exceptions as engineio_exceptions
from engineio import payload
from engineio.async_drivers import aiohttp as aiohttp_driver
from socketio import packet

from stretto_server import wire_json
from stretto_server.addresses import client_address
from stretto_server.bus.stock import StockBus
from stretto_server.settings import Settings
from stretto_server.sockets import Receiver, Transports, allowed_origins

CLOSE_S: Final = 1.0
"""How long a transport may take to send what is left before it is closed."""
MAX_ATTACHMENTS: Final = 10
MAX_PACKETS: Final = 10_000
"""In one polled body. Engine.IO takes 16, and drops a body with more after saying "ok" to it."""
CLIENT_PACKETS: Final = frozenset("12345")
"""What the text of a client's Engine.IO packet begins with: close, ping, pong, message, upgrade."""


class StockSockets(socketio.AsyncServer):  # type: ignore[misc]
    """The Socket.IO server; :attr:`receivers` maps namespaces to what handles them."""

    def __init__(self, settings: Settings, bus: StockBus, transports: Transports) -> None:
        quiet = logging.getLogger("stretto_server.packets")
        quiet.setLevel(logging.CRITICAL)  # at lower levels they print packets, tokens included
        super().__init__(
            client_manager=bus,
            async_mode="aiohttp",
            json=wire_json,
            logger=quiet,
            engineio_logger=quiet,
            cors_allowed_origins=allowed_origins(settings),
            ping_interval=settings.ping_interval,
            ping_timeout=settings.ping_timeout,
            max_http_buffer_size=settings.limits.message_bytes,
        )
        payload.Payload.max_decode_packets = MAX_PACKETS
        self.receivers: Mapping[str, Receiver] = {}
        self._message_bytes = settings.limits.message_bytes
        self._transports = transports
        self._trusted_proxies = settings.trusted_proxies
        self._running: set[asyncio.Future[Any]] = set()
        self.eio._async = {
            **self.eio._async,
            "websocket": _websocket_driver(compress=settings.compression),
            "translate_request": self._translate_request,
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

    def keep(self, work: Awaitable[Any]) -> "asyncio.Future[Any]":
        """Run something that nobody waits for, and keep it until it ends."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def stop(self) -> None:
        """Stop the engine's own task and wait for events under way."""
        if self.eio.service_task_handle is not None:
            await self.shutdown()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> bool | None:
        request: web.Request = environ["aiohttp.request"]
        forwarded = request.headers.getall("X-Forwarded-For", ())
        address = client_address(request.remote, forwarded, self._trusted_proxies)
        if self._transports.admit(eio_sid, address) is None:
            return False
        await super()._handle_eio_connect(eio_sid, environ)
        return None

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        try:
            await super()._handle_eio_disconnect(eio_sid, reason)
        finally:
            self._binary_packet.pop(eio_sid, None)
            self._transports.depart(eio_sid)
        socket = self.eio.sockets.get(eio_sid)
        if socket is not None and reason == self.eio.reason.CLIENT_DISCONNECT:
            socket.queue.put_nowait(None)  # or a poll under way hangs until its timeout

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        """Close the transport quietly when a packet is malformed."""
        try:
            self._check_place(eio_sid, data)
            await super()._handle_eio_message(eio_sid, data)
            self._check_announced(eio_sid)
        except (ValueError, TypeError, LookupError, RecursionError):
            self._binary_packet.pop(eio_sid, None)
            await self.close_transport(eio_sid)

    def _check_place(self, eio_sid: str, data: str | bytes) -> None:
        """Raise ValueError for a text where an attachment belongs, and the other way round."""
        waiting = self._binary_packet.get(eio_sid)
        if (waiting is None) is not isinstance(data, str) or data == "":
            raise ValueError("out of place")
        if waiting is not None:
            size = len(data) + sum(map(len, waiting.attachments))
            if size > self._message_bytes:
                raise ValueError("the attachments are too large together")

    def _check_announced(self, eio_sid: str) -> None:
        waiting = self._binary_packet.get(eio_sid)
        if waiting is not None and not 0 < waiting.attachment_count <= MAX_ATTACHMENTS:
            raise ValueError("so many attachments are not taken")

    def _translate_request(self, request: web.Request) -> dict[str, Any]:
        environ: dict[str, Any] = aiohttp_driver.translate_request(request)
        environ["wsgi.input"] = _Body(self, request)
        return environ

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


class _Body:
    """The body of a polled request, read as a whole.

    Engine.IO reads what has arrived of it and takes that for all; and it answers a body
    that it cannot decode with "ok".
    """

    def __init__(self, sockets: StockSockets, request: web.Request) -> None:
        self._sockets = sockets
        self._request = request

    async def read(self, length: int) -> bytes:
        """Return the body; a malformed one closes its transport and reads as empty."""
        try:
            body = await self._request.content.readexactly(length)
            if _is_well_formed(body):
                return body
        except asyncio.IncompleteReadError:
            pass
        await self._sockets.close_transport(self._request.query.get("sid", ""))
        return b""


def _is_well_formed(body: bytes) -> bool:
    try:
        packets = body.decode().split("\x1e")
        if len(packets) > MAX_PACKETS:
            return False
        for one in packets:
            if one.startswith("b"):
                base64.b64decode(one[1:], validate=True)
            elif one[:1] not in CLIENT_PACKETS:
                return False
    except ValueError:
        return False
    return True


def _websocket_driver(*, compress: bool) -> type[aiohttp_driver.WebSocket]:
    """Return Engine.IO's aiohttp driver with what it lacks.

    aiohttp accepts permessage-deflate from every browser unless told otherwise, at 90 kB
    per connection, and Engine.IO has no option to tell it. A packet that Engine.IO cannot
    decode would leave the session behind, and an upgrade that fails would leave the
    session unable to poll.
    """

    class Driver(aiohttp_driver.WebSocket):  # type: ignore[misc]
        async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
            self._sock = web.WebSocketResponse(
                max_msg_size=self.server.max_http_buffer_size, compress=compress
            )
            await self._sock.prepare(environ["aiohttp.request"])
            self.environ = environ
            try:
                await self.handler(self)
            finally:
                self.handler.__self__.upgrading = False
            return self._sock

        async def wait(self) -> str | bytes:
            data: str | bytes = await super().wait()
            if isinstance(data, str) and data[:1] not in CLIENT_PACKETS:
                raise OSError("malformed")  # as if the connection was lost
            return data

    return Driver
