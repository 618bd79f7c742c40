"""What is written through a published journal is told, and only that."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from stretto_core.entries import Entry, next_hash
from stretto_core.errors import Unavailable
from stretto_core.following import Frame
from stretto_core.protocol import NO_HASH
from stretto_server.journal.frames import LOST_RACE, Replaced, Told, read_frame
from stretto_server.journal.interface import Appended, Conflict, Journal
from stretto_server.journal.memory import MemoryJournal
from stretto_server.journal.published import PublishedJournal

ENTRY = Entry("client-of-ann-0001", 1, ("a",), "ann", 5)
HASH = next_hash(NO_HASH, ENTRY)


class Channel:
    """Remembers what was published; may be away."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Told | None]] = []
        self.away = False

    async def publish(self, room: str, message: bytes) -> None:
        if self.away:
            raise Unavailable
        self.told.append((room, None if message == LOST_RACE else read_frame(message)))


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
async def journal(channel: Channel) -> AsyncIterator[Journal]:
    journal: Journal = PublishedJournal(MemoryJournal(), channel.publish)
    await journal.start()
    await journal.create("notes", "e", 1)
    yield journal
    await journal.close()
    await journal.close()


async def test_what_was_appended_is_told(journal: Journal, channel: Channel) -> None:
    assert await journal.append("notes", "e", 0, [ENTRY], [HASH]) == Appended()
    await asyncio.sleep(0)
    ((room, frame),) = channel.told
    assert room == "doc:notes"
    assert isinstance(frame, Frame)
    assert (frame.epoch, frame.first, frame.entries, frame.hash) == ("e", 1, (ENTRY,), HASH)


async def test_lost_races_are_told(journal: Journal, channel: Channel) -> None:
    await journal.append("notes", "e", 0, [ENTRY], [HASH])
    assert isinstance(await journal.append("notes", "e", 0, [ENTRY], [HASH]), Conflict)
    await asyncio.sleep(0)
    assert channel.told[1:] == [("doc:notes", None)]


async def test_what_was_not_is_not(journal: Journal, channel: Channel) -> None:
    await journal.append("notes", "e", 0, [], [])
    assert isinstance(await journal.append("notes", "e", 5, [ENTRY], [HASH]), Conflict)
    await journal.renew("notes", "other", "new")
    assert not await journal.delete("nothing")
    assert await journal.load("notes") is not None
    await asyncio.sleep(0)
    assert channel.told == []


async def test_other_histories_are_told(journal: Journal, channel: Channel) -> None:
    await journal.renew("notes", "e", "e2")
    await journal.replace("notes", "e3", [ENTRY], [HASH], 2)
    await journal.delete("notes")
    await asyncio.sleep(0)
    assert [told for _, told in channel.told] == [
        Replaced("e2", False),
        Replaced("e3", False),
        Replaced("e3", True),
    ]


async def test_what_was_written_counts_though_nobody_hears(
    journal: Journal, channel: Channel
) -> None:
    channel.away = True
    assert await journal.append("notes", "e", 0, [ENTRY], [HASH]) == Appended()
    assert [head and head.version for head in await journal.heads(["notes"])] == [1]
