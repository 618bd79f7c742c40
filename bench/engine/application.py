"""The Python server that is measured: ``python -m bench.engine.application '<options as JSON>'``.

The same few events as ``bench/peers/socketio.mjs``; ``engine`` chooses whose code runs them.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

import uvloop
from aiohttp import web

Options = Mapping[str, Any]

DEFAULTS: Final[Options] = {
    "engine": "ours",
    "handlers": "plain",
    "compression": False,
    "ping_interval": 25,
}
BACKLOG: Final = 4096


def create_server(options: Options) -> Any:
    """Return the Socket.IO server that is asked for."""
    if options["engine"] == "stock":
        import socketio

        return socketio.AsyncServer(ping_interval=options["ping_interval"])
    from stretto_server.engine import SocketServer

    return SocketServer(ping_interval=options["ping_interval"], compression=options["compression"])


def add_events(sio: Any, handlers: str) -> None:
    """Register what every contender answers."""
    clients: set[str] = set()

    def connect(sid: str, _environ: object) -> None:
        clients.add(sid)

    def disconnect(sid: str, _reason: str) -> None:
        clients.discard(sid)

    def count(_sid: str) -> int:
        return len(clients)

    def members(_sid: str) -> int:
        return sum(1 for _ in sio.manager.get_participants("/", "all"))

    async def join(sid: str, rooms: list[str]) -> int:
        for room in rooms:
            await sio.enter_room(sid, room)
        return len(rooms)

    async def broadcast(_sid: str, message: object) -> None:
        await sio.emit("event", message, room="all")

    for handler in (connect, disconnect, count, members, join, broadcast):
        sio.on(handler.__name__, handler)
    sio.on("echo", echo if handlers == "plain" else async_echo)


def echo(_sid: str, message: object) -> object:
    """Answer an event with what it brought."""
    return message


async def async_echo(_sid: str, message: object) -> object:
    """Do the same as a coroutine."""
    return message


async def serve(options: Options) -> None:
    """Serve until the process is ended."""
    sio = create_server(options)
    add_events(sio, options["handlers"])
    app = web.Application()
    sio.attach(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=BACKLOG).start()
    print(f"ready {runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve({**DEFAULTS, **json.loads(sys.argv[1])}))
