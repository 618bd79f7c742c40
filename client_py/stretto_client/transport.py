"""One connection to a server: the only module that knows python-socketio.

A transport is used once: connect, then requests and events until it is lost or closed.
Whoever wants the connection back makes a new one, so nothing of an old connection (its
acks, its half-read packets) can reach a new one.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeAlias

import aiohttp
import socketio

from stretto_client.compression import WINDOW_BITS, ThriftyWebSocket
from stretto_core.errors import (
    InternalError,
    InvalidRequest,
    StrettoError,
    Unavailable,
    error_from_payload,
)
from stretto_core.protocol import NAMESPACES

try:
    import orjson
except ImportError:  # the extra "server" brings it; without it we are only slower
    orjson = None  # type: ignore[assignment]

Payload: TypeAlias = dict[str, Any]
OnEvent: TypeAlias = Callable[[str, str, Payload], None]
"""Called with namespace, event and payload, in the order of arrival."""
OnLost: TypeAlias = Callable[[StrettoError | None], None]
"""Called once when a connection that stood is lost, with the reason where one is known."""

TRANSPORTS: Final = ("websocket", "polling")
FRAME_BYTES: Final = 64 * 1024 * 1024
"""Largest frame accepted. One answer may hold a whole document (1 Mi characters, each up
to 12 bytes as JSON) and its members; aiohttp's default of 4 MiB would cut it off."""

_quiet = logging.getLogger("stretto_client.wire")
# At INFO python-socketio logs whole packets, tokens included.
_quiet.setLevel(logging.CRITICAL)


class Transport(Protocol):
    """What :class:`~stretto_client.client.RealtimeClient` needs of a connection."""

    async def connect(self, token: str) -> None:
        """Connect and join all namespaces. Raises StrettoError; cancelling cleans up."""

    async def request(self, namespace: str, event: str, payload: Payload) -> Payload:
        """Send one event and return its answer.

        Raises the error that the server answered, and Unavailable when the connection
        is lost or no answer came in time: what became of the request is then unknown,
        as it is when the call is cancelled.
        """

    async def close(self) -> None:
        """Close the connection; requests that wait raise Unavailable."""


TransportFactory: TypeAlias = Callable[[OnEvent, OnLost], Transport]


class _Json:
    """The JSON of our packets: compact, and fast where orjson is installed."""

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        if orjson is not None:
            return orjson.dumps(value).decode()
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    @staticmethod
    def loads(text: str | bytes, **_: Any) -> Any:
        return orjson.loads(text) if orjson is not None else json.loads(text)


class _Packet(socketio.packet.Packet):  # type: ignore[misc]
    """A packet with our JSON. The library's own setting would be one for the process."""

    json = _Json


