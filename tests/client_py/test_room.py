"""Rooms of the client: against a server, and over a link that does what a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stretto_client import RealtimeClient, StrettoError
from stretto_client.room import LiveRoom
from stretto_core.errors import (
    Busy,
    Forbidden,
    InternalError,
    NotFound,
    NotJoined,
    RateLimited,
    RevisionConflict,
    RoomFull,
    TokenExpired,
    TooLarge,
    Unavailable,
)
from stretto_core.protocol import Limits
from stretto_server.app import NODE
from stretto_server.room_store.memory import MemoryRoomStore
from stretto_server.server import RealtimeServer
from tests.server.wire import SECRET, VIEWER, token

LIMITS = Limits(room_state_bytes=1_000)

Enter = Callable[..., Awaitable[RealtimeClient]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RealtimeServer]:
    async with RealtimeServer(
        port=0,
        host="127.0.0.1",
        secret=SECRET,
        journal="memory://",
        data=tmp_path,
        drain=0.5,
        limits=LIMITS,
    ) as server:
        yield server


@pytest.fixture
async def enter(server: RealtimeServer) -> AsyncIterator[Enter]:
    """Connect clients that come back quickly."""
    clients = []

    async def connect(
        user: str = "ann",
        grants: dict[str, str] | None = None,
        gate: asyncio.Event | None = None,
    ) -> RealtimeClient:
        async def fetch() -> str:
            if gate is not None:
                await gate.wait()
            return token(user, grants)

        client = RealtimeClient(server.url, fetch, backoff_scale=0.01)
        clients.append(client)
        await client.connect(5)
        return client

    yield connect
    for client in clients:
        await client.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def listen(client: RealtimeClient, *events: str) -> list[tuple[str, Any]]:
    """Return the list to which the events of a client are added."""
    heard: list[tuple[str, Any]] = []
    for event in events:
        client.on(event, lambda payload, event=event: heard.append((event, payload)))
    return heard


async def cut(server: RealtimeServer, user: str) -> None:
    """Close a user's transport as a network would."""
    node = server._app[NODE]
    for connection in node.connections:
        if connection.principal is not None and connection.who.user.id == user:
            await node.sockets.close_transport(connection.engine_sid)


async def test_a_visit(enter: Enter) -> None:
    ann, bob = await enter(), await enter("bob")
    heard = listen(ann, "room.member_joined", "room.member_left", "room.state", "room.metadata")
    hall = await ann.room("lobby", metadata={"name": "Lobby"})
    room = await bob.room("lobby", status="✍️", metadata={"name": "ignored"})
    assert room.metadata == {"name": "Lobby"}
    assert [one["user"]["id"] for one in room.members] == ["ann", "bob"]
    assert room.members[1]["id"] == room.member_id
    await until(lambda: len(hall.members) == 2)
    assert heard == [("room.member_joined", {"room": "lobby", "member": room.members[1]})]

    assert await room.set_state({"ключ": [1]}) == room.revision == 1
    assert room.state == {"ключ": [1]}
    await until(lambda: hall.revision == 1)
    assert hall.state == room.state
    assert heard[1][1]["by"] == {"id": room.member_id, "user": room.members[1]["user"]}

    assert await hall.set_metadata({"tags": ["a"]}) == {"name": "Lobby", "tags": ["a"]}
    await until(lambda: room.metadata == hall.metadata)
    await room.set_status({"mood": None})
    await until(lambda: hall.members[1].get("status") == {"mood": None})

    assert await bob.find_rooms(tags=["a"], owner="ann", limit=None) == [
        {"room": "lobby", "members": 2, "metadata": hall.metadata}
    ]
    await room.leave()
    await until(lambda: len(hall.members) == 1)
    assert [event for event, _ in heard] == [
        *("room.member_joined", "room.state", "room.member_left"),
    ]
    with pytest.raises(NotJoined):
        await room.send("late")


