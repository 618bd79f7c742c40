"""python-socketio's Redis manager on our engine: two processes' worth of servers, one Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import socketio
from aiohttp import web

from stretto_server.engine import SocketServer
from tests.services.processes import running
from tests.services.redis_server import RedisServer


class Side:
    """A server, its client, and what the client heard."""

    def __init__(self, redis: str) -> None:
        self.server = SocketServer(client_manager=socketio.AsyncRedisManager(redis))
        self.client = socketio.AsyncClient()
        self.heard: list[Any] = []
        self.server.on("connect", self._connect)
        self.client.on("said", self.heard.append)
        self.client.on("question", lambda number: number + 1)

    async def _connect(self, sid: str, _environ: Any) -> None:
        await self.server.enter_room(sid, "lobby")

    async def start(self, stack: AsyncExitStack) -> None:
        app = web.Application()
        self.server.attach(app)
        runner = web.AppRunner(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        await self.client.connect(url, transports=["websocket"])
        stack.push_async_callback(self.client.disconnect)
        listening = self.server.manager.thread
        stack.callback(listening.cancel)

    async def hears(self, count: int) -> list[Any]:
        async with asyncio.timeout(10):
            while len(self.heard) < count:
                await asyncio.sleep(0.01)
        return self.heard


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[tuple[Side, Side]]:
    redis = RedisServer(tmp_path)
    with running(redis):
        async with AsyncExitStack() as stack:
            pair = Side(redis.url), Side(redis.url)
            for side in pair:
                await side.start(stack)
            await meet(*pair)
            yield pair


async def meet(one: Side, other: Side) -> None:
    """Wait until both listen to the queue."""
    async with asyncio.timeout(10):
        while not other.heard:
            await one.server.emit("said", "hello?", room="lobby")
            await asyncio.sleep(0.05)
        while "hello back" not in one.heard:
            await other.server.emit("said", "hello back", room="lobby")
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.1)
    one.heard.clear()
    other.heard.clear()


async def test_rooms_span_servers(sides: tuple[Side, Side]) -> None:
    one, other = sides
    await one.server.emit("said", {"n": 1}, room="lobby")
    await one.server.emit("said", b"2", to=other.client.get_sid())
    assert await other.hears(2) == [{"n": 1}, b"2"]
    assert await one.hears(1) == [{"n": 1}]


async def test_clients_of_other_servers_are_asked(sides: tuple[Side, Side]) -> None:
    one, other = sides
    for sid in (other.client.get_sid(), one.client.get_sid()):
        assert await one.server.call("question", 41, to=sid, timeout=10) == 42
