from collections.abc import AsyncIterator

import pytest

from stretto_core.protocol import ServerEvent
from stretto_core.roster import Member
from stretto_server.room_store.interface import RoomStore
from stretto_server.room_store.memory import MemoryRoomStore
from tests.contracts.room_store_suite import (
    AUTHOR,
    IDLE_S,
    SUITE_LIMITS,
    Leave,
    RoomStoreSuite,
    enter,
)
from tests.server.stubs import RecordingBus


class TestMemoryRoomStore(RoomStoreSuite):
    @pytest.fixture
    async def store(self) -> AsyncIterator[RoomStore]:
        store = MemoryRoomStore(RecordingBus(), SUITE_LIMITS, idle_ttl=IDLE_S)
        yield store
        store.close()

    @pytest.fixture
    def leave(self, store: RoomStore) -> Leave:
        async def leave(room: str, member: Member) -> None:
            await store.leave(room, member.id)

        return leave


async def test_changes_are_told_at_once() -> None:
    bus = RecordingBus()
    store = MemoryRoomStore(bus, SUITE_LIMITS, idle_ttl=IDLE_S)
    await enter(store, "a", "m1")
    await store.set_state("a", {"k": 1}, None, AUTHOR)
    await store.set_metadata("a", {"name": "A"}, AUTHOR)
    assert bus.frames == [
        (
            "room:a",
            ServerEvent.STATE,
            {"room": "a", "revision": 1, "changes": {"k": 1}, "by": AUTHOR.by},
        ),
        ("room:a", ServerEvent.METADATA, {"room": "a", "metadata": {"name": "A"}}),
    ]
    store.close()
