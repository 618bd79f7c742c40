"""Clients of a Socket.IO server over fake transports: no network, no sleeping."""

import asyncio
import json
from typing import Any, Self

from stretto_core.eio.websocket import Opcode
from stretto_server.engine.members import Member, SocketClient
from stretto_server.engine.socket_server import SocketServer
from tests.server.engine.conformance.frames import message
from tests.server.engine.fakes import FakeTransport, open_websocket, transport_of

TURNS = 12
"""Turns of the loop in which everything happens that waits for nobody."""


async def settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Peer:
    """One client, on a WebSocket."""

    def __init__(self, server: SocketServer, name: str) -> None:
        self.server = server
        self.socket = open_websocket(server.eio, name)
        server.eio.sockets[name] = self.socket
        request: Any = None
        assert server.connecting(self.socket, request) is None
        self.transport: FakeTransport = transport_of(self.socket)

    @classmethod
    async def enter(cls, server: SocketServer, name: str, *namespaces: str) -> Self:
        """Connect to namespaces that accept; what they say is not heard again."""
        peer = cls(server, name)
        for namespace in namespaces or ("/",):
            await peer.say(f"0{namespace},")
            assert any(text.startswith("0") for text in peer.heard() if isinstance(text, str))
        return peer

    async def say(self, *messages: str | bytes) -> None:
        """Send messages of Socket.IO, in one segment, and let everything settle."""
        frames = [message(one if isinstance(one, bytes) else "4" + one).wire for one in messages]
        self.transport.protocol.data_received(b"".join(frames))
        await settle()

    def heard(self) -> list[str | bytes]:
        """Return the messages received since the last time; other frames end the list."""
        wire = self.transport.take_written()
        heard: list[str | bytes] = []
        while wire:
            size, start = wire[1], 2
            if size > 125:
                width = 2 if size == 126 else 8
                size, start = int.from_bytes(wire[2 : 2 + width]), 2 + width
            kind, payload, wire = wire[0] & 0xF, wire[start : start + size], wire[start + size :]
            if kind == Opcode.CLOSE:
                heard.append(f"<closed {int.from_bytes(payload)}>")
            else:
                heard.append(payload if kind == Opcode.BINARY else payload.decode()[1:])
        return heard

    def events(self) -> list[Any]:
        """Return the events among what was heard: each a list that starts with its name."""
        texts = [text for text in self.heard() if isinstance(text, str) and text[0] == "2"]
        return [json.loads(text[text.index("[") :]) for text in texts]

    @property
    def client(self) -> SocketClient:
        client: SocketClient = self.socket.client
        return client

    def member(self, namespace: str = "/") -> Member:
        return self.client.members[namespace]

    def sid(self, namespace: str = "/") -> str:
        return self.member(namespace).sid

    async def leave(self) -> None:
        """Lose the connection."""
        self.transport.lose()
        await settle()