async def test_messages(enter: Enter) -> None:
    ann, bob = await enter(), await enter("bob")
    heard = listen(ann, "room.message")
    hall, room = await ann.room("lobby"), await bob.room("lobby")
    messages = hall.messages()
    sent = [b"\x00\xff", {"deep": [b"a", "🎻"]}, None, 5]
    for data in sent:
        await room.send("wave", data)
    received = [await anext(messages) for _ in sent]
    assert [one.data for one in received] == sent
    assert {(one.room, one.event, one.member_id) for one in received} == {
        ("lobby", "wave", room.member_id)
    }
    assert received[0].user["id"] == "bob"
    assert [payload["data"] for _, payload in heard] == sent
    await hall.leave()
    assert [message async for message in messages] == []
    assert [message async for message in hall.messages()] == []


async def test_what_the_server_refuses(enter: Enter) -> None:
    ann, bob = await enter(), await enter("bob", VIEWER)
    with pytest.raises(NotFound):
        await bob.room("lobby")
    hall = await ann.room("lobby", metadata={"max_members": 2})
    room = await bob.room("lobby")
    with pytest.raises(Forbidden):
        await room.send("hi")
    with pytest.raises(Forbidden):
        await room.set_metadata({"name": "x"})
    with pytest.raises(TooLarge):
        await hall.set_state({"a": "x" * 1_000})
    with pytest.raises(RevisionConflict) as caught:
        await hall.set_state({"a": 1}, if_revision=3)
    assert caught.value.details == {"revision": 0}
    eve = await enter("eve")
    with pytest.raises(RoomFull):
        await eve.room("lobby")
    assert (hall.state, hall.revision, room.revision) == ({}, 0, 0)
    assert await hall.set_state({"a": 1}, if_revision=0) == 1


async def test_a_room_is_joined_once(enter: Enter) -> None:
    ann = await enter()
    first, second = await asyncio.gather(ann.room("lobby"), ann.room("lobby"))
    assert first is second
    assert await ann.room("lobby", status="again") is first
    await until(lambda: first.members[0].get("status") == "again")
    await asyncio.gather(first.leave(), ann.room("lobby"))
    third = await ann.room("lobby")
    assert third is not first
    assert third.member_id != first.member_id
    assert len(third.members) == 1


async def test_a_room_and_its_document(enter: Enter) -> None:
    ann = await enter()
    room, document = await ann.join_room("notes", status=1)
    assert (room.id, document.id) == ("notes", "notes")
    assert room.members[0]["status"] == 1


async def test_the_server_speaks(server: RealtimeServer, enter: Enter) -> None:
    ann = await enter()
    room = await ann.room("lobby")
    messages = room.messages()
    await server.rooms.send("lobby", "notice", b"\x01")
    assert (await anext(messages)).user["id"] == "server"
    await server.rooms.set_state("lobby", {"a": 1})
    await until(lambda: room.state == {"a": 1})


async def test_a_lost_connection_comes_back_to_its_rooms(
    server: RealtimeServer, enter: Enter
) -> None:
    gate = asyncio.Event()
    gate.set()
    ann, bob = await enter(), await enter("bob", gate=gate)
    hall, room = await ann.room("lobby"), await bob.room("lobby", status="here")
    await hall.set_state({"a": 1})
    await until(lambda: room.revision == 1)
    former = room.member_id
    heard = listen(bob, "room.state", "room.member_joined", "room.member_left", "connection.lost")
    messages = room.messages()
    gate.clear()
    await cut(server, "bob")
    await until(lambda: heard)
    with pytest.raises(Unavailable):
        await room.send("lost")
    await hall.set_state({"b": 2, "a": None})
    gate.set()
    await until(lambda: bob.is_connected)
    await room.send("back")
    assert room.member_id != former
    assert room.state == hall.state == {"b": 2}
    assert heard[1:] == [
        (
            "room.state",
            {"room": "lobby", "revision": 2, "changes": {"a": None, "b": 2}, "by": None},
        )
    ]
    await until(lambda: [one.get("status") for one in hall.members] == [None, "here"])
    await hall.send("welcome")
    assert (await anext(messages)).event == "welcome"


