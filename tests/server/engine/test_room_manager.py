"""Who is in which room, and what reaches them; the clients are fakes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import socketio
from hypothesis import given, settings
from hypothesis import strategies as st
from socketio.async_pubsub_manager import AsyncPubSubManager

from stretto_core.eio.websocket import deflated_frame
from stretto_server.engine.answers import Answer
from stretto_server.engine.engine_socket import MOST_PENDING
from stretto_server.engine.members import Held, Member, MemberState
from stretto_server.engine.room_manager import EVERYBODY, RoomManager, with_rooms
from stretto_server.engine.socket_server import SocketServer
from tests.server.engine.peers import Peer, settle

SPACES = ["/", "/chat"]


@pytest.fixture
async def server() -> AsyncIterator[SocketServer]:
    server = SocketServer(namespaces=SPACES)
    yield server
    await server.shutdown()


@pytest.fixture
def manager(server: SocketServer) -> RoomManager:
    manager: RoomManager = server.manager
    return manager


# Members.


async def test_a_member_comes_and_goes(server: SocketServer, manager: RoomManager) -> None:
    peer = await Peer.enter(server, "engine")
    sid = peer.sid()
    member = manager.member(sid, "/")
    assert member is peer.member()
    assert manager.is_connected(sid, "/")
    assert not manager.is_pre_connected(sid, "/")
    assert manager.sid_from_eio_sid("engine", "/") == sid
    assert manager.eio_sid_from_sid(sid, "/") == "engine"
    assert list(manager.get_namespaces()) == ["/"]
    assert await manager.pre_connect("engine", "/") is None
    assert manager.pre_disconnect(sid, "/") == "engine"
    assert not manager.is_connected(sid, "/")
    assert await manager.connect(sid, "/") == sid
    assert not manager.is_connected(sid, "/")
    manager.basic_disconnect(sid, "/")
    manager.basic_disconnect(sid, "/")
    assert manager.member(sid, "/") is None
    assert peer.client.members == {}
    assert (manager.rooms, list(manager.get_namespaces())) == ({}, [])


async def test_a_member_is_connected_once_it_was_accepted(
    server: SocketServer, manager: RoomManager
) -> None:
    peer = Peer(server, "engine")
    sid = await manager.pre_connect("engine", "/chat")
    assert sid is not None
    assert manager.is_pre_connected(sid, "/chat")
    assert not manager.is_connected(sid, "/chat")
    await manager.connect(sid, "/chat")
    assert manager.is_connected(sid, "/chat")
    assert peer.member("/chat").state is MemberState.CONNECTED


async def test_whoever_is_nobody(manager: RoomManager) -> None:
    assert await manager.pre_connect("nobody", "/") is None
    assert manager.member("nobody", "/") is None
    assert manager.sid_from_eio_sid("nobody", "/") is None
    assert manager.eio_sid_from_sid("nobody", "/") is None
    assert manager.pre_disconnect("nobody", "/") is None
    assert not manager.is_pre_connected("nobody", "/")
    assert not manager.is_connected("nobody", "/")
    assert manager.get_rooms("nobody", "/") == []
    assert await manager.connect("nobody", "/") == "nobody"
    manager.basic_leave_room("nobody", "/", "room")
    manager.basic_close_room("room", "/")


# Rooms.


async def test_rooms(server: SocketServer, manager: RoomManager) -> None:
    ann, bob = await Peer.enter(server, "ann"), await Peer.enter(server, "bob")
    one, two = ann.sid(), bob.sid()
    for _ in range(2):
        manager.basic_enter_room(one, "/", "room")
    manager.basic_enter_room(two, "/", "room")
    manager.basic_enter_room(one, "/", 5)
    assert manager.get_rooms(one, "/")[0] == one
    assert set(manager.get_rooms(one, "/")) == {one, "room", 5}
    assert list(manager.get_participants("/", "room")) == [(one, "ann"), (two, "bob")]
    assert list(manager.get_participants("/", [5, "room", one])) == [(one, "ann"), (two, "bob")]
    assert list(manager.get_participants("/", two)) == [(two, "bob")]
    assert len(list(manager.get_participants("/", EVERYBODY))) == 2
    assert list(manager.get_participants("/elsewhere", "room")) == []
    manager.basic_leave_room(one, "/", "room")
    manager.basic_leave_room(one, "/", "room")
    assert list(manager.get_participants("/", "room")) == [(two, "bob")]
    manager.basic_close_room("room", "/")
    assert "room" not in manager.rooms["/"]
    assert manager.get_rooms(two, "/") == [two]


async def test_a_members_own_room_is_its_own(server: SocketServer, manager: RoomManager) -> None:
    ann, bob = await Peer.enter(server, "ann"), await Peer.enter(server, "bob")
    manager.basic_enter_room(ann.sid(), "/", ann.sid())
    manager.basic_enter_room(ann.sid(), "/", EVERYBODY)
    assert ann.member().rooms is None
    with pytest.raises(ValueError, match="sid room"):
        manager.basic_enter_room(ann.sid(), "/", bob.sid())
    with pytest.raises(ValueError, match="sid room"):
        manager.basic_close_room(bob.sid(), "/")
    assert manager.is_sid_room("/", ann.sid())
    assert not manager.is_sid_room("/chat", ann.sid())
    assert not manager.is_sid_room("/", 5)


async def test_only_members_enter(server: SocketServer, manager: RoomManager) -> None:
    with pytest.raises(ValueError, match="not connected"):
        manager.basic_enter_room("nobody", "/", "room")
    await Peer.enter(server, "ann")
    with pytest.raises(KeyError):
        manager.basic_enter_room("nobody", "/", "room")


async def test_leaving_costs_as_much_as_one_has_rooms(
    server: SocketServer, manager: RoomManager
) -> None:
    ann, bob = await Peer.enter(server, "ann"), await Peer.enter(server, "bob")
    for number in range(3):
        manager.basic_enter_room(ann.sid(), "/", f"own {number}")
    for number in range(50):
        manager.basic_enter_room(bob.sid(), "/", number)
    manager.basic_enter_room(ann.sid(), "/", 7)
    touched: list[Any] = []
    take_out = manager._take_out

    def noted(member: Member, room: Any) -> None:
        touched.append(room)
        take_out(member, room)

    manager._take_out = noted  # type: ignore[method-assign]
    await ann.leave()
    assert sorted(map(str, touched)) == ["7", "None", "own 0", "own 1", "own 2"]
    assert len(manager.rooms["/"]) == 51


names = st.sampled_from("abc")
steps = st.lists(
    st.tuples(st.sampled_from(["enter", "leave", "close", "disconnect"]), st.integers(0, 3), names),
    max_size=25,
)


@settings(deadline=None)
@given(steps)
def test_rooms_are_what_was_entered_and_not_left(script: list[tuple[str, int, str]]) -> None:
    async def play() -> None:
        server = SocketServer(namespaces=SPACES)
        manager: RoomManager = server.manager
        peers = [Peer(server, str(number)) for number in range(4)]
        sids = [await manager.pre_connect(peer.socket.sid, "/") for peer in peers]
        expected: dict[str, set[str]] = {name: set() for name in "abc"}
        here = set(sids)
        for step, number, room in script:
            sid = sids[number]
            assert sid is not None
            if step == "enter" and sid in here:
                manager.basic_enter_room(sid, "/", room)
                expected[room].add(sid)
            elif step == "leave":
                manager.basic_leave_room(sid, "/", room)
                expected[room].discard(sid)
            elif step == "close":
                manager.basic_close_room(room, "/")
                expected[room].clear()
            elif step == "disconnect":
                manager.basic_disconnect(sid, "/")
                here.discard(sid)
                for each in expected.values():
                    each.discard(sid)
        shown = {name: {one.sid for one in manager.audience("/", name)} for name in "abc"}
        assert shown == expected
        assert {one.sid for one in manager.audience("/", None)} == here
        kept = {room for room in manager.rooms.get("/", {}) if room is not EVERYBODY}
        assert kept == {name for name, members in expected.items() if members}
        await server.shutdown()

    asyncio.run(play())


# Delivery.


async def test_who_hears_an_event(server: SocketServer, manager: RoomManager) -> None:
    peers = {name: await Peer.enter(server, name, *SPACES) for name in ("ann", "bob", "cid")}
    ann, bob, cid = (peer.sid("/chat") for peer in peers.values())
    for sid in (ann, bob):
        manager.basic_enter_room(sid, "/chat", "room")
    await manager.emit("1", None, "/chat")
    await manager.emit("2", None, "/chat", room="room")
    await manager.emit("3", None, "/chat", to="room", skip_sid=ann)
    await manager.emit("4", None, "/chat", skip_sid=[ann, bob])
    await manager.emit("5", None, "/chat", room=cid)
    await manager.emit("6", None, "/chat", room=["room", cid, bob])
    await manager.emit("7", None, "/chat", room="empty")
    await manager.emit("8", None, "/chat", room=[])
    await settle()
    heard = {name: "".join(event[0] for event in peer.events()) for name, peer in peers.items()}
    assert heard == {"ann": "126", "bob": "1236", "cid": "1456"}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, '2["e"]'),
        ((), '2["e"]'),
        ((1, {"a": 2}), '2["e",1,{"a":2}]'),
        ([1, 2], '2["e",[1,2]]'),
        ("é", '2["e","é"]'),
    ],
)
async def test_arguments(server: SocketServer, manager: RoomManager, data: Any, text: str) -> None:
    peer = await Peer.enter(server, "ann")
    await manager.emit("e", data, "/")
    await settle()
    assert peer.heard() == [text]


async def test_attachments_follow(server: SocketServer, manager: RoomManager) -> None:
    peer = await Peer.enter(server, "ann")
    await manager.emit("e", {"a": b"x"}, "/")
    await settle()
    assert peer.heard() == ['51-["e",{"a":{"_placeholder":true,"num":0}}]', b"x"]


@pytest.mark.parametrize(
    ("event", "data", "error"),
    [("connect", None, ValueError), ("e", object(), TypeError), ("e", {1, 2}, TypeError)],
)
async def test_what_cannot_be_sent(
    server: SocketServer, manager: RoomManager, event: str, data: Any, error: type[Exception]
) -> None:
    peer = await Peer.enter(server, "ann")
    with pytest.raises(error):
        await manager.emit(event, data, "/")
    await settle()
    assert peer.heard() == []


async def test_a_broadcast_is_encoded_once_and_written_once_a_turn(
    server: SocketServer, manager: RoomManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = [await Peer.enter(server, str(number)) for number in range(5)]
    encoded: list[Any] = []
    encode = server.codec.encode

    def noted(packet: Any) -> Any:
        encoded.append(packet)
        return encode(packet)

    monkeypatch.setattr(server.codec, "encode", noted)
    for number in range(3):
        await manager.emit("e", number, "/")
    assert len(encoded) == 3
    assert [peer.heard() for peer in peers] == [[]] * 5
    await settle()
    assert [peer.heard() for peer in peers] == [['2["e",0]', '2["e",1]', '2["e",2]']] * 5


async def test_very_many_broadcasts_do_not_wait_for_the_turn(
    server: SocketServer, manager: RoomManager
) -> None:
    peer = await Peer.enter(server, "ann")
    for number in range(MOST_PENDING + 1):
        await manager.emit("e", number, "/")
    assert len(peer.heard()) == MOST_PENDING
    await settle()
    assert peer.heard() == [f'2["e",{MOST_PENDING}]']


async def test_broadcasts_and_answers_to_one_keep_their_order(
    server: SocketServer, manager: RoomManager
) -> None:
    peer = await Peer.enter(server, "ann")
    await manager.emit("1", None, "/")
    peer.socket.send_text(b'42["2"]')
    await manager.emit("3", None, "/", room=peer.sid())
    peer.transport.full = True
    await manager.emit("4", "x" * 70_000, "/")
    await settle()
    await manager.emit("5", None, "/")
    await settle()
    assert [event[0] for event in peer.events()] == ["1", "2", "3", "4"]
    peer.transport.drain()
    await manager.emit("6", None, "/")
    await settle()
    assert [event[0] for event in peer.events()] == ["5", "6"]


async def test_volatile_events_pass_those_over_who_cannot_take_them(
    server: SocketServer, manager: RoomManager
) -> None:
    slow, fast = await Peer.enter(server, "slow"), await Peer.enter(server, "fast")
    slow.transport.full = True
    await manager.emit("large", "x" * 70_000, "/")
    await settle()
    for _ in range(20):
        await manager.emit("v", "x" * 70_000, "/", volatile=True)
    await manager.emit("kept", None, "/")
    await settle()
    assert [event[0] for event in fast.events()] == ["large", *["v"] * 20, "kept"]
    slow.transport.drain()
    heard = [event[0] for event in slow.events()]
    assert (heard[0], heard[-1]) == ("large", "kept")
    assert len(heard) < 20


async def test_those_who_negotiated_compression_get_it(manager: RoomManager) -> None:
    server = SocketServer(namespaces=SPACES, compression=True, compression_threshold=50)
    peer, plain = Peer(server, "small"), await Peer.enter(server, "plain")
    peer.socket.deflate_from = 50
    await peer.say("0")
    peer.heard()
    await server.emit("e", "x" * 100)
    await settle()
    text = '2["e","' + "x" * 100 + '"]'
    assert peer.transport.written == deflated_frame("4" + text)
    assert plain.heard() == [text]
    await server.shutdown()


async def test_a_member_that_is_not_connected_yet_hears_afterwards(
    server: SocketServer, manager: RoomManager
) -> None:
    peer = Peer(server, "ann")
    sid = await manager.pre_connect("ann", "/")
    assert sid is not None
    assert isinstance(peer.member().socket, Held)
    await manager.emit("all", None, "/")
    await manager.emit("own", None, "/", room=sid)
    await manager.emit("volatile", None, "/", volatile=True)
    await settle()
    assert peer.heard() == []
    held = peer.member().socket
    assert isinstance(held, Held)
    assert [encoded.text for encoded in held.kept] == [b'42["all"]', b'42["own"]']


# Acks.


async def test_each_gets_an_ack_id_of_its_own(server: SocketServer, manager: RoomManager) -> None:
    peers = [await Peer.enter(server, name) for name in ("ann", "bob")]
    answers: list[Any] = []
    for _ in range(2):
        await manager.emit("e", None, "/", callback=lambda *data: answers.append(data))
    await settle()
    assert [peer.heard() for peer in peers] == [['21["e"]', '22["e"]']] * 2
    for number, peer in enumerate(peers):
        await peer.say(f"31[{number}]", "31[9]", "399[9]")
    assert answers == [(0,), (1,)]
    await peers[0].say("32[]")
    assert answers[2:] == [()]
    assert peers[0].member().callbacks is None


async def test_callbacks_may_be_coroutines(server: SocketServer, manager: RoomManager) -> None:
    peer = await Peer.enter(server, "ann")
    answers: list[Any] = []

    async def answered(value: int) -> None:
        answers.append(value)

    await manager.emit("e", None, "/", callback=answered)
    await peer.say("31[5]")
    await manager.emit("e", None, "/", callback=answered)
    await manager.trigger_callback(peer.sid(), 2, [6])
    await manager.trigger_callback(peer.sid(), 2, [7])
    await manager.trigger_callback("nobody", 1, [7])
    assert answers == [5, 6]


async def test_nobody_is_asked_who_is_skipped_or_not_here(
    server: SocketServer, manager: RoomManager
) -> None:
    peer = await Peer.enter(server, "ann")
    await manager.emit("e", None, "/", skip_sid=peer.sid(), callback=print)
    assert peer.member().callbacks is None
    assert manager._generate_ack_id("nobody", print, "/") == 0
    assert manager._generate_ack_id(peer.sid(), print) == 1


async def test_whoever_leaves_answers_nothing(server: SocketServer, manager: RoomManager) -> None:
    peer = await Peer.enter(server, "ann")
    answer = Answer()
    await manager.emit("e", None, "/", room=peer.sid(), callback=answer)
    await peer.leave()
    assert answer.future.done()
    assert answer.future.result() is None


# Managers of python-socketio.


def test_a_manager_of_python_socketio_gets_our_rooms() -> None:
    class Queue(AsyncPubSubManager):  # type: ignore[misc]
        async def _publish(self, data: Any) -> None:
            """Tell nobody."""

    ours = RoomManager()
    assert with_rooms(ours) is ours
    theirs = Queue()
    assert with_rooms(theirs) is theirs
    assert isinstance(theirs, RoomManager)
    assert type(theirs).__name__ == "Queue"
    assert type(theirs).__mro__.index(Queue) < type(theirs).__mro__.index(RoomManager)
    for wrong in (None, object(), socketio.Manager()):
        with pytest.raises(TypeError, match="asyncio manager"):
            with_rooms(wrong)
