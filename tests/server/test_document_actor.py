"""The actor: nothing is answered or sent before it is durable, whatever the journal does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stretto_core.authority import Submission
from stretto_core.entries import Entry, next_hash
from stretto_core.errors import (
    Busy,
    EpochChanged,
    Forbidden,
    InternalError,
    InvalidOperation,
    SequenceGap,
    StrettoError,
    Unavailable,
    VersionAhead,
    VersionGone,
)
from stretto_core.following import Frame
from stretto_core.protocol import Limits
from stretto_server import document_hearing, document_log, document_pace, document_queue
from stretto_server.document_actor import DocumentActor
from stretto_server.journal import frames
from stretto_server.journal.frames import read_frame
from stretto_server.journal.interface import OutcomeUnknown, Snapshot
from stretto_server.journal.published import PublishedJournal
from stretto_server.metrics import Metrics
from tests.server.hub import Hub
from tests.server.stubs import RecordingBus, UnreliableJournal

ANN, BOB = "client-of-ann-0001", "client-of-bob-0001"


class Desk:
    """A document with its actor, for tests."""

    def __init__(self, actor: DocumentActor, journal: UnreliableJournal, bus: RecordingBus) -> None:
        self.actor, self.journal, self.bus = actor, journal, bus

    def submit(
        self, client: str, seq: int, base: int, *op: int | str, user: str | None = None
    ) -> "asyncio.Future[int]":
        epoch = self.actor.authority.epoch
        who = user or ("ann" if client == ANN else "bob")
        return self.actor.submit(Submission(epoch, client, seq, base, op, who))

    async def elsewhere(self, *op: int | str, client: str = "client-elsewhere-1") -> None:
        """Commit behind the actor's back, as another process would."""
        loaded = await self.journal.load("notes")
        assert loaded is not None
        record = await self.journal.client("notes", client)
        entry = Entry(client, (record.last_seq if record else 0) + 1, op, "eve", 1)
        head = loaded.head
        journal: UnreliableJournal = self.journal
        result = await super(UnreliableJournal, journal).append(
            "notes", head.epoch, head.version, [entry], [next_hash(head.hash, entry)]
        )
        assert type(result).__name__ == "Appended"


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    journal, bus = UnreliableJournal(), RecordingBus()
    await journal.create("notes", "epoch", 1)
    loaded = await journal.load("notes")
    assert loaded is not None
    actor = DocumentActor("notes", loaded, journal, bus, Limits(), Metrics())
    await actor.admit(ANN, "ann")
    await actor.admit(BOB, "bob")
    yield Desk(actor, journal, bus)
    await actor.stop()


async def test_neither_frame_nor_answer_precedes_the_append(desk: Desk) -> None:
    desk.journal.gate = asyncio.Event()
    answer = desk.submit(ANN, 1, 0, "a")
    for _ in range(20):
        await asyncio.sleep(0)
    assert desk.journal.appends == [1]
    assert not answer.done()
    assert desk.bus.frames == []
    assert desk.actor.authority.text == ""
    desk.journal.gate.set()
    assert await answer == 1
    assert desk.bus.texts() == [[["a"]]]


async def test_what_arrives_during_an_append_is_the_next_batch(desk: Desk) -> None:
    desk.journal.gate = asyncio.Event()
    first = desk.submit(ANN, 1, 0, "a")
    await asyncio.sleep(0)
    later = [desk.submit(BOB, 1, 0, "b"), desk.submit(ANN, 1, 0, "a")]
    desk.journal.gate.set()
    assert await asyncio.gather(first, *later) == [1, 2, 1]
    assert desk.journal.appends == [1, 1]


async def test_one_refusal_spoils_nothing_else(desk: Desk) -> None:
    answers = [
        desk.submit(ANN, 1, 0, "a"),
        desk.submit(BOB, 1, 0, 99, "b"),
        desk.submit(BOB, 1, 0, "b"),
        desk.submit(BOB, 3, 0, "c"),
        desk.submit(ANN, 2, 9, "d"),
    ]
    done = await asyncio.gather(*answers, return_exceptions=True)
    assert done[0] == 1
    assert isinstance(done[1], InvalidOperation)
    assert done[2] == 2
    assert isinstance(done[3], SequenceGap)
    assert isinstance(done[4], VersionAhead)
    assert desk.bus.texts() == [[["a"], ["b"]]]