async def test_a_room_that_ended_meanwhile_is_told(server: RealtimeServer, enter: Enter) -> None:
    ann, bob = await enter(), await enter("bob", VIEWER)
    heard = listen(bob, "room.closed")
    hall, room = await ann.room("lobby"), await bob.room("lobby")
    messages = room.messages()
    store = server.rooms._store
    assert isinstance(store, MemoryRoomStore)
    store._idle_ttl = 0
    await hall.leave()
    await cut(server, "bob")
    await until(lambda: heard)
    assert room.error is not None
    assert (heard[0][1]["room"], heard[0][1]["error"]) == ("lobby", room.error)
    assert isinstance(room.error, NotFound)
    assert [one async for one in messages] == []
    await room.leave()
    await ann.room("lobby")
    assert (await bob.room("lobby")).error is None


async def test_a_right_taken_away_is_told(enter: Enter) -> None:
    bob = await enter("bob")
    heard = listen(bob, "room.closed", "room.role")
    room = await bob.room("lobby")
    for grants in (VIEWER, {"rooms/other": "viewer"}):
        await bob.request("/", "refresh_token", {"token": token("bob", grants)})
    await until(lambda: len(heard) == 2)
    assert heard[0] == ("room.role", {"room": "lobby", "role": "viewer"})
    assert heard[1][0] == "room.closed"
    assert isinstance(room.error, NotFound)


async def test_a_closed_client_ends_its_rooms(enter: Enter) -> None:
    ann = await enter()
    room = await ann.room("lobby")
    messages = room.messages()
    await ann.close()
    assert [one async for one in messages] == []
    with pytest.raises(NotJoined):
        await room.send("late")


# Over a link of the test's own.


