"""The server under attack, in a process of its own: it says what is left when it is asked.

    python -m tests.server.engine.hostile.victim [--uvloop] [--stretto] [--patience N]

The first line that it writes names its port; then one line answers each word that it reads.
"""

import argparse
import asyncio
import contextlib
import ctypes
import gc
import json
import logging
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import socketio
from aiohttp import web

from stretto_core.protocol import Limits
from stretto_server.app import NODE
from stretto_server.engine import Recovery, SocketServer
from stretto_server.engine.engine_server import EngineServer
from stretto_server.server import RealtimeServer

LIMIT: Final = 1024 * 1024
"""Of a packet or a POST."""
TIMES: Final = {"ping_interval": 0.4, "ping_timeout": 1.2, "connect_timeout": 1.0}
MOST_INFLIGHT: Final = 50
STRANGERS: Final = 120
"""Connections of an address that joined nothing yet."""
SECRET: Final = "hostile-hostile-hostile-hostile-hostile"

_OURS: Final = {"serve", "Site.start", "expire_clients"}
"""Tasks that stay for the server's whole life."""


class Remembered(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {self.format(record)}"[:2_000])


def application(times: dict[str, Any]) -> SocketServer:
    """Return a server with handlers of every temper."""
    sio = SocketServer(
        cors_allowed_origins="*",
        max_http_buffer_size=LIMIT,
        max_send_buffer=256 * 1024,
        max_inflight_events=MOST_INFLIGHT,
        upgrade_timeout=times["connect_timeout"],
        write_timeout=1.0,
        compression=True,
        recovery={
            "/back": Recovery(max_disconnection_s=1.0, max_bytes=64 * 1024, max_sessions=100)
        },
        **times,
    )
    _add_handlers(sio)
    sio.on("connect", _brief_connect, namespace="/back")
    sio.on("tell", _telling(sio), namespace="/back")
    sio.on("connect", _slow_connect, namespace="/slow")
    sio.on("disconnect", _slow_disconnect, namespace="/slow")
    sio.on("connect", _refusing, namespace="/closed")
    return sio


def _add_handlers(sio: SocketServer) -> None:
    async def echo(sid: str, *data: Any) -> Any:
        return data

    def hello(sid: str, *data: Any) -> str:
        return "hello"

    async def slow(sid: str, *data: Any) -> None:
        await asyncio.sleep(0.3)

    def give(sid: str, size: int) -> str:
        return "x" * min(size, 16 * LIMIT)

    async def shout(sid: str, count: int, size: int, room: str | None = None) -> None:
        for _ in range(min(count, 10_000)):
            await sio.emit("shouted", "x" * min(size, LIMIT), room=room)
            await asyncio.sleep(0)

    async def enter(sid: str, room: str) -> None:
        with contextlib.suppress(KeyError, ValueError):  # it may have left meanwhile
            await sio.enter_room(sid, room)

    async def ask(sid: str, *data: Any) -> Any:
        try:
            return await sio.call("question", data, to=sid, timeout=30)
        except socketio.exceptions.TimeoutError:
            return None

    for handler in (echo, hello, slow, give, shout, enter, ask):
        sio.on(handler.__name__, handler)


def _telling(sio: SocketServer) -> Any:
    async def tell(sid: str, size: int) -> None:
        await sio.emit("told", "x" * min(size, LIMIT), namespace="/back")

    return tell


async def _slow_connect(sid: str, environ: Any, auth: Any) -> None:
    await asyncio.sleep(0.2)


async def _brief_connect(sid: str, environ: Any, auth: Any) -> None:
    await asyncio.sleep(0.01)


async def _slow_disconnect(sid: str, reason: Any) -> None:
    await asyncio.sleep(0.01)


async def _refusing(sid: str, environ: Any, auth: Any) -> None:
    raise socketio.exceptions.ConnectionRefusedError("closed")


class Victim:
    """Answers for one server."""

    def __init__(self, sio: SocketServer, log: Remembered) -> None:
        self.sio = sio
        self.engine: EngineServer = sio.eio
        self.log = log
        self.port = 0
        self.requests: Iterable[Any] = ()
        """The HTTP connections of aiohttp."""

    def report(self) -> dict[str, Any]:
        """Return everything that an attack might leave behind."""
        manager: Any = self.sio.manager
        rooms = [room for rooms in manager.rooms.values() for room in rooms.values()]
        return {
            "sockets": len(self.engine.sockets),
            "clients": len(self.sio._clients),
            "members": sum(map(len, manager._members.values())),
            "rooms": len(rooms),
            "in rooms": sum(map(len, rooms)),
            "timers": len(self.engine.timers._heap),
            "requests": len(self.engine._endpoint._answers),
            "events": len(self.sio._events._tasks),
            "kept": len(self.engine._tasks),
            "gathered": len(self.engine.gathered),
            "live": len(self.sio.recoveries._live),
            "http": len(list(self.requests)),
            "tasks": self._tasks(),
        }

    def history(self) -> dict[str, Any]:
        """Return what was counted, and what was said about it."""
        return {
            "violations": {str(key): count for key, count in self.engine.violations.items()},
            "aborted": self.engine.aborted,
            "log": self.log.lines,
        }

    def _tasks(self) -> dict[str, int]:
        names = (str(task.get_coro().__qualname__) for task in asyncio.all_tasks())  # type: ignore[union-attr]
        return dict(Counter(name for name in names if name not in _OURS))

    def tcp(self) -> dict[str, int]:
        """Return the kernel's view of connections to the port, but those that it only buries."""
        states: Counter[str] = Counter()
        table = Path("/proc/self/net/tcp")
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for fields in map(str.split, lines):
            if int(fields[1].rpartition(":")[2], 16) == self.port and fields[3] not in ("0A", "06"):
                states[fields[3]] += 1
        return dict(states)


def memory() -> dict[str, int]:
    """Give back what can be given back, and return what is left."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    return {"blocks": sys.getallocatedblocks(), "rss": _status("VmRSS")}


def peak() -> dict[str, int]:
    """Return the most memory since the last time that this was asked, and begin anew."""
    most = {"peak": _status("VmHWM"), "rss": _status("VmRSS")}
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")
    return most


def _status(name: str) -> int:
    path = Path("/proc/self/status")
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


async def serve(stretto: bool, patience: float) -> None:
    """Serve until the word ``stop`` comes, or nobody is there to say it."""
    log = Remembered()
    logging.basicConfig(handlers=[log])
    logging.captureWarnings(True)
    times = {name: seconds * patience for name, seconds in TIMES.items()}
    words = await _words()
    with tempfile.TemporaryDirectory(prefix="victim-") as folder:
        if stretto:
            await _serve_stretto(words, log, Path(folder), times)
        else:
            await _serve_engine(words, log, times)


async def _words() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _serve_engine(
    words: asyncio.StreamReader, log: Remembered, times: dict[str, Any]
) -> None:
    victim = Victim(application(times), log)
    app = web.Application()
    victim.sio.attach(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1_024).start()
    assert runner.server is not None
    victim.requests = _Connections(runner)
    await _answer(victim, words, runner.addresses[0][1])
    await runner.cleanup()
    print(json.dumps(victim.history()), flush=True)


async def _serve_stretto(
    words: asyncio.StreamReader, log: Remembered, folder: Path, times: dict[str, Any]
) -> None:
    server = RealtimeServer(
        host="127.0.0.1",
        port=0,
        secret=SECRET,
        journal="memory://",
        data=folder,
        drain=1.0,
        compression=True,
        limits=Limits(address_unauthenticated=STRANGERS),
        **times,
    )
    await server.start()
    node = server._app[NODE]
    assert isinstance(node.sockets, SocketServer)
    node.sockets.eio.write_timeout_ms = 1_000
    victim = Victim(node.sockets, log)
    assert server._runner is not None
    victim.requests = _Connections(server._runner)
    await _answer(victim, words, server._port)
    await server.stop()
    print(json.dumps(victim.history()), flush=True)


class _Connections:
    """The HTTP connections of a runner, looked at again each time."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner

    def __iter__(self) -> Any:
        return iter(self._runner.server.connections if self._runner.server else ())


async def _answer(victim: Victim, words: asyncio.StreamReader, port: int) -> None:
    victim.port = port
    answers = {
        "report": victim.report,
        "tcp": victim.tcp,
        "history": victim.history,
        "memory": memory,
        "peak": peak,
    }
    print(json.dumps({"port": port, "pid": os.getpid()}), flush=True)
    while word := (await words.readline()).decode().strip():
        if word == "stop":
            break
        print(json.dumps(answers[word]()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--stretto", action="store_true")
    parser.add_argument("--patience", type=float, default=1.0, help="multiplies every timeout")
    options = parser.parse_args()
    if options.uvloop:
        import uvloop

        uvloop.run(serve(options.stretto, options.patience))
    else:
        asyncio.run(serve(options.stretto, options.patience))


if __name__ == "__main__":
    main()