class SocketTransport:
    """A Socket.IO connection: WebSocket where possible, else long-polling.

    With ``compression`` it offers permessage-deflate to the server, which decides.
    """

    def __init__(
        self,
        url: str,
        on_event: OnEvent,
        on_lost: OnLost,
        *,
        namespaces: Sequence[str] = NAMESPACES,
        transports: Sequence[str] = TRANSPORTS,
        connect_timeout: float = 10.0,
        request_timeout: float = 60.0,
        path: str = "/socket.io/",
        compression: bool = False,
    ) -> None:
        self._url = url
        self._compression = compression
        self._path = path
        self._namespaces = tuple(namespaces)
        self._transports = tuple(transports)
        self._connect_timeout = connect_timeout
        self._request_timeout = request_timeout
        self._on_event = on_event
        self._on_lost = on_lost
        self._sio: Any = None
        self._session: aiohttp.ClientSession | None = None
        self._joining: dict[str, asyncio.Future[None]] = {}
        self._waiting: set[asyncio.Future[Payload]] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._connected = False
        self._ended = False

    async def connect(self, token: str) -> None:
        """Connect and join every namespace with ``token``.

        Raises the error of a refusal, and Unavailable when the server cannot be reached
        or does not answer in time. Cancelling cleans up.
        """
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._open_any(token)
                await self._joined()
            if self._ended:  # after the last answer, and before we could look at it
                raise _lost("the connection was lost")
        except TimeoutError:
            await self.close()
            raise _lost(f"no answer from {self._url} in time") from None
        except BaseException:
            await self.close()
            raise
        self._connected = True

    async def _open_any(self, token: str) -> None:
        for last, transport in enumerate(self._transports, 1 - len(self._transports)):
            # A proxy may swallow WebSockets without a word: leave time for the next one.
            share = self._connect_timeout if last == 0 else self._connect_timeout / 2
            try:
                async with asyncio.timeout(share):
                    await self._open(token, transport)
                return
            except (socketio.exceptions.ConnectionError, aiohttp.ClientError, OSError) as error:
                await self._drop()
                if last == 0:
                    raise _lost(f"cannot connect to {self._url}: {error}") from error

    async def _open(self, token: str, transport: str) -> None:
        loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(ws_response_class=ThriftyWebSocket)
        self._sio = sio = socketio.AsyncClient(
            reconnection=False,
            logger=_quiet,
            engineio_logger=_quiet,
            serializer=_Packet,
            handle_sigint=False,
            http_session=self._session,
            request_timeout=self._connect_timeout,
            websocket_extra_options={
                "max_msg_size": FRAME_BYTES,
                "compress": WINDOW_BITS if self._compression else 0,
            },
        )
        self._joining = {name: loop.create_future() for name in self._namespaces}
        for name in self._namespaces:
            self._listen(sio, name)
        await sio.connect(
            self._url,
            auth={"token": token},
            transports=[transport],
            namespaces=list(self._namespaces),
            socketio_path=self._path.strip("/"),
            wait=False,
        )
        self._watcher = loop.create_task(self._watch(sio))

    def _listen(self, sio: Any, namespace: str) -> None:
        def connected() -> None:
            if self._connected_to(sio):
                self._settle(namespace, None)

        def refused(*data: Any) -> None:
            if self._connected_to(sio):
                self._settle(namespace, _refusal(data[0] if data else None))

        def disconnected(*_: Any) -> None:
            # A namespace alone is never given back: the server means the connection.
            if self._connected_to(sio):
                self._lose(None)

        def event(name: str, *data: Any) -> None:
            if self._connected_to(sio) and len(data) == 1 and isinstance(data[0], dict):
                self._on_event(namespace, name, data[0])

        sio.on("connect", connected, namespace=namespace)
        sio.on("connect_error", refused, namespace=namespace)
        sio.on("disconnect", disconnected, namespace=namespace)
        sio.on("*", event, namespace=namespace)

    def _connected_to(self, sio: Any) -> bool:
        return self._sio is sio

    def _settle(self, namespace: str, error: StrettoError | None) -> None:
        joining = self._joining.get(namespace)
        if joining is None or joining.done():
            return
        if error is None:
            joining.set_result(None)
        else:
            joining.set_exception(error)
            joining.exception()  # where connecting failed before, nobody waits for it

    async def _joined(self) -> None:
        """Wait for the answers of all namespaces; the first refusal is raised."""
        joining = list(self._joining.values())
        try:
            await asyncio.gather(*joining)
        finally:
            for future in joining:
                if not future.cancel() and not future.cancelled():
                    future.exception()  # several refusals: one was raised, the rest is known

    async def _watch(self, sio: Any) -> None:
        """Notice the end of the transport, which python-socketio tells only partly."""
        # Shielded, since cancelling the wait would cancel the library's read loop.
        await asyncio.shield(asyncio.ensure_future(sio.eio.wait()))
        if self._connected_to(sio):
            self._lose(None)

    def _lose(self, error: StrettoError | None) -> None:
        self._ended = True
        lost = error or _lost("the connection was lost")
        for joining in self._joining:
            self._settle(joining, lost)
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_exception(_lost("the connection was lost"))
        if self._connected:
            self._connected = False
            self._on_lost(error)

    async def request(self, namespace: str, event: str, payload: Payload) -> Payload:
        """Send one event and return its answer. See :class:`Transport`.

        Raises InvalidRequest for what JSON cannot hold.
        """
        if not self._connected:
            raise _lost("not connected")
        answer: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()

        def answered(*data: Any) -> None:
            if not answer.done():
                _answer(answer, data)

        self._waiting.add(answer)
        try:
            async with asyncio.timeout(self._request_timeout):
                await self._sio.emit(event, payload, namespace=namespace, callback=answered)
                return await answer
        except TimeoutError:
            raise _lost(f"no answer to {event} in time") from None
        except socketio.exceptions.SocketIOError as error:
            raise _lost(f"cannot send {event}: {error}") from error
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"{event} cannot be sent: {error}") from error
        finally:
            self._waiting.discard(answer)

    async def close(self) -> None:
        """Close the connection; requests that wait raise Unavailable."""
        self._connected = False
        self._lose(None)
        await self._drop()

    async def _drop(self) -> None:
        """Give up what is left of a connection, without waiting for a peer that hangs."""
        sio, self._sio = self._sio, None
        session, self._session = self._session, None
        watcher, self._watcher = self._watcher, None
        try:
            if sio is not None:
                with suppress(Exception):
                    async with asyncio.timeout(1.0):
                        await sio.disconnect()
        finally:  # cancelled or not
            if watcher is not None:
                watcher.cancel()
            if session is not None:
                await session.close()


def _lost(message: str) -> Unavailable:
    """Return the error of a connection that is not there; nobody asked us to wait."""
    return Unavailable(message, retry_after_ms=0)


def _answer(answer: "asyncio.Future[Payload]", data: Sequence[Any]) -> None:
    """Settle a request with the ack object that the contract describes."""
    ack = data[0] if len(data) == 1 else None
    if not isinstance(ack, Mapping):
        answer.set_exception(InternalError("the answer is not an ack object"))
    elif ack.get("ok") is True:
        answer.set_result({key: value for key, value in ack.items() if key != "ok"})
    else:
        error = ack.get("error")
        answer.set_exception(error_from_payload(error if isinstance(error, Mapping) else {}))


def _refusal(data: object) -> StrettoError:
    """Return the error of a CONNECT_ERROR payload."""
    if not isinstance(data, Mapping):
        return _lost("the connection was refused" + (f": {data}" if data else ""))
    error = data.get("data")
    if isinstance(error, Mapping) and "code" in error:
        return error_from_payload(error)
    return error_from_payload({"code": "not_found", "message": str(data.get("message", ""))})
