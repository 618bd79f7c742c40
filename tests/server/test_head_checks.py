"""Heads of many documents are compared in few questions; what differs is read."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from stretto_core.entries import Entry, next_hash
from stretto_core.errors import Unavailable
from stretto_core.protocol import Limits
from stretto_server import head_checks
from stretto_server.document_registry import DocumentRegistry
from stretto_server.head_checks import HeadChecks
from stretto_server.journal.interface import Head
from stretto_server.metrics import Metrics
from stretto_server.open_document import OpenDocument
from tests.server.hub import Hub
from tests.server.stubs import UnreliableJournal


class CountingJournal(UnreliableJournal):
    """A journal that notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.away = False
        self.damaged = ""

    async def heads(self, docs: Sequence[str]) -> list[Head | None]:
        self.asked.append(list(docs))
        if self.away or self.damaged in docs:
            raise Unavailable
        return await super().heads(docs)


class Watched:
    """Documents in memory, and the checks of them."""

    def __init__(self) -> None:
        self.journal, self.metrics = CountingJournal(), Metrics()
        self.registry = DocumentRegistry(
            self.journal, Hub().bus(), Limits(), self.metrics, history_hours=24.0
        )
        self.checks = HeadChecks(lambda: self.registry, self.journal, self.metrics, every_s=0.01)

    async def open(self, *docs: str) -> list[OpenDocument]:
        for doc in docs:
            async with self.registry.using(doc, create=True):
                pass
        return [document for document in self.registry if document.actor.doc in docs]

    async def commit(self, doc: str, text: str) -> None:
        """Write to the journal as another node would."""
        (head,) = await self.journal.heads([doc])
        assert head is not None
        record = await self.journal.client(doc, "client-elsewhere-1")
        entry = Entry("client-elsewhere-1", (record.last_seq if record else 0) + 1, (text,), "e", 1)
        hashes = [next_hash(head.hash, entry)]
        await self.journal.append(doc, head.epoch, head.version, [entry], hashes)
        self.journal.asked.clear()


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    watched = Watched()
    yield watched
    await watched.checks.close()
    await watched.registry.close()


async def test_what_is_behind_reads_what_it_lacks(watched: Watched) -> None:
    first, second = await watched.open("one", "two")
    await watched.commit("one", "x")
    await watched.checks.check([first, second])
    assert watched.journal.asked == [["one", "two"]]
    await first.actor.flush()
    assert (first.actor.authority.text, second.actor.authority.text) == ("x", "")
    assert watched.metrics.gaps.labels("head")._value.get() == 1


async def test_many_are_asked_for_in_batches(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_checks, "BATCH", 2)
    documents = await watched.open("a", "b", "c")
    watched.journal.asked.clear()
    await watched.checks.check(documents)
    assert sorted(len(docs) for docs in watched.journal.asked) == [1, 2]


async def test_one_that_cannot_be_asked_for_spoils_nothing_else(watched: Watched) -> None:
    documents = await watched.open(*"abcdefg")
    for doc in "abcdefg":
        await watched.commit(doc, "x")
    watched.journal.damaged = "d"
    with pytest.raises(Unavailable):
        await watched.checks.check(documents)
    for document in documents:
        await document.actor.flush()
    behind = [one.actor.doc for one in documents if not one.actor.authority.version]
    assert behind == ["d"]


async def test_a_journal_that_is_away_is_not_asked_again_and_again(watched: Watched) -> None:
    documents = await watched.open(*(f"doc{number}" for number in range(100)))
    watched.journal.asked.clear()
    watched.journal.away = True
    with pytest.raises(Unavailable):
        await watched.checks.check(documents)
    assert len(watched.journal.asked) == head_checks.MOST_FAILURES


async def test_what_is_wanted_together_is_asked_for_together(watched: Watched) -> None:
    documents = await watched.open("a", "b", "c")
    await watched.commit("b", "x")
    for document in [*documents, *documents]:
        watched.checks.soon(document)
    async with asyncio.timeout(5):
        while not documents[1].actor.authority.version:
            await asyncio.sleep(0.01)
    assert watched.journal.asked == [["a", "b", "c"]]


async def test_they_are_compared_now_and_then(watched: Watched) -> None:
    (document,) = await watched.open("notes")
    await watched.commit("notes", "x")
    watched.journal.away = True  # at first
    watched.checks.start()
    async with asyncio.timeout(5):
        while not watched.journal.asked:
            await asyncio.sleep(0.01)
        watched.journal.away = False
        while not document.actor.authority.version:
            await asyncio.sleep(0.01)


async def test_a_head_that_went_back_is_noticed(watched: Watched) -> None:
    (document,) = await watched.open("notes")
    await watched.commit("notes", "x")
    await watched.checks.check([document])
    await document.actor.flush()
    history = watched.journal._histories["notes"]
    del history.entries[:], history.hashes[1:]
    actor = document.actor
    await watched.checks.check([document])
    await actor.flush()
    assert actor.lost


async def test_a_document_that_is_gone_is_noticed(watched: Watched) -> None:
    (document,) = await watched.open("notes")
    await watched.journal.delete("notes")
    actor = document.actor
    await watched.checks.check([document])
    await actor.flush()
    assert actor.lost


async def test_a_bug_is_logged_and_the_next_check_comes(
    watched: Watched, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (document,) = await watched.open("notes")
    await watched.commit("notes", "x")

    def broken(*_: object) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr(head_checks, "judge_head", broken)
    watched.checks.start()
    async with asyncio.timeout(5):
        while not document.actor.authority.version:
            await asyncio.sleep(0.01)
    assert "comparing heads failed" in caplog.text
