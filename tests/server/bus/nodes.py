"""Nodes with clients: Socket.IO servers that share a Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import socketio
from aiohttp import web

from stretto_core.errors import Unavailable
from stretto_server.bus.channels import Channels
from stretto_server.bus.redis import RedisBus
from stretto_server.engine import SocketServer
from stretto_server.metrics import Metrics

PATIENCE_S = 20.0
LOBBY = "room:lobby"


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await asyncio.sleep(0.005)


def counted(metrics: Metrics, name: str) -> float:
    return metrics.registry.get_sample_value(f"stretto_{name}") or 0.0


class Ear:
    """A follower that keeps what it hears; ``None`` is something missed."""

    def __init__(self) -> None:
        self.heard: list[bytes | None] = []

    def hear(self, message: bytes) -> None:
        self.heard.append(message)

    def missed(self) -> None:
        self.heard.append(None)


class Client:
    """One client of a node, and what it hears; it answers ``question`` with one more."""

    def __init__(self, **options: Any) -> None:
        self.sio = socketio.AsyncClient(reconnection=False, **options)
        self.heard: list[Any] = []
        self.gone = False
        self.sio.on("said", self.heard.append)
        self.sio.on("question", lambda number: number + 1)
        self.sio.on("silence", self._never)
        self.sio.on("disconnect", self._left)

    async def _never(self, *_arguments: Any) -> None:
        await asyncio.Event().wait()

    def _left(self, *_arguments: Any) -> None:
        self.gone = True

    @property
    def sid(self) -> str:
        return str(self.sio.get_sid())

    async def hears(self, count: int) -> list[Any]:
        await until(lambda: len(self.heard) >= count)
        return self.heard


class Node:
    """One node. Its bus tells followers of losses at once, and tries subscriptions often."""

    def __init__(
        self,
        stack: AsyncExitStack,
        url: str,
        name: str,
        *,
        serializer: str = "default",
        recovery: Any = None,
        **options: Any,
    ) -> None:
        self._stack = stack
        self.metrics = Metrics()
        self.bus = RedisBus(
            url,
            self.metrics,
            node=name,
            **{
                "trial_s": 60.0,
                "channels": Channels(linger_s=0.05, spread_s=0.0),
                **options,
            },
        )
        self.sio = SocketServer(client_manager=self.bus, serializer=serializer, recovery=recovery)
        self.sio.on("connect", lambda *_: None)

    async def start(self) -> "Node":
        await self.bus.start()
        self._stack.push_async_callback(self.bus.close)
        app = web.Application()
        self.sio.attach(app)
        runner = web.AppRunner(app)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        self._stack.push_async_callback(self.sio.shutdown)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return self

    async def client(self, *rooms: str, **options: Any) -> Client:
        client = Client(**options)
        await client.sio.connect(self.address, transports=["websocket"])
        self._stack.push_async_callback(client.sio.shutdown)
        for room in rooms:
            await self.bus.join("/", client.sid, room)
        return client

    def counted(self, name: str) -> float:
        return counted(self.metrics, name)


@asynccontextmanager
async def some_nodes(url: str, *names: str, **options: Any) -> AsyncIterator[list[Node]]:
    async with AsyncExitStack() as stack:
        yield [await Node(stack, url, name, **options).start() for name in names]


async def say(node: Node, what: Any, **options: Any) -> None:
    await node.bus.broadcast("/", LOBBY, "said", {"": what}, **options)


def said(client: Client) -> list[Any]:
    return [payload[""] for payload in client.heard]


async def until_said(node: Node, what: Any) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await say(node, what)
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                return
