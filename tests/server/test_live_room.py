"""A room on one node: who has a place, and the promise that answers come first."""

from collections.abc import AsyncIterator

import pytest

from stretto_core.errors import Forbidden, RoomFull, TooLarge
from stretto_core.protocol import Limits
from stretto_core.roster import Member
from stretto_server.auth import Role, user_of
from stretto_server.live_room import LiveRoom
from stretto_server.room_store.interface import Founding
from stretto_server.room_store.memory import MemoryRoomStore
from tests.server.stubs import RecordingBus
from tests.server.test_rooms import connection

LIMITS = Limits(room_members=1, room_state_bytes=50)
FOUNDING = Founding("ann", {})


@pytest.fixture
async def room() -> AsyncIterator[LiveRoom]:
    bus = RecordingBus()
    store = MemoryRoomStore(bus, LIMITS, idle_ttl=60)
    room = LiveRoom("lobby", store, bus, LIMITS)
    yield room
    await room.end()
    store.close()


def member(name: str) -> Member:
    return Member(name, user_of(name))


async def test_a_place_is_taken_and_given_up(room: LiveRoom) -> None:
    ann = connection("ann")
    snapshot = await room.enter(member("ann"), FOUNDING)
    place = await room.seat(ann, member("ann"), Role.EDITOR, snapshot.creator)
    assert room.needed
    assert place.joined(snapshot)["members"] == [member("ann").to_payload()]
    assert await place.set_state({"a": 1}, 0) == 1
    assert (await room.snapshot(place, None)).state == {"a": 1}
    assert await place.set_metadata({"name": "A"}) == {"name": "A"}
    await room.unseat(ann)
    await room.settled()
    assert not room.needed
    assert ann.rooms == set()


async def test_whoever_has_no_place_after_all_leaves_it_to_others(room: LiveRoom) -> None:
    await room.enter(member("ann"), FOUNDING)
    with pytest.raises(RoomFull):
        await room.enter(member("bob"), FOUNDING)
    await room.turn_back(member("ann"))
    await room.enter(member("bob"), FOUNDING)


async def test_a_viewer_looks_on(room: LiveRoom) -> None:
    vera = connection("vera", "viewer")
    snapshot = await room.enter(member("vera"), FOUNDING)
    place = await room.seat(vera, member("vera"), Role.VIEWER, snapshot.creator)
    for attempt in (place.send("e", 1), place.set_state({}, None), place.set_metadata({})):
        with pytest.raises(Forbidden):
            await attempt
    place.set_status("here")
    assert place.member.status == "here"
    with pytest.raises(TooLarge):
        place.set_status("x" * 50)


async def test_people_who_are_on_their_way_need_the_room(room: LiveRoom) -> None:
    room.joining += 1
    assert room.needed
    room.joining -= 1
    assert not room.needed
