"""Frames wait for an append, in order and not without bound; whoever wants a look gets one."""

import asyncio

import pytest

from stretto_core.entries import Entry, next_hash
from stretto_core.errors import Unavailable
from stretto_core.following import Frame
from stretto_core.protocol import NO_HASH, Limits
from stretto_server.document_hearing import MOST_KEPT, Hearing
from stretto_server.document_log import DocumentLog, HistoryLost
from stretto_server.metrics import Metrics
from tests.server.stubs import RecordingBus, UnreliableJournal

DIGESTS = [NO_HASH]
FRAMES = []
for _seq in range(1, MOST_KEPT + 3):
    _entry = Entry("client-elsewhere-1", _seq, ("x",), "eve", 1)
    DIGESTS.append(next_hash(DIGESTS[-1], _entry))
    FRAMES.append(Frame("epoch", _seq, (_entry,), _seq, DIGESTS[-1], "{}"))


class Ears:
    def __init__(self, log: DocumentLog, journal: UnreliableJournal) -> None:
        self.log, self.journal, self.metrics = log, journal, Metrics()
        self.hearing = Hearing(log, self.metrics)


@pytest.fixture
async def ears() -> Ears:
    journal = UnreliableJournal()
    await journal.create("notes", "epoch", 1)
    loaded = await journal.load("notes")
    assert loaded is not None
    return Ears(DocumentLog("notes", loaded, journal, RecordingBus(), Limits()), journal)


async def test_kept_frames_are_taken_in_later(ears: Ears) -> None:
    assert not ears.hearing.is_pending
    for frame in FRAMES[:3]:
        ears.hearing.keep(frame)
    assert ears.hearing.is_pending
    assert ears.log.authority.version == 0
    ears.hearing.take_in_kept()
    assert ears.log.authority.version == 3
    assert not ears.hearing.is_pending


async def test_too_many_are_forgotten_and_looked_for(ears: Ears) -> None:
    for frame in FRAMES:
        ears.hearing.keep(frame)
    assert ears.hearing.must_look
    ears.hearing.take_in_kept()
    assert ears.log.authority.version == 0


async def test_a_gap_means_looking(ears: Ears) -> None:
    ears.hearing.take_in(FRAMES[1])
    assert ears.hearing.must_look
    assert ears.metrics.gaps.labels("bus")._value.get() == 1


async def test_everybody_who_waits_is_told(ears: Ears) -> None:
    looked = [ears.hearing.want_look() for _ in range(2)]
    looked[0].cancel()
    await ears.hearing.look()
    await looked[1]
    assert not ears.hearing.is_pending


@pytest.mark.parametrize("error", [Unavailable(), HistoryLost()])
async def test_everybody_who_waits_is_told_of_a_failure(
    ears: Ears, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise error

    monkeypatch.setattr(ears.log, "catch_up", fail)
    looked = ears.hearing.want_look()
    if isinstance(error, HistoryLost):
        with pytest.raises(HistoryLost):
            await ears.hearing.look()
    else:
        await ears.hearing.look()
    with pytest.raises(Unavailable):
        await looked


async def test_closing_tells_who_waits(ears: Ears) -> None:
    looked = ears.hearing.want_look()
    ears.hearing.keep(FRAMES[0])
    ears.hearing.close(Unavailable())
    with pytest.raises(Unavailable):
        await looked
    assert not ears.hearing.is_pending
    await asyncio.sleep(0)
