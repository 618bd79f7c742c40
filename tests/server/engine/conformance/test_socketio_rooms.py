"""Rooms: who hears what, over whichever transport."""

from typing import Any

import pytest

from stretto_server.engine import SocketServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.host import Host, eventually
from tests.server.engine.conformance.peer import KINDS, Peer, join

ZERO = '{"_placeholder":true,"num":0}'


class Guest:
    """A client in the main namespace."""

    def __init__(self, peer: Peer, sid: str) -> None:
        self.peer, self.sid = peer, sid

    async def hears(self, *events: Any) -> None:
        """Check that these came, and nothing else."""
        await self.peer.send('20["fence"]')
        expected = [*events, "30[]"]
        assert await self.peer.take(len(expected)) == expected


async def party(serve: Serve, *kinds: str) -> tuple[Host, list[Guest]]:
    sio = SocketServer(namespaces=["/", "/other"])
    sio.on("fence", lambda sid: None)
    host = await serve(sio)
    guests = []
    for kind in kinds:
        peer = await join(host, kind)
        guests.append(Guest(peer, await peer.enter()))
    return host, guests


@pytest.mark.parametrize("order", [KINDS, KINDS[::-1], KINDS * 2])
async def test_binary_to_all_transports(serve: Serve, order: tuple[str, ...]) -> None:
    """Packet encoding: a packet for many has its own form on each transport, in any order."""
    host, guests = await party(serve, *order)
    for guest in guests:
        await host.server.enter_room(guest.sid, "hall")
    await host.server.emit("e", {"a": b"\x01\x02"}, room="hall")
    await host.server.emit("e", b"", room="hall")
    await host.server.emit("e", "text", room="hall")
    for guest in guests:
        await guest.hears(
            *(f'51-["e",{{"a":{ZERO}}}]', b"\x01\x02", f'51-["e",{ZERO}]', b"", '2["e","text"]')
        )


@pytest.mark.parametrize("kind", KINDS)
async def test_rooms_are_entered_and_left(serve: Serve, kind: str) -> None:
    """``enter_room``, ``leave_room``, ``rooms`` and ``close_room``."""
    host, (ann, bob) = await party(serve, kind, kind)
    sio = host.server
    for _ in range(2):
        await sio.enter_room(ann.sid, "hall")
    await sio.enter_room(bob.sid, "hall")
    await sio.enter_room(ann.sid, 7)
    assert set(sio.rooms(ann.sid)) == {ann.sid, "hall", 7}
    await sio.emit("one", room="hall")
    await sio.leave_room(bob.sid, "hall")
    await sio.leave_room(bob.sid, "nowhere")
    await sio.emit("two", room="hall")
    await sio.emit("seven", room=7)
    await sio.close_room("hall")
    await sio.emit("three", room="hall")
    assert set(sio.rooms(ann.sid)) == {ann.sid, 7}
    assert sio.rooms(bob.sid) == [bob.sid]
    assert sio.rooms("unknown") == []
    await ann.hears('2["one"]', '2["two"]', '2["seven"]')
    await bob.hears('2["one"]')


async def test_who_is_addressed(serve: Serve) -> None:
    """``to`` and ``room``: one client, a room, several rooms (each client once), or all."""
    host, (ann, bob, cy) = await party(serve, *KINDS)
    sio = host.server
    await sio.enter_room(ann.sid, "a")
    await sio.enter_room(bob.sid, "a")
    await sio.enter_room(bob.sid, "b")
    await sio.emit("all")
    await sio.emit("one", to=ann.sid)
    await sio.emit("room", room="a")
    await sio.emit("rooms", to=["a", "b"])
    await sio.emit("sids", room=[ann.sid, cy.sid, "b"])
    await sio.emit("nobody", room="c")
    await sio.emit("nobody", to=["c", "d"])
    await sio.emit("nobody", namespace="/other")
    await sio.emit("nobody", namespace="/none")
    await ann.hears('2["all"]', '2["one"]', '2["room"]', '2["rooms"]', '2["sids"]')
    await bob.hears('2["all"]', '2["room"]', '2["rooms"]', '2["sids"]')
    await cy.hears('2["all"]', '2["sids"]')


