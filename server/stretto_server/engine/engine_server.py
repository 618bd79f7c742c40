"""An Engine.IO 4 server on aiohttp with the interface of ``engineio.AsyncServer``."""

import asyncio
import json
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from types import TracebackType
from typing import Any, Final

from aiohttp import web

from stretto_core.eio import actions as do
from stretto_core.eio.actions import CloseReason, SessionSettings
from stretto_core.eio.handshake import Transport
from stretto_core.eio.violations import Reason
from stretto_server.engine.connection import WebSocketConnection
from stretto_server.engine.encoded import Encoded
from stretto_server.engine.endpoint import Endpoint
from stretto_server.engine.engine_socket import EngineSocket, Observer
from stretto_server.engine.handlers import Handlers
from stretto_server.engine.handover import check_aiohttp
from stretto_server.engine.origins import Allowed, Origins
from stretto_server.engine.quiet import keep_quiet
from stretto_server.engine.timers import Timers

REPORT_S: Final = 60.0
"""How often, at the most, a log line says what peers did wrong."""

LEAVE_S: Final = 1.0
"""How long clients may take to hear that the server shuts down."""

default_logger = logging.getLogger("stretto_server.engine")


class EngineServer:
    """Serves Engine.IO clients over long-polling and WebSockets.

    The arguments are those of ``engineio.AsyncServer``: times in seconds, exact to the
    millisecond, sizes in bytes. Besides: ``upgrade_timeout`` for a WebSocket that is to
    replace polling; ``max_send_buffer``, what may wait for one client before ``on_slow`` is
    asked; ``write_timeout``, after which a client that takes nothing is cut off;
    ``compression``, whether permessage-deflate is negotiated and WebSocket messages from
    ``compression_threshold`` bytes on are compressed; ``allow_request(request)``, which
    refuses handshakes with False. ``async_mode`` and ``monitor_clients`` change nothing.
    """

    class reason:  # noqa: N801 - the name that python-engineio's users know
        """Why a client is gone."""

        SERVER_DISCONNECT = CloseReason.SERVER_DISCONNECT.value
        CLIENT_DISCONNECT = CloseReason.CLIENT_DISCONNECT.value
        PING_TIMEOUT = CloseReason.PING_TIMEOUT.value
        TRANSPORT_CLOSE = CloseReason.TRANSPORT_CLOSE.value
        TRANSPORT_ERROR = CloseReason.TRANSPORT_ERROR.value
        PARSE_ERROR = CloseReason.PARSE_ERROR.value

    event_names: Final = ("connect", "disconnect", "message")

    def __init__(
        self,
        async_mode: str | None = None,
        ping_interval: float | tuple[float, float] = 25,
        ping_timeout: float = 20,
        max_http_buffer_size: int = 1_000_000,
        allow_upgrades: bool = True,
        http_compression: bool = True,
        compression_threshold: int = 1024,
        cookie: str | dict[str, Any] | None = None,
        cors_allowed_origins: Allowed = None,
        cors_credentials: bool = True,
        logger: bool | logging.Logger = False,
        json: Any = json,
        async_handlers: bool = True,
        monitor_clients: bool | None = None,
        transports: str | Sequence[str] | None = None,
        *,
        upgrade_timeout: float = 10.0,
        max_send_buffer: int = 1024 * 1024,
        write_timeout: float = 10.0,
        compression: bool = False,
        allow_request: Callable[[web.BaseRequest], bool] | None = None,
    ) -> None:
        if async_mode not in (None, "aiohttp"):
            raise ValueError("this engine runs on aiohttp")
        check_aiohttp()
        grace = 0.0
        if isinstance(ping_interval, tuple):
            ping_interval, grace = ping_interval
        self.async_mode = "aiohttp"
        self.settings = SessionSettings(
            ping_interval=round((ping_interval + grace) * 1000),
            ping_timeout=round(ping_timeout * 1000),
            upgrade_timeout=round(upgrade_timeout * 1000),
            max_payload=max_http_buffer_size,
            unsent_bytes=max_send_buffer,
            upgrades=allow_upgrades and "websocket" in _transports(transports),
        )
        self.transports = _transports(transports)
        self.transports_served = frozenset(Transport(name) for name in self.transports)
        self.origins = Origins(cors_allowed_origins, credentials=cors_credentials)
        self.cookie = cookie
        self.json = json
        self.logger = logger if isinstance(logger, logging.Logger) else default_logger
        if logger is True:
            self.logger.setLevel(logging.INFO)
        self.async_handlers = async_handlers
        self.write_timeout_ms = round(write_timeout * 1000)
        self.http_compression_from = compression_threshold if http_compression else None
        self.deflate_from = compression_threshold if compression else None
        self.sockets: dict[str, EngineSocket] = {}
        self.handlers: dict[str, Callable[..., Any]] = {}
        self.timers = Timers()
        self.observer: Observer = Handlers(self)
        self.on_slow: Callable[[str, int], bool | None] | None = None
        """Asked when more than ``max_send_buffer`` waits for a client, with its sid and the
        bytes. True keeps it; otherwise the next message to it ends it."""
        self.violations: Counter[Reason] = Counter()
        """How many connections were closed for what their peer sent."""
        self.aborted = 0
        """How many connections were cut off because their peer read nothing."""
        self._reported: Counter[Reason] = Counter()
        self._report: asyncio.TimerHandle | None = None
        self._allow_request = allow_request
        self._endpoint = Endpoint(self)
        self._numbers = count(1)
        self.gathered: list[EngineSocket] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Future[Any]] = set()
        self._emptied: asyncio.Future[None] | None = None
        self._shutting_down = False

    def is_asyncio_based(self) -> bool:
        """Return True."""
        return True

    # For applications.

    def on(self, event: str, handler: Callable[..., Any] | None = None) -> Any:
        """Register ``connect(sid, environ)``, ``message(sid, data)``, ``disconnect(sid, reason)``.

        Without a handler it returns a decorator. ``connect`` refuses a client by returning
        anything but None and True; a ``disconnect`` of one argument is served too. Raises
        ValueError for any other event.
        """
        if event not in self.event_names:
            raise ValueError(f"there is no event {event!r}: use one of {self.event_names}")
        if handler is None:
            return lambda decorated: self._register(event, decorated)
        self._register(event, handler)
        return None

    def _register(self, event: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        self.handlers[event] = handler
        return handler

    def attach(self, app: web.Application, engineio_path: str = "engine.io") -> None:
        """Serve an application's path; its shutdown closes every client."""
        keep_quiet()
        path = f"/{engineio_path.strip('/')}/"
        app.router.add_route("*", path, self.handle_request)
        app.on_shutdown.append(self._shut_down)

    async def handle_request(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request: the handler that :meth:`attach` registers."""
        return await self._endpoint.handle(request)

    async def send(self, sid: str, data: Any) -> None:
        """Send a message: text, bytes, or what becomes JSON. One that is gone is passed over."""
        socket = self.sockets.get(sid)
        if socket is not None:
            if isinstance(data, bytearray | memoryview):
                data = bytes(data)
            message = data if isinstance(data, str | bytes) else self.dumps(data)
            socket.send(Encoded.of_messages(message))

    async def send_packet(self, sid: str, pkt: Any) -> None:
        """Send a message given as a packet of python-engineio."""
        await self.send(sid, pkt.data)

    async def disconnect(self, sid: str | None = None) -> None:
        """End a client, or all of them. Its handlers are told at once."""
        socket = self.sockets.get(sid) if sid is not None else None
        for each in [socket] if sid is not None else list(self.sockets.values()):
            if each is not None:
                each.close()

    def transport(self, sid: str) -> str:
        """Return ``polling`` or ``websocket``. Raises KeyError."""
        return "websocket" if self._socket(sid).upgraded else "polling"

    async def get_session(self, sid: str) -> dict[str, Any]:
        """Return what the application keeps of a client. Raises KeyError."""
        socket = self._socket(sid)
        if socket.session is None:
            socket.session = {}
        return socket.session

    async def save_session(self, sid: str, session: dict[str, Any]) -> None:
        """Keep something of a client. Raises KeyError."""
        self._socket(sid).session = session

    def session(self, sid: str) -> "SavedSession":
        """Return an asynchronous context manager that saves what was changed in it."""
        return SavedSession(self, sid)

    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a coroutine function as a task, which is kept until it ends, and returned."""
        return self.keep(target(*args, **kwargs))

    async def sleep(self, seconds: float = 0) -> None:
        """Sleep. Cancelling is safe."""
        await asyncio.sleep(seconds)

    def create_queue(self, *args: Any, **kwargs: Any) -> "asyncio.Queue[Any]":
        """Return an ``asyncio.Queue``."""
        return asyncio.Queue(*args, **kwargs)

    def get_queue_empty_exception(self) -> type[asyncio.QueueEmpty]:
        """Return ``asyncio.QueueEmpty``."""
        return asyncio.QueueEmpty

    def create_event(self, *args: Any, **kwargs: Any) -> asyncio.Event:
        """Return an ``asyncio.Event``."""
        return asyncio.Event(*args, **kwargs)

    def generate_id(self) -> str:
        """Return a new session id: 120 random bits."""
        return secrets.token_urlsafe(15)

    async def shutdown(self) -> None:
        """Close every client, give them a moment to hear it, and stop every timer."""
        self._shutting_down = True
        for socket in list(self.sockets.values()):
            socket.close(leaving=True)
        self.flush()
        if self.sockets:
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._emptied], timeout=LEAVE_S)
        for socket in list(self.sockets.values()):
            if socket.core is not None:
                socket.perform(socket.core.abort())
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=1.0)
        for owner in self.timers.stop():
            if isinstance(owner, WebSocketConnection):
                owner.abort()  # its peer has not answered the close frame
        if self._report is not None:
            self._report.cancel()
            self._log_violations()

    # For the parts of the engine.

    def begin_gathering(self) -> None:
        """Write what is gathered at the end of this turn of the loop."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what was gathered: one write for each connection."""
        # Writing may gather more, for the next time; the list itself stays.
        gathered = self.gathered.copy()
        self.gathered.clear()
        for socket in gathered:
            socket.flush()

    def number(self) -> int:
        """Return another name for a request or a WebSocket."""
        return next(self._numbers)

    def answer(self, action: do.Respond | do.Refuse) -> None:
        """Answer an HTTP request."""
        self._endpoint.answer(action)

    def allows(self, request: web.BaseRequest) -> bool:
        """Ask the application's ``allow_request``; nobody enters a server that shuts down."""
        if self._shutting_down:
            return False
        return self._allow_request is None or bool(self._allow_request(request))

    def dumps(self, value: Any) -> str:
        """Return JSON."""
        return str(self.json.dumps(value, separators=(",", ":")))

    def keep(self, work: Awaitable[Any]) -> "asyncio.Future[Any]":
        """Hold a reference to a task until it ends."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def forget(self, socket: EngineSocket) -> None:
        """Let a sid be unknown."""
        self.sockets.pop(socket.sid, None)
        self.timers.set(socket, None)
        if not self.sockets and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def ask_about_slow(self, socket: EngineSocket, size: int) -> bool:
        """Ask the application whether to keep a slow client."""
        if self.on_slow is None:
            return False
        try:
            return bool(self.on_slow(socket.sid, size))
        except Exception:
            self.logger.exception("the on_slow hook failed")
            return False

    def note_aborted(self) -> None:
        """Count a connection that is cut off."""
        self.aborted += 1

    def note_violation(self, reason: Reason) -> None:
        """Count what a peer did wrong, and say so once in a while."""
        self.violations[reason] += 1
        if self._report is None:
            self._report = asyncio.get_running_loop().call_later(REPORT_S, self._log_violations)

    def _log_violations(self) -> None:
        self._report = None
        fresh = self.violations - self._reported
        self._reported = Counter(self.violations)
        if fresh:
            reasons = ", ".join(f"{reason} {number}" for reason, number in fresh.most_common())
            self.logger.warning("closed connections for what they sent: %s", reasons)

    def cookie_header(self, sid: str) -> dict[str, str]:
        """Return the header that sets the cookie, if there is to be one."""
        if not self.cookie:
            return {}
        attributes: dict[str, Any] = (
            dict(self.cookie)
            if isinstance(self.cookie, dict)
            else {"name": self.cookie, "path": "/", "HttpOnly": True, "SameSite": "Lax"}
        )
        parts = [f"{attributes.pop('name', 'io')}={sid}"]
        for name, value in attributes.items():
            value = value() if callable(value) else value
            parts.append(name if value is True else f"{name}={value}")
        return {"Set-Cookie": "; ".join(parts)}

    def _socket(self, sid: str) -> EngineSocket:
        socket = self.sockets.get(sid)
        if socket is None or socket.closed:
            raise KeyError("Session is disconnected" if socket else "Session not found")
        return socket

    async def _shut_down(self, _app: web.Application) -> None:
        await self.shutdown()


class SavedSession:
    """What ``async with server.session(sid)`` gives."""

    def __init__(self, server: EngineServer, sid: str) -> None:
        self._server = server
        self._sid = sid
        self._session: dict[str, Any] = {}

    async def __aenter__(self) -> dict[str, Any]:
        self._session = await self._server.get_session(self._sid)
        return self._session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._server.save_session(self._sid, self._session)


def _transports(given: str | Sequence[str] | None) -> list[str]:
    names = [given] if isinstance(given, str) else list(given or ("polling", "websocket"))
    served = [name for name in names if name in ("polling", "websocket")]
    if not served:
        raise ValueError("no transport is left: use polling, websocket or both")
    return served
