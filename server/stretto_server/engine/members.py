"""Who is in a namespace: one member for each client and namespace."""

import asyncio
from collections import deque
from collections.abc import Iterable
from enum import Enum
from typing import Any, Final

from stretto_server.engine.codecs import PacketDecoder
from stretto_server.engine.encoded import Encoded
from stretto_server.engine.engine_socket import EngineSocket
from stretto_server.engine.timers import NEVER


class MemberState(Enum):
    """How far a member is."""

    CONNECTING = "its connect handler has not accepted it yet"
    CONNECTED = "events go both ways"
    LEAVING = "its disconnect handler runs"


class Held:
    """Stands where a member's socket will be: keeps what is sent before it is connected.

    A client expects nothing of a namespace before the CONNECT packet.
    """

    pending: Final = None
    deflate_from: Final = None

    def __init__(self) -> None:
        self.kept: list[Encoded] = []

    def send(self, encoded: Encoded, *, volatile: bool = False) -> None:
        """Keep a packet; volatile ones are dropped, as for anybody who cannot take them."""
        if not volatile:
            self.kept.append(encoded)


class Member:
    """One client in one namespace. ``rooms`` are those that it entered, its own not among them.

    ``callbacks`` wait for acks by id. ``pid`` and ``since`` belong to connection state recovery.
    ``ended`` is done once a member that leaves is forgotten.
    """

    __slots__ = (
        *("callbacks", "client", "ended", "last_ack", "namespace", "pid", "recovered", "rooms"),
        *("sid", "since", "socket", "state"),
    )

    def __init__(self, client: "SocketClient", namespace: str, sid: str) -> None:
        self.client = client
        self.namespace = namespace
        self.sid = sid
        self.state = MemberState.CONNECTING
        self.socket: EngineSocket | Held = Held()
        self.rooms: set[Any] | None = None
        self.callbacks: dict[int, Any] | None = None
        self.last_ack = 0
        self.pid: str | None = None
        self.since = 0
        self.recovered = False
        self.ended: asyncio.Future[None] | None = None

    def welcome(self, connect: Encoded, missed: Iterable[Encoded] = ()) -> None:
        """Send the CONNECT packet, then what was kept; from now on nothing is.

        What a client missed comes before: it takes these events with the packet.
        """
        held = self.socket
        self.socket = self.client.socket
        for encoded in missed:
            self.socket.send(encoded)
        self.socket.send(connect)
        if isinstance(held, Held):
            for encoded in held.kept:
                self.socket.send(encoded)


class SocketClient:
    """What Socket.IO keeps of one Engine.IO client. Its deadline is that of the first CONNECT.

    ``greeted`` tells whether it ever asked to join a namespace.

    ``running`` counts events whose handlers run, ``waiting`` holds those that may not yet;
    both only while there are any. ``changing`` counts how often it joins or leaves just now.
    """

    __slots__ = (
        *(
            "changes",
            "changing",
            "decoder",
            "due",
            "gone",
            "greeted",
            "members",
            "running",
            "socket",
        ),
        *("waiting", "watched"),
    )

    def __init__(self, socket: EngineSocket, decoder: PacketDecoder) -> None:
        self.socket = socket
        self.decoder = decoder
        self.members: dict[str, Member] = {}
        self.changes: dict[str, Any] | None = None
        self.changing = 0
        self.running = 0
        self.waiting: deque[Any] | None = None
        self.greeted = False
        self.gone = False
        self.due = self.watched = NEVER

    def tick(self, _now: int) -> None:
        """End a client that joined no namespace in time."""
        if not self.members:
            self.socket.close()