async def test_who_is_skipped(serve: Serve) -> None:
    """``skip_sid``: one or several, in a room or among all."""
    host, (ann, bob, cy) = await party(serve, *KINDS)
    sio = host.server
    for guest in (ann, bob, cy):
        await sio.enter_room(guest.sid, "hall")
    await sio.emit("1", skip_sid=ann.sid)
    await sio.emit("2", room="hall", skip_sid=[ann.sid, bob.sid])
    await sio.emit("3", skip_sid=[])
    await sio.emit("4", skip_sid="unknown")
    await sio.send("5", skip_sid=cy.sid)
    await ann.hears('2["3"]', '2["4"]', '2["message","5"]')
    await bob.hears('2["1"]', '2["3"]', '2["4"]', '2["message","5"]')
    await cy.hears('2["1"]', '2["2"]', '2["3"]', '2["4"]')


async def test_rooms_of_other_namespaces(serve: Serve) -> None:
    """Connection to a namespace: its own sids and rooms, with the same names or not."""
    host, (ann, bob) = await party(serve, "websocket", "polling")
    sio = host.server
    other = await ann.peer.enter("/other")
    await sio.enter_room(other, "hall", namespace="/other")
    await sio.enter_room(bob.sid, "hall")
    await sio.emit("main", room="hall")
    await sio.emit("other", room="hall", namespace="/other")
    assert sio.rooms(ann.sid) == [ann.sid]
    assert set(sio.rooms(other, "/other")) == {other, "hall"}
    assert sio.rooms(other) == []
    await bob.hears('2["main"]')
    await ann.hears('2/other,["other"]')


async def test_whose_room_is_whose(serve: Serve) -> None:
    """A client's own room is closed to the others, and nobody can close it."""
    host, (ann, bob) = await party(serve, "websocket", "websocket")
    with pytest.raises(ValueError):
        await host.server.enter_room(ann.sid, bob.sid)
    with pytest.raises(ValueError):
        await host.server.close_room(bob.sid)
    with pytest.raises(ValueError):
        await host.server.enter_room(ann.sid, "hall", namespace="/none")
    await host.server.emit("e", to=bob.sid)
    await ann.hears()
    await bob.hears('2["e"]')


async def test_who_leaves_is_in_no_room(serve: Serve) -> None:
    """Disconnection: rooms forget their members, and end with the last one."""
    host, (ann, bob) = await party(serve, "websocket", "polling")
    sio = host.server
    await sio.enter_room(ann.sid, "hall")
    await sio.enter_room(bob.sid, "hall")
    await ann.peer.send("1")
    await eventually(lambda: sio.rooms(ann.sid) == [])
    await sio.emit("e", room="hall")
    await sio.emit("e", to=ann.sid)
    assert [sid for sid, _ in sio.manager.get_participants("/", "hall")] == [bob.sid]
    again = await ann.peer.enter()
    assert again != ann.sid
    assert sio.rooms(again) == [again]
    await ann.hears()
    await bob.hears('2["e"]')


async def test_rooms_of_a_client_in_its_disconnect_handler(serve: Serve) -> None:
    """The handler of a disconnect still sees the rooms and the session of its client."""
    host, (ann,) = await party(serve, "websocket")
    sio = host.server
    seen: list[Any] = []

    async def disconnect(sid: str, reason: str) -> None:
        seen.append((set(sio.rooms(sid)), await sio.get_session(sid), reason))

    sio.on("disconnect", disconnect)
    await sio.enter_room(ann.sid, "hall")
    await sio.save_session(ann.sid, {"name": "ann"})
    await ann.peer.send("1")
    await eventually(lambda: len(seen) == 1)
    assert seen == [({ann.sid, "hall"}, {"name": "ann"}, "client disconnect")]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_broadcast_keeps_its_order(serve: Serve, kind: str) -> None:
    """Sending data: events of one connection arrive in the order of their emits."""
    host, guests = await party(serve, kind, "websocket", "polling")
    sio = host.server
    expected: list[Any] = []
    for number in range(50):
        target = None if number % 3 else guests[0].sid
        data = bytes([number]) if number % 7 == 0 else number
        await sio.emit("e", data, to=target)
        if isinstance(data, bytes):
            expected += [f'51-["e",{ZERO}]', data]
        else:
            expected.append(f'2["e",{number}]')
    await guests[0].hears(*expected)
