"""The rooms of one client, over a link that does what a test says."""

import asyncio
from contextlib import suppress

import pytest

from stretto_client.rooms import ClientRooms
from stretto_core.errors import Forbidden, NotJoined, RateLimited, Unauthenticated
from tests.client_py.test_room import Wired, snapshot


def wired() -> tuple[Wired, ClientRooms]:
    link = Wired()
    return link, ClientRooms(link, link.tell, lambda: 0.0)


async def test_events_go_to_their_room() -> None:
    link, rooms = wired()
    joining = asyncio.create_task(rooms.join("lobby"))
    await link.answer("join", snapshot())
    room = await joining
    metadata = {"name": "Lobby"}
    rooms.received("metadata", {"room": "other", "metadata": {}})
    rooms.received("metadata", {"room": "lobby", "metadata": metadata})
    rooms.received("metadata", {})
    assert room.metadata == metadata


async def test_another_visit_waits_for_the_end_of_the_former() -> None:
    link, rooms = wired()
    joining = asyncio.create_task(rooms.join("lobby"))
    await link.answer("join", snapshot())
    first = await joining
    leaving = asyncio.create_task(first.leave())
    _, left = await link.take("leave")
    joining = asyncio.create_task(rooms.join("lobby"))
    await asyncio.sleep(0)
    assert link.asked == []
    rooms.received("metadata", {"room": "lobby", "metadata": {"name": "old"}})
    left.set_result({})
    await leaving
    await link.answer("join", snapshot(member_id="again"))
    second = await joining
    assert (second.member_id, second.metadata) == ("again", {})


async def test_a_cancelled_join_leaves() -> None:
    link, rooms = wired()
    joining = asyncio.create_task(rooms.join("lobby"))
    await link.take("join")
    joining.cancel()
    await link.answer("leave", NotJoined())
    with suppress(asyncio.CancelledError):
        await joining
    joining = asyncio.create_task(rooms.join("lobby"))
    await link.answer("join", snapshot())
    assert (await joining).error is None


async def test_a_refused_join_is_raised_and_forgotten() -> None:
    link, rooms = wired()
    for _ in range(2):
        joining = asyncio.create_task(rooms.join("lobby"))
        await link.answer("join", Forbidden())
        with pytest.raises(Forbidden):
            await joining


async def test_ups_and_downs_reach_every_room() -> None:
    link, rooms = wired()
    joined = []
    for id in ("a", "b"):
        joining = asyncio.create_task(rooms.join(id))
        await link.answer("join", snapshot(room=id))
        joined.append(await joining)
    rooms.disconnected()
    rooms.connected()
    for id in ("a", "b"):
        assert (await link.answer("join", snapshot(room=id)))["room"] == id
    rooms.failed(Unauthenticated())
    assert [event for event, _ in link.told] == ["room.closed", "room.closed"]
    assert all(isinstance(room.error, Unauthenticated) for room in joined)
    rooms.stop()


async def test_a_client_that_gave_up_joins_nothing() -> None:
    link, rooms = wired()
    link.error = Unauthenticated()
    with pytest.raises(Unauthenticated):
        await rooms.join("lobby")


async def test_find_waits_where_it_came_too_early() -> None:
    link, rooms = wired()
    finding = asyncio.create_task(rooms.find({"owner": "ann", "tags": None}))
    await link.answer("find", RateLimited(retry_after_ms=1))
    assert await link.answer("find", {"rooms": []}) == {"owner": "ann"}
    assert await finding == []