async def test_a_lost_race_is_rebased_and_sent_on(desk: Desk) -> None:
    assert await desk.submit(ANN, 1, 0, "abc") == 1
    await desk.elsewhere(3, "X")
    assert await desk.submit(ANN, 2, 1, 3, "Y") == 3
    assert desk.bus.texts() == [[["abc"]], [[3, "X"]], [[3, "Y"]]]
    assert desk.actor.authority.text == "abcYX"


async def test_races_lost_in_a_row_are_run_again_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    races, real = iter(range(20)), desk.journal.append

    async def raced(*batch: Any, **about: Any) -> Any:
        if next(races, None) is not None:
            await desk.elsewhere("x")
        return await real(*batch, **about)

    async def pause(_seconds: float) -> None:
        raise AssertionError("whoever pauses loses again")

    monkeypatch.setattr(desk.journal, "append", raced)
    monkeypatch.setattr(asyncio, "sleep", pause)
    assert await desk.submit(ANN, 1, 0, "a") == 21


async def test_a_race_lost_to_the_own_resend_is_answered_once(desk: Desk) -> None:
    await desk.elsewhere("a", client="client-of-ann-0002")
    await desk.actor.admit("client-of-ann-0002", "eve")
    assert await desk.submit("client-of-ann-0002", 1, 0, "a", user="eve") == 1
    assert desk.actor.authority.text == "a"


async def test_an_unavailable_journal_refuses_and_recovers(desk: Desk) -> None:
    desk.journal.before = [Unavailable()]
    with pytest.raises(Unavailable):
        await desk.submit(ANN, 1, 0, "a")
    assert desk.bus.frames == []
    assert await desk.submit(ANN, 1, 0, "a") == 1


@pytest.mark.parametrize("happened", [True, False])
async def test_an_unknown_outcome_is_read_before_going_on(desk: Desk, happened: bool) -> None:
    (desk.journal.after if happened else desk.journal.before).append(OutcomeUnknown())
    with pytest.raises(Unavailable):
        await desk.submit(ANN, 1, 0, "a")
    assert await desk.submit(BOB, 1, 0, "b") == (2 if happened else 1)
    assert await desk.submit(ANN, 1, 0, "a") == (1 if happened else 2)
    assert sorted(desk.actor.authority.text) == ["a", "b"]


