"""Loading once, keeping while used, writing out when idle."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stretto_core.authority import Submission
from stretto_core.entries import Entry, next_hash
from stretto_core.errors import NotFound, Unavailable
from stretto_core.protocol import DOCS, Limits
from stretto_core.roster import Member
from stretto_server import document_registry
from stretto_server.auth import Principal, Role, user_of
from stretto_server.connections import Connection
from stretto_server.document_registry import DocumentRegistry
from stretto_server.journal.interface import Head, Snapshot
from stretto_server.limits import Rates
from stretto_server.metrics import Metrics
from stretto_server.open_document import OpenDocument
from tests.server.hub import Hub, HubBus
from tests.server.stubs import RecordingBus, UnreliableJournal

CLIENT = "client-of-tests-01"


@pytest.fixture
def journal() -> UnreliableJournal:
    return UnreliableJournal()


@pytest.fixture
async def registry(
    journal: UnreliableJournal, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[DocumentRegistry]:
    monkeypatch.setattr(document_registry, "IDLE_S", 0.0)
    registry = DocumentRegistry(journal, RecordingBus(), Limits(), Metrics(), history_hours=24.0)
    yield registry
    await registry.close()


async def write(document: OpenDocument, text: str) -> None:
    actor = document.actor
    admitted = await actor.admit(CLIENT, "ann")
    authority = actor.authority
    await actor.submit(
        Submission(
            authority.epoch, CLIENT, admitted.last_seq + 1, authority.version, (text,), "ann"
        )
    )


async def until_unloaded(registry: DocumentRegistry, doc: str) -> None:
    async with asyncio.timeout(5):
        while registry.get(doc) is not None:
            await asyncio.sleep(0)


async def test_a_document_is_loaded_once(registry: DocumentRegistry) -> None:
    async def use() -> OpenDocument:
        async with registry.using("notes", create=True) as document:
            await asyncio.sleep(0)
            return document

    documents = await asyncio.gather(*(use() for _ in range(5)))
    assert len(set(documents)) == 1


async def test_what_does_not_exist_is_not_created_unasked(registry: DocumentRegistry) -> None:
    with pytest.raises(NotFound):
        async with registry.using("notes", create=False):
            pass
    assert registry.get("notes") is None


async def test_one_that_nobody_wrote_to_is_dropped_when_idle(
    registry: DocumentRegistry, journal: UnreliableJournal
) -> None:
    async with registry.using("notes", create=True):
        assert await journal.load("notes") is not None
    await until_unloaded(registry, "notes")
    assert await journal.load("notes") is None


async def test_one_that_was_written_to_is_kept_with_a_snapshot(
    registry: DocumentRegistry, journal: UnreliableJournal
) -> None:
    async with registry.using("notes", create=True) as document:
        await write(document, "text")
    await until_unloaded(registry, "notes")
    loaded = await journal.load("notes")
    assert loaded is not None
    assert (loaded.snapshot.version, loaded.snapshot.text) == (1, "text")
    async with registry.using("notes", create=False) as again:
        assert again is not document
        assert again.actor.authority.text == "text"


async def test_one_in_use_stays(
    registry: DocumentRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with registry.using("notes", create=True) as document:
        async with registry.using("notes", create=True):
            pass
        for _ in range(20):
            await asyncio.sleep(0)
        assert registry.get("notes") is document


async def test_draining_writes_everything_out(
    registry: DocumentRegistry, journal: UnreliableJournal
) -> None:
    async with registry.using("notes", create=True) as document:
        await write(document, "text")
        await registry.drain(1.0)
        loaded = await journal.load("notes")
        assert loaded is not None
        assert loaded.snapshot.version == 1


async def test_draining_does_not_wait_for_ever(
    registry: DocumentRegistry, journal: UnreliableJournal
) -> None:
    async with registry.using("notes", create=True) as document:
        journal.gate = asyncio.Event()
        writing = asyncio.ensure_future(write(document, "text"))
        while not journal.appends:
            await asyncio.sleep(0)
        await registry.drain(0.05)
        assert not writing.done()
        journal.gate.set()
        await writing


async def test_a_journal_that_fails_does_not_stop_unloading(
    registry: DocumentRegistry, journal: UnreliableJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stretto_core.errors import Unavailable

    async def fail(*_arguments: object) -> None:
        raise Unavailable

    monkeypatch.setattr(journal, "snapshot", fail)
    async with registry.using("notes", create=True) as document:
        await write(document, "text")
    await until_unloaded(registry, "notes")
    async with registry.using("notes", create=False) as again:
        assert again.actor.authority.text == "text"


# Histories that change under the feet of members.


class Shared:
    """A registry of one of several nodes, with somebody who has the document open."""

    def __init__(self) -> None:
        self.journal, self.hub, self.metrics = UnreliableJournal(), Hub(), Metrics()
        self.bus: HubBus = self.hub.bus()
        self.registry = DocumentRegistry(
            self.journal, self.bus, Limits(), self.metrics, history_hours=24.0
        )
        self.ann = Connection("ann", "127.0.0.1", Rates(None), Principal(user_of("ann"), (), 2e9))
        self.ann.sids[DOCS] = "sid-ann"

    async def open(self, *texts: str) -> OpenDocument:
        async with self.registry.entering("notes", create=True) as document:
            for text in texts:
                await write(document, text)
            await document.seat(self.ann, CLIENT, Role.EDITOR, "m1")
            return document

    async def changed(self, document: OpenDocument) -> None:
        """Look at the journal, and wait until what it has was loaded."""
        before = document.actor
        before.look_later()
        async with asyncio.timeout(5):
            while document.actor is before and self.registry.get("notes") is document:
                await asyncio.sleep(0)

    def heard(self, *events: str) -> list[tuple[str, dict[str, object]]]:
        return [(name, about) for _, name, about in self.bus.frames if name in events]

    def roll_back(self, version: int) -> None:
        history = self.journal._histories["notes"]
        del history.entries[version:], history.hashes[version + 1 :]
        history.clients.clear()


@pytest.fixture
async def shared() -> AsyncIterator[Shared]:
    shared = Shared()
    yield shared
    await shared.registry.close()


async def test_a_lost_tail_gives_the_history_another_epoch(
    shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    document = await shared.open("a", "b", "c")
    epoch = document.actor.authority.epoch
    shared.roll_back(1)
    await shared.changed(document)
    authority = document.actor.authority
    assert (authority.text, authority.version) == ("a", 1)
    assert authority.epoch != epoch
    about = {"doc": "notes", "epoch": authority.epoch, "version": 1, "hash": authority.hash}
    assert shared.heard("reset", "behind", "closed") == [("reset", about)]
    assert shared.metrics.history_divergence._value.get() == 1
    assert "the journal has lost version 3" in caplog.text
    assert document.actor.audience == 1
    await write(document, "d")
    assert document.actor.authority.text == "da"


async def test_a_lost_tail_is_noticed_though_others_wrote_on(shared: Shared) -> None:
    document = await shared.open("a", "b")
    shared.roll_back(1)
    (head,) = await shared.journal.heads(["notes"])
    assert head is not None
    entries = [Entry("client-elsewhere-1", seq, ("x",), "eve", 1) for seq in range(1, 4)]
    reached, hashes = head.hash, []
    for entry in entries:
        reached = next_hash(reached, entry)
        hashes.append(reached)
    await shared.journal.append("notes", head.epoch, 1, entries, hashes)
    await shared.changed(document)
    assert document.actor.authority.text == "xxxa"
    assert document.actor.authority.epoch != head.epoch
    assert len(shared.heard("reset")) == 1


async def test_what_is_queued_while_a_history_is_replaced_is_answered(shared: Shared) -> None:
    document = await shared.open("a")
    shared.journal.gate = asyncio.Event()
    submission = Submission(document.actor.authority.epoch, CLIENT, 2, 1, ("b",), "ann")
    answers: list[asyncio.Future[Any]] = [document.actor.submit(submission)]
    await asyncio.sleep(0.01)
    answers += [document.actor.submit(submission), document.actor.look()]
    async with shared.registry.exclusive("notes"):
        await shared.registry.reload("notes")
    for answer in answers:
        with pytest.raises(Unavailable):
            await answer


async def test_of_two_nodes_one_gives_the_epoch(shared: Shared) -> None:
    document = await shared.open("a", "b")
    shared.roll_back(1)
    await shared.journal.renew("notes", document.actor.authority.epoch, "by-the-other-node")
    await shared.changed(document)
    assert document.actor.authority.epoch == "by-the-other-node"
    assert len(shared.heard("reset")) == 1
    assert shared.metrics.history_divergence._value.get() == 0  # the other node counted it


async def test_one_replaced_on_another_node_is_reset(shared: Shared) -> None:
    document = await shared.open("a")
    await shared.journal.replace("notes", "imported", [], [], 2)
    await shared.changed(document)
    assert (document.actor.authority.epoch, document.actor.authority.text) == ("imported", "")
    assert len(shared.heard("reset")) == 1
    assert shared.metrics.history_divergence._value.get() == 0


async def test_one_deleted_on_another_node_is_closed(shared: Shared) -> None:
    document = await shared.open("a")
    await shared.journal.delete("notes")
    await shared.changed(document)
    ((_, about),) = shared.heard("reset", "closed")
    assert about["doc"] == "notes"
    assert about["error"]["code"] == "not_found"  # type: ignore[index]
    assert shared.registry.get("notes") is None
    assert shared.bus.followed == set()
    assert shared.ann.documents == set()


async def test_one_dropped_as_unwritten_is_made_again_for_who_has_it_open(shared: Shared) -> None:
    document = await shared.open()
    epoch = document.actor.authority.epoch
    await shared.journal.delete("notes", unless_written=True)
    await shared.changed(document)
    assert document.actor.authority.epoch != epoch
    await write(document, "a")
    assert document.actor.authority.text == "a"


async def test_one_compacted_beyond_what_is_known_is_loaded_anew(shared: Shared) -> None:
    document = await shared.open("a")
    epoch, digest = document.actor.authority.epoch, document.actor.authority.hash
    entry = Entry("client-elsewhere-1", 1, ("x",), "eve", 1)
    after = next_hash(digest, entry)
    await shared.journal.append("notes", epoch, 1, [entry], [after])
    await shared.journal.snapshot("notes", epoch, Snapshot(2, after, "xa"))
    await shared.journal.compact("notes", epoch, 2)
    await shared.changed(document)
    assert (document.actor.authority.epoch, document.actor.authority.text) == (epoch, "xa")
    assert shared.heard("reset", "behind") == [("behind", {"doc": "notes", "version": 2})]
    # Who has it open may go on where it was, without opening anew.
    assert await document.actor.submit(Submission(epoch, CLIENT, 2, 2, ("y",), "ann")) == 3


async def test_loading_anew_waits_for_the_journal(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_registry, "FIRST_PAUSE_S", 0.001)
    document = await shared.open("a", "b")
    real, away = shared.journal.heads, 3

    async def sometimes(docs: list[str]) -> list[Head | None]:
        nonlocal away
        away -= 1
        if away >= 0:
            raise Unavailable
        return await real(docs)

    monkeypatch.setattr(shared.journal, "heads", sometimes)
    shared.roll_back(1)
    await shared.changed(document)
    assert document.actor.authority.text == "a"
    assert len(shared.heard("reset")) == 1


async def test_what_was_heard_while_it_was_loaded_counts(shared: Shared) -> None:
    gate = asyncio.Event()
    real = shared.journal.load

    async def slowly(doc: str) -> object:
        loaded = await real(doc)
        await gate.wait()
        return loaded

    shared.journal.load = slowly  # type: ignore[method-assign, assignment]
    await shared.journal.create("notes", "e", 1)
    opening = asyncio.ensure_future(shared.open())
    await asyncio.sleep(0.01)
    assert shared.bus.followed == {"doc:notes"}
    entry = Entry("client-elsewhere-1", 1, ("x",), "eve", 1)
    digest = next_hash("0" * 16, entry)
    await shared.journal.append("notes", "e", 0, [entry], [digest])
    frame = f'{{"doc":"notes","epoch":"e","from":1,"ops":[{entry.to_json()}],"hash":"{digest}"}}'
    await shared.bus.publish("doc:notes", frame.encode())
    shared.hub.deliver()
    gate.set()
    document = await opening
    assert document.actor.authority.text == "x"


async def test_an_unwritten_one_stays_while_another_node_has_members(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_registry, "IDLE_S", 0.0)
    document = await shared.open()
    await document.unseat(shared.ann)
    document.roster.members.join(Member("elsewhere", user_of("bob")))
    shared.registry.release("notes")
    await until_unloaded(shared.registry, "notes")
    assert await shared.journal.load("notes") is not None


async def test_what_was_missed_is_looked_for(shared: Shared) -> None:
    document = await shared.open("a")
    (head,) = await shared.journal.heads(["notes"])
    assert head is not None
    entry = Entry("client-elsewhere-1", 1, ("x",), "eve", 1)
    await shared.journal.append("notes", head.epoch, 1, [entry], [next_hash(head.hash, entry)])
    shared.bus.miss()
    async with asyncio.timeout(5):
        while document.actor.authority.version < 2:
            await asyncio.sleep(0.01)


async def test_garbage_on_the_channel_is_counted(shared: Shared) -> None:
    document = await shared.open("a")
    await shared.bus.publish("doc:notes", b"\x80garbage")
    shared.hub.deliver()
    await document.actor.flush()
    assert shared.metrics.bus_garbage._value.get() == 1
    assert not document.actor.lost
