"""A history that was forgotten, or replaced, under clients that were away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stretto_client import RealtimeClient, Returned
from stretto_server import RealtimeServer, document_registry, history
from stretto_server.auth import issue_token
from tests.server.wire import SECRET, Wire

GRANTS = {"docs/*": "editor", "rooms/*": "editor"}


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RealtimeServer]:
    monkeypatch.setattr(document_registry, "IDLE_S", 0.0)
    monkeypatch.setattr(history, "KEPT_VERSIONS", 2)
    async with RealtimeServer(
        port=0,
        host="127.0.0.1",
        secret=SECRET,
        journal=f"sqlite:///{tmp_path / 'stretto.db'}",
        data=tmp_path,
        history_hours=0.0,
        drain=1.0,
    ) as server:
        yield server


def client_of(server: RealtimeServer, name: str) -> RealtimeClient:
    return RealtimeClient(
        server.url, lambda: issue_token(SECRET, name, grants=GRANTS), backoff_scale=0.05
    )


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def unloaded(server: RealtimeServer, doc: str) -> None:
    """Wait until a document that nobody has open was written out and compacted."""
    registry = server.documents._registry
    await until(lambda: registry.get(doc) is None)


async def test_a_client_beyond_the_retained_log_keeps_what_it_typed(
    server: RealtimeServer,
) -> None:
    async with client_of(server, "ann") as ann:
        doc = await ann.open("notes")
        await doc.insert(0, "first")
        await doc.saved()
        connect = ann._connect_once
        gate = asyncio.Event()

        async def held_up() -> None:
            await gate.wait()
            await connect()

        ann._connect_once = held_up  # type: ignore[method-assign]
        ann._on_lost(None)
        await doc.insert(5, " and offline")
        for _ in range(10):
            await server.documents.edit("notes", ["> "])
        await unloaded(server, "notes")
        gate.set()
        await doc.saved()
        assert doc.text == "> " * 10 + "first and offline"
        assert await server.documents.read("notes") == doc.text
        assert doc.returned == []


async def test_versions_below_the_floor_are_gone(server: RealtimeServer) -> None:
    for _ in range(10):
        await server.documents.edit("notes", ["x"])
    await unloaded(server, "notes")
    wire = await Wire.connect(server)
    old = {"epoch": (await server.documents.state("notes")).epoch, "version": 0, "hash": "0" * 16}
    paper = await wire.open(since=old)
    assert paper.answer["reset"] is True
    assert paper.answer["content"] == "x" * 10
    assert await wire.code("submit", paper.payload(["y"], 1)) == "version_gone"
    answer = await wire.call("fetch", {"doc": "notes", "epoch": paper.epoch, "from": 1})
    assert answer["error"]["code"] == "version_gone"
    assert answer["error"]["details"] == {"floor": 8}
    assert await paper.submit(["y"], 8) == 11
    await wire.close()


async def test_another_epoch_gives_the_text_back(server: RealtimeServer) -> None:
    async with client_of(server, "ann") as ann:
        doc = await ann.open("notes")
        given: list[Returned] = []
        doc.on("returned", given.append)
        await doc.insert(0, "mine")
        await doc.saved()
        await server.documents.replace("notes", "imported")
        await until(lambda: doc.text == "imported")
        await until(lambda: given)
        assert given[0].text == "mine"
        await doc.insert(0, "still ")
        await doc.saved()
        assert await server.documents.read("notes") == "still imported"


async def test_a_deleted_document_closes_with_its_text(server: RealtimeServer) -> None:
    async with client_of(server, "ann") as ann:
        doc = await ann.open("notes")
        await doc.insert(0, "mine")
        await doc.saved()
        await server.documents.delete("notes")
        await until(lambda: doc.replica.closed is not None)
        assert doc.text == "mine"
