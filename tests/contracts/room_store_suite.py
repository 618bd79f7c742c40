"""The contract suite that every room store passes.

A store's tests subclass :class:`RoomStoreSuite` and give it the fixtures ``store``, empty,
with :data:`SUITE_LIMITS` and rooms that outlive their members by :data:`IDLE_S`, and
``leave``, which takes a member out as its node does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stretto_core.errors import (
    InvalidRequest,
    NotFound,
    RevisionConflict,
    RoomFull,
    TooLarge,
)
from stretto_core.protocol import Limits
from stretto_core.room import json_size
from stretto_core.roster import Member
from stretto_server.auth import user_of
from stretto_server.room_store.interface import (
    Author,
    Founding,
    RoomQuery,
    RoomSnapshot,
    RoomStore,
)

SUITE_LIMITS = Limits(room_members=2, room_state_bytes=300)
IDLE_S = 0.4

AUTHOR = Author({"id": "m1", "user": user_of("ann").to_payload()}, "sid", "mark")
FOUNDING = Founding("ann", {})

Leave = Callable[[str, Member], Awaitable[None]]


def member(name: str, user: str = "ann") -> Member:
    return Member(name, user_of(user), status={"mood": "🎻"})


async def enter(
    store: RoomStore, room: str, name: str, user: str = "ann", /, **metadata: Any
) -> RoomSnapshot:
    founding = Founding(user, metadata)
    return (await store.enter(room, member(name, user), founding, list_members=True)).snapshot


async def found(store: RoomStore, **query: Any) -> list[str]:
    query.setdefault("user", "nobody")
    return [row.room async for row in store.find(RoomQuery(**query))]


class RoomStoreSuite:
    """The contract of :class:`~stretto_server.room_store.interface.RoomStore`."""

    async def test_the_first_makes_the_room(self, store: RoomStore) -> None:
        made = await enter(store, "a", "m1", name="A", tags=["x", "é"], max_members=3)
        assert (made.creator, made.revision, made.state) == ("ann", 0, {})
        assert made.metadata == {"name": "A", "tags": ["x", "é"], "max_members": 3}
        again = await enter(store, "a", "m2", "bob", name="B")
        assert (again.creator, again.metadata) == (made.creator, made.metadata)

    async def test_without_a_founder_there_is_no_room(self, store: RoomStore) -> None:
        with pytest.raises(NotFound):
            await store.enter("a", member("m1"), None, list_members=False)
        with pytest.raises(NotFound):
            await store.snapshot("a")
        with pytest.raises(NotFound):
            await store.set_state("a", {"k": 1}, None, AUTHOR)
        with pytest.raises(NotFound):
            await store.set_metadata("a", {"name": "x"}, AUTHOR)
        assert await found(store) == []

    async def test_places(self, store: RoomStore, leave: Leave) -> None:
        await enter(store, "a", "m1")
        await enter(store, "a", "m2", "bob")
        with pytest.raises(RoomFull):
            await enter(store, "a", "m3")
        await enter(store, "a", "m2", "bob")
        await store.set_metadata("a", {"max_members": 3}, AUTHOR)
        await enter(store, "a", "m3")
        with pytest.raises(RoomFull):
            await enter(store, "a", "m4")
        await leave("a", member("m1"))
        await enter(store, "a", "m4")
        assert {one.id for one in await store.members("a")} == {"m2", "m3", "m4"}
        assert {one.user.id for one in await store.members("a")} == {"ann", "bob"}
        assert await store.members("b") == []

    async def test_metadata_that_is_too_large_makes_no_room(self, store: RoomStore) -> None:
        with pytest.raises(TooLarge):
            await enter(store, "a", "m1", name="x" * 300)
        with pytest.raises(NotFound):
            await store.snapshot("a")

    async def test_state(self, store: RoomStore) -> None:
        await enter(store, "a", "m1")
        values = {"k": [1, 2.5, None, {"ü": "🎻"}], "big": 2**70, "t": True, "": ""}
        assert await store.set_state("a", values, 0, AUTHOR) == 1
        assert await store.set_state("a", {"t": None, "never": None}, None, AUTHOR) == 2
        assert await store.set_state("a", {}, 2, AUTHOR) == 3
        snapshot = await store.snapshot("a")
        del values["t"]
        assert (snapshot.revision, snapshot.state) == (3, values)
        for wrong in (0, 2, 4):
            with pytest.raises(RevisionConflict) as raised:
                await store.set_state("a", {"k": 0}, wrong, AUTHOR)
            assert raised.value.details == {"revision": 3}
        assert (await store.snapshot("a")).state == values

    async def test_state_has_its_limit_to_the_byte(self, store: RoomStore) -> None:
        await enter(store, "a", "m1")
        state = {f"k{number}": "é" * number for number in range(6)}
        await store.set_state("a", state, None, AUTHOR)
        left = SUITE_LIMITS.room_state_bytes - json_size({**state, "k1": ""})
        with pytest.raises(TooLarge, match=str(SUITE_LIMITS.room_state_bytes + 1)):
            await store.set_state("a", {"k1": "x" * (left + 1)}, None, AUTHOR)
        await store.set_state("a", {"k1": "x" * left}, None, AUTHOR)
        with pytest.raises(TooLarge):
            await store.set_state("a", {"l": 0}, None, AUTHOR)
        await store.set_state("a", {"k5": None, "l": 0}, None, AUTHOR)
        assert (await store.snapshot("a")).revision == 3

    async def test_what_is_no_json_is_refused(self, store: RoomStore) -> None:
        await enter(store, "a", "m1")
        for wrong in (float("nan"), {1, 2}, b"x"):
            with pytest.raises(InvalidRequest):
                await store.set_state("a", {"k": wrong}, None, AUTHOR)
        assert (await store.snapshot("a")).revision == 0

    async def test_metadata_is_merged(self, store: RoomStore) -> None:
        await enter(store, "a", "m1", name="A", tags=[])
        merged = await store.set_metadata("a", {"tags": ["x"], "private": False}, AUTHOR)
        assert merged == {"name": "A", "tags": ["x"], "private": False}
        with pytest.raises(TooLarge):
            await store.set_metadata("a", {"name": "x" * 300}, AUTHOR)
        await store.set_metadata("a", {"name": "y" * 240}, AUTHOR)
        assert (await store.snapshot("a")).metadata["name"] == "y" * 240

    async def test_a_room_may_be_made_by_its_state(self, store: RoomStore) -> None:
        with pytest.raises(RevisionConflict):
            await store.set_state("a", {"k": 1}, 1, AUTHOR, FOUNDING)
        with pytest.raises(TooLarge):
            await store.set_state("a", {"k": "x" * 300}, None, AUTHOR, FOUNDING)
        with pytest.raises(NotFound):
            await store.snapshot("a")
        assert await store.set_state("a", {"k": 1}, 0, AUTHOR, FOUNDING) == 1
        assert await found(store) == []
        entered = await store.enter("a", member("m1"), None, list_members=False)
        assert entered.snapshot.state == {"k": 1}
        assert await found(store) == ["a"]

    async def test_a_room_outlives_its_last_member_for_a_while(
        self, store: RoomStore, leave: Leave
    ) -> None:
        await enter(store, "a", "m1", name="A", tags=["x"])
        await store.set_state("a", {"k": 1}, None, AUTHOR)
        await leave("a", member("m1"))
        assert await found(store) == []
        await asyncio.sleep(IDLE_S / 2)
        back = await enter(store, "a", "m2", "bob")
        assert (back.creator, back.state, back.metadata["name"]) == ("ann", {"k": 1}, "A")
        await asyncio.sleep(1.5 * IDLE_S)
        assert (await store.snapshot("a")).state == {"k": 1}
        await leave("a", member("m2", "bob"))
        await asyncio.sleep(1.5 * IDLE_S)
        with pytest.raises(NotFound):
            await store.snapshot("a")
        new = await enter(store, "a", "m3", "bob")
        assert (new.creator, new.revision, new.state, new.metadata) == ("bob", 0, {}, {})
        assert await found(store, tags=frozenset("x")) == []
        assert await found(store, owner="bob") == ["a"]

    async def test_find(self, store: RoomStore, leave: Leave) -> None:
        await enter(store, "z", "m1", tags=["x", "y"], name="Z")
        await enter(store, "z", "m2", "bob")
        await enter(store, "b", "m3", "bob", tags=["x"], private=True)
        await enter(store, "a", "m4", "bob")
        await enter(store, "empty", "m5")
        await leave("empty", member("m5"))
        assert await found(store, user="bob") == ["z", "b", "a"]
        assert await found(store) == await found(store, user="ann") == ["z", "a"]
        assert await found(store, user="bob", tags=frozenset("x")) == ["z", "b"]
        assert await found(store, tags=frozenset("xy"), owner="ann") == ["z"]
        assert await found(store, tags=frozenset("xy"), owner="bob") == []
        assert await found(store, owner="bob") == ["a"]
        assert await found(store, min_members=2) == ["z"]
        assert await found(store, max_members=1) == ["a"]
        await store.set_metadata("z", {"tags": ["new"]}, AUTHOR)
        assert await found(store, tags=frozenset("x")) == []
        assert await found(store, tags=frozenset(["new"])) == ["z"]
        rows = [row async for row in store.find(RoomQuery("eve", owner="ann"))]
        assert [(row.members, row.metadata) for row in rows] == [
            (2, {"tags": ["new"], "name": "Z"})
        ]

    async def test_many_tags_are_found_as_well(self, store: RoomStore) -> None:
        await enter(store, "few", "m1", tags=["1"])
        await enter(store, "many", "m2", tags=[str(number) for number in range(45)] + ["1"] * 8)
        await enter(store, "last", "m3", tags=["1", "2"])
        assert await found(store, tags=frozenset("1")) == ["few", "many", "last"]
        assert await found(store, tags=frozenset(["44", "2"]), owner="ann") == ["many"]
        assert await found(store, tags=frozenset(map(str, range(100)))) == []

    async def test_find_goes_through_all_rooms(self, store: RoomStore) -> None:
        names = [f"{number * 37 % 451:03d}" for number in range(450)]
        for name in names:
            await enter(store, name, f"m{name}", tags=["x"])
        assert await found(store) == names
        assert await found(store, tags=frozenset("x"), owner="ann") == names
