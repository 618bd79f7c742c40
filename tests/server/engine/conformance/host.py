"""The server under test, on a free port of the loopback interface."""

import asyncio
from collections import Counter
from typing import Any, Final, Protocol, Self
from urllib.parse import urlencode

from aiohttp import web

from tests.server.engine.conformance.exchange import PATIENCE, Body, Exchange, Response

ENGINE_PATH: Final = "engine.io"
SOCKET_PATH: Final = "socket.io"


class Closable(Protocol):
    """What a host closes before it stops."""

    async def close(self) -> None: ...


class Host:
    """An aiohttp application with one engine; it also closes the clients that remain."""

    def __init__(self, server: Any, path: str) -> None:
        self.server = server
        self.path = f"/{path.strip('/')}/"
        self.port = 0
        self.clients: list[Closable] = []
        self._runner: web.AppRunner | None = None

    @classmethod
    async def start(cls, server: Any, path: str | None = None) -> Self:
        """Serve an EngineServer or a SocketServer."""
        host = cls(server, path or (SOCKET_PATH if hasattr(server, "eio") else ENGINE_PATH))
        app = web.Application()
        server.attach(app, *([] if path is None else [path]))
        host._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await host._runner.setup()
        await web.TCPSite(host._runner, "127.0.0.1", 0).start()
        host.port = host._runner.addresses[0][1]
        return host

    async def stop(self) -> None:
        """Stop everything; nothing may go on afterwards."""
        assert self._runner is not None
        for client in list(self.clients):
            await client.close()
        for sid in list(self.engine.sockets):
            # The server would wait for a poll to tell them.
            await self.request("POST", self.target(sid=sid), "1")
        await self.server.shutdown()
        await self._runner.cleanup()
        await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    @property
    def engine(self) -> Any:
        """The EngineServer."""
        return getattr(self.server, "eio", self.server)

    @property
    def violations(self) -> Counter[str]:
        counted: Counter[str] = self.engine.violations
        return counted

    def target(self, transport: str | None = "polling", **query: str) -> str:
        """Return what a request line names; ``transport`` None leaves it out."""
        known = {} if transport is None else {"transport": transport}
        return f"{self.path}?{urlencode({'EIO': '4', **known, **query})}"

    async def dial(self, **options: Any) -> Exchange:
        """Open a TCP connection."""
        exchange = await Exchange.open(self.port, **options)
        self.clients.append(exchange)
        return exchange

    async def request(self, method: str, target: str, body: Body = b"", **more: Any) -> Response:
        """Make one request, on a connection of its own."""
        exchange = await self.dial()
        try:
            return await exchange.request(method, target, body, **more)
        finally:
            await exchange.close()
            self.clients.remove(exchange)


async def eventually(holds: Any) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.005)
