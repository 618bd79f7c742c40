"""Delivery within one node: who hears what, and in which order."""

import asyncio
from typing import Any

from stretto_server.app import NODE
from stretto_server.bus.local import LocalBus
from stretto_server.server import RealtimeServer
from tests.server.conftest import Connect
from tests.server.wire import OWNER, Wire

ROOM = "room:test"


def bus_of(server: RealtimeServer) -> LocalBus:
    return server._app[NODE].bus


def sid(wire: Wire, namespace: str = "/docs") -> str:
    found = wire.sio.get_sid(namespace)
    assert found is not None
    return str(found)


async def test_a_room_hears_in_the_order_of_the_calls(
    server: RealtimeServer, connect: Connect
) -> None:
    bus = bus_of(server)
    wires = [await connect(name) for name in ("ann", "bob")]
    for wire in wires:
        await bus.join("/docs", sid(wire), ROOM)
    for number in range(200):
        await bus.broadcast("/docs", ROOM, "count", {"number": number})
    for wire in wires:
        await wire.hear("count", 200)
        assert [payload["number"] for payload in wire.events("count")] == list(range(200))


async def test_frames_and_messages_to_one_keep_their_order(
    server: RealtimeServer, connect: Connect
) -> None:
    bus, wire = bus_of(server), await connect()
    await bus.join("/docs", sid(wire), ROOM)
    for number in range(0, 100, 2):
        await bus.broadcast("/docs", ROOM, "count", {"number": number})
        await bus.send("/docs", sid(wire), "count", {"number": number + 1})
    await wire.hear("count", 100)
    assert [payload["number"] for payload in wire.events("count")] == list(range(100))


async def test_an_ack_is_not_overtaken_by_later_frames(
    server: RealtimeServer, connect: Connect
) -> None:
    wire = await connect()
    order: list[str] = []
    done = asyncio.Event()

    async def heard(_payload: Any) -> None:
        order.append("ops")
        done.set()

    def opened(_answer: Any) -> None:
        order.append("open")

    wire.sio.on("ops", heard, namespace="/docs")
    await server.documents.edit("notes", ["x"])
    editing = asyncio.create_task(_keep_editing(server, done))
    await wire.sio.emit(
        "open", {"doc": "notes", "client": "client-of-the-test"}, "/docs", callback=opened
    )
    await editing
    assert order[0] == "open"


async def _keep_editing(server: RealtimeServer, done: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        while not done.is_set():
            await server.documents.edit("notes", ["y"])


async def test_one_may_be_skipped(server: RealtimeServer, connect: Connect) -> None:
    bus = bus_of(server)
    ann, bob = await connect("ann"), await connect("bob")
    for wire in (ann, bob):
        await bus.join("/docs", sid(wire), ROOM)
    await bus.broadcast("/docs", ROOM, "count", {"number": 1}, skip=sid(ann))
    await bus.broadcast("/docs", ROOM, "count", {"number": 2})
    assert (await ann.hear("count"))["number"] == 2
    await bob.hear("count", 2)
    assert [payload["number"] for payload in bob.events("count")] == [1, 2]


async def test_a_room_belongs_to_its_namespace(server: RealtimeServer, connect: Connect) -> None:
    bus, wire = bus_of(server), await connect()
    await bus.join("/docs", sid(wire), ROOM)
    await bus.broadcast("/", ROOM, "count", {"number": 1})
    await bus.broadcast("/docs", "room:other", "count", {"number": 2})
    await bus.broadcast("/docs", ROOM, "count", {"number": 3})
    assert (await wire.hear("count"))["number"] == 3


async def test_who_has_left_hears_nothing(server: RealtimeServer, connect: Connect) -> None:
    bus, wire = bus_of(server), await connect()
    await bus.join("/docs", sid(wire), ROOM)
    await bus.leave("/docs", sid(wire), ROOM)
    await bus.broadcast("/docs", ROOM, "count", {"number": 1})
    await bus.send("/docs", sid(wire), "count", {"number": 2})
    assert (await wire.hear("count"))["number"] == 2


async def test_a_member_that_closed_hears_nothing_after_its_ack(
    server: RealtimeServer, connect: Connect
) -> None:
    wire, other = await connect("ann", OWNER), await connect("bob", OWNER)
    await wire.open()
    paper = await other.open()
    await wire.ok("close", {"doc": "notes"})
    wire.heard.clear()
    await paper.submit(["x"], 0)
    await other.hear("ops")
    await wire.code("close", {"doc": "notes"})  # a round trip behind whatever was sent
    assert wire.heard == []


async def test_those_who_are_gone_are_passed_over(server: RealtimeServer, connect: Connect) -> None:
    bus, wire = bus_of(server), await connect()
    await bus.send("/docs", "nobody", "count", {})
    await bus.send("/nowhere", sid(wire), "count", {})
    await bus.broadcast("/docs", "room:empty", "count", {})
    await bus.leave("/docs", sid(wire), "room:empty")
    await bus.leave("/nowhere", sid(wire), ROOM)
    gone = sid(wire)
    await bus.join("/docs", gone, ROOM)
    await wire.close()
    async with asyncio.timeout(5):
        await server._app[NODE].connections.empty()
    await bus.send("/docs", gone, "count", {})
    await bus.broadcast("/docs", ROOM, "count", {})


async def test_binary_data_travels_as_attachments(server: RealtimeServer, connect: Connect) -> None:
    bus, wire = bus_of(server), await connect()
    await bus.join("/docs", sid(wire), ROOM)
    await bus.broadcast("/docs", ROOM, "blob", {"data": b"\x00\x01"}, binary=True)
    assert await wire.hear("blob") == {"data": b"\x00\x01"}


async def test_python_socketio_emits_through_it(server: RealtimeServer, connect: Connect) -> None:
    sockets = server._app[NODE].sockets
    ann, bob = await connect("ann"), await connect("bob")
    for wire in (ann, bob):
        await bus_of(server).join("/docs", sid(wire), ROOM)
    await sockets.emit("said", {"n": 1}, room=ROOM, skip_sid=sid(ann), namespace="/docs")
    await sockets.emit("said", {"n": 2}, to=sid(ann), namespace="/docs")
    await sockets.emit("said", {"n": 3}, namespace="/docs")
    assert [(await ann.hear("said", count))["n"] for count in (1, 2)] == [2, 3]
    assert [(await bob.hear("said", count))["n"] for count in (1, 2)] == [1, 3]
