"""python-socketio's interface, for clients of other nodes."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import socketio
from socketio import exceptions

from stretto_core.errors import Unavailable
from stretto_server.bus import control
from stretto_server.bus.callbacks import Callbacks
from stretto_server.engine import Recovery, SocketServer
from stretto_server.metrics import Metrics
from tests.server.bus.nodes import Client, Node, some_nodes, until
from tests.services.redis_server import RedisServer


@pytest.fixture
async def nodes(redis: RedisServer) -> AsyncIterator[list[Node]]:
    async with some_nodes(redis.url, "one", "two") as nodes:
        yield nodes


async def test_a_room_spans_nodes(nodes: list[Node]) -> None:
    one, two = nodes
    ann, bob, eve = await one.client("lobby"), await two.client("lobby"), await two.client()
    await one.sio.emit("said", {"n": 1}, room="lobby")
    await two.sio.emit("said", b"\x00\x02", room="lobby", skip_sid=ann.sid)
    await two.sio.emit("said", ({"n": 3, "b": [b"x"]},), room="lobby", skip_sid=[eve.sid])
    await one.sio.emit("said", to=eve.sid)
    await one.sio.emit("said", "to all")
    assert await ann.hears(3) == [{"n": 1}, {"n": 3, "b": [b"x"]}, "to all"]
    assert await bob.hears(4) == [{"n": 1}, b"\x00\x02", {"n": 3, "b": [b"x"]}, "to all"]
    assert (await eve.hears(1))[-1] == "to all"
    await one.sio.emit("said", "here", room="lobby", ignore_queue=True)
    await one.sio.emit("said", "bye", room="lobby")
    assert (await ann.hears(5))[3:] == ["here", "bye"]
    assert (await bob.hears(5))[4:] == ["bye"]


async def test_who_is_in_several_rooms_hears_once(nodes: list[Node]) -> None:
    one, two = nodes
    clients = [await one.client("a", "b"), await two.client("b", "c"), await two.client("c", "a")]
    clients.append(await two.client())
    await one.sio.emit("said", 1, room=["a", "b", clients[3].sid, "c"])
    await one.sio.emit("said", 2)
    for client in clients:
        assert await client.hears(2) == [1, 2]


async def test_rooms_may_be_numbered(nodes: list[Node]) -> None:
    one, two = nodes
    ann, bob = await one.client(), await two.client()
    await one.sio.enter_room(ann.sid, 5)
    await two.sio.enter_room(bob.sid, "5")
    await two.sio.emit("said", "number", room=5)
    await one.sio.emit("said", "text", room="5")
    assert await ann.hears(1) == ["number"]
    assert await bob.hears(1) == ["text"]
    with pytest.raises(TypeError):
        await one.sio.emit("said", "x", room=1.5)
    with pytest.raises(ValueError, match="reserved"):
        await one.sio.emit("disconnect", "x", room="5")


async def test_clients_of_other_nodes_are_asked(nodes: list[Node]) -> None:
    one, two = nodes
    ann, bob = await one.client(), await two.client()
    assert await one.sio.call("question", 41, to=bob.sid, timeout=10) == 42
    assert await one.sio.call("question", 1, to=ann.sid, timeout=10) == 2
    bob.sio.on("blob", lambda data: (data, b"\x01"))
    assert await one.sio.call("blob", b"\x00", to=bob.sid, timeout=10) == (b"\x00", b"\x01")
    with pytest.raises(exceptions.TimeoutError):
        await one.sio.call("silence", to=bob.sid, timeout=0.1)


async def test_who_leaves_answers_no_more(nodes: list[Node]) -> None:
    one, two = nodes
    bob = await two.client()
    asking = asyncio.create_task(one.sio.call("silence", to=bob.sid, timeout=60))
    await asyncio.sleep(0.1)
    await bob.sio.disconnect()
    with pytest.raises(exceptions.TimeoutError, match="gone"):
        await asking
    for sid in ("three~" + "x" * 20, "two~" + "x" * 20, "one~" + "x" * 20):
        with pytest.raises(exceptions.TimeoutError, match="gone"):
            await one.sio.call("question", 1, to=sid, timeout=60)


async def test_a_room_is_asked(nodes: list[Node]) -> None:
    one, two = nodes
    for node in (one, one, two, two):
        await node.client("lobby")
    answers: list[Any] = []
    await one.sio.emit("question", 1, room="lobby", callback=answers.append)
    await until(lambda: answers == [2] * 4)

    async def slowly(answer: Any) -> None:
        await asyncio.sleep(0)
        answers.append(answer)

    await two.sio.emit("question", 2, room="lobby", callback=slowly)
    await until(lambda: answers == [2] * 4 + [3] * 4)
    await one.sio.emit("question", 1, room="empty", callback=answers.append)
    assert len(one.bus._callbacks) == 1  # of the room with members


async def test_callbacks_expire(redis: RedisServer) -> None:
    callbacks = partial(Callbacks, seconds=0.2, most=2)
    async with some_nodes(redis.url, "one", "two", callbacks=callbacks) as (one, two):
        bob = await two.client()
        with pytest.raises(exceptions.TimeoutError, match="gone"):
            await one.sio.call("silence", to=bob.sid, timeout=60)
        calls = [
            asyncio.create_task(one.sio.call("silence", to=bob.sid, timeout=60)) for _ in range(5)
        ]
        for call in calls:
            with pytest.raises(exceptions.TimeoutError, match="gone"):
                await call
        assert len(one.bus._callbacks) == 0
        late: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def answer(number: int) -> int:
            await late
            return number

        bob.sio.on("late", answer)
        calls = [asyncio.create_task(one.sio.call("late", 1, to=bob.sid, timeout=60))]
        with pytest.raises(exceptions.TimeoutError, match="gone"):
            await calls[0]
        late.set_result(None)  # its answer is passed over
        assert await one.sio.call("question", 1, to=bob.sid, timeout=10) == 2


async def test_clients_of_other_nodes_enter_and_leave(nodes: list[Node]) -> None:
    one, two = nodes
    bob = await two.client()
    await one.sio.enter_room(bob.sid, "lobby")
    await one.sio.emit("said", 1, room="lobby")  # it is in: the call returned
    assert await bob.hears(1) == [1]
    await one.sio.leave_room(bob.sid, "lobby")
    await one.sio.emit("said", 2, room="lobby")
    await one.sio.emit("said", 3)
    assert await bob.hears(2) == [1, 3]
    gone = "two~" + "x" * 20
    await one.sio.enter_room(gone, "lobby")
    await one.sio.leave_room(gone, "lobby")
    await one.sio.enter_room("three~" + "x" * 20, "lobby")
    with pytest.raises(ValueError, match="not connected"):
        await one.sio.enter_room("nobody", "lobby")
    assert await one.bus.members("/", "lobby") == []


async def test_clients_of_other_nodes_are_disconnected(nodes: list[Node]) -> None:
    one, two = nodes
    left: list[str] = []
    two.sio.on("disconnect", lambda sid, *_: left.append(sid))
    ann, bob, eve = await one.client(), await two.client(), await two.client()
    bob_sid, eve_sid = bob.sid, eve.sid
    await one.sio.disconnect(bob_sid)
    await one.bus.disconnect(eve_sid, "/")
    await one.bus.disconnect(ann.sid, "/")
    await one.sio.disconnect(eve_sid)
    await one.sio.disconnect("three~" + "x" * 20)
    await one.sio.disconnect("nobody")
    await until(lambda: ann.gone and bob.gone and eve.gone)
    await until(lambda: sorted(left) == sorted((bob_sid, eve_sid)))
    assert await two.bus.members("/") == []


async def test_a_room_is_closed_everywhere(nodes: list[Node]) -> None:
    one, two = nodes
    ann, bob, eve = await one.client("lobby"), await two.client("lobby"), await two.client()
    await two.sio.emit("said", "before", room="lobby")
    await two.sio.close_room("lobby")
    await until(lambda: not one.bus.rooms["/"].get("lobby"))
    await two.sio.emit("said", "after", room="lobby")
    await one.sio.emit("said", "end")
    for client in (ann, bob):
        assert await client.hears(2) == ["before", "end"]
    with pytest.raises(ValueError, match="sid room"):
        await two.sio.close_room(eve.sid)


async def test_all_nodes_tell_their_members(nodes: list[Node]) -> None:
    one, two = nodes
    inside = [await one.client("lobby"), await two.client("lobby"), await two.client("lobby")]
    outside = await two.client()
    sids = [client.sid for client in inside]
    for node in nodes:
        assert await node.bus.members("/", "lobby") == sorted(sids)
        assert await node.bus.members("/") == sorted([*sids, outside.sid])
    assert await one.bus.members("/", "empty") == []
    assert await one.bus.members("/nowhere") == []


async def test_a_node_that_does_not_answer_is_not_waited_for_long(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ANSWER_S", 0.2)
    async with some_nodes(redis.url, "one", "two") as (one, two):
        ann, bob = await one.client("lobby"), await two.client("lobby")
        one.bus._inquiries._answer_s = 0.2
        monkeypatch.setattr(two.bus, "_obey", lambda _: None)
        assert await one.bus.members("/", "lobby") == [ann.sid]
        with pytest.raises(Unavailable, match="two does not answer"):
            await one.sio.enter_room(bob.sid, "other")


async def test_a_namespace_hears_of_all_nodes_in_one_order(nodes: list[Node]) -> None:
    clients: list[Client] = [await node.client() for node in nodes for _ in range(2)]

    async def talk(node: Node, name: str) -> None:
        for number in range(100):
            await node.sio.emit("said", f"{name}-{number}")

    await asyncio.gather(*(talk(node, name) for node, name in zip(nodes, "ab", strict=True)))
    heard = [await client.hears(200) for client in clients]
    assert all(each == heard[0] for each in heard)
    for name in "ab":
        assert [one for one in heard[0] if one[0] == name] == [f"{name}-{n}" for n in range(100)]


async def test_other_serializers_work_too(redis: RedisServer) -> None:
    async with some_nodes(redis.url, "one", "two", serializer="msgpack") as (one, two):
        clients = [await node.client("lobby", serializer="msgpack") for node in (one, two)]
        await one.sio.emit("said", {"n": 1, "b": b"x"}, room="lobby")
        for client in clients:
            assert await client.hears(1) == [{"n": 1, "b": b"x"}]
        assert await one.sio.call("question", 41, to=clients[1].sid, timeout=10) == 42


async def test_what_belongs_to_one_node_is_refused(redis: RedisServer) -> None:
    async with some_nodes(redis.url, "one", recovery={"/": Recovery()}) as (node,):
        with pytest.raises(RuntimeError, match="single node"):
            await node.bus.pre_connect("eio", "/")
        with pytest.raises(NotImplementedError):
            await node.bus._listen()


async def test_answers_that_cannot_be_sent_are_logged(
    nodes: list[Node], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = nodes
    bob = await two.client()

    async def away(_channel: str, _message: bytes) -> int:
        raise Unavailable("Redis is away")

    async def broken(_channel: str, _message: bytes) -> int:
        raise ValueError("broken")

    for fault in (away, broken):
        with monkeypatch.context() as patched:
            patched.setattr(two.bus, "_publish", fault)
            with pytest.raises(exceptions.TimeoutError):
                await one.sio.call("question", 1, to=bob.sid, timeout=0.3)
    assert "another node is not told: Redis is away" in caplog.text
    assert "broken" in caplog.text
    assert await one.sio.call("question", 1, to=bob.sid, timeout=10) == 2


def test_python_socketio_takes_it_for_its_own() -> None:
    from stretto_server.bus.redis import RedisBus

    bus = RedisBus("redis://127.0.0.1:1", Metrics(), node="one")
    assert isinstance(bus, socketio.AsyncRedisManager)
    assert SocketServer(client_manager=bus).manager is bus
    bus.initialize()
