"""Clients of an Engine.IO server without a network, and what its handlers are told."""

import asyncio
from collections.abc import Callable
from typing import Any

from stretto_server.engine.engine_server import EngineServer
from stretto_server.engine.engine_socket import EngineSocket
from tests.server.engine.fakes import open_polling, open_websocket

Serve = Callable[..., EngineServer]


def enter(server: EngineServer, sid: str, *, polling: bool = False) -> EngineSocket:
    socket = open_polling(server, sid) if polling else open_websocket(server, sid)
    server.sockets[sid] = socket
    return socket


def told(server: EngineServer, event: str) -> list[Any]:
    """Return what a handler is told, from now on."""
    calls: list[Any] = []
    server.on(event, lambda *arguments: calls.append(arguments))
    return calls


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)
