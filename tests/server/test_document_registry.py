"""Loading once, keeping while used, writing out when idle."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from stretto_core.authority import Submission
from stretto_core.errors import NotFound
from stretto_core.protocol import Limits
from stretto_server import document_registry
from stretto_server.document_registry import DocumentRegistry
from stretto_server.metrics import Metrics
from stretto_server.open_document import OpenDocument
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
