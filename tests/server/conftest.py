"""Servers and raw clients that end with their test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stretto_server.server import RealtimeServer
from tests.server.wire import SECRET, Wire

Connect = Callable[..., Awaitable[Wire]]
Serve = Callable[..., Awaitable[RealtimeServer]]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "REDIS_URL", "DATABASE_URL", "WEB_CONCURRENCY", "DYNO"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start servers with settings of the test's choice."""
    servers: list[RealtimeServer] = []

    async def start(**settings: Any) -> RealtimeServer:
        server = RealtimeServer(
            **{
                "port": 0,
                "secret": SECRET,
                "host": "127.0.0.1",
                "journal": "memory://",
                "data": tmp_path,
                "drain": 1.0,
                **settings,
            }
        )
        await server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def server(serve: Serve) -> RealtimeServer:
    """A server with a memory journal."""
    return await serve()


@pytest.fixture
async def connect(server: RealtimeServer) -> AsyncIterator[Connect]:
    """Connect raw clients to ``server``, or to another one given as ``to``."""
    wires: list[Wire] = []

    async def start(*arguments: Any, to: RealtimeServer | None = None, **options: Any) -> Wire:
        wire = await Wire.connect(to or server, *arguments, **options)
        wires.append(wire)
        return wire

    yield start
    for wire in wires:
        await wire.close()