async def test_a_bug_in_the_journal_is_logged_and_answered(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.journal.after = [ZeroDivisionError()]
    with pytest.raises(InternalError):
        await desk.submit(ANN, 1, 0, "a")
    assert len([record for record in caplog.records if record.exc_info]) == 1
    assert await desk.submit(ANN, 1, 0, "a") == 1


async def test_a_full_queue_is_busy(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_queue, "MAX_QUEUED", 2)
    desk.journal.gate = asyncio.Event()
    answers = [desk.submit(ANN, 1, 0, "a")]
    await asyncio.sleep(0)
    answers += [desk.submit(BOB, 1, 0, "b"), desk.submit(ANN, 1, 0, "a")]
    with pytest.raises(Busy):
        desk.submit(BOB, 1, 0, "b")
    desk.journal.gate.set()
    assert await asyncio.gather(*answers) == [1, 2, 1]


async def test_a_fence_waits_for_what_came_before_it(desk: Desk) -> None:
    desk.journal.gate = asyncio.Event()
    last = desk.submit(ANN, 1, 0, "a")
    admitted = desk.actor.admit("client-of-ann-0002", "ann", ANN)
    desk.journal.gate.set()
    assert await last == 1
    assert (await admitted).fenced_last_seq == 1
    with pytest.raises(SequenceGap):
        await desk.submit(ANN, 2, 1, "zombie")


async def test_a_fence_set_elsewhere_stops_the_client_here(desk: Desk) -> None:
    await desk.journal.fence("notes", "epoch", ANN, "ann", 1)
    with pytest.raises(SequenceGap):
        await desk.submit(ANN, 1, 0, "zombie")
    assert desk.actor.authority.text == ""


async def test_admission_brings_what_the_client_committed_elsewhere(desk: Desk) -> None:
    await desk.elsewhere("far", client="client-of-ann-0003")
    admitted = await desk.actor.admit("client-of-ann-0003", "eve")
    assert admitted.last_seq == 1
    assert desk.actor.authority.text == "far"
    with pytest.raises(Forbidden):
        await desk.actor.admit("client-of-ann-0003", "ann")


async def test_another_epoch_in_the_journal_is_told(desk: Desk) -> None:
    await desk.journal.replace("notes", "another", [], [], 2)
    with pytest.raises(EpochChanged):
        await desk.submit(ANN, 1, 0, "a")


async def test_snapshots_are_written_by_count_and_size(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_log, "SNAPSHOT_OPS", 3)
    for seq in range(1, 5):
        await desk.submit(ANN, seq, seq - 1, "x")
    await desk.actor.flush()
    loaded = await desk.journal.load("notes")
    assert loaded is not None
    assert loaded.snapshot.version == 3
    monkeypatch.setattr(document_log, "SNAPSHOT_CHARS", 10)
    await desk.submit(ANN, 5, 4, "x" * 10)
    await desk.actor.flush()
    loaded = await desk.journal.load("notes")
    assert loaded is not None
    assert loaded.snapshot.version == 5


async def test_old_bases_are_read_back_from_the_journal(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seq in range(1, 9):
        await desk.submit(ANN, seq, seq - 1, "x")
    desk.actor.authority.trim(8)
    assert desk.actor.authority.horizon > 0
    assert await desk.submit(BOB, 1, 0, "old") == 9
    assert desk.actor.authority.text == "oldxxxxxxxx"


async def test_many_members_gather_frames(desk: Desk) -> None:
    desk.actor.audience = 1_000
    await desk.submit(ANN, 1, 0, "a")
    answers = [desk.submit(BOB, 1, 0, "b")]
    await asyncio.sleep(0.005)
    answers.append(desk.submit(ANN, 2, 1, "c"))
    await asyncio.gather(*answers)
    assert len(desk.bus.texts()) == 2


async def test_stopping_leaves_the_outcome_unknown(desk: Desk) -> None:
    desk.journal.gate = asyncio.Event()
    answer = desk.submit(ANN, 1, 0, "a")
    await asyncio.sleep(0)
    await desk.actor.stop()
    with pytest.raises(Unavailable):
        await answer


async def test_a_compaction_meanwhile_refuses_only_who_is_based_below_it(desk: Desk) -> None:
    for seq in range(1, 9):
        await desk.submit(ANN, seq, seq - 1, "x")
    await desk.actor.log.snapshot()
    await desk.journal.compact("notes", "epoch", 6)
    desk.actor.authority.trim(8)
    old, new = desk.submit(BOB, 1, 2, "old"), desk.submit(ANN, 9, 8, "new")
    assert await new == 9
    with pytest.raises(VersionGone):
        await old
    assert desk.actor.authority.floor == 6
    assert await desk.submit(BOB, 1, 7, "later") == 10


class Recorder:
    """Answers in place, and remembers in which order everything was told."""

    def __init__(self, desk: Desk, told: list[object]) -> None:
        self._desk = desk
        self._told = told

    def done(self) -> bool:
        return False

    def set_result(self, version: int) -> None:
        self._told.append((version, len(self._desk.bus.frames)))

    def set_exception(self, error: StrettoError) -> None:
        self._told.append(error.code)


async def test_answers_in_place_follow_the_frame_of_their_batch(desk: Desk) -> None:
    told: list[object] = []
    epoch = desk.actor.authority.epoch
    for client, seq, user in ((ANN, 1, "ann"), (BOB, 1, "bob"), (BOB, 3, "bob")):
        submission = Submission(epoch, client, seq, 0, ["x"], user)
        desk.actor.submit_for(submission, Recorder(desk, told))
    assert told == []
    await desk.actor.flush()
    assert told == [(1, 1), (2, 1), "sequence_gap"]


async def test_an_idle_actor_waits_for_nothing(desk: Desk) -> None:
    assert desk.actor.idle
    await desk.actor.flush()
    answer = desk.submit(ANN, 1, 0, "a")
    assert not desk.actor.idle
    await desk.actor.flush()
    assert answer.done()
    assert desk.actor.idle


async def test_stopping_while_frames_are_gathered_sends_nothing_more(desk: Desk) -> None:
    desk.actor.audience = 1_000
    await desk.submit(ANN, 1, 0, "a")
    late = desk.submit(BOB, 1, 0, "b")
    await asyncio.sleep(0.001)
    await desk.actor.stop()
    await asyncio.sleep(0.05)
    assert not late.done()
    assert len(desk.bus.texts()) == 1


async def test_a_snapshot_holds_nobody_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_log, "SNAPSHOT_OPS", 1)
    written = asyncio.Event()
    keep = desk.journal.snapshot

    async def slowly(doc: str, epoch: str, snapshot: Snapshot) -> None:
        await written.wait()
        await keep(doc, epoch, snapshot)

    monkeypatch.setattr(desk.journal, "snapshot", slowly)
    assert await desk.submit(ANN, 1, 0, "a") == 1
    assert await desk.submit(ANN, 2, 1, "b") == 2
    flushing = asyncio.ensure_future(desk.actor.flush())
    await asyncio.sleep(0)
    assert not flushing.done()
    written.set()
    await flushing
    loaded = await desk.journal.load("notes")
    assert loaded is not None
    assert loaded.snapshot.version == 1


# What other nodes do. A second actor on the same journal is the other node.


class Nodes:
    """Two nodes with one document each, on one journal and a bus that waits to be told."""

    def __init__(self, journal: UnreliableJournal) -> None:
        self.journal, self.hub, self.metrics = journal, Hub(), Metrics()
        self.published = PublishedJournal(journal, self.hub.bus().publish)
        self.buses = [self.hub.bus(), self.hub.bus()]
        self.actors: list[DocumentActor] = []
        self.problems: list[Exception] = []

    async def open(self) -> None:
        await self.journal.create("notes", "epoch", 1)
        for bus in self.buses:
            loaded = await self.journal.load("notes")
            assert loaded is not None
            actor = DocumentActor("notes", loaded, self.published, bus, Limits(), self.metrics)
            actor.on_lost = self.problems.append
            await bus.follow("doc:notes", _Ear(actor))
            await actor.admit(ANN, "ann")
            await actor.admit(BOB, "bob")
            self.actors.append(actor)

    def submit(self, node: int, client: str, seq: int, base: int, *op: int | str) -> Any:
        who = "ann" if client == ANN else "bob"
        actor = self.actors[node]
        return actor.submit(Submission(actor.authority.epoch, client, seq, base, op, who))

    def texts(self) -> list[str]:
        return [actor.authority.text for actor in self.actors]

    def heard(self, node: int) -> list[tuple[int, int]]:
        """Return the versions of each frame that a node's members were sent."""
        return [
            (payload["from"], payload["from"] + len(payload["ops"]) - 1)
            for _, event, payload in self.buses[node].frames
            if event == "ops"
        ]

    def gaps(self) -> float:
        return float(self.metrics.gaps.labels("bus")._value.get())


class _Ear:
    def __init__(self, actor: DocumentActor) -> None:
        self.actor = actor

    def hear(self, message: bytes) -> None:
        if message == frames.LOST_RACE:
            self.actor.hear_waiting()
            return
        told = read_frame(message)
        if isinstance(told, Frame):
            self.actor.hear(told)
        else:
            self.actor.look_later()

    def missed(self) -> None:
        self.actor.look_later()


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    nodes = Nodes(UnreliableJournal())
    await nodes.open()
    yield nodes
    for actor in nodes.actors:
        await actor.stop()
    await nodes.published.close()


async def settle(nodes: Nodes) -> None:
    for _ in range(5):
        await asyncio.sleep(0)
        nodes.hub.deliver()
        for actor in nodes.actors:
            await actor.flush()


async def test_a_commit_is_heard_and_relayed_as_it_came(nodes: Nodes) -> None:
    assert await nodes.submit(0, ANN, 1, 0, "a") == 1
    assert nodes.texts() == ["a", ""]
    await settle(nodes)
    assert nodes.texts() == ["a", "a"]
    assert nodes.heard(0) == nodes.heard(1) == [(1, 1)]
    assert nodes.buses[0].frames == nodes.buses[1].frames


async def test_what_is_heard_twice_or_late_is_known(nodes: Nodes) -> None:
    await nodes.submit(0, ANN, 1, 0, "a")
    await asyncio.sleep(0)
    waiting = nodes.buses[1].waiting
    waiting.extend(list(waiting))
    await nodes.submit(0, ANN, 2, 1, 1, "b")
    await asyncio.sleep(0)
    waiting.appendleft(waiting[-1])  # out of order
    await settle(nodes)
    assert nodes.texts() == ["ab", "ab"]
    assert nodes.heard(1) == [(1, 1), (2, 2)]
    assert nodes.problems == []


async def test_a_gap_is_read_from_the_journal(nodes: Nodes) -> None:
    await nodes.submit(0, ANN, 1, 0, "a")
    await asyncio.sleep(0)
    nodes.buses[1].waiting.clear()
    await nodes.submit(0, ANN, 2, 1, 1, "b")
    await settle(nodes)
    assert nodes.texts() == ["ab", "ab"]
    assert nodes.heard(1) == [(1, 2)]
    assert nodes.gaps() == 1


async def test_a_frame_too_large_to_be_sent_along_is_read(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MOST_FRAME_BYTES", 10)
    await nodes.submit(0, ANN, 1, 0, "a")
    await settle(nodes)
    assert nodes.texts() == ["a", "a"]
    assert nodes.heard(1) == [(1, 1)]


async def test_frames_wait_for_the_append_under_way(nodes: Nodes) -> None:
    nodes.journal.gate = asyncio.Event()
    own = nodes.submit(1, BOB, 1, 0, "b")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    # The race is won by the other node, and heard of before the loser is told.
    nodes.journal.gate.set()
    await nodes.submit(0, ANN, 1, 0, "a")
    nodes.hub.deliver()
    await own
    await settle(nodes)
    assert nodes.texts()[0] == nodes.texts()[1]
    assert sorted(nodes.texts()[0]) == ["a", "b"]
    assert nodes.heard(0) == nodes.heard(1) == [(1, 1), (2, 2)]


async def test_other_nodes_that_commit_get_the_next_turn(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_pace, "GATHER_S", 3600.0)
    monkeypatch.setattr(document_pace, "TURN_APPENDS", 1e12)
    await nodes.submit(1, BOB, 1, 0, "b")
    await settle(nodes)
    assert await nodes.submit(0, ANN, 1, 1, "a") == 2
    next_one = nodes.submit(0, ANN, 2, 2, "c")
    for _ in range(5):
        await asyncio.sleep(0)
    assert not next_one.done()
    assert await asyncio.wait_for(nodes.submit(1, BOB, 2, 1, "d"), 10) == 3
    nodes.hub.deliver()
    assert await asyncio.wait_for(next_one, 10) == 4
    assert nodes.problems == []


async def test_too_many_waiting_frames_are_read_instead(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_hearing, "MOST_KEPT", 2)
    gate = asyncio.Event()
    real = nodes.actors[1].log.catch_up

    async def slowly() -> None:
        await gate.wait()
        await real()

    monkeypatch.setattr(nodes.actors[1].log, "catch_up", slowly)
    looked = nodes.actors[1].look()
    await asyncio.sleep(0)
    for seq in range(1, 6):
        await nodes.submit(0, ANN, seq, seq - 1, "a")
        await asyncio.sleep(0)
    nodes.hub.deliver()
    gate.set()
    await looked
    await settle(nodes)
    assert nodes.texts() == ["aaaaa", "aaaaa"]
    assert nodes.problems == []


async def test_who_has_seen_more_elsewhere_is_read_for(nodes: Nodes) -> None:
    await nodes.submit(0, ANN, 1, 0, "a")
    nodes.buses[1].waiting.clear()
    # A client comes from the other node and builds on what it saw there.
    assert await nodes.submit(1, BOB, 1, 1, 1, "b") == 2
    with pytest.raises(VersionAhead):
        await nodes.submit(1, BOB, 2, 9, "c")
    assert nodes.actors[1].authority.text == "ab"


async def test_looking_raises_what_the_journal_does(nodes: Nodes) -> None:
    async def gone(*_: object) -> Any:
        raise Unavailable

    nodes.journal.read = gone  # type: ignore[assignment]
    with pytest.raises(Unavailable):
        await nodes.actors[1].look()
    assert not nodes.actors[1].lost


@pytest.mark.parametrize("how", ["frame", "append", "look", "settle"])
async def test_a_history_that_lost_its_tail_is_noticed(nodes: Nodes, how: str) -> None:
    await nodes.submit(0, ANN, 1, 0, "a")
    await nodes.submit(0, ANN, 2, 1, "b")
    await settle(nodes)
    roll_back(nodes.journal, 1)
    if how == "frame":  # others have written on
        head = (await nodes.journal.heads(["notes"]))[0]
        assert head is not None
        entry = Entry("client-elsewhere-1", 1, ("x",), "eve", 1)
        await nodes.published.append("notes", "epoch", 1, [entry], [next_hash(head.hash, entry)])
        await settle(nodes)
    elif how == "append":
        with pytest.raises(Unavailable):
            await nodes.submit(0, ANN, 3, 2, "c")
    elif how == "look":
        with pytest.raises(Unavailable):
            await nodes.actors[0].look()
    else:
        nodes.actors[0].log.unsure = True
        with pytest.raises(Unavailable):
            await nodes.submit(0, ANN, 3, 2, "c")
    assert nodes.actors[0].lost
    assert len(nodes.problems) == (2 if how == "frame" else 1)
    with pytest.raises(Unavailable):
        nodes.submit(0, ANN, 3, 2, "c")
    with pytest.raises(Unavailable):
        nodes.actors[0].look()
    with pytest.raises(Unavailable):
        nodes.actors[0].admit(ANN, "ann")
    assert nodes.texts()[0] == "ba"  # what is known stays until it is loaded anew


async def test_what_is_queued_behind_a_lost_history_is_answered(nodes: Nodes) -> None:
    await nodes.submit(0, ANN, 1, 0, "a")
    roll_back(nodes.journal, 0)
    nodes.journal.gate = asyncio.Event()
    first = nodes.submit(0, ANN, 2, 1, "b")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second, opening = nodes.submit(0, BOB, 1, 1, "c"), nodes.actors[0].admit(BOB, "bob")
    looked = nodes.actors[0].look()
    nodes.journal.gate.set()
    for answer in (first, second, opening, looked):
        with pytest.raises(Unavailable):
            await answer
    await nodes.actors[0].flush()


@pytest.mark.parametrize("what", ["deleted", "replaced"])
async def test_who_opens_while_the_history_is_gone_comes_back(nodes: Nodes, what: str) -> None:
    if what == "deleted":
        await nodes.journal.delete("notes")
    else:
        await nodes.journal.replace("notes", "another", [], [], 2)
    with pytest.raises(Unavailable):
        await nodes.actors[0].admit("client-of-ann-0003", "ann", fence=ANN)
    assert nodes.actors[0].lost
    with pytest.raises(Unavailable if what == "deleted" else EpochChanged):
        await nodes.submit(1, ANN, 1, 0, "a")
    assert nodes.actors[1].lost


async def test_a_fence_brings_what_was_committed_elsewhere(nodes: Nodes) -> None:
    await nodes.submit(1, BOB, 1, 0, "b")
    assert nodes.texts() == ["", "b"]
    await nodes.actors[0].admit("client-of-ann-0003", "ann", fence=ANN)
    assert nodes.texts() == ["b", "b"]


@pytest.mark.parametrize("what", ["deleted", "replaced"])
async def test_a_history_that_is_gone_is_noticed(nodes: Nodes, what: str) -> None:
    await nodes.submit(0, ANN, 1, 0, "a")
    if what == "deleted":
        await nodes.published.delete("notes")
    else:
        await nodes.published.replace("notes", "another", [], [], 2)
    await settle(nodes)
    assert all(actor.lost for actor in nodes.actors)


def roll_back(journal: UnreliableJournal, version: int) -> None:
    """Take the newest entries from a journal, as a failover may."""
    history = journal._histories["notes"]
    del history.entries[version:], history.hashes[version + 1 :]


async def test_who_waits_for_work_that_has_not_begun_is_answered(nodes: Nodes) -> None:
    actor = nodes.actors[0]
    await nodes.submit(1, BOB, 1, 0, "b")
    behind = nodes.submit(0, ANN, 1, 1, "a")  # has to read what it does not know
    while not actor._worker.busy:
        await asyncio.sleep(0)
    await actor.stop()
    with pytest.raises(Unavailable):
        await behind
