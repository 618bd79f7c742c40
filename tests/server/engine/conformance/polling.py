"""A long-polling session whose every request is made by the test."""

import asyncio
import json
from typing import Any, Final, Self

from tests.server.engine.conformance.exchange import Body, Exchange, Headers, Response
from tests.server.engine.conformance.host import Host
from tests.server.engine.conformance.websocket import WebSocket

SEPARATOR: Final = "\x1e"


class Polling:
    """``opening`` is the object of the open packet."""

    def __init__(self, host: Host, response: Response) -> None:
        assert response.status == 200, response
        assert response.text.startswith("0"), response
        self.host, self.response = host, response
        self.opening: dict[str, Any] = json.loads(response.text[1:])
        self.sid: str = self.opening["sid"]

    @classmethod
    async def open(cls, host: Host, *, headers: Headers = (), **query: str) -> Self:
        """Open a session ("Handshake")."""
        return cls(host, await host.request("GET", host.target(**query), headers=headers))

    @property
    def target(self) -> str:
        return self.host.target(sid=self.sid)

    async def start_poll(self, **options: Any) -> Exchange:
        """Send a GET and leave it there."""
        exchange = await self.host.dial(**options)
        await exchange.start("GET", self.target)
        return exchange

    async def poll(self, **more: Any) -> Response:
        """Send a GET and wait for its answer."""
        return await self.host.request("GET", self.target, **more)

    async def packets(self) -> list[str]:
        """Return the packets of a poll that must succeed."""
        response = await self.poll()
        assert response.status == 200, response
        return response.text.split(SEPARATOR)

    async def post(self, body: Body, **more: Any) -> Response:
        return await self.host.request("POST", self.target, body, **more)

    async def send(self, *packets: str) -> None:
        """Post packets that must be taken."""
        response = await self.post(SEPARATOR.join(packets))
        assert (response.status, response.text) == (200, "ok")

    async def attach(self, **options: Any) -> WebSocket:
        """Open a WebSocket with this sid ("Upgrade")."""
        return await WebSocket.open(self.host, sid=self.sid, **options)

    async def upgrade(self, **options: Any) -> WebSocket:
        """Upgrade as the protocol says, no poll being under way."""
        websocket = await self.attach(**options)
        await websocket.send("2probe")
        assert await websocket.receive() == "3probe"
        await websocket.send("5")
        return websocket

    async def gone(self) -> None:
        """Wait until the server forgot the session; its handlers may end a little later."""
        assert (await self.poll()).status == 400
        async with asyncio.timeout(1):
            while self.sid in self.host.engine.sockets:
                await asyncio.sleep(0)
