"""The application that the official clients talk to: a namespace that does as it is told."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import socketio
from aiohttp import web

from stretto_server.engine import SocketServer

NAMESPACES = ("/", "/chat", "/news")
NAPPING = "/napping"
"""A namespace whose ``connect`` handler takes its time."""
NAP_S = 1.0


class Obedient(socketio.AsyncNamespace):  # type: ignore[misc]
    """One namespace. Plain handlers and coroutines are mixed, as applications do."""

    def __init__(self, namespace: str, application: "Application") -> None:
        super().__init__(namespace)
        self.application = application
        self.tries: dict[str, int] = defaultdict(int)

    async def on_connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        """Refuse, fail, greet or accept, as ``auth`` says."""
        wish = auth if isinstance(auth, dict) else {}
        if "refuse" in wish:
            raise socketio.exceptions.ConnectionRefusedError(*wish["refuse"])
        if "fail" in wish:
            raise LookupError("a bug of the application")
        if self.namespace == NAPPING:
            await asyncio.sleep(NAP_S)
        await self.save_session(sid, {"auth": auth})
        for number in range(wish.get("greetings", 0)):
            await self.emit("greeting", number, to=sid)

    def on_disconnect(self, sid: str, reason: str) -> None:
        self.application.departed.append([self.namespace, sid, reason])

    async def on_whoami(self, sid: str) -> dict[str, Any]:
        session = await self.get_session(sid)
        transport = self.server.transport(sid, namespace=self.namespace)
        return {"sid": sid, "auth": session["auth"], "transport": transport}

    def on_echo(self, sid: str, *args: Any) -> tuple[Any, ...]:
        return args

    async def on_back(self, sid: str, *args: Any) -> None:
        await self.emit("back", args, to=sid)

    def on_note(self, sid: str, number: int) -> None:
        self.application.notes.append(number)

    async def on_nap(self, sid: str, seconds: float, *args: Any) -> Any:
        await asyncio.sleep(seconds)
        return args

    async def on_second_try(self, sid: str, key: str) -> int:
        """Answer in time when asked again."""
        self.tries[key] += 1
        if self.tries[key] == 1:
            await asyncio.sleep(0.6)
        return self.tries[key]

    async def on_items(self, sid: str, count: int) -> None:
        """Send ``count`` events in one tick, every tenth with bytes."""
        for number in range(count):
            extra = (bytes([number % 256]) * 3,) if number % 10 == 9 else ()
            await self.emit("item", (number, *extra), to=sid)

    async def on_volatile_items(self, sid: str, count: int) -> None:
        for number in range(count):
            await self.server.emit("item", number, to=sid, namespace=self.namespace, volatile=True)
        await self.emit("item", "end", to=sid)

    async def on_call_me(self, sid: str, event: str, *args: Any, timeout: float = 5) -> Any:
        try:
            return await self.call(event, args, to=sid, timeout=timeout)
        except socketio.exceptions.TimeoutError:
            return "no answer"

    async def on_call_me_briefly(self, sid: str, event: str) -> Any:
        return await self.on_call_me(sid, event, timeout=0.3)

    async def on_call_room(self, sid: str, event: str, room: str, *args: Any) -> dict[str, Any]:
        found = await self.server.call_room(
            event, args, room=room, namespace=self.namespace, timeout=1.0
        )
        return {"answers": dict(found.answers), "missing": sorted(found.missing)}

    async def on_enter(self, sid: str, room: str) -> None:
        await self.enter_room(sid, room)

    async def on_leave(self, sid: str, room: str) -> None:
        await self.leave_room(sid, room)

    async def on_tell(self, sid: str, room: str, *args: Any) -> None:
        await self.emit("told", args, room=room)

    async def on_tell_others(self, sid: str, room: str, *args: Any) -> None:
        await self.emit("told", args, room=room, skip_sid=sid)

    async def on_dismiss(self, sid: str) -> None:
        await self.disconnect(sid)

    async def on_dismiss_wholly(self, sid: str) -> None:
        await self.server.disconnect(sid, namespace=self.namespace, close=True)

    async def on_drop(self, sid: str) -> None:
        """Close the transport under the client, without a word of Socket.IO."""
        await self.server.eio.disconnect(self.server.manager.eio_sid_from_sid(sid, self.namespace))


class Application:
    """A server on a port of its own, and what it has seen of its clients.

    Methods named ``ask_…`` are what the scenarios of the JavaScript client may ask for.
    """

    def __init__(self, **options: Any) -> None:
        self.departed: list[list[str]] = []
        self.notes: list[int] = []
        self._options = options
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        self.sio = SocketServer(cors_allowed_origins="*", **self._options)
        for namespace in (*NAMESPACES, NAPPING):
            self.sio.register_namespace(Obedient(namespace, self))
        app = web.Application()
        self.sio.attach(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self.sio.shutdown()
        await self._runner.cleanup()

    async def ask_restart(self, pause: float = 0.0) -> None:
        await self.stop()
        await asyncio.sleep(pause)
        await self.start()

    async def ask_notes(self, count: int) -> list[int]:
        """Return the notes once there are ``count``, or those that came within 5 s."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while len(self.notes) < count:
                    await asyncio.sleep(0.01)
        return self.notes

    async def ask_departed(self, count: int) -> list[list[str]]:
        """Return who left, and why, once ``count`` did, or those who left within 5 s."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while len(self.departed) < count:
                    await asyncio.sleep(0.01)
        return self.departed

    async def ask_connections(self, count: int) -> int:
        """Return how many Engine.IO sessions there are, given 5 s to become ``count``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while len(self.sio.eio.sockets) != count:
                    await asyncio.sleep(0.01)
        return len(self.sio.eio.sockets)

    async def ask_emit_volatile(self, event: str, value: Any, sid: str) -> None:
        await self.sio.emit(event, value, to=sid, volatile=True)

    async def ask_publish(
        self, event: str, args: list[Any], options: dict[str, Any] | None = None
    ) -> None:
        """Emit from outside of any handler; ``{"bytes": hex}`` stands for bytes."""
        await self.sio.emit(event, tuple(_with_bytes(args)), **(options or {}))


def _with_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_bytes(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"bytes"}:
        return bytes.fromhex(value["bytes"])
    return {key: _with_bytes(held) for key, held in value.items()}


def options_of(mode: str) -> dict[str, Any]:
    """Return what a server needs for clients of ``mode``."""
    if mode.startswith("msgpack"):
        return {"serializer": "msgpack"}
    return {"compression": True, "compression_threshold": 100} if mode == "deflate" else {}


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Application]:
    """Run an application, and stop it."""
    application = Application(**options)
    await application.start()
    try:
        yield application
    finally:
        await application.stop()
