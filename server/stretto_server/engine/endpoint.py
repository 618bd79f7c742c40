"""The route: what arrives over HTTP becomes inputs of sessions, and their actions answers."""

import asyncio
import contextlib
import inspect
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol

from aiohttp import web

from stretto_core.eio import actions as do
from stretto_core.eio.handshake import (
    ErrorCode,
    Refusal,
    Request,
    Step,
    Transport,
    decide,
)
from stretto_core.eio.session import Session
from stretto_core.eio.violations import Reason
from stretto_core.eio.websocket import FrameReader
from stretto_server.engine.connection import WebSocketConnection
from stretto_server.engine.engine_socket import EngineSocket, Host
from stretto_server.engine.environ import Handshake
from stretto_server.engine.handover import (
    HANDED_OVER,
    accept_key,
    fast_unmask,
    offers_deflate,
    take_over,
    wants_websocket,
)
from stretto_server.engine.origins import Origins
from stretto_server.engine.reset import reset
from stretto_server.engine.watch import Watch

TURNS: Final = 5
"""Of the loop, in which the end of a connection is noticed that its peer closed before."""


class Site(Host, Protocol):
    """The server, as its route sees it."""

    settings: do.SessionSettings
    sockets: dict[str, EngineSocket]
    origins: Origins
    transports_served: frozenset[Transport]
    deflate_from: int | None
    http_compression_from: int | None

    def number(self) -> int:
        """Return another name for a request or a WebSocket."""

    def generate_id(self) -> str:
        """Return a new session id."""

    def allows(self, request: web.BaseRequest) -> bool:
        """Ask the application about a handshake."""

    def cookie_header(self, sid: str) -> dict[str, str]:
        """Return the header that sets the cookie, if there is to be one."""

    def dumps(self, value: object) -> str:
        """Return JSON."""


