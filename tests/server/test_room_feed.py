"""The order of answers and changes on a room's channel, message by message."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stretto_core.errors import NotFound, RevisionConflict, Unavailable
from stretto_core.protocol import ROOMS, Limits
from stretto_server import room_feed, wire_json
from stretto_server.room_feed import RoomFeed
from stretto_server.room_store.interface import RoomSnapshot
from stretto_server.room_store.memory import MemoryRoomStore
from stretto_server.roster_service import LiveRoster
from tests.server.stubs import RecordingBus, SilentBus


class Store(MemoryRoomStore):
    """Answers with what a test put into ``answers``."""

    def __init__(self) -> None:
        super().__init__(SilentBus(), Limits(), idle_ttl=1)
        self.answers: list[RoomSnapshot | Exception] = []

    async def snapshot(self, room: str) -> RoomSnapshot:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Room:
    """A feed, and what its members are sent."""

    def __init__(self) -> None:
        self.bus = RecordingBus()
        self.store = Store()
        roster = LiveRoster(self.bus, ROOMS, "room:a", {"room": "a"})
        self.feed = RoomFeed("a", self.store, self.bus, roster)
        self.log: list[Any] = []

    def hear(self, revision: int, mark: str = "-") -> None:
        payload = wire_json.dumps({"room": "a", "revision": revision, "changes": {}, "by": None})
        self.feed.hear(f"s{mark} - {revision} {payload}".encode())

    def revisions(self) -> list[int]:
        return [payload["revision"] for _, event, payload in self.bus.frames if event == "state"]

    async def change(self, mark: str, made: Callable[[], int] | None = None) -> None:
        """Make a change; note what the members had been sent when it was answered."""

        async def work() -> int:
            if made is None:
                await asyncio.sleep(3600)
                return 0
            return made()

        revision = await self.feed.in_order(mark, work(), lambda told: told.revision)
        self.log.append((revision, self.revisions()))


async def test_an_answer_comes_between_what_is_before_and_after() -> None:
    room = Room()
    changing = asyncio.create_task(room.change("mine"))
    await asyncio.sleep(0)
    for revision, mark in ((1, "-"), (2, "mine"), (3, "-"), (4, "-")):
        room.hear(revision, mark)
    assert room.revisions() == [1, 2]
    await changing
    assert room.log == [(2, [1, 2])]
    await asyncio.sleep(0)
    assert room.revisions() == [1, 2, 3, 4]
    assert room.feed.revision == 4
    room.feed.close()


async def test_answers_behind_each_other_each_have_their_place() -> None:
    room = Room()
    changing = [asyncio.create_task(room.change(mark)) for mark in ("a", "b")]
    await asyncio.sleep(0)
    for revision, mark in ((1, "a"), (2, "-"), (3, "b"), (4, "-")):
        room.hear(revision, mark)
    await asyncio.gather(*changing)
    assert room.log == [(1, [1]), (3, [1, 2, 3])]
    await room.feed.answered()
    await asyncio.sleep(0)
    assert room.revisions() == [1, 2, 3, 4]
    room.feed.close()


async def test_a_change_that_is_not_heard_is_answered_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room_feed, "ECHO_S", 0.02)
    room = Room()
    await room.change("mine", lambda: 7)
    assert room.log == [(7, [])]
    room.feed.close()


async def test_what_was_refused_is_told_at_once() -> None:
    def refuse() -> int:
        raise RevisionConflict

    room = Room()
    with pytest.raises(RevisionConflict):
        await room.change("mine", refuse)
    await room.feed.answered()
    room.feed.close()


async def test_a_change_that_was_heard_was_made_whatever_the_reply() -> None:
    gate = asyncio.Event()

    async def lose() -> int:
        await gate.wait()
        raise Unavailable

    room = Room()
    changing = asyncio.create_task(room.feed.in_order("mine", lose(), lambda told: told.revision))
    await asyncio.sleep(0)
    room.hear(5, "mine")
    assert await changing == 5
    gate.set()
    await asyncio.sleep(0.01)
    room.feed.close()


async def test_recordings_hold_what_was_heard_meanwhile() -> None:
    room = Room()
    room.hear(1)
    with room.feed.recording() as outer:
        room.hear(2)
        with room.feed.recording() as inner:
            room.hear(3)
        room.hear(4)
    room.hear(5)
    assert [told.revision for told in outer] == [2, 3, 4]
    assert [told.revision for told in inner] == [3]
    room.feed.close()


async def test_garbage_goes_nowhere() -> None:
    room = Room()
    for message in (b"", b"s", b"s- - 1 {", b"p{", b"{}", b"\xff"):
        room.feed.hear(message)
    assert room.bus.frames == []
    room.feed.close()


async def until(met: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not met():
            await asyncio.sleep(0.002)


async def test_after_a_loss_the_last_change_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room_feed, "RETRY_S", 0.01)
    room = Room()
    last = '{"room":"a","revision":9,"changes":{"k":1},"by":null}'
    room.store.answers = [Unavailable(), RoomSnapshot("ann", 9, {"k": 1}, {"name": "A"}, last)]
    room.feed.missed()
    await until(lambda: len(room.bus.frames) == 2)
    assert [payload for _, _, payload in room.bus.frames] == [
        {"room": "a", "revision": 9, "changes": {"k": 1}, "by": None},
        {"room": "a", "metadata": {"name": "A"}},
    ]
    assert room.feed.revision == 9
    room.feed.close()


async def test_a_room_that_is_lost_is_out_of_reach() -> None:
    room = Room()
    room.hear(4)
    room.store.answers = [NotFound()]
    room.feed.missed()
    await until(lambda: len(room.revisions()) == 2)
    assert room.revisions() == [4, 6]
    assert room.bus.frames[-1][2]["by"]["id"] == "server"
    room.feed.close()


async def test_a_closed_feed_is_silent() -> None:
    room = Room()
    changing = asyncio.create_task(room.change("mine"))
    await asyncio.sleep(0)
    room.feed.close()
    room.hear(1, "mine")
    room.feed.missed()
    await asyncio.wait([changing])
    assert changing.cancelled()
    assert room.bus.frames == []
