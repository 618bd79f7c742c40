"""The composition root: which journal a URL opens, and how a node drains."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType

from stretto_server.app import DOCUMENTS, NODE, create_app, open_journal, sqlite_path
from stretto_server.health import NodeState
from stretto_server.journal.memory import MemoryJournal
from stretto_server.journal.sqlite import SqliteJournal
from stretto_server.server import RealtimeServer
from stretto_server.settings import Settings, SettingsError
from tests.server.conftest import Connect, Serve
from tests.server.wire import SECRET, token


def settings(journal: str, **changes: Any) -> Settings:
    return Settings.from_environ({}, secret=SECRET, host="127.0.0.1", journal=journal, **changes)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///notes.db", Path("notes.db")),
        ("sqlite:///a/notes.db", Path("a/notes.db")),
        ("sqlite:////var/notes.db", Path("/var/notes.db")),
        ("sqlite:////var/with%20space.db", Path("/var/with space.db")),
        ("sqlite:///", None),
        ("sqlite://notes.db", None),
        ("memory://", None),
        ("xsqlite:///notes.db", None),
        ("", None),
    ],
)
def test_the_file_of_a_url(url: str, path: Path | None) -> None:
    assert sqlite_path(url) == path


def test_a_url_opens_its_journal(tmp_path: Path) -> None:
    assert isinstance(open_journal(settings("memory://")), MemoryJournal)
    assert isinstance(open_journal(settings(f"sqlite:///{tmp_path}/a.db")), SqliteJournal)
    assert list(tmp_path.iterdir()) == []  # nothing is made before it starts


def test_an_unknown_url_is_a_problem_of_settings() -> None:
    with pytest.raises(SettingsError, match="mysql"):
        open_journal(settings("mysql://h/d"))


async def test_an_app_runs_in_any_runner(aiohttp_client: Any, tmp_path: Path) -> None:
    app = create_app(settings(f"sqlite:///{tmp_path}/notes.db", drain=0.1))
    client = await aiohttp_client(app)
    assert (await client.get("/readyz")).status == 200
    assert await app[DOCUMENTS].edit("notes", ["Hello"]) == 1
    await client.close()
    assert app[NODE].health.state is NodeState.DRAINING
    again = create_app(settings(f"sqlite:///{tmp_path}/notes.db", drain=0.1))
    await aiohttp_client(again)
    assert await again[DOCUMENTS].read("notes") == "Hello"


async def test_every_client_is_told_to_come_back(serve: Serve, connect: Connect) -> None:
    server = await serve(drain=8.0)
    wires = [await connect(name, to=server) for name in ("ann", "bob")]
    stopping = asyncio.create_task(server.stop())
    for wire in wires:
        told = await wire.hear("shutdown")
        assert told["reason"] == "draining"
        assert 0 <= told["reconnect_after_ms"] <= 2_000
        await wire.close()
    async with asyncio.timeout(3):
        await stopping


async def test_clients_are_spread_over_the_time_they_need(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    spreads = []

    def uniform(low: float, high: float) -> float:
        spreads.append((low, high))
        return high

    monkeypatch.setattr("stretto_server.app.RECONNECT_PER_S", 1)
    monkeypatch.setattr("stretto_server.app.random.uniform", uniform)
    server = await serve(drain=20.0)
    for number in range(4):
        await connect(f"user-{number}", to=server)
    await server.stop()
    assert spreads == [(0, 4.0)] * 4


async def test_those_who_stay_are_closed(serve: Serve, connect: Connect) -> None:
    server = await serve(drain=2.0)
    wire = await connect(to=server)
    await server.stop()
    await wire.closed()
    assert wire.events("shutdown")


async def test_queued_submits_are_answered_before_the_transport_closes(
    serve: Serve, connect: Connect, tmp_path: Path
) -> None:
    journal = f"sqlite:///{tmp_path}/notes.db"
    server = await serve(drain=4.0, journal=journal)
    wire = await connect(to=server)
    papers = [await wire.open(f"doc-{number}") for number in range(20)]
    submits = [
        asyncio.create_task(wire.call("submit", paper.payload(["text"], 0))) for paper in papers
    ]
    for _ in range(3):
        await asyncio.sleep(0)  # they are on their way
    await server.stop()
    answers = await asyncio.gather(*submits)
    assert answers == [{"ok": True, "version": 1}] * 20
    again = await serve(journal=journal)
    for paper in papers:
        assert await again.documents.read(paper.doc) == "text"


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_draining_node_says_so_and_still_answers(
    serve: Serve, connect: Connect, transport: str
) -> None:
    server = await serve(drain=4.0)
    wire = await connect(to=server, transport=transport)
    paper = await wire.open()
    stopping = asyncio.create_task(server.stop())
    await wire.hear("shutdown")
    async with ClientSession() as session:
        async with session.get(server.url + "/readyz") as answer:
            assert (answer.status, await answer.json()) == (503, {"status": "draining"})
        async with session.get(server.url + "/livez") as answer:
            assert answer.status == 200
    assert await wire.code("open", {"doc": "b", "client": paper.client}) == "shutting_down"
    assert await paper.submit(["last words"], 0) == 1
    await wire.close()
    await stopping


async def test_a_newcomer_during_the_drain_is_sent_away(serve: Serve, connect: Connect) -> None:
    server = await serve(drain=4.0)
    wire = await connect(to=server)
    stopping = asyncio.create_task(server.stop())
    await wire.hear("shutdown")
    async with (
        ClientSession() as session,
        session.ws_connect(server.url + "/socket.io/?EIO=4&transport=websocket") as socket,
    ):
        assert (await socket.receive_str(timeout=3)).startswith("0{")
        await socket.send_str('40/docs,{"token":"' + token() + '"}')
        # No CONNECT_ERROR: those are final.
        assert (await socket.receive(timeout=3)).type is WSMsgType.CLOSE
    await wire.close()
    await stopping


async def test_a_drain_happens_once(serve: Serve, connect: Connect) -> None:
    server = await serve()
    wire = await connect(to=server)
    await server._app[NODE].drain()
    await server._app[NODE].drain()
    await wire.closed()
    assert len(wire.events("shutdown")) == 1


async def test_nothing_of_a_server_is_left_running(serve: Serve, connect: Connect) -> None:
    before = asyncio.all_tasks()
    server: RealtimeServer = await serve()
    for name in ("ann", "bob"):
        await (await connect(name, to=server)).open()
    await server.stop()
    for _ in range(5):
        await asyncio.sleep(0.01)
    ours = [task for task in asyncio.all_tasks() - before if "stretto_server" in repr(task)]
    assert ours == []
