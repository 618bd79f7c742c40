"""Delivery on python-engineio's server: who hears what, and in which order."""

import asyncio
from typing import Any

import pytest

from stretto_server.app import NODE
from stretto_server.bus.stock import StockBus
from stretto_server.server import RealtimeServer
from tests.server.conftest import Connect, Serve
from tests.server.wire import Wire

ROOM = "room:test"


@pytest.fixture
async def server(serve: Serve) -> RealtimeServer:
    return await serve(engine="stock")


def bus_of(server: RealtimeServer) -> StockBus:
    bus = server._app[NODE].bus
    assert isinstance(bus, StockBus)
    return bus


def sid(wire: Wire, namespace: str = "/docs") -> str:
    found = wire.sio.get_sid(namespace)
    assert found is not None
    return str(found)


async def heard(wire: Wire, count: int) -> list[Any]:
    await wire.hear("count", count)
    return [payload["number"] for payload in wire.events("count")]


async def test_frames_and_messages_to_one_keep_their_order(
    server: RealtimeServer, connect: Connect
) -> None:
    bus = bus_of(server)
    wires = [await connect(name) for name in ("ann", "bob")]
    for wire in wires:
        await bus.join("/docs", sid(wire), ROOM)
    for number in range(0, 100, 2):
        await bus.broadcast("/docs", ROOM, "count", {"number": number})
        for wire in wires:
            await bus.send("/docs", sid(wire), "count", {"number": number + 1})
    for wire in wires:
        assert await heard(wire, 100) == list(range(100))


async def test_a_payload_may_be_json_already(server: RealtimeServer, connect: Connect) -> None:
    bus, wire = bus_of(server), await connect()
    await bus.join("/docs", sid(wire), ROOM)
    bus.deliver_json("/docs", ROOM, "count", '{"number":"é"}')
    assert await heard(wire, 1) == ["é"]


async def test_an_ack_is_not_overtaken_by_later_frames(
    server: RealtimeServer, connect: Connect
) -> None:
    wire = await connect()
    order: list[str] = []
    done = asyncio.Event()

    async def ops(_payload: Any) -> None:
        order.append("ops")
        done.set()

    wire.sio.on("ops", ops, namespace="/docs")
    await server.documents.edit("notes", ["x"])
    request = {"doc": "notes", "client": "client-of-the-test"}
    await wire.sio.emit("open", request, "/docs", callback=lambda _answer: order.append("open"))
    async with asyncio.timeout(5):
        while not done.is_set():
            await server.documents.edit("notes", ["y"])
    assert order[0] == "open"


async def test_one_may_be_skipped(server: RealtimeServer, connect: Connect) -> None:
    bus = bus_of(server)
    ann, bob = await connect("ann"), await connect("bob")
    for wire in (ann, bob):
        await bus.join("/docs", sid(wire), ROOM)
    await bus.broadcast("/docs", ROOM, "count", {"number": 1}, skip=sid(ann))
    await bus.broadcast("/docs", ROOM, "count", {"number": 2})
    assert await heard(ann, 1) == [2]
    assert await heard(bob, 2) == [1, 2]


async def test_who_has_left_hears_nothing(server: RealtimeServer, connect: Connect) -> None:
    bus, wire = bus_of(server), await connect()
    await bus.join("/docs", sid(wire), ROOM)
    await bus.broadcast("/", ROOM, "count", {"number": 0})
    await bus.leave("/docs", sid(wire), ROOM)
    await bus.broadcast("/docs", ROOM, "count", {"number": 1})
    await bus.send("/docs", sid(wire), "count", {"number": 2})
    assert await heard(wire, 1) == [2]


async def test_those_who_are_gone_are_passed_over(server: RealtimeServer, connect: Connect) -> None:
    bus, wire = bus_of(server), await connect()
    await bus.send("/docs", "nobody", "count", {})
    await bus.broadcast("/docs", "room:empty", "count", {})
    gone = sid(wire)
    await bus.join("/docs", gone, ROOM)
    await wire.close()
    async with asyncio.timeout(5):
        await server._app[NODE].connections.empty()
    await bus.send("/docs", gone, "count", {})
    await bus.broadcast("/docs", ROOM, "count", {})


@pytest.mark.parametrize("transports", [("polling", "websocket"), ("websocket", "polling")])
async def test_binary_data_reaches_each_transport_in_its_own_form(
    server: RealtimeServer, connect: Connect, transports: tuple[str, str]
) -> None:
    bus = bus_of(server)
    wires = [await connect(name, transport=name) for name in transports]
    for wire in wires:
        await bus.join("/docs", sid(wire), ROOM)
    await bus.broadcast("/docs", ROOM, "blob", {"data": b"\x00\x01"}, binary=True)
    assert [await wire.hear("blob") for wire in wires] == [{"data": b"\x00\x01"}] * 2


async def test_python_socketio_emits_through_it(server: RealtimeServer, connect: Connect) -> None:
    sockets: Any = server._app[NODE].sockets
    ann, bob = await connect("ann"), await connect("bob")
    for wire in (ann, bob):
        await bus_of(server).join("/docs", sid(wire), ROOM)
    await sockets.emit("said", {"n": 1}, room=ROOM, skip_sid=sid(ann), namespace="/docs")
    await sockets.emit("said", {"n": 2}, to=sid(ann), namespace="/docs")
    await sockets.emit("said", {"n": 3}, namespace="/docs")
    await sockets.emit("both", ("a", "b"), skip_sid=[sid(bob)], namespace="/docs")
    assert [(await ann.hear("said", count))["n"] for count in (1, 2)] == [2, 3]
    assert [(await bob.hear("said", count))["n"] for count in (1, 2)] == [1, 3]
    await ann.hear("both")
    assert bob.events("both") == []


async def test_a_callback_gets_the_answer(server: RealtimeServer, connect: Connect) -> None:
    sockets: Any = server._app[NODE].sockets
    wire = await connect()
    wire.sio.on("ask", lambda data: data + 1, namespace="/docs")
    assert await sockets.call("ask", 1, to=sid(wire), namespace="/docs", timeout=5) == 2
