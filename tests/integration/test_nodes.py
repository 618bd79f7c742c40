"""Several nodes on one Redis, and on PostgreSQL with Redis between them: one history for all."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from stretto_client import LiveDocument, RealtimeClient
from stretto_server.app import NODE, Node, open_documents
from stretto_server.journal.postgres_session import migrate_database
from stretto_server.server import RealtimeServer
from stretto_server.settings import Settings
from tests.server.conftest import Serve
from tests.server.wire import token
from tests.services.postgres_server import running_postgres
from tests.services.redis_server import RedisServer

MARK = 0x20000


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), appendfsync="no")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["redis", "postgres"])
def journal(request: pytest.FixtureRequest, redis: RedisServer) -> Iterator[str]:
    if request.param == "redis":
        yield redis.url
        return
    with running_postgres(fsync="off") as postgres:
        asyncio.run(_migrated(postgres.url))
        yield postgres.url


async def _migrated(url: str) -> None:
    await migrate_database(url)


@pytest.fixture
async def nodes(serve: Serve, redis: RedisServer, journal: str) -> list[RealtimeServer]:
    return [await serve(journal=journal, redis=redis.url, rate_limits=False) for _ in range(2)]


@pytest.fixture
async def clients(nodes: list[RealtimeServer]) -> AsyncIterator[list[RealtimeClient]]:
    clients = [
        RealtimeClient(node.url, token(name), backoff_scale=0.1)
        for node, name in zip(nodes, ["ann", "bob"], strict=True)
    ]
    for client in clients:
        await client.connect()
    yield clients
    for client in clients:
        await client.close()


def node_of(server: RealtimeServer) -> Node:
    return server._app[NODE]


async def equal(*documents: LiveDocument, deadline_s: float = 10.0) -> str:
    """Wait until all replicas have the same history; return its text."""
    async with asyncio.timeout(deadline_s):
        for document in documents:
            await document.saved()
        while len({(one.replica.hash, one.text) for one in documents}) > 1:
            await asyncio.sleep(0.01)
    return documents[0].text


async def test_an_edit_on_one_node_is_heard_on_the_other(clients: list[RealtimeClient]) -> None:
    ann, bob = [await client.open("notes/heard") for client in clients]
    await ann.insert(0, "hello")
    assert await equal(ann, bob) == "hello"
    await bob.insert(5, " world")
    assert await equal(ann, bob) == "hello world"


async def test_writers_on_both_nodes_converge(clients: list[RealtimeClient]) -> None:
    documents = [await client.open("notes/both") for client in clients]
    chance = random.Random(5)
    for number in range(300):
        document = chance.choice(documents)
        document.edit((chance.randint(0, len(document.text)), chr(MARK + number)))
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() / 200)
    text = await equal(*documents)
    assert sorted(text) == [chr(MARK + number) for number in range(300)]


async def test_a_client_that_comes_from_another_node_goes_on(
    clients: list[RealtimeClient], nodes: list[RealtimeServer]
) -> None:
    document = await clients[0].open("notes/moves")
    other = await clients[1].open("notes/moves")
    for number in range(20):
        await document.insert(0, chr(MARK + number))
        # The other node may not have heard of it: its own members must not notice.
        other.edit((0, chr(MARK + 100 + number)))
    assert len(await equal(document, other)) == 40
    state = await nodes[1].documents.state("notes/moves")
    assert state.text == document.text


async def test_one_that_is_deleted_or_imported_is_so_on_all_nodes(
    clients: list[RealtimeClient], nodes: list[RealtimeServer]
) -> None:
    ann, bob = [await client.open("notes/gone") for client in clients]
    await ann.insert(0, "first")
    await equal(ann, bob)
    await nodes[0].documents.replace("notes/gone", "imported")
    async with asyncio.timeout(10):
        while [ann.text, bob.text] != ["imported"] * 2:
            await asyncio.sleep(0.01)
    await nodes[1].documents.delete("notes/gone")
    async with asyncio.timeout(10):
        while ann.replica.closed is None or bob.replica.closed is None:
            await asyncio.sleep(0.01)


async def test_what_a_command_does_to_a_shared_journal_is_heard(
    clients: list[RealtimeClient], nodes: list[RealtimeServer], journal: str, redis: RedisServer
) -> None:
    ann = await clients[0].open("notes/command")
    await ann.insert(0, "before")
    await ann.saved()
    settings = Settings(journal=journal, redis_url=redis.url, keyless=True)
    async with open_documents(settings) as documents:
        await documents.replace("notes/command", "after")
    async with asyncio.timeout(5):  # a look at the heads would take longer
        while ann.text != "after":
            await asyncio.sleep(0.01)


async def test_what_the_bus_loses_is_found_by_looking_at_the_head(
    clients: list[RealtimeClient], nodes: list[RealtimeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = [await client.open("notes/lost") for client in clients]
    monkeypatch.setattr(node_of(nodes[1]).bus, "hear", lambda *_: None)
    await ann.insert(0, "unheard")
    await ann.saved()
    registry = nodes[1].documents._registry
    await registry._checks.check([document for document in registry])
    assert await equal(ann, bob) == "unheard"


async def test_an_edit_in_process_is_heard_on_the_other_node(
    clients: list[RealtimeClient], nodes: list[RealtimeServer]
) -> None:
    bob = await clients[1].open("notes/process")
    assert await nodes[0].documents.edit("notes/process", ["from a program"]) == 1
    async with asyncio.timeout(10):
        while bob.text != "from a program":
            await asyncio.sleep(0.01)


async def test_a_node_without_members_hears_nothing_of_a_document(
    clients: list[RealtimeClient], nodes: list[RealtimeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    bus: Any = node_of(nodes[1]).bus
    real = bus.hear

    def hear(channel: bytes, message: bytes) -> None:
        heard.append(channel)
        real(channel, message)

    monkeypatch.setattr(bus, "hear", hear)
    ann = await clients[0].open("notes/alone")
    await ann.insert(0, "nobody else")
    await ann.saved()
    await asyncio.sleep(0.1)
    assert [channel for channel in heard if b"notes/alone" in channel] == []


async def test_members_and_cursors_are_seen_from_both_nodes(
    clients: list[RealtimeClient],
) -> None:
    ann, bob = [await client.open("notes/people") for client in clients]
    await ann.insert(0, "here")
    await equal(ann, bob)
    await ann.set_cursor([(1, 3)])
    async with asyncio.timeout(10):
        while sorted(member["user"]["id"] for member in bob.members) != ["ann", "bob"]:
            await asyncio.sleep(0.01)
        while not any(cursor.ranges for cursor in bob.cursors):
            await asyncio.sleep(0.01)
    await clients[0].close()
    async with asyncio.timeout(10):
        while [member["user"]["id"] for member in bob.members] != ["bob"]:
            await asyncio.sleep(0.01)


async def test_a_room_is_one_room_on_both_nodes(clients: list[RealtimeClient]) -> None:
    one = await clients[0].room("lobby", status="here")
    other = await clients[1].room("lobby")
    heard: list[Any] = []
    clients[1].on("room.message", heard.append)
    await one.set_state({"step": 1})
    await one.send("greeting", {"data": b"\x00\xff"})
    async with asyncio.timeout(10):
        while other.state != {"step": 1} or not heard or len(other.members) < 2:
            await asyncio.sleep(0.01)
    assert heard[0]["data"] == {"data": b"\x00\xff"}
    found = await clients[1].find_rooms(min_members=2)
    assert [(room["room"], room["members"]) for room in found] == [("lobby", 2)]
