"""Rooms without sockets: who may do what, limits, expiry and the in-process calls."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stretto_core.errors import (
    ERRORS,
    InvalidRequest,
    NotFound,
    NotJoined,
    RevisionConflict,
    RoomFull,
    ShuttingDown,
    StrettoError,
    TokenExpired,
    TooLarge,
)
from stretto_core.protocol import ROOMS, Limits
from stretto_server.auth import Grant, Principal, Role, user_of
from stretto_server.connections import Connection
from stretto_server.limits import Rates
from stretto_server.rooms import Rooms
from stretto_server.server import RealtimeServer
from tests.server.stubs import SilentBus

LIMITS = Limits(room_members=2, joined_rooms=3, room_state_bytes=100)


class Mailboxes(SilentBus):
    """A bus that keeps what each connection was sent."""

    def __init__(self) -> None:
        self.rooms: dict[str, list[str]] = {}
        self.boxes: dict[str, list[tuple[str, dict[str, Any]]]] = {}

    async def broadcast(
        self,
        namespace: str,
        room: str,
        event: str,
        payload: dict[str, Any],
        *,
        skip: str | None = None,
        binary: bool = False,
    ) -> None:
        self._put(room, event, payload, skip)

    def deliver(self, namespace: str, room: str, event: str, payload: dict[str, Any]) -> None:
        self._put(room, event, payload, None)

    async def send(self, namespace: str, sid: str, event: str, payload: dict[str, Any]) -> None:
        self.boxes.setdefault(sid, []).append((event, payload))

    async def join(self, namespace: str, sid: str, room: str) -> None:
        self.rooms.setdefault(room, []).append(sid)

    async def leave(self, namespace: str, sid: str, room: str) -> None:
        self.rooms[room].remove(sid)

    def _put(self, room: str, event: str, payload: dict[str, Any], skip: str | None) -> None:
        for sid in self.rooms.get(room, ()):
            if sid != skip:
                self.boxes.setdefault(sid, []).append((event, payload))

    def heard(self, who: Connection, event: str) -> list[dict[str, Any]]:
        return [payload for name, payload in self.boxes.get(who.sids[ROOMS], []) if name == event]


def principal(user: str, room: str, role: str | None) -> Principal:
    grants = (Grant(f"rooms/{room}", Role.named(role)),) if role else ()
    return Principal(user_of(user), grants, time.time() + 60)


def connection(user: str, role: str | None = "editor", sid: str = "") -> Connection:
    found = Connection(f"engine-{user}{sid}", "127.0.0.1", Rates(None))
    found.principal = principal(user, "*", role)
    found.sids[ROOMS] = f"sid-{user}{sid}"
    return found


@pytest.fixture
def bus() -> Mailboxes:
    return Mailboxes()


@pytest.fixture
async def rooms(bus: Mailboxes) -> AsyncIterator[Rooms]:
    rooms = Rooms(bus, LIMITS, idle_ttl=60)
    yield rooms
    rooms.stop()


async def join(rooms: Rooms, who: Connection, room: str = "lobby", **more: Any) -> dict[str, Any]:
    return await rooms.join(who, {"room": room, **more})


async def test_the_answer_to_join(rooms: Rooms) -> None:
    ann = connection("ann")
    answer = await join(rooms, ann, metadata={"name": "Lobby"}, status={"mood": "🎻"})
    user = {"id": "ann", "name": "ann", "color": user_of("ann").color}
    assert answer == {
        "room": "lobby",
        "member_id": answer["member_id"],
        "members": [{"id": answer["member_id"], "user": user, "status": {"mood": "🎻"}}],
        "state": {},
        "revision": 0,
        "metadata": {"name": "Lobby"},
    }
    assert ann.rooms == {"lobby"}


async def test_only_the_first_gives_metadata(rooms: Rooms) -> None:
    await join(rooms, connection("ann"), metadata={"name": "Ann's"})
    answer = await join(rooms, connection("bob"), metadata={"name": "Bob's", "private": True})
    assert answer["metadata"] == {"name": "Ann's"}
    assert [one["user"]["id"] for one in answer["members"]] == ["ann", "bob"]
    assert all("status" not in one for one in answer["members"])


async def test_another_join_is_the_same_member_and_tells_of_another_status_alone(
    rooms: Rooms, bus: Mailboxes
) -> None:
    ann = connection("ann")
    first = await join(rooms, ann, status=1)
    await settled()
    told = len(bus.heard(ann, "presence"))
    assert await join(rooms, ann, status=1) == await join(rooms, ann) == first
    await settled()
    assert len(bus.heard(ann, "presence")) == told == 1
    again = await join(rooms, ann, status=2)
    assert again == {**first, "members": [{**first["members"][0], "status": 2}]}


async def settled() -> None:
    """Let every diff be sent that is due at once."""
    for _ in range(5):
        await asyncio.sleep(0)


MAY: dict[str, dict[str, str | None]] = {
    "none": {"join": "not_found", "create": "not_found"},
    "viewer": {
        "join": None,
        "create": "not_found",
        "send": "forbidden",
        "set_state": "forbidden",
        "set_status": None,
        "set_metadata": "forbidden",
    },
    "editor": {
        "join": None,
        "create": None,
        "send": None,
        "set_state": None,
        "set_status": None,
        "set_metadata": "forbidden",
    },
    "owner": {
        "join": None,
        "create": None,
        "send": None,
        "set_state": None,
        "set_status": None,
        "set_metadata": None,
    },
}


async def attempt(rooms: Rooms, who: Connection, action: str) -> None:
    if action in ("join", "create"):
        await join(rooms, who, "lobby" if action == "join" else "new")
        return
    await join(rooms, who)
    place = rooms.place(who, "lobby")
    if action == "send":
        await place.send("hi", None)
    elif action == "set_state":
        await place.set_state({"a": 1}, None)
    elif action == "set_status":
        place.set_status("here")
    else:
        await place.set_metadata({"name": "x"})


@pytest.mark.parametrize(
    ("role", "action", "code"),
    [(role, action, code) for role, row in MAY.items() for action, code in row.items()],
)
async def test_roles(rooms: Rooms, role: str, action: str, code: str | None) -> None:
    await join(rooms, connection("ann"))
    who = connection("bob", None if role == "none" else role)
    if code is None:
        await attempt(rooms, who, action)
    else:
        with pytest.raises(ERRORS[code]):
            await attempt(rooms, who, action)
        if action == "create":
            with pytest.raises(NotFound):
                await rooms.state("new")


async def test_the_creator_owns_the_room_on_every_connection(rooms: Rooms) -> None:
    ann, again, bob = connection("ann"), connection("ann", sid="2"), connection("bob")
    await join(rooms, ann)
    await join(rooms, bob)
    await rooms.leave(ann, "lobby")
    await join(rooms, again)
    assert await rooms.place(again, "lobby").set_metadata({"tags": ["a"]}) == {"tags": ["a"]}


async def test_nothing_works_in_a_room_that_was_not_joined(rooms: Rooms) -> None:
    await join(rooms, connection("ann"))
    bob = connection("bob", "owner")
    for room in ("lobby", "never"):
        with pytest.raises(NotJoined):
            rooms.place(bob, room)
        with pytest.raises(NotJoined):
            await rooms.leave(bob, room)


async def test_messages_go_to_the_others(rooms: Rooms, bus: Mailboxes) -> None:
    ann, bob = connection("ann"), connection("bob")
    member_id = (await join(rooms, ann))["member_id"]
    await join(rooms, bob)
    before = int(time.time() * 1000)
    await rooms.place(ann, "lobby").send("wave", {"ключ": "🎻"})
    (message,) = bus.heard(bob, "message")
    assert before <= message.pop("at_ms") <= time.time() * 1000
    assert message == {
        "room": "lobby",
        "event": "wave",
        "data": {"ключ": "🎻"},
        "from": {"id": member_id, "user": user_of("ann").to_payload()},
    }
    assert bus.heard(ann, "message") == []


async def test_state_goes_to_the_others_with_its_revision(rooms: Rooms, bus: Mailboxes) -> None:
    ann, bob = connection("ann"), connection("bob")
    member_id = (await join(rooms, ann))["member_id"]
    await join(rooms, bob)
    place = rooms.place(ann, "lobby")
    assert await place.set_state({"a": 1, "b": 2}, 0) == 1
    assert await place.set_state({"a": None}, None) == 2
    assert bus.heard(bob, "state") == [
        {
            "room": "lobby",
            "revision": revision,
            "changes": changes,
            "by": {"id": member_id, "user": user_of("ann").to_payload()},
        }
        for revision, changes in ((1, {"a": 1, "b": 2}), (2, {"a": None}))
    ]
    assert bus.heard(ann, "state") == []
    answer = await join(rooms, bob)
    assert (answer["state"], answer["revision"]) == ({"b": 2}, 2)


async def test_a_refused_change_is_told_to_nobody(rooms: Rooms, bus: Mailboxes) -> None:
    ann, bob = connection("ann"), connection("bob")
    await join(rooms, ann)
    await join(rooms, bob)
    place = rooms.place(ann, "lobby")
    with pytest.raises(RevisionConflict):
        await place.set_state({"a": 1}, 5)
    with pytest.raises(TooLarge):
        await place.set_state({"a": "x" * 100}, None)
    with pytest.raises(TooLarge):
        place.set_status("x" * 100)
    with pytest.raises(TooLarge):
        await place.set_metadata({"name": "x" * 100})
    assert not bus.heard(bob, "state")
    assert not bus.heard(bob, "metadata")
    answer = await join(rooms, bob)
    assert (answer["state"], answer["revision"], answer["metadata"]) == ({}, 0, {})
    assert all("status" not in one for one in answer["members"])


async def test_a_join_that_is_too_large_makes_no_room(rooms: Rooms) -> None:
    ann = connection("ann")
    for more in ({"status": "x" * 100}, {"metadata": {"name": "x" * 100}}):
        with pytest.raises(TooLarge):
            await join(rooms, ann, **more)
        with pytest.raises(NotFound):
            await rooms.state("lobby")
    assert ann.rooms == set()


async def test_a_room_has_so_many_places(rooms: Rooms) -> None:
    ann, bob, eve = connection("ann"), connection("bob"), connection("eve")
    await join(rooms, ann)
    await join(rooms, bob)
    with pytest.raises(RoomFull):
        await join(rooms, eve)
    await join(rooms, bob)
    await rooms.place(ann, "lobby").set_metadata({"max_members": 3})
    await join(rooms, eve)
    with pytest.raises(RoomFull):
        await join(rooms, connection("max"))
    await rooms.leave(bob, "lobby")
    await join(rooms, connection("max"))


async def test_metadata_takes_a_room_to_a_thousand_members(rooms: Rooms) -> None:
    await join(rooms, connection("ann"), metadata={"max_members": 1_000})
    for number in range(999):
        await join(rooms, connection(f"user-{number}"))
    with pytest.raises(RoomFull):
        await join(rooms, connection("eve"))


async def test_a_connection_joins_so_many_rooms(rooms: Rooms) -> None:
    ann = connection("ann")
    for room in ("a", "b", "c"):
        await join(rooms, ann, room)
    with pytest.raises(TooLarge):
        await join(rooms, ann, "d")
    await join(rooms, ann, "a")
    await rooms.leave(ann, "b")
    await join(rooms, ann, "d")


async def test_an_expired_token_joins_nothing_more(rooms: Rooms) -> None:
    ann = connection("ann")
    await join(rooms, ann)
    ann.expired = True
    for room in ("lobby", "other"):
        with pytest.raises(TokenExpired):
            await join(rooms, ann, room)
    await rooms.place(ann, "lobby").send("still", None)
    await rooms.leave(ann, "lobby")


async def test_draining(rooms: Rooms) -> None:
    ann = connection("ann")
    await join(rooms, ann)
    rooms.drain()
    for room in ("lobby", "other"):
        with pytest.raises(ShuttingDown):
            await join(rooms, ann, room)
    await rooms.place(ann, "lobby").send("bye", None)


async def test_presence(rooms: Rooms, bus: Mailboxes) -> None:
    ann, bob = connection("ann"), connection("bob")
    await join(rooms, ann)
    await settled()
    member_id = (await join(rooms, bob))["member_id"]
    rooms.place(bob, "lobby").set_status(None)
    await heard(bus, ann, "presence", 2)
    (joined,) = bus.heard(ann, "presence")[1]["joined"]
    assert joined == {"id": member_id, "user": user_of("bob").to_payload(), "status": None}
    await rooms.leave(bob, "lobby")
    await heard(bus, ann, "presence", 3)
    assert bus.heard(ann, "presence")[2] == {
        "room": "lobby",
        "joined": [],
        "left": [member_id],
        "updated": [],
    }
    assert len(bus.heard(bob, "presence")) == 1


async def heard(bus: Mailboxes, who: Connection, event: str, count: int) -> None:
    async with asyncio.timeout(2):
        while len(bus.heard(who, event)) < count:
            await asyncio.sleep(0.01)


async def test_a_connection_that_is_gone_leaves_every_room(rooms: Rooms) -> None:
    ann = connection("ann")
    await join(rooms, ann, "a")
    await join(rooms, ann, "b")
    del ann.sids[ROOMS]
    await rooms.leave_all(ann)
    assert ann.rooms == set()
    assert await rooms.members("a") == await rooms.members("b") == []


async def test_a_right_that_is_gone_takes_the_place(rooms: Rooms, bus: Mailboxes) -> None:
    ann, bob = connection("ann"), connection("bob")
    await join(rooms, ann)
    await join(rooms, bob)
    bob.principal = principal("bob", "other", "editor")
    await rooms.rights_changed(bob)
    (closed,) = bus.heard(bob, "closed")
    assert closed["room"] == "lobby"
    assert closed["error"]["code"] == "not_found"
    assert bob.rooms == set()
    assert [one.user.id for one in await rooms.members("lobby")] == ["ann"]
    await rooms.place(ann, "lobby").send("alone", None)
    assert bus.heard(bob, "message") == []


async def test_a_role_that_changes_changes_what_it_may_do(rooms: Rooms, bus: Mailboxes) -> None:
    ann, bob = connection("ann"), connection("bob", "viewer")
    await join(rooms, ann)
    await join(rooms, bob)
    await rooms.rights_changed(bob)
    assert bus.heard(bob, "role") == []
    for role, allowed in (("editor", True), ("viewer", False)):
        bob.principal = principal("bob", "lobby", role)
        await rooms.rights_changed(bob)
        assert bus.heard(bob, "role")[-1] == {"room": "lobby", "role": role}
        if allowed:
            await rooms.place(bob, "lobby").send("hi", None)
        else:
            with pytest.raises(StrettoError, match="viewer"):
                await rooms.place(bob, "lobby").send("hi", None)


async def found(rooms: Rooms, who: Connection, **query: Any) -> list[str]:
    return [row["room"] for row in await rooms.find(who, query)]


async def test_find(rooms: Rooms) -> None:
    ann, bob, eve = connection("ann"), connection("bob"), connection("eve", "viewer")
    await join(rooms, ann, "chess", metadata={"tags": ["game", "slow"], "name": "Chess"})
    await join(rooms, bob, "chess")
    await join(rooms, bob, "go", metadata={"tags": ["game"]})
    await join(rooms, bob, "empty")
    await rooms.leave(bob, "empty")

    assert await found(rooms, eve) == ["chess", "go"]
    assert await rooms.find(eve, {"owner": "ann"}) == [
        {"room": "chess", "members": 2, "metadata": {"tags": ["game", "slow"], "name": "Chess"}}
    ]
    assert await found(rooms, eve, tags=["game"]) == ["chess", "go"]
    assert await found(rooms, eve, tags=["slow", "game"]) == ["chess"]
    assert await found(rooms, eve, min_members=2) == ["chess"]
    assert await found(rooms, eve, max_members=1) == ["go"]
    assert await found(rooms, eve, limit=1) == ["chess"]
    assert await found(rooms, connection("max", None)) == []


async def test_find_shows_only_what_may_be_seen(rooms: Rooms) -> None:
    ann = connection("ann")
    await join(rooms, ann, "team-a")
    await join(rooms, ann, "team-b")
    bob = connection("bob")
    bob.principal = principal("bob", "team-b", "viewer")
    assert await found(rooms, bob) == ["team-b"]


async def test_private_rooms_are_found_by_their_members(rooms: Rooms) -> None:
    ann, bob = connection("ann"), connection("bob", "owner")
    await join(rooms, ann, metadata={"private": True})
    assert await found(rooms, ann) == await found(rooms, connection("ann", sid="2")) == ["lobby"]
    assert await found(rooms, bob) == []
    await join(rooms, bob)
    assert await found(rooms, bob) == ["lobby"]


async def test_find_gives_fifty_rooms_and_a_hundred_at_most(bus: Mailboxes) -> None:
    rooms = Rooms(bus, Limits(joined_rooms=200), idle_ttl=60)
    ann = connection("ann")
    for number in range(120):
        await join(rooms, ann, f"room-{number:03d}")
    assert len(await found(rooms, ann)) == 50
    assert len(await found(rooms, ann, limit=120)) == 100
    rooms.stop()


async def gone(rooms: Rooms, room: str) -> None:
    while True:
        try:
            await rooms.state(room)
        except NotFound:
            return
        await asyncio.sleep(0.01)


async def test_a_room_outlives_its_last_member_for_a_while(bus: Mailboxes) -> None:
    rooms = Rooms(bus, LIMITS, idle_ttl=0.2)
    ann, bob = connection("ann"), connection("bob", "viewer")
    await join(rooms, ann, metadata={"name": "Lobby"})
    await rooms.place(ann, "lobby").set_state({"a": 1}, None)
    await rooms.leave(ann, "lobby")
    answer = await join(rooms, bob)
    assert (answer["state"], answer["metadata"]) == ({"a": 1}, {"name": "Lobby"})

    await asyncio.sleep(0.3)
    assert (await rooms.state("lobby")).values == {"a": 1}
    await rooms.leave(bob, "lobby")
    async with asyncio.timeout(0.6):
        await gone(rooms, "lobby")
    with pytest.raises(NotFound):
        await join(rooms, bob)
    assert (await join(rooms, ann))["state"] == {}
    rooms.stop()


async def test_a_room_may_end_with_its_last_member(bus: Mailboxes) -> None:
    rooms = Rooms(bus, LIMITS, idle_ttl=0)
    ann = connection("ann")
    await join(rooms, ann)
    await rooms.leave(ann, "lobby")
    with pytest.raises(NotFound):
        await rooms.state("lobby")
    assert await rooms.set_state("lobby", {"a": 1}) == 1
    with pytest.raises(NotFound):
        await rooms.state("lobby")


async def test_nothing_is_left_running(bus: Mailboxes) -> None:
    rooms = Rooms(bus, LIMITS, idle_ttl=0.01)
    ann = connection("ann")
    await join(rooms, ann)
    rooms.stop()
    await rooms.leave_all(ann)
    await settled()
    assert bus.boxes == {}


async def test_in_process_messages_and_state(rooms: Rooms, bus: Mailboxes) -> None:
    ann = connection("ann")
    await join(rooms, ann)
    await rooms.send("lobby", "notice", b"\x00")
    await rooms.send("nowhere", "notice", None)
    (message,) = bus.heard(ann, "message")
    server = {"id": "server", "user": user_of("server").to_payload()}
    assert (message["event"], message["data"], message["from"]) == ("notice", b"\x00", server)

    assert await rooms.set_state("lobby", {"a": [1]}, if_revision=0) == 1
    assert bus.heard(ann, "state") == [
        {"room": "lobby", "revision": 1, "changes": {"a": [1]}, "by": server}
    ]
    state = await rooms.state("lobby")
    state.values["a"].append(2)
    assert (await rooms.state("lobby")).values == {"a": [1]}
    assert [one.user.id for one in await rooms.members("lobby")] == ["ann"]
    assert await rooms.members("nowhere") == []


async def test_in_process_state_makes_a_room(rooms: Rooms) -> None:
    with pytest.raises(InvalidRequest):
        await rooms.set_state("../lobby", {"a": 1})
    with pytest.raises(RevisionConflict):
        await rooms.set_state("lobby", {"a": 1}, if_revision=1)
    with pytest.raises(InvalidRequest):
        await rooms.set_state("lobby", {"a": float("nan")})
    with pytest.raises(NotFound):
        await rooms.state("lobby")
    await rooms.set_state("lobby", {"a": 1})
    viewer = connection("bob", "viewer")
    assert (await join(rooms, viewer))["state"] == {"a": 1}


async def test_the_server_has_rooms(server: RealtimeServer) -> None:
    await server.rooms.set_state("lobby", {"a": 1})
    assert (await server.rooms.state("lobby")).revision == 1
