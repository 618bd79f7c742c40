"""A connection that reads too slowly: what is held back, and what it hears when it is back."""

import asyncio
import errno
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from stretto_core.protocol import Limits
from stretto_server.app import NODE, Node
from stretto_server.engine.connection import HIGH_WATER
from stretto_server.engine.engine_socket import EngineSocket
from stretto_server.server import RealtimeServer
from stretto_server.sockets import Sockets
from tests.server.conftest import Connect, Serve
from tests.server.engine.conformance.exchange import Exchange
from tests.server.engine.conformance.websocket import WebSocket
from tests.server.wire import client_id, token

UNSENT = 20_000
SMALL_BUFFER = 4_096
LARGE = "x" * 10_000
PATIENCE_S = 10.0


class Reader:
    """A raw client in /docs and /rooms that can stop reading."""

    def __init__(self, server: RealtimeServer) -> None:
        self._server = server
        self.clients: list[Any] = []
        self._acks = 0
        self.heard: list[tuple[str, Any]] = []

    async def dial(self, **options: Any) -> Exchange:
        return await Exchange.open(self._server._port, **options)

    def target(self, transport: str, **query: str) -> str:
        return f"/socket.io/?EIO=4&transport={transport}"

    async def start(self) -> "Reader":
        as_host: Any = self
        self.websocket = await WebSocket.open(as_host, receive_buffer=SMALL_BUFFER)
        opened = await self.websocket.receive()
        assert isinstance(opened, str)
        self.sid: str = json.loads(opened[1:])["sid"]
        for namespace in ("/docs", "/rooms"):
            await self.websocket.send(f"40{namespace},{json.dumps({'token': token('slow')})}")
            assert str(await self.websocket.receive()).startswith(f"40{namespace},")
        # What the kernel takes for it is not ours to hold: as little as can be.
        connection = self.socket.connection
        assert connection is not None
        assert connection._transport is not None
        raw = connection._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        return self

    @property
    def socket(self) -> EngineSocket:
        return sockets_of(self._server).eio.sockets[self.sid]

    async def ask(self, namespace: str, event: str, payload: dict[str, Any]) -> int:
        """Send a request; return the id of its answer."""
        self._acks += 1
        asked = json.dumps([event, payload])
        await self.websocket.send(f"42{namespace},{self._acks}{asked}")
        return self._acks

    async def answer(self, number: int) -> dict[str, Any]:
        """Return an answer; what comes before it is heard."""
        while True:
            text = await self.next()
            head, _, data = text.partition("[")
            if head.startswith("43") and head.endswith(f",{number}"):
                return dict(json.loads("[" + data)[0])

    async def request(self, namespace: str, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        answer = await self.answer(await self.ask(namespace, event, payload))
        assert answer["ok"], answer
        return answer

    async def next(self) -> str:
        text = await self.websocket.receive()
        assert isinstance(text, str)
        if text.startswith("42"):
            event, payload = json.loads(text[text.index("[") :])
            self.heard.append((event, payload))
        return text

    async def hear(self, event: str, **having: Any) -> Any:
        """Wait for an event with these values; it and all before it are heard."""
        while True:
            await self.next()
            name, payload = self.heard[-1]
            if name == event and having.items() <= payload.items():
                return payload

    def events(self, name: str) -> list[Any]:
        return [payload for event, payload in self.heard if event == name]

    async def close(self) -> None:
        await self.websocket.close()


def node_of(server: RealtimeServer) -> Node:
    return server._app[NODE]


def sockets_of(server: RealtimeServer) -> Sockets:
    sockets = node_of(server).sockets
    assert isinstance(sockets, Sockets)
    return sockets


def is_held_back(server: RealtimeServer, reader: Reader) -> bool:
    bus: Any = node_of(server).bus
    return reader.sid in bus._missed


@pytest.fixture
async def server(serve: Serve) -> RealtimeServer:
    return await serve(limits=Limits(unsent_bytes=UNSENT), rate_limits=False)


@pytest.fixture
async def reader(server: RealtimeServer) -> AsyncIterator[Reader]:
    reader = await Reader(server).start()
    yield reader
    await reader.close()


Flood = Callable[[int], Awaitable[None]]


@pytest.fixture
def flood(server: RealtimeServer) -> Flood:
    """Say something large in the room, so many times."""

    async def say(times: int) -> None:
        for _ in range(times):
            await server.rooms.send("lobby", "noise", LARGE)
            await asyncio.sleep(0)

    return say


async def slow_down(server: RealtimeServer, reader: Reader, flood: Flood) -> None:
    """Stop reading and flood, until broadcasts are held back."""
    reader.websocket.pause()
    async with asyncio.timeout(PATIENCE_S):
        while not is_held_back(server, reader):
            await flood(1)


async def test_what_waits_for_a_slow_reader_is_bounded(
    server: RealtimeServer, reader: Reader, connect: Connect, flood: Flood
) -> None:
    await reader.request("/rooms", "join", {"room": "lobby"})
    fast = await connect("fast", namespaces=("/", "/rooms"))
    await fast.ok("join", {"room": "lobby"}, "/rooms")
    await slow_down(server, reader, flood)
    before = len(fast.events("message"))
    bound = UNSENT + HIGH_WATER + 2 * len(LARGE)
    assert UNSENT < reader.socket.unsent <= bound
    unsent = reader.socket.unsent
    await flood(300)
    assert reader.socket.unsent == unsent
    bus: Any = node_of(server).bus
    assert list(bus._missed[reader.sid][("/rooms", "room:lobby")]) == ["message"]
    # Another reader is not disturbed.
    await fast.hear("message", before + 300)
    assert (await fast.call("leave", {"room": "nowhere"}, "/rooms"))["ok"] is False
    reader.websocket.resume()
    async with asyncio.timeout(PATIENCE_S):
        while is_held_back(server, reader):
            await reader.next()
    await flood(1)
    heard = len(reader.events("message"))
    await reader.hear("message")
    assert heard < 50
    assert not reader.socket.paused


async def test_answers_are_not_held_back(
    server: RealtimeServer, reader: Reader, flood: Flood
) -> None:
    await reader.request("/rooms", "join", {"room": "lobby"})
    sid = reader.socket.client.members["/docs"].sid
    await slow_down(server, reader, flood)
    # To one connection, as answers are: it is sent, however much waits.
    await node_of(server).bus.send("/docs", sid, "closed", {"doc": "an answer"})
    # What it asks now is read, and answered, when it reads again.
    asked = await reader.ask("/rooms", "leave", {"room": "lobby"})
    await asyncio.sleep(0.02)
    assert "slow" in [one.user.id for one in await server.rooms.members("lobby")]
    reader.websocket.resume()
    assert (await reader.answer(asked))["ok"]
    assert reader.events("closed") == [{"doc": "an answer"}]
    assert await server.rooms.members("lobby") == []


async def test_a_document_says_once_that_it_is_behind(
    server: RealtimeServer, reader: Reader, flood: Flood
) -> None:
    for doc in ("notes", "quiet"):
        await reader.request("/docs", "open", {"doc": doc, "client": client_id()})
    await reader.request("/rooms", "join", {"room": "lobby"})
    await server.documents.edit("notes", ["a"])
    await reader.hear("ops", doc="notes")
    await slow_down(server, reader, flood)
    for number in range(20):
        await server.documents.edit("notes", [number + 1, "b"])
    reader.websocket.resume()
    assert await reader.hear("behind") == {"doc": "notes", "version": 21}
    await server.documents.edit("notes", ["c"])
    frame = await reader.hear("ops")
    assert (frame["from"], len(frame["ops"])) == (22, 1)
    assert len(reader.events("behind")) == 1
    fetched = await reader.request(
        "/docs", "fetch", {"doc": "notes", "epoch": frame["epoch"], "from": 2}
    )
    assert len(fetched["ops"]) == 21


async def test_a_roster_says_what_changed(
    server: RealtimeServer, reader: Reader, connect: Connect, flood: Flood
) -> None:
    ann, bob, cid = [
        await connect(name, namespaces=("/", "/rooms")) for name in ("ann", "bob", "cid")
    ]
    for wire in (ann, bob):
        await wire.ok("join", {"room": "lobby"}, "/rooms")
    await reader.request("/rooms", "join", {"room": "lobby"})
    told = await reader.hear("presence")
    while "slow" not in [one["user"]["id"] for one in told["joined"]]:
        told = await reader.hear("presence")
    await slow_down(server, reader, flood)
    await cid.ok("join", {"room": "lobby"}, "/rooms")
    await bob.ok("leave", {"room": "lobby"}, "/rooms")
    await ann.ok("set_status", {"room": "lobby", "status": "away"}, "/rooms")
    async with asyncio.timeout(PATIENCE_S):
        while "presence" not in node_missed(server, reader):
            await asyncio.sleep(0.01)
    reader.heard.clear()
    reader.websocket.resume()
    while not reader.events("presence"):
        await reader.next()
    difference = reader.events("presence")[-1]
    assert difference["room"] == "lobby"
    assert [one["user"]["id"] for one in difference["joined"]] == ["cid"]
    assert len(difference["left"]) == 1
    updated = {one["user"]["id"]: one.get("status") for one in difference["updated"]}
    assert updated == {"ann": "away", "slow": None}


def node_missed(server: RealtimeServer, reader: Reader) -> dict[str, Any]:
    bus: Any = node_of(server).bus
    return dict(bus._missed[reader.sid].get(("/rooms", "room:lobby"), {}))


async def test_a_room_says_its_last_state_again(
    server: RealtimeServer, reader: Reader, flood: Flood
) -> None:
    await reader.request("/rooms", "join", {"room": "lobby"})
    await server.rooms.set_state("lobby", {"count": 0})
    await reader.hear("state")
    await slow_down(server, reader, flood)
    for number in range(1, 6):
        await server.rooms.set_state("lobby", {"count": number})
    reader.websocket.resume()
    state = await reader.hear("state")
    assert (state["revision"], state["changes"]) == (6, {"count": 5})
    await server.rooms.set_state("lobby", {"count": 6})
    assert (await reader.hear("state"))["revision"] == 7


async def test_whoever_missed_nothing_hears_nothing(
    server: RealtimeServer, reader: Reader, flood: Flood
) -> None:
    await reader.request("/rooms", "join", {"room": "lobby"})
    await reader.hear("presence")
    sid = reader.socket.client.members["/docs"].sid
    await slow_down(server, reader, flood)
    reader.heard.clear()
    reader.websocket.resume()
    async with asyncio.timeout(PATIENCE_S):
        while is_held_back(server, reader):
            await reader.next()
    await node_of(server).bus.send("/docs", sid, "closed", {"doc": "the end"})
    await reader.hear("closed")
    assert {event for event, _ in reader.heard} == {"message", "closed"}


async def test_a_reader_that_takes_nothing_is_reset(
    server: RealtimeServer, reader: Reader, connect: Connect, flood: Flood
) -> None:
    fast = await connect("fast", namespaces=("/", "/rooms"))
    await fast.ok("join", {"room": "lobby"}, "/rooms")
    await reader.request("/rooms", "join", {"room": "lobby"})
    sockets = sockets_of(server)
    sockets.eio.write_timeout_ms = 100
    await slow_down(server, reader, flood)
    async with asyncio.timeout(PATIENCE_S):
        while reader.sid in sockets.eio.sockets:
            await asyncio.sleep(0.01)
        while len(node_of(server).connections) > 1:
            await asyncio.sleep(0.01)
    assert sockets.eio.aborted == 1
    bus: Any = node_of(server).bus
    assert bus._missed == {}
    slow_readers: Any = sockets.slow_readers
    assert slow_readers._known == {}
    # The connection is gone, for the kernel as well: its end does not wait to be read.
    raw = reader.websocket.exchange.socket
    async with asyncio.timeout(PATIENCE_S):
        while not (error := raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            await asyncio.sleep(0.01)
    assert error == errno.ECONNRESET
    reader.websocket.resume()
    assert await reader.websocket.ended() is None
    assert (await server.rooms.members("lobby"))[0].user.id == "fast"
    before = len(fast.events("message"))
    await flood(3)
    await fast.hear("message", before + 3)


async def test_a_reader_that_takes_a_little_is_not(
    server: RealtimeServer, reader: Reader, flood: Flood
) -> None:
    await reader.request("/rooms", "join", {"room": "lobby"})
    sockets = sockets_of(server)
    sockets.eio.write_timeout_ms = 3_000
    await slow_down(server, reader, flood)
    async with asyncio.timeout(PATIENCE_S):
        while is_held_back(server, reader):
            reader.websocket.resume()
            await reader.next()
            reader.websocket.pause()
    assert sockets.eio.aborted == 0
    reader.websocket.resume()


async def test_over_polling_too(server: RealtimeServer) -> None:
    url = f"{server.url}/socket.io/?EIO=4&transport=polling"
    told: list[str] = []
    async with ClientSession() as session, asyncio.timeout(PATIENCE_S):

        async def poll_for(text: str) -> str:
            """Poll until something like this was said; return it."""
            while not (said := [one for one in told if text in one]):
                async with session.get(url) as answer:
                    told.extend((await answer.text()).split("\x1e"))
            return said[0]

        async def post(body: str) -> None:
            async with session.post(url, data=body) as answer:
                assert answer.status == 200

        sid = json.loads((await poll_for('"sid"'))[1:])["sid"]
        url += f"&sid={sid}"
        await post(f"40/docs,{json.dumps({'token': token('slow')})}")
        await post(f'42/docs,1["open",{json.dumps({"doc": "notes", "client": client_id()})}]')
        await poll_for("43/docs,1")
        # It polls no more, and the document grows.
        bus: Any = node_of(server).bus
        while sid not in bus._missed:
            length = len(await server.documents.read("notes"))
            await server.documents.edit("notes", [*[length][: length > 0], LARGE])
        unsent = sockets_of(server).eio.sockets[sid].unsent
        for _ in range(50):
            await server.documents.edit("notes", [1, "y"])
        assert sockets_of(server).eio.sockets[sid].unsent == unsent
        asking = asyncio.ensure_future(post('42/docs,2["close",{"doc":"notes"}]'))
        behind = await poll_for('"behind"')
        version = (await server.documents.state("notes")).version
        assert json.loads(behind[behind.index("[") :])[1] == {"doc": "notes", "version": version}
        await poll_for("43/docs,2")
        await asking
        assert len([one for one in told if '"behind"' in one]) == 1
