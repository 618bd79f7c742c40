"""Events, acks and calls of a Socket.IO server; its clients are fakes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgpack
import pytest
import socketio
from socketio import exceptions
from socketio.packet import Packet

from stretto_core.eio.violations import Reason
from stretto_server.engine import RoomAnswers, SocketServer
from stretto_server.engine.codecs import ClassCodec, JsonCodec, MsgPackCodec
from stretto_server.engine.engine_server import EngineServer
from stretto_server.engine.engine_socket import Pause
from stretto_server.engine.room_manager import RoomManager
from tests.server.engine.peers import Peer, settle

Serve = Callable[..., SocketServer]
ZERO = '{"_placeholder":true,"num":0}'


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[SocketServer] = []

    def make(**options: Any) -> SocketServer:
        servers.append(SocketServer(**{"namespaces": "*", **options}))
        return servers[-1]

    yield make
    for server in servers:
        await server.shutdown()
        await server._events.finish()


def messages_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [str(record.exc_info[1]) for record in caplog.records if record.exc_info]


# How it is made.


async def test_arguments_of_both_layers(serve: Serve) -> None:
    server = serve(ping_interval=3, max_http_buffer_size=500, connect_timeout=1.5, json=None)
    assert isinstance(server.eio, EngineServer)
    assert server.eio.observer is server
    assert server.eio.settings.ping_interval == 3_000
    assert server.eio.settings.max_payload == 500
    assert server.connect_timeout_ms == 1_500
    assert server.violations is server.eio.violations
    assert isinstance(server.manager, RoomManager)
    with pytest.raises(TypeError):
        SocketServer(unknown_option=1)


@pytest.mark.parametrize(
    ("serializer", "codec"),
    [("default", JsonCodec), ("msgpack", MsgPackCodec), (Packet, ClassCodec)],
)
async def test_serializers(serve: Serve, serializer: Any, codec: type) -> None:
    assert type(serve(serializer=serializer).codec) is codec


async def test_the_admin_ui_is_not_for_this_engine(serve: Serve) -> None:
    with pytest.raises(RuntimeError, match="admin UI"):
        serve().instrument(auth=False)


# Events.


async def test_which_handler_an_event_gets(serve: Serve) -> None:
    server = serve()
    seen: list[Any] = []
    server.on("known", lambda *given: seen.append(("known", *given[1:])))
    server.on("*", lambda *given: seen.append(("any", given[0], *given[2:])))
    server.on("spaced", lambda *given: seen.append(("spaced", *given[1:])), namespace="/a")
    server.on("spaced", lambda *given: seen.append(("all spaces", *given[2:])), namespace="*")
    peer = await Peer.enter(server, "ann", "/", "/a", "/b")
    await peer.say('2["known",1]', '2["other",2]')
    await peer.say('2/a,["spaced",4]', '2/a,["other",5]', '2/b,["spaced",6]')
    assert seen == [
        *[("known", 1), ("any", "other", 2)],
        *[("spaced", 4), ("all spaces", 6)],
    ]


@pytest.mark.parametrize("space", ["/", "*"])
async def test_no_client_chooses_the_sid_that_a_handler_of_all_events_is_told(
    serve: Serve, space: str
) -> None:
    server = serve()
    seen: list[Any] = []
    server.on("*", lambda *given: seen.append(given), namespace=space)
    peer = await Peer.enter(server, "ann")
    await peer.say('2["*","another sid"]', '21["*"]', '2["e"]')
    told = ("e", peer.sid()) if space == "/" else ("e", "/", peer.sid())
    assert seen == [told]
    assert peer.heard() == []


async def test_a_class_of_handlers(serve: Serve) -> None:
    server = serve()
    seen: list[Any] = []

    class Chat(socketio.AsyncNamespace):  # type: ignore[misc]
        async def on_say(self, sid: str, text: str) -> str:
            seen.append(text)
            return text.upper()

        def on_plain(self, sid: str) -> None:
            seen.append("plain")

    server.register_namespace(Chat("/chat"))
    peer = await Peer.enter(server, "ann", "/chat")
    await peer.say('2/chat,1["say","a"]', '2/chat,2["plain"]', '2/chat,["unknown"]')
    assert seen == ["a", "plain"]
    assert peer.heard() == ['3/chat,1["A"]', "3/chat,2[]"]


@pytest.mark.parametrize(
    ("answer", "ack"),
    [
        (None, "37[]"),
        ((), "37[]"),
        ("a", '37["a"]'),
        ((1, 2), "37[1,2]"),
        ([1, 2], "37[[1,2]]"),
        (False, "37[false]"),
    ],
)
@pytest.mark.parametrize("plain", [True, False])
async def test_answers(serve: Serve, plain: bool, answer: Any, ack: str) -> None:
    server = serve()

    async def handle(sid: str) -> Any:
        return answer

    server.on("e", (lambda sid: answer) if plain else handle)
    peer = await Peer.enter(server, "ann")
    await peer.say('27["e"]', '2["e"]')
    assert peer.heard() == [ack]


async def test_an_answer_with_binary_data(serve: Serve) -> None:
    server = serve()
    server.on("e", lambda sid, data: {"back": data})
    peer = await Peer.enter(server, "ann", "/a")
    await peer.say("0")
    peer.heard()
    await peer.say(f'51-3["e",{ZERO}]', b"\x00")
    assert peer.heard() == [f'61-3[{{"back":{ZERO}}}]', b"\x00"]


async def test_names_that_are_numbers_are_passed_over(serve: Serve) -> None:
    server = serve()
    server.on("5", print)
    peer = await Peer.enter(server, "ann")
    await peer.say('2[5,"a"]', "21[5.5]", '22["nobody"]')
    assert peer.heard() == []
    assert not peer.socket.closed


@pytest.mark.parametrize("plain", [True, False])
async def test_handlers_that_fail_answer_nothing(
    serve: Serve, plain: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()

    def fail(sid: str, *_data: Any) -> None:
        raise RuntimeError("the handler failed")

    async def fail_later(sid: str, *_data: Any) -> None:
        raise RuntimeError("the handler failed")

    server.on("e", fail if plain else fail_later)
    server.on("after", lambda sid: "still here")
    peer = await Peer.enter(server, "ann")
    await peer.say('21["e"]', '22["after"]')
    assert peer.heard() == ['32["still here"]']
    assert messages_of(caplog) == ["the handler failed"]


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_a_plain_handler_overtakes_nobody_who_waits(serve: Serve, one_by_one: bool) -> None:
    server = serve(async_handlers=not one_by_one, max_inflight_events=1)
    order: list[str] = []
    gate = asyncio.Event()

    async def slow(sid: str) -> None:
        order.append("slow")
        await gate.wait()
        order.append("slow ended")

    server.on("slow", slow)
    server.on("quick", lambda sid: order.append("quick"))
    peer = await Peer.enter(server, "ann")
    await peer.say('2["slow"]', '2["quick"]')
    assert order == ["slow"]
    assert peer.socket.paused is Pause.EVENTS
    assert not peer.transport.reading
    gate.set()
    await settle()
    assert order == ["slow", "slow ended", "quick"]
    assert peer.transport.reading


async def test_what_waits_is_dropped_with_its_client(serve: Serve) -> None:
    server = serve(max_inflight_events=1)
    order: list[str] = []
    gate = asyncio.Event()

    async def slow(sid: str, name: str) -> None:
        order.append(name)
        await gate.wait()

    server.on("slow", slow)
    peer = await Peer.enter(server, "ann")
    await peer.say('2["slow","a"]', '2["slow","b"]')
    await peer.leave()
    gate.set()
    await settle()
    assert order == ["a"]


async def test_kinds_of_handlers_are_remembered_but_not_without_end(serve: Serve) -> None:
    server = serve()

    async def coroutine() -> None:
        """Do nothing."""

    assert [server._is_coroutine(each) for each in (coroutine, print, coroutine)] == [
        *(True, False, True)
    ]
    assert len(server._coroutines) == 2
    for _ in range(1_100):
        server._is_coroutine(lambda: None)
    assert len(server._coroutines) == 1_000


# Packets that are wrong, or not complete.


@pytest.mark.parametrize("text", ['2["e"]', "1", '31["a"]', '2/chat,["e"]'])
async def test_nothing_comes_before_the_first_connect(serve: Serve, text: str) -> None:
    server = serve()
    peer = Peer(server, "ann")
    await peer.say(text)
    assert peer.heard() == ["<closed 1002>"]
    assert server.violations == {Reason.UNEXPECTED_TYPE: 1}
    joined = await Peer.enter(server, "bob", "/elsewhere")
    await joined.say(text)
    assert not joined.socket.closed


async def test_nobody_hoards_attachments_before_it_joined(serve: Serve) -> None:
    server = serve(namespaces=["/", "/chat"])
    peer = await Peer.enter(server, "ann")
    await peer.say(f'51-["e",{ZERO}]', b"x")
    assert not peer.socket.closed
    await peer.say(f'51-/chat,["e",{ZERO}]')
    assert peer.heard() == ["<closed 1002>"]
    assert server.violations == {Reason.UNEXPECTED_BINARY: 1}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("9", Reason.UNKNOWN_TYPE),
        (b"x", Reason.UNEXPECTED_BINARY),
        ('2["connect"]', Reason.RESERVED_EVENT),
    ],
)
async def test_a_malformed_packet_ends_its_client(
    serve: Serve, message: str | bytes, reason: Reason
) -> None:
    server = serve()
    peer, bystander = await Peer.enter(server, "ann"), await Peer.enter(server, "bob")
    await peer.say(message)
    assert peer.heard() == ["<closed 1002>"]
    assert server.violations == {reason: 1}
    assert not bystander.socket.closed
    assert server.client("ann") is None


async def test_a_packet_of_msgpack(serve: Serve) -> None:
    server = serve(serializer="msgpack")
    server.on("e", lambda sid, data: data)
    peer = Peer(server, "ann")
    await peer.say(msgpack.packb({"type": 0, "nsp": "/"}))
    await peer.say(msgpack.packb({"type": 2, "nsp": "/", "data": ["e", b"x"], "id": 1}))
    connected, ack = (msgpack.unpackb(each) for each in peer.heard())
    assert connected == {"type": 0, "nsp": "/", "data": {"sid": peer.sid()}}
    assert ack == {"type": 3, "nsp": "/", "data": [b"x"], "id": 1}


# Acks and calls.


async def test_call(serve: Serve) -> None:
    server = serve()
    peer = await Peer.enter(server, "ann", "/a")
    targets: list[Any] = [{"to": peer.sid("/a")}, {"sid": peer.sid("/a")}]
    for target in targets:
        calling = asyncio.ensure_future(server.call("ask", 1, namespace="/a", **target))
        await settle()
        (asked,) = peer.heard()
        assert isinstance(asked, str)
        await peer.say(asked.replace("2/a,", "3/a,").replace('"ask",1', '"yes",2'))
        assert await calling == ("yes", 2)
    assert peer.member("/a").callbacks is None


async def test_a_call_needs_somebody(serve: Serve) -> None:
    with pytest.raises(ValueError, match="call_room"):
        await serve().call("ask")


async def test_a_call_that_nobody_answers(serve: Serve) -> None:
    server = serve()
    peer = await Peer.enter(server, "ann")
    with pytest.raises(exceptions.TimeoutError):
        await server.call("ask", to=peer.sid(), timeout=0.001)
    calling = asyncio.ensure_future(server.call("ask", to=peer.sid()))
    await settle()
    await peer.leave()
    async with asyncio.timeout(3):
        with pytest.raises(exceptions.TimeoutError, match="gone"):
            await calling


async def test_a_call_may_be_cancelled(serve: Serve) -> None:
    server = serve()
    peer = await Peer.enter(server, "ann")
    calling = asyncio.ensure_future(server.call("ask", to=peer.sid()))
    await settle()
    calling.cancel()
    await settle()
    await peer.say("31[1]")
    assert calling.cancelled()


async def test_a_room_is_asked(serve: Serve) -> None:
    server = serve()
    peers = [await Peer.enter(server, name) for name in ("ann", "bob", "cid", "dan")]
    for peer in peers[:3]:
        await server.enter_room(peer.sid(), "room")
    ann, bob, cid, dan = peers
    asking = asyncio.ensure_future(server.call_room("ask", room="room", timeout=30))
    await settle()
    await ann.say("31[1]")
    await bob.say("31[]")
    assert not asking.done()
    await cid.leave()
    async with asyncio.timeout(3):
        answers = await asking
    assert answers == RoomAnswers({ann.sid(): 1, bob.sid(): None}, answers.missing)
    assert len(answers.missing) == 1
    assert dan.heard() == []


async def test_a_room_that_is_silent_or_empty(serve: Serve) -> None:
    server = serve()
    peer = await Peer.enter(server, "ann")
    assert await server.call_room("ask", room="empty") == RoomAnswers({}, frozenset())
    answers = await server.call_room("ask", timeout=0.001)
    assert answers == RoomAnswers({}, frozenset({peer.sid()}))


@pytest.mark.parametrize("later", [True, False])
async def test_a_callback_that_fails(
    serve: Serve, later: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()

    def fail(*_data: Any) -> None:
        raise RuntimeError("the callback failed")

    async def fail_later(*_data: Any) -> None:
        raise RuntimeError("the callback failed")

    peer = await Peer.enter(server, "ann")
    await server.emit("e", callback=fail_later if later else fail)
    await peer.say("31[1]", "31[2]")
    assert messages_of(caplog) == ["the callback failed"]
    assert not peer.socket.closed


async def test_a_manager_may_take_acks_itself(serve: Serve) -> None:
    class Manager(RoomManager):
        def __init__(self) -> None:
            super().__init__()
            self.acks: list[Any] = []

        async def trigger_callback(self, sid: str, id: int, data: list[Any]) -> None:
            self.acks.append((id, data))

    manager = Manager()
    server = serve(client_manager=manager)
    peer = await Peer.enter(server, "ann")
    await peer.say('35["a"]')
    assert manager.acks == [(5, ["a"])]


# What applications and managers ask for.


async def test_emit_reaches_whom_it_names(serve: Serve) -> None:
    server = serve()
    ann, bob = await Peer.enter(server, "ann"), await Peer.enter(server, "bob")
    await server.emit("1", to=ann.sid())
    await server.emit("2", room=bob.sid())
    await server.emit("3", skip_sid=ann.sid())
    await server.emit("4", volatile=True)
    await server.send("text")
    await settle()
    assert [event[0] for event in ann.events()] == ["1", "4", "message"]
    assert [event[0] for event in bob.events()] == ["2", "3", "4", "message"]


async def test_the_server_takes_a_client_out(serve: Serve) -> None:
    server = serve()
    reasons: list[str] = []
    server.on("disconnect", lambda sid, reason: reasons.append(reason))
    peer = await Peer.enter(server, "ann", "/", "/a")
    await server.disconnect(peer.sid())
    assert peer.heard() == []
    await settle()
    assert peer.heard() == ["1"]
    assert list(peer.client.members) == ["/a"]
    assert reasons == ["server disconnect"]
    await server.disconnect("nobody")
    await server.disconnect("nobody", ignore_queue=True)
    await server.disconnect(peer.sid("/a"), "/a", close=True)
    await settle()
    assert peer.heard() == ["1/a,", "<closed 1000>"]


async def test_packets_that_a_manager_made(serve: Serve) -> None:
    server = serve()
    peer = await Peer.enter(server, "ann")
    packets = [
        (Packet(socketio.packet.EVENT, data=["a", 1]), ['2["a",1]']),
        (Packet(socketio.packet.EVENT, data=["a", b"x"]), [f'51-["a",{ZERO}]', b"x"]),
        (Packet(socketio.packet.ACK, data=[1], id=5), ["35[1]"]),
        (Packet(socketio.packet.ACK, data=[b"x"], id=5), [f"61-5[{ZERO}]", b"x"]),
        (Packet(socketio.packet.DISCONNECT, namespace="/a"), ["1/a,"]),
        (Packet(socketio.packet.CONNECT_ERROR, data={"a": 1}), ['4{"a":1}']),
    ]
    for packet, messages in packets:
        await server._send_packet("ann", packet)
        await settle()
        assert peer.heard() == messages
    await server._send_packet("nobody", packets[0][0])


async def test_answers_wait_for_nobody(serve: Serve) -> None:
    server = serve()
    server.forget_callback(print)
    with pytest.raises(KeyError):
        await server.get_session("nobody")


async def test_sessions_are_of_a_namespace(serve: Serve) -> None:
    server = serve()
    peer = await Peer.enter(server, "ann", "/", "/a")
    async with server.session(peer.sid()) as session:
        session["name"] = "Ann"
    await server.save_session(peer.sid("/a"), {"other": 1}, namespace="/a")
    assert await server.get_session(peer.sid()) == {"name": "Ann"}
    assert await server.get_session(peer.sid("/a"), namespace="/a") == {"other": 1}