class Endpoint:
    """Serves the Engine.IO path of one server."""

    def __init__(self, server: Site) -> None:
        self._server = server
        self._unmask = fast_unmask()
        self._answers: dict[int, asyncio.Future[do.Respond | do.Refuse]] = {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        response = await self._handle(request)
        if not request.content.is_eof():
            await _hang_up(request, response)
        return response

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        server = self._server
        seen: Handshake | None = None

        def environ() -> dict[str, Any]:
            nonlocal seen
            seen = seen or Handshake.of(request)
            return seen.environ(request)

        allowed = server.origins.allows(request, environ)
        headers = server.origins.headers(request, allowed=allowed)
        if request.method == "OPTIONS":
            return web.Response(text="ok", headers=headers)
        query = _query(request)
        socket = server.sockets.get(query.get("sid", ""))
        core = socket.core if socket is not None else None
        upgrade = wants_websocket(request)
        asked = Request(request.method, query, upgrade)
        step = decide(
            asked,
            core.transport if core is not None else None,
            transports=server.transports_served,
            allowed=allowed and (socket is not None or server.allows(request)),
        )
        if not allowed and not isinstance(step, Refusal):
            step = Refusal(ErrorCode.FORBIDDEN)
        if isinstance(step, Refusal):
            return _refused(step, headers)
        if step is Step.OPEN_POLLING or step is Step.OPEN_WEBSOCKET:
            return await self._open(request, step, seen or Handshake.of(request), headers)
        assert socket is not None
        if step is Step.POLL:
            return await self._poll(request, socket, headers)
        if step is Step.POST:
            return await self._post(request, socket, headers)
        return self._attach(request, socket, headers)

    # What the sessions' actions answer.

    def answer(self, action: do.Respond | do.Refuse) -> None:
        """Give the handler of a request its answer."""
        waiting = self._answers.get(action.request)
        if waiting is not None and not waiting.done():
            waiting.set_result(action)

    def _expect(self) -> tuple[int, "asyncio.Future[do.Respond | do.Refuse]"]:
        number = self._server.number()
        waiting = asyncio.get_running_loop().create_future()
        self._answers[number] = waiting
        return number, waiting

    # Opening.

    async def _open(
        self, request: web.BaseRequest, step: Step, opening: Handshake, headers: dict[str, str]
    ) -> web.StreamResponse:
        server = self._server
        key = accept_key(request) if step is Step.OPEN_WEBSOCKET else None
        if step is Step.OPEN_WEBSOCKET and key is None:
            return _refused(Refusal(ErrorCode.BAD_REQUEST), headers)
        socket = EngineSocket(server, server.generate_id(), opening)
        refusal = server.observer.connecting(socket, request)
        if inspect.isawaitable(refusal):
            refusal = await refusal
        if refusal is not None:
            return web.Response(
                status=HTTPStatus.UNAUTHORIZED,
                text=server.dumps(refusal),
                content_type="application/json",
                headers=headers,
            )
        headers.update(server.cookie_header(socket.sid))
        if key is not None:
            return self._open_websocket(request, socket, key, headers)
        number, waiting = self._expect()
        server.sockets[socket.sid] = socket
        settings = server.settings
        core, actions = Session.open_polling(socket.sid, settings, number, server.timers.now())
        socket.open(core, actions)
        return await self._answered(request, socket, number, waiting, headers)

    def _open_websocket(
        self, request: web.BaseRequest, socket: EngineSocket, key: bytes, headers: dict[str, str]
    ) -> web.StreamResponse:
        server = self._server
        connection = self._connection(request, socket)
        taken = take_over(request, key, headers, deflate=connection.deflate_from is not None)
        if taken is None:
            server.forget(socket)
            server.observer.closed(socket, do.CloseReason.TRANSPORT_CLOSE)
            return HANDED_OVER
        server.sockets[socket.sid] = socket
        socket.connection = connection
        socket.deflate_from = connection.deflate_from
        connection.take(taken.transport, taken.answer)
        core, actions = Session.open_websocket(
            socket.sid, server.settings, connection.number, server.timers.now()
        )
        socket.open(core, actions)
        if taken.tail:
            connection.data_received(taken.tail)
        return HANDED_OVER

    def _connection(self, request: web.BaseRequest, socket: EngineSocket) -> WebSocketConnection:
        server = self._server
        deflate = server.deflate_from is not None and offers_deflate(request)
        reader = FrameReader(server.settings.max_payload, deflate=deflate, unmask=self._unmask)
        threshold = server.deflate_from if deflate else None
        return WebSocketConnection(socket, server.number(), reader, threshold)

    def _attach(
        self, request: web.BaseRequest, socket: EngineSocket, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Accept a WebSocket that names a session; the session may close it at once."""
        key = accept_key(request)
        core = socket.core
        if key is None or core is None:
            return _refused(Refusal(ErrorCode.BAD_REQUEST), headers)
        connection = self._connection(request, socket)
        taken = take_over(request, key, headers, deflate=connection.deflate_from is not None)
        if taken is not None:
            connection.take(taken.transport, taken.answer)
            connection.greet()
            actions = core.attach(connection.number, self._server.timers.now())
            if any(isinstance(one, do.CloseWebSocket) for one in actions):
                connection.close(1000)
            else:
                socket.trial = connection
            socket.perform([one for one in actions if not isinstance(one, do.CloseWebSocket)])
            if taken.tail:
                connection.data_received(taken.tail)
        return HANDED_OVER

    # Long-polling.

    async def _poll(
        self, request: web.BaseRequest, socket: EngineSocket, headers: dict[str, str]
    ) -> web.StreamResponse:
        for _ in range(TURNS):
            # A client that broke its poll and polls again may be read in that order or not.
            if socket.core is None or not socket.core.polled:
                break
            await asyncio.sleep(0)
        number, waiting = self._expect()
        assert socket.core is not None
        socket.perform(socket.core.poll(number, self._server.timers.now()))
        return await self._answered(request, socket, number, waiting, headers)

    async def _answered(
        self,
        request: web.BaseRequest,
        socket: EngineSocket,
        number: int,
        waiting: "asyncio.Future[do.Respond | do.Refuse]",
        headers: dict[str, str],
    ) -> web.StreamResponse:
        """Wait for the answer to a GET, write it, and tell the session what became of it."""
        core = socket.core
        assert core is not None
        transport: Any = request.transport
        sent = False
        try:
            if transport is None:
                return HANDED_OVER
            with Watch(transport) as watch:
                await first_of(waiting, watch.lost)
                if not waiting.done():
                    return HANDED_OVER
                answer = waiting.result()
                response = self._response(request, answer, headers)
                watch.expect_everything()
                try:
                    async with asyncio.timeout(self._server.write_timeout_ms / 1000):
                        await response.prepare(request)
                        await response.write_eof()
                except (ConnectionError, TimeoutError):
                    reset(transport)
                    return HANDED_OVER
                sent = await watch.written(self._server.write_timeout_ms / 1000)
                return response if sent else HANDED_OVER
        finally:
            del self._answers[number]
            socket.perform(core.poll_sent(number) if sent else core.poll_aborted(number))

    async def _post(
        self, request: web.BaseRequest, socket: EngineSocket, headers: dict[str, str]
    ) -> web.StreamResponse:
        number, waiting = self._expect()
        core = socket.core
        assert core is not None
        reading: asyncio.Task[bytes | None] | None = None
        try:
            socket.perform(core.begin_post(number))
            if (request.content_length or 0) > self._server.settings.max_payload:
                socket.perform(core.post_refused(number, Reason.TOO_LARGE))
            if not waiting.done():
                reading = asyncio.ensure_future(self._body(request, socket))
                await first_of(reading, waiting)
            if not waiting.done() and reading is not None:
                body = reading.result()
                if body is None:
                    socket.perform(core.post_aborted(number))
                else:
                    socket.perform(core.post(number, body, self._server.timers.now()))
                    await self._read_on(request, socket, number, waiting)
            if not waiting.done():
                return HANDED_OVER
            return self._response(request, waiting.result(), headers)
        finally:
            if reading is not None and not reading.done():
                reading.cancel()
            del self._answers[number]

    async def _read_on(
        self,
        request: web.BaseRequest,
        socket: EngineSocket,
        number: int,
        waiting: "asyncio.Future[do.Respond | do.Refuse]",
    ) -> None:
        """Take what is left of a POST: in turns with others, as the client is read from."""
        core = socket.core
        assert core is not None
        while core.unread and not waiting.done():
            await asyncio.sleep(0)
            await socket.reading()
            if request.transport is None or request.transport.is_closing():
                socket.perform(core.post_aborted(number))  # nobody waits for what may take long
            else:
                socket.perform(core.read_on(number, self._server.timers.now()))

    async def _body(self, request: web.BaseRequest, socket: EngineSocket) -> bytes | None:
        """Read a body, or a part of it that is too long already; None when it breaks off."""
        await socket.reading()
        body = bytearray()
        most = self._server.settings.max_payload
        try:
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > most:
                    break
        except (ConnectionError, web.HTTPException, web.PayloadAccessError, ValueError):
            return None
        except Exception as error:
            # aiohttp has no common class for what may be wrong with a body.
            if type(error).__module__.startswith("aiohttp."):
                return None
            raise
        return bytes(body)

    def _response(
        self, request: web.BaseRequest, answer: do.Respond | do.Refuse, headers: dict[str, str]
    ) -> web.Response:
        if isinstance(answer, do.Refuse):
            return _refused(answer.refusal, headers)
        response = web.Response(
            body=answer.body, content_type="text/plain", charset="UTF-8", headers=headers
        )
        response.headers["Cache-Control"] = "no-store"
        threshold = self._server.http_compression_from
        coding = _accepted_coding(request)
        if threshold is not None and coding is not None and len(answer.body) >= threshold:
            response.enable_compression(coding)
        return response


async def first_of(*futures: "asyncio.Future[Any]") -> None:
    """Wait until one of them is done. Cancelling is safe."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


async def _hang_up(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Answer a request whose body nobody will read; aiohttp would wait for its end."""
    response.force_close()
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        await response.write_eof()
    request.protocol.force_close()


def _query(request: web.BaseRequest) -> Mapping[str, str]:
    """Return the query; plain ones need no library, and nearly all are."""
    raw = request.raw_path.partition("?")[2]
    if "%" in raw or "+" in raw or "#" in raw:
        return request.query
    # Of several values the first one counts.
    pairs = [pair.partition("=") for pair in raw.split("&")]
    return {name: value for name, _, value in reversed(pairs)}


def _accepted_coding(request: web.BaseRequest) -> web.ContentCoding | None:
    """Return how an answer may be compressed (RFC 9110, "12.5.3. Accept-Encoding")."""
    for offer in request.headers.get("Accept-Encoding", "").lower().split(","):
        name, _, weight = offer.replace(" ", "").partition(";q=")
        if name in ("gzip", "deflate") and not (weight and not weight.strip("0.")):
            return web.ContentCoding(name)
    return None


def _refused(refusal: Refusal, headers: dict[str, str]) -> web.Response:
    return web.Response(
        status=refusal.status,
        body=refusal.body,
        content_type="application/json",
        headers=headers,
    )
