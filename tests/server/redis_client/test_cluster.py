"""A cluster whose slots move, and whose nodes go."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from stretto_server.redis_client.cluster import Cluster, slot_of
from stretto_server.redis_client.link import NoReply, NotSent
from stretto_server.redis_client.resp import ReplyError
from stretto_server.redis_client.scripts import Script
from stretto_server.redis_client.url import RedisUrl
from tests.services.processes import running
from tests.services.redis_server import RedisCluster, RedisServer

INCREMENT = Script(
    "#!lua\nreturn redis.call('INCR', KEYS[1])",
    "f7d5ed9d1ee6c7a2e1b1cbb3c4a1b6a7a9a5a8f0",  # of no script: it is always sent whole
    writes=True,
)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    with running(cluster):
        yield cluster.nodes


@pytest.fixture
async def cluster(nodes: list[RedisServer]) -> AsyncIterator[Cluster]:
    url = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    cluster = Cluster(RedisUrl.parse(f"redis://{url}"), timeout_s=1.0)
    await cluster.start()
    yield cluster
    await cluster.close()
    await cluster.close()


def test_slots_are_those_of_redis(nodes: list[RedisServer]) -> None:
    for key in ("a", "notes", "stretto:{07}:meta:x", "{}x", "{a", "a}{b}{c}", "ü{é}"):
        assert slot_of(key) == nodes[0].say("CLUSTER", "KEYSLOT", key)


async def test_every_key_is_found_where_it_lies(cluster: Cluster) -> None:
    keys = [f"key-{number}" for number in range(100)]
    for round_ in (1, 2):
        assert await asyncio.gather(*(cluster.run(INCREMENT, [key]) for key in keys)) == [
            round_
        ] * len(keys)
    assert await cluster.call(keys[0], "GET", keys[0], writes=False) == b"2"
    assert len(await cluster.everywhere("PING")) == 3


async def test_a_slot_that_moves_is_followed(cluster: Cluster, nodes: list[RedisServer]) -> None:
    source, target = nodes[0], nodes[1]
    key = next(key for key in map("moving-{}".format, range(999)) if slot_of(key) <= 5000)
    slot = slot_of(key)
    names = [node.say("CLUSTER", "MYID") for node in (source, target)]
    assert await cluster.run(INCREMENT, [key]) == 1
    target.say("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
    source.say("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
    source.say("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
    assert await cluster.run(INCREMENT, [key]) == 2  # the source says ASK
    assert await cluster.call(key, "GET", key, writes=False) == b"2"
    around = [("GET", f"around-{number}") for number in range(30)]
    told = [str(number).encode() for number in range(30)]
    for command, value in zip(around, told, strict=True):
        await cluster.call(command[1], "SET", command[1], value, writes=True)
    assert await cluster.read_together([*around, ("GET", key)]) == [*told, b"2"]  # ASK again
    for node in (target, source, nodes[2]):
        node.say("CLUSTER", "SETSLOT", slot, "NODE", names[1])
    assert await cluster.read_together([*around, ("GET", key), *around]) == [*told, b"2", *told]
    assert await cluster.run(INCREMENT, [key]) == 3  # the source said MOVED
    assert await cluster.run(INCREMENT, [key]) == 4
    assert target.say("GET", key) == "4"


async def test_reads_together_are_answered_in_order(cluster: Cluster) -> None:
    assert await cluster.read_together([]) == []
    keys = [f"together-{number}" for number in range(200)]
    for key in keys[::2]:
        await cluster.call(key, "SET", key, key, writes=True)
    wanted = [key.encode() if not number % 2 else None for number, key in enumerate(keys)]
    assert await cluster.read_together([("GET", key) for key in keys]) == wanted
    await cluster.call("a list", "RPUSH", "a list", "x", writes=True)
    with pytest.raises(ReplyError, match="WRONGTYPE"):
        await cluster.read_together([("GET", keys[0]), ("GET", "a list")])


async def test_errors_of_a_script_are_raised(cluster: Cluster) -> None:
    await cluster.call("list", "DEL", "list", writes=True)
    await cluster.call("list", "RPUSH", "list", "x", writes=True)
    with pytest.raises(ReplyError, match="WRONGTYPE"):
        await cluster.run(INCREMENT, ["list"])


async def test_a_node_that_is_gone_takes_only_its_slots_along(
    cluster: Cluster, nodes: list[RedisServer]
) -> None:
    await cluster.run(INCREMENT, ["here"])
    gone = nodes[2]
    lost = next(key for key in map("lost-{}".format, range(999)) if slot_of(key) > 10000)
    kept = next(key for key in map("kept-{}".format, range(999)) if 0 < slot_of(key) < 5000)
    gone.kill()
    with pytest.raises((NotSent, NoReply)):
        await _increment_often(cluster, lost)
    assert await cluster.run(INCREMENT, [kept]) == 1
    assert await cluster.read_together([("GET", kept)]) == [b"1"]
    with pytest.raises((NotSent, NoReply)):
        await cluster.read_together([("GET", kept), ("GET", lost)])
    gone.start()
    async with asyncio.timeout(30):
        while True:
            try:
                assert await cluster.run(INCREMENT, [lost]) >= 1
            except (NotSent, NoReply, ReplyError):
                await asyncio.sleep(0.02)
            else:
                break


async def test_no_node_there_is_told() -> None:
    cluster = Cluster(RedisUrl.parse("redis://127.0.0.1:1,127.0.0.1:2"), timeout_s=0.3)
    with pytest.raises(NotSent, match="no node of the cluster answers"):
        await cluster.start()
    await cluster.close()


async def _increment_often(cluster: Cluster, key: str) -> None:
    for _ in range(5):
        await cluster.run(INCREMENT, [key])
