"""Subscriptions of one Redis, of a failed over one, of a cluster whose slots move; deaf ones."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import redis

from stretto_server.redis_client.cluster import Cluster, slot_of
from stretto_server.redis_client.discovery import discover
from stretto_server.redis_client.link import Address, Login, NotSent
from stretto_server.redis_client.resp import ReplyError
from stretto_server.redis_client.servers import Servers
from stretto_server.redis_client.subscriptions import (
    ClusterSubscriptions,
    Subscriptions,
    subscriptions_of,
)
from stretto_server.redis_client.url import RedisUrl
from tests.faults.proxy import Way, proxied
from tests.server.redis_client.test_subscriber import PATIENCE_S, Ear
from tests.services.processes import running
from tests.services.redis_server import RedisCluster, RedisServer, SentinelServer


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def subscribed(url: str, ear: Ear) -> AsyncIterator[tuple[Servers, Subscriptions]]:
    servers = await discover(RedisUrl.parse(url), timeout_s=1.0)
    await servers.start()
    subscriptions = subscriptions_of(servers, ear, timeout_s=1.0)
    subscriptions.start()
    assert await subscriptions.wait(PATIENCE_S)
    assert subscriptions.connected
    try:
        yield servers, subscriptions
    finally:
        await subscriptions.close()
        await subscriptions.close()
        await servers.close()


def publisher(servers: Servers) -> Callable[[str, bytes], "asyncio.Future[object]"]:
    command = "SPUBLISH" if servers.sharded else "PUBLISH"

    def publish(channel: str, message: bytes) -> "asyncio.Future[object]":
        return asyncio.ensure_future(servers.call(channel, command, channel, message, writes=True))

    return publish


async def test_a_deaf_subscription_is_made_anew(tmp_path: Path) -> None:
    server, ear = RedisServer(tmp_path), Ear()
    with running(server):
        async with proxied(server.port) as proxy:
            address = f"redis://127.0.0.1:{proxy.port}"
            async with subscribed(address, ear) as (_, subscriptions):
                subscriptions.subscribe(b"a")
                await ear.until(b"a")
                async with subscribed(server.url, Ear()) as (others, _):
                    publish = publisher(others)
                    assert await subscriptions.try_all(publish, 5.0) == 0
                    proxy.swallow(Way.DOWN)
                    assert await subscriptions.try_all(publish, 0.2) == 1
                    assert ear.silent == [b"a"]
                    assert not subscriptions.connected
                    # A connection that is away already is not held to be deaf.
                    assert await subscriptions.try_all(publish, 0.2) == 0
                    proxy.heal()
                    await ear.until(b"a", b"a")
                    assert await subscriptions.try_all(publish, 5.0) == 0
                    assert ear.failures[0] == (
                        "it is deaf: it did not hear what was published",
                        True,
                    )


async def test_a_word_that_could_not_be_sent_proves_nothing(tmp_path: Path) -> None:
    server, ear = RedisServer(tmp_path), Ear()

    async def refuse(_channel: str, _message: bytes) -> None:
        raise ReplyError("ERR no")

    with running(server):
        async with subscribed(server.url, ear) as (_, subscriptions):
            assert await subscriptions.try_all(refuse, 0.01) == 0
            subscriptions.unsubscribe(b"unknown")
    assert ear.heard == []


async def test_a_new_primary_is_found(tmp_path: Path) -> None:
    primary, ear = RedisServer(tmp_path / "primary"), Ear()
    replica = RedisServer(tmp_path / "replica", replicaof=f"127.0.0.1 {primary.port}")
    sentinel = SentinelServer(tmp_path / "sentinel", primary)
    with running(primary, replica, sentinel):
        await until(
            lambda: (
                "slave0:" in primary.say("INFO", "replication")
                or primary.say("INFO", "replication").get("connected_slaves")
            )
        )
        async with subscribed(sentinel.url, ear) as (_, subscriptions):
            subscriptions.subscribe(b"a")
            await ear.until(b"a")
            await until(lambda: knows_replica(sentinel))
            primary.kill()
            await ear.until(b"a", b"a")
            assert replica.say("PUBLISH", "a", "x") == 1
            assert await ear.hears(1) == [(b"a", b"x")]


def knows_replica(sentinel: SentinelServer) -> bool:
    with redis.Redis(port=sentinel.port, decode_responses=True) as client:
        return bool(client.execute_command("SENTINEL", "REPLICAS", "stretto"))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    with running(cluster):
        yield cluster.nodes


def url_of(nodes: list[RedisServer]) -> str:
    return "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


async def test_channels_lie_on_all_primaries(nodes: list[RedisServer]) -> None:
    ear = Ear()
    async with subscribed(url_of(nodes), ear) as (servers, subscriptions):
        channels = [b"channel-%d" % number for number in range(50)]
        for channel in [*channels, channels[0]]:
            subscriptions.subscribe(channel)
        await until(lambda: sorted(ear.confirmations) == sorted(channels))
        publish = publisher(servers)
        for channel in channels:
            assert await publish(channel.decode(), channel) == 1
        await ear.hears(50)
        assert sorted(ear.heard) == sorted((channel, channel) for channel in channels)
        assert await subscriptions.try_all(publish, 5.0) == 0
        for channel in channels:
            subscriptions.unsubscribe(channel)
        for channel in channels:
            async with asyncio.timeout(PATIENCE_S):
                while await publish(channel.decode(), b"x"):
                    await asyncio.sleep(0.005)


async def test_a_slot_that_moves_takes_its_channels_along(nodes: list[RedisServer]) -> None:
    ear, (source, target, other) = Ear(), nodes
    name = next(name for name in map("moving-{}".format, range(999)) if slot_of(name) <= 5000)
    stays = next(name for name in map("stays-{}".format, range(999)) if slot_of(name) <= 5000)
    slot, ids = slot_of(name), [node.say("CLUSTER", "MYID") for node in (source, target)]
    async with subscribed(url_of(nodes), ear) as (servers, subscriptions):
        for channel in (name, stays):
            subscriptions.subscribe(channel.encode())
        await ear.until(name.encode(), stays.encode())
        for node in (target, source, other):
            node.say("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
        await ear.until(name.encode(), stays.encode(), name.encode())
        assert ear.silent[0] == name.encode()
        publish = publisher(servers)
        assert await publish(name, b"x") == 1
        assert await publish(stays, b"y") == 1
        assert sorted(await ear.hears(2)) == [(name.encode(), b"x"), (stays.encode(), b"y")]
        # One who still believes the old table is sent on.
        assert isinstance(servers, Cluster)
        late = f"{{{name}}}late"
        servers._owners[slot] = next(one for one in servers.primaries() if one.port == source.port)
        subscriptions.subscribe(late.encode())
        await until(lambda: late.encode() in ear.confirmations)
        assert await publish(late, b"z") == 1
        subscriptions.unsubscribe(late.encode())
        assert await subscriptions.try_all(publish, 5.0) == 0
    for node in (source, target, other):
        node.say("CLUSTER", "SETSLOT", slot, "NODE", ids[0])


async def test_a_primary_that_is_away_comes_back(nodes: list[RedisServer]) -> None:
    ear, gone = Ear(), nodes[2]
    channels = [b"channel-%d" % number for number in range(20)]
    async with subscribed(url_of(nodes), ear) as (_, subscriptions):
        for channel in channels:
            subscriptions.subscribe(channel)
        await until(lambda: len(ear.confirmations) == 20)
        lost = {one for one in channels if slot_of(one.decode()) > 10000}
        gone.kill()
        await until(lambda: set(ear.silent) == lost)
        assert not subscriptions.connected
        await asyncio.to_thread(gone.start)
        await until(lambda: set(ear.confirmations[20:]) == lost)
        await until(lambda: subscriptions.connected)


class Table:
    """A cluster as far as subscriptions know it: one node owns all slots."""

    def __init__(self, owner: Address) -> None:
        self.login = Login()
        self.at: Address | None = owner
        self.elsewhere = ""
        self.learned = 0

    def owner(self, key: str) -> Address | None:
        return self.at if key != self.elsewhere else Address("127.0.0.1", 1)

    def primaries(self) -> list[Address]:
        return [] if self.at is None else [self.at]

    async def learn(self) -> None:
        self.learned += 1
        if self.learned == 1:
            raise NotSent("not now")


async def test_a_node_that_owns_nothing_is_left(tmp_path: Path) -> None:
    # Sharded channels work without a cluster as well.
    old, new = RedisServer(tmp_path / "old"), RedisServer(tmp_path / "new")
    ear, table = Ear(), Table(Address("127.0.0.1", old.port))
    with running(old, new):
        subscriptions = ClusterSubscriptions(cast(Cluster, table), ear, 1.0)
        subscriptions.subscribe(b"a")
        assert await subscriptions.wait(PATIENCE_S)
        await ear.until(b"a")
        table.at = None
        subscriptions.subscribe(b"b")  # nobody owns it, for now
        await until(lambda: table.learned > 1)
        table.at = Address("127.0.0.1", new.port)
        old.kill()
        await until(lambda: sorted(ear.confirmations) == [b"a", b"a", b"b"])
        await until(lambda: subscriptions.connected)
        assert new.say("SPUBLISH", "a", "x") == new.say("SPUBLISH", "b", "x") == 1
        comings, failures = ear.comings, len(ear.failures)
        await until(lambda: ear.comings >= 3)
        await asyncio.sleep(0.5)
        assert (len(ear.failures), comings <= ear.comings) == (failures, True)
        await subscriptions.close()


async def test_a_trial_moves_with_the_slots(tmp_path: Path) -> None:
    server, ear = RedisServer(tmp_path), Ear()
    address = Address("127.0.0.1", server.port)
    table = Table(address)
    with running(server):
        async with subscribed(server.url, Ear()) as (servers, _):

            async def publish(channel: str, word: bytes) -> object:
                return await servers.call(channel, "SPUBLISH", channel, word, writes=True)

            subscriptions = ClusterSubscriptions(cast(Cluster, table), ear, 1.0)
            subscriptions.start()
            assert await subscriptions.wait(PATIENCE_S)
            assert await subscriptions.try_all(publish, 5.0) == 0
            line = subscriptions._lines[address]
            table.elsewhere = before = line.trial
            # Where it lies now, nobody listens; that makes nobody deaf.
            assert await subscriptions.try_all(publish, 0.01) == 0
            subscriptions.sort_soon()
            await until(lambda: line.trial != before)
            await until(lambda: server.say("PUBSUB", "SHARDNUMSUB", line.trial)[1] == 1)
            assert await subscriptions.try_all(publish, 5.0) == 0
            assert server.say("PUBSUB", "SHARDNUMSUB", before)[1] == 0
            await subscriptions.close()
    assert not any(lost for _, lost in ear.failures)


async def test_what_a_cluster_forbids_is_told(tmp_path: Path) -> None:
    server, ear = RedisServer(tmp_path), Ear()
    table = Table(Address("127.0.0.1", server.port))
    table.login = Login("few", "secret")
    with running(server):
        server.say("ACL", "SETUSER", "few", "on", ">secret", "+@all", "resetchannels", "&str*")
        subscriptions = ClusterSubscriptions(cast(Cluster, table), ear, 1.0)
        subscriptions.subscribe(b"other")
        subscriptions.subscribe(b"stretto:a")
        await ear.until(b"stretto:a")
        assert ear.refusals == [(b"other", "NOPERM")]
        await subscriptions.close()
