"""Clients that keep themselves alive: over polling, WebSocket, or one after the other."""

import asyncio
import json
from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from contextlib import suppress
from typing import Any, Final, Self

from tests.server.engine.conformance.exchange import PATIENCE
from tests.server.engine.conformance.host import Host
from tests.server.engine.conformance.polling import SEPARATOR, Polling
from tests.server.engine.conformance.websocket import Ended, WebSocket

KINDS: Final = ("polling", "websocket", "upgraded")

Message = str | bytes


class Peer(ABC):
    """Messages go in and out without the type that Engine.IO puts before them."""

    sid: str
    """The session's, not that of a namespace."""

    @abstractmethod
    async def send(self, *messages: Message) -> None:
        """Send messages: in one TCP segment, or in one POST."""

    @abstractmethod
    async def receive(self) -> Message:
        """Return the next message; raises Ended when there will be none."""

    async def take(self, count: int) -> list[Message]:
        """Return the next messages."""
        return [await self.receive() for _ in range(count)]

    async def enter(self, namespace: str = "/", auth: Any = None) -> str:
        """Connect to a namespace that must accept; return the sid there."""
        prefix = "0" if namespace == "/" else f"0{namespace},"
        await self.send(prefix + ("" if auth is None else json.dumps(auth)))
        answer = await self.receive()
        assert isinstance(answer, str)
        assert answer.startswith(prefix + "{"), answer
        sid: str = json.loads(answer.removeprefix(prefix))["sid"]
        return sid

    async def ended(self) -> None:
        """Wait until the server ended the session; further messages do not matter."""
        with suppress(Ended):
            while True:
                await self.receive()

    @abstractmethod
    async def close(self) -> None:
        """Go away."""


class WebSocketPeer(Peer):
    """Over a WebSocket, from the beginning or since an upgrade."""

    def __init__(self, websocket: WebSocket, sid: str) -> None:
        self.websocket, self.sid = websocket, sid

    @classmethod
    async def open(cls, host: Host, **options: Any) -> Self:
        websocket = await WebSocket.open(host, **options)
        opening = await websocket.receive()
        assert isinstance(opening, str)
        return cls(websocket, json.loads(opening[1:])["sid"])

    @classmethod
    async def upgrade(cls, host: Host) -> Self:
        session = await Polling.open(host)
        return cls(await session.upgrade(), session.sid)

    async def send(self, *messages: Message) -> None:
        await self.websocket.send(*(m if isinstance(m, bytes) else "4" + m for m in messages))

    async def receive(self) -> Message:
        received = await self.websocket.receive()
        if isinstance(received, bytes):
            return received
        assert received.startswith("4"), received
        return received[1:]

    async def close(self) -> None:
        await self.websocket.close()


class PollingPeer(Peer):
    """Polls all the time, and posts one body after the other."""

    def __init__(self, session: Polling) -> None:
        self.session, self.sid = session, session.sid
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue()
        self._posting = asyncio.Lock()
        self._polling = asyncio.create_task(self._poll())

    @classmethod
    async def open(cls, host: Host, **options: Any) -> Self:
        peer = cls(await Polling.open(host, **options))
        host.clients.append(peer)
        return peer

    async def send(self, *messages: Message) -> None:
        await self._post(*map(_record, messages))

    async def receive(self) -> Message:
        async with asyncio.timeout(PATIENCE):
            received = await self._inbox.get()
        if received is None:
            self._inbox.put_nowait(None)
            raise Ended(None)
        return received

    async def close(self) -> None:
        if not self._polling.done():
            await self._post("1")
            await asyncio.wait([self._polling], timeout=PATIENCE)
        self._polling.cancel()

    async def _post(self, *packets: str) -> None:
        async with self._posting:
            with suppress(EOFError, ConnectionError):
                await self.session.post(SEPARATOR.join(packets))

    async def _poll(self) -> None:
        try:
            while (response := await self.session.poll()).status == 200:
                for packet in response.text.split(SEPARATOR):
                    await self._take(packet)
        except (EOFError, ConnectionError):
            pass
        self._inbox.put_nowait(None)

    async def _take(self, packet: str) -> None:
        if packet == "2":
            await self._post("3")
        elif packet.startswith("b"):
            self._inbox.put_nowait(b64decode(packet[1:], validate=True))
        elif packet not in ("1", "6"):
            assert packet.startswith("4"), packet
            self._inbox.put_nowait(packet[1:])


def _record(data: Message) -> str:
    return "b" + b64encode(data).decode() if isinstance(data, bytes) else "4" + data


async def join(host: Host, kind: str) -> Peer:
    """Open a session of one of the kinds."""
    if kind == "polling":
        return await PollingPeer.open(host)
    return await (WebSocketPeer.open if kind == "websocket" else WebSocketPeer.upgrade)(host)
