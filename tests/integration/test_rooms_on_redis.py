"""The contract's sentences about rooms with rooms in Redis, and presence over two servers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stretto_server.server import RealtimeServer
from tests.integration.conftest import Dial
from tests.integration.test_contract_rooms import (
    heard,
    test_a_refresh_tells_what_became_of_each_right,
    test_binary_travels_both_ways,
    test_events_of_a_room_go_to_the_others,
    test_find_asks_for_everything_at_once,
    test_metadata_raises_how_many_a_room_takes,
    test_what_needs_a_room_that_was_joined,
    test_who_may_do_what_in_a_room,
)
from tests.server.conftest import Serve
from tests.server.wire import SECRET, client_id
from tests.services.processes import running
from tests.services.redis_server import RedisServer

__all__ = [
    "test_a_refresh_tells_what_became_of_each_right",
    "test_binary_travels_both_ways",
    "test_events_of_a_room_go_to_the_others",
    "test_find_asks_for_everything_at_once",
    "test_metadata_raises_how_many_a_room_takes",
    "test_what_needs_a_room_that_was_joined",
    "test_who_may_do_what_in_a_room",
]

DOCS, ROOMS = "/docs", "/rooms"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"), appendfsync="no")
    with running(redis):
        yield redis


@pytest.fixture
async def serve(redis: RedisServer, tmp_path: Path) -> AsyncIterator[Serve]:
    """Start servers that share one Redis, empty at first."""
    redis.say("FLUSHALL")
    servers: list[RealtimeServer] = []

    async def start(**settings: Any) -> RealtimeServer:
        given = {"port": 0, "secret": SECRET, "host": "127.0.0.1", "drain": 1.0}
        where = {"journal": redis.url, "redis": redis.url, "data": tmp_path}
        server = RealtimeServer(**{**given, **where, **settings})
        await server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


async def until(met: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not met():
            await asyncio.sleep(0.01)


async def test_members_of_two_servers_meet_in_a_room(serve: Serve, dial: Dial) -> None:
    ann, bob = await dial(to=await serve()), await dial(to=await serve(), sub="bob")
    first = await ann.ok(ROOMS, "join", room="r", status="here")
    second = await bob.ok(ROOMS, "join", room="r")
    assert [one["id"] for one in second["members"]] == [first["member_id"], second["member_id"]]
    for number in range(3):
        await ann.ok(ROOMS, "set_state", room="r", changes={"n": number}, if_revision=number)
    await bob.ok(ROOMS, "send", room="r", event="e", data=1)
    assert (await heard(bob, "state", 3))[2]["revision"] == 3
    assert (await heard(ann, "message"))[0]["from"]["id"] == second["member_id"]
    await until(lambda: second["member_id"] in _joined(ann))
    await bob.ok(ROOMS, "leave", room="r")
    await until(lambda: ann.events("presence")[-1]["left"] == [second["member_id"]])
    assert (await bob.ok(ROOMS, "find"))["rooms"][0]["members"] == 1


async def test_cursors_of_two_servers_are_seen_on_both(serve: Serve, dial: Dial) -> None:
    ann, bob = await dial(to=await serve()), await dial(to=await serve(), sub="bob")
    client = client_id()
    first = await ann.ok(DOCS, "open", doc="d", client=client)
    ask = {"doc": "d", "epoch": first["epoch"], "client": client}
    await ann.ok(DOCS, "submit", **ask, seq=1, base=0, op=["hello"])
    await ann.ok(DOCS, "cursor", doc="d", version=1, ranges=[[5, 5]])
    await until(lambda: ann.events("presence")[-1]["updated"])
    await asyncio.sleep(0.2)  # own changes are written ten times a second
    second = await bob.ok(DOCS, "open", doc="d", client=client_id())
    members = {one["id"]: one for one in second["members"]}
    assert set(members) == {first["member_id"], second["member_id"]}
    assert (members[first["member_id"]]["ranges"], second["version"]) == ([[5, 5]], 1)
    await until(lambda: second["member_id"] in _joined(ann))
    await bob.ok(DOCS, "cursor", doc="d", version=1, ranges=[[0, 2]])
    await until(lambda: [[0, 2]] in [one.get("ranges") for one in _updated(ann)])
    await bob.ok(DOCS, "close", doc="d")
    await until(lambda: ann.events("presence")[-1]["left"] == [second["member_id"]])


async def test_a_server_that_stops_takes_its_members_along(serve: Serve, dial: Dial) -> None:
    leaving = await serve()
    ann, bob = await dial(to=leaving), await dial(to=await serve(), sub="bob")
    gone = await ann.ok(ROOMS, "join", room="r")
    shut = await ann.ok(DOCS, "open", doc="d", client=client_id())
    await bob.ok(ROOMS, "join", room="r")
    await bob.ok(DOCS, "open", doc="d", client=client_id())
    await leaving.stop()

    def left() -> set[str]:
        return {one for diff in bob.events("presence") for one in diff["left"]}

    await until(lambda: left() == {gone["member_id"], shut["member_id"]})


def _joined(packets: Any) -> list[str]:
    return [one["id"] for diff in packets.events("presence") for one in diff["joined"]]


def _updated(packets: Any) -> list[dict[str, Any]]:
    return [one for diff in packets.events("presence") for one in diff["updated"]]