class Wired:
    """A link whose answers the test gives, in any order."""

    def __init__(self) -> None:
        self.is_connected = True
        self.error: StrettoError | None = None
        self.asked: list[tuple[str, dict[str, Any], asyncio.Future[dict[str, Any]]]] = []
        self.told: list[tuple[str, Any]] = []
        self.tokens = 0

    async def request(self, namespace: str, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        assert namespace == "/rooms"
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.asked.append((event, payload, future))
        return await future

    def token_refused(self) -> None:
        self.tokens += 1

    def tell(self, event: str, payload: Any) -> None:
        self.told.append((event, payload))

    async def take(self, event: str) -> tuple[dict[str, Any], asyncio.Future[dict[str, Any]]]:
        """Wait for the next request, which must be an ``event``."""
        await until(lambda: self.asked)
        asked, payload, future = self.asked.pop(0)
        assert asked == event
        return payload, future

    async def answer(self, event: str, outcome: dict[str, Any] | StrettoError) -> dict[str, Any]:
        """Answer the next request and let the answer be taken; return the request."""
        payload, future = await self.take(event)
        if isinstance(outcome, StrettoError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
        for _ in range(5):
            await asyncio.sleep(0)
        return payload


USER = {"id": "ann", "name": "Ann", "color": "#112233"}


def snapshot(revision: int = 0, **values: Any) -> dict[str, Any]:
    return {
        "room": "lobby",
        "member_id": "me",
        "members": [{"id": "me", "user": USER}],
        "state": {},
        "revision": revision,
        "metadata": {},
        **values,
    }


def changed(revision: int, **changes: Any) -> dict[str, Any]:
    return {"room": "lobby", "revision": revision, "changes": changes, "by": None}


def wired(**options: Any) -> tuple[Wired, LiveRoom]:
    link = Wired()
    room = LiveRoom("lobby", link, link.tell, rand=lambda: 0.0, **options)
    room.connected()
    return link, room


async def ready() -> tuple[Wired, LiveRoom]:
    link, room = wired()
    await link.answer("join", snapshot())
    await room.joined()
    return link, room


async def test_a_skipped_revision_joins_again() -> None:
    link, room = await ready()
    room.received("state", changed(2, a=2))
    assert room.revision == 0
    await link.answer("join", snapshot(2, state={"a": 2}))
    assert (room.revision, room.state) == (2, {"a": 2})
    assert link.told == [("room.state", changed(2, a=2))]
    assert link.asked == []


async def test_an_own_change_in_flight_is_waited_for() -> None:
    link, room = await ready()
    writing = asyncio.create_task(room.set_state({"a": 1}))
    _, future = await link.take("set_state")
    room.received("state", changed(2, b=2))
    future.set_result({"revision": 1})
    assert await writing == 1
    assert (room.revision, room.state) == (2, {"a": 1, "b": 2})
    assert link.asked == []


@pytest.mark.parametrize("error", [Unavailable(), InternalError()])
async def test_an_unknown_outcome_joins_again(error: StrettoError) -> None:
    link, room = await ready()
    writing = asyncio.create_task(room.set_state({"a": 1}))
    await link.answer("set_state", error)
    with pytest.raises(type(error)):
        await writing
    await link.answer("join", snapshot(1, state={"a": 1}))
    assert room.state == {"a": 1}


async def test_a_cancelled_change_joins_again() -> None:
    link, room = await ready()
    writing = asyncio.create_task(room.set_metadata({"name": "x"}))
    await link.take("set_metadata")
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing
    await link.answer("join", snapshot(metadata={"name": "x"}))
    assert room.metadata == {"name": "x"}


async def test_metadata_of_two_at_once_joins_again() -> None:
    link, room = await ready()
    writing = asyncio.create_task(room.set_metadata({"name": "mine"}))
    _, future = await link.take("set_metadata")
    room.received("metadata", {"room": "lobby", "metadata": {"name": "theirs"}})
    future.set_result({"metadata": {"name": "mine"}})
    await writing
    await link.answer("join", snapshot(metadata={"name": "theirs"}))
    assert room.metadata == {"name": "theirs"}


async def test_too_many_requests_are_held_back_in_order() -> None:
    link, room = await ready()
    sending = [asyncio.create_task(room.send(event)) for event in "abc"]
    futures = [(await link.take("send"))[1] for _ in range(3)]
    futures[0].set_exception(RateLimited(retry_after_ms=1))
    futures[1].set_exception(Busy(retry_after_ms=1))
    futures[2].set_result({})
    await sending[2]
    sending.append(asyncio.create_task(room.send("d")))
    outcomes: list[StrettoError | dict[str, Any]] = [RateLimited(retry_after_ms=1), {}, {}, {}]
    again = [(await link.answer("send", outcome))["event"] for outcome in outcomes]
    assert again == ["a", "a", "b", "d"]
    await asyncio.gather(*sending)


@pytest.mark.parametrize(
    "error",
    [RateLimited(retry_after_ms=1), Unavailable(retry_after_ms=1), TokenExpired(), InternalError()],
)
async def test_a_join_is_tried_again(error: StrettoError) -> None:
    link, room = wired(status="here", metadata={"name": "Lobby"})
    await link.answer("join", error)
    payload = await link.answer("join", snapshot())
    assert payload == {"room": "lobby", "status": "here", "metadata": {"name": "Lobby"}}
    await room.joined()
    assert link.tokens == isinstance(error, TokenExpired)


async def test_an_own_former_place_is_waited_for() -> None:
    link, room = await ready()
    link.is_connected = False
    room.disconnected()
    with pytest.raises(Unavailable):
        await room.send("lost")
    link.is_connected = True
    room.connected()
    await link.answer("join", RoomFull())
    await link.answer("join", snapshot())
    await room.joined()
    assert room.error is None


async def test_a_request_waits_for_the_join() -> None:
    link, room = wired()
    sending = asyncio.create_task(room.send("hi"))
    await link.answer("join", snapshot())
    await link.answer("send", {})
    await sending


async def test_a_refused_join_ends_the_room() -> None:
    link, room = wired()
    sending = asyncio.create_task(room.send("hi"))
    await link.answer("join", Forbidden())
    with pytest.raises(Forbidden):
        await room.joined()
    with pytest.raises(Forbidden):
        await sending
    assert link.told == [("room.closed", {"room": "lobby", "error": room.error})]
    room.received("state", changed(1, a=1))
    assert room.state == {}


async def test_leaving_is_told_and_ends_at_once() -> None:
    link, room = await ready()
    leaving = asyncio.create_task(room.leave())
    _, future = await link.take("leave")
    assert isinstance(room.error, NotJoined)
    assert not room.gone.is_set()
    future.set_exception(Unavailable())
    await leaving
    assert room.gone.is_set()
    assert link.told == []
    await room.leave()
