"""Delivery between nodes: one order, nothing to those who need nothing, and every loss told."""

import asyncio
import signal
from pathlib import Path

import pytest

from stretto_core.errors import Unavailable
from stretto_server.bus.channels import name_of
from stretto_server.redis_client.cluster import Cluster
from tests.server.bus.nodes import (
    LOBBY,
    Client,
    Ear,
    Node,
    said,
    say,
    some_nodes,
    until,
    until_said,
)
from tests.server.redis_client.test_subscriptions import knows_replica
from tests.services.processes import running
from tests.services.redis_server import RedisCluster, RedisServer, SentinelServer

CHANNEL = name_of("/", LOBBY)


async def check_one_order(nodes: list[Node], count: int) -> None:
    """Let all nodes talk at once; all clients hear the same, and each node's in its order."""
    clients = [await node.client(LOBBY) for node in nodes for _ in range(2)]
    ears = [Ear() for _ in nodes]
    for node, ear in zip(nodes, ears, strict=True):
        await node.bus.follow(LOBBY, ear)

    async def talk(place: int) -> None:
        for number in range(count):
            await say(nodes[place], [place, number])
            if number % 10 == 0:
                await nodes[place].bus.publish(LOBBY, b"{%d-%d}" % (place, number))

    await asyncio.gather(*(talk(place) for place in range(len(nodes))))
    for client in clients:
        await client.hears(count * len(nodes))
    orders = [said(client) for client in clients]
    assert all(order == orders[0] for order in orders)
    for place in range(len(nodes)):
        assert [number for node, number in orders[0] if node == place] == list(range(count))
    assert all(ear.heard == ears[0].heard for ear in ears)
    assert len(ears[0].heard) == len(nodes) * count / 10


async def test_all_hear_one_order(redis: RedisServer) -> None:
    async with some_nodes(redis.url, "one", "two") as nodes:
        await check_one_order(nodes, 300)


async def test_calls_at_the_same_time_keep_their_order(redis: RedisServer) -> None:
    async with some_nodes(redis.url, "one", "two") as (one, two):
        client = await two.client(LOBBY)
        await asyncio.gather(*(say(one, number) for number in range(500)))
        await client.hears(500)
        assert said(client) == list(range(500))


async def test_on_a_cluster_too(tmp_path: Path) -> None:
    cluster = RedisCluster(tmp_path)
    with running(cluster):
        async with some_nodes(cluster.url, "one", "two", trial_s=0.2) as nodes:
            await check_one_order(nodes, 50)
            one, two = nodes
            bob = await two.client()
            assert await one.sio.call("question", 41, to=bob.sid, timeout=10) == 42
            assert bob.sid in await one.bus.members("/")
            await asyncio.sleep(0.5)
            assert one.counted("bus_probe_timeouts_total") == 0


async def test_one_primary_that_hangs_holds_up_its_own_rooms_alone(tmp_path: Path) -> None:
    cluster = RedisCluster(tmp_path)
    with running(cluster):
        async with some_nodes(cluster.url, "one", "two") as (one, two):
            servers = one.bus._servers
            assert isinstance(servers, Cluster)
            rooms = {servers.owner(name_of("/", f"doc:{n}")): f"doc:{n}" for n in range(99)}
            ports = {address.port: room for address, room in rooms.items() if address}
            clients = {room: await two.client(room) for room in ports.values()}
            hung = cluster.nodes[1]
            hung.signal(signal.SIGSTOP)
            waiting = asyncio.create_task(
                one.bus.broadcast("/", ports[hung.port], "said", {"": "lost"})
            )
            await asyncio.sleep(0)
            for node in (cluster.nodes[0], cluster.nodes[2]):
                await one.bus.broadcast("/", ports[node.port], "said", {"": "fine"})
                await clients[ports[node.port]].hears(1)
            assert not waiting.done()
            with pytest.raises(Unavailable):
                await waiting
            hung.signal(signal.SIGCONT)


async def test_a_failover_is_followed(tmp_path: Path) -> None:
    primary = RedisServer(tmp_path / "primary")
    replica = RedisServer(tmp_path / "replica", replicaof=f"127.0.0.1 {primary.port}")
    sentinel = SentinelServer(tmp_path / "sentinel", primary)
    with running(primary, replica, sentinel):
        async with some_nodes(sentinel.url, "one", "two") as (one, two):
            client, ear = await two.client(LOBBY), Ear()
            await two.bus.follow(LOBBY, ear)
            await until(lambda: knows_replica(sentinel))
            primary.kill()
            await until(lambda: None in ear.heard)
            await until_said(one, "again")
            await client.hears(1)


async def test_binary_data_and_skipped_ones(redis: RedisServer) -> None:
    async with some_nodes(redis.url, "one", "two") as (one, two):
        ann, bob = await one.client(LOBBY), await two.client(LOBBY)
        await say(one, b"\x00\xff", binary=True, skip=ann.sid)
        await say(one, b"", binary=True, skip=bob.sid)
        await say(two, [b"1", {"x": b"2"}], binary=True)
        await ann.hears(2)
        await bob.hears(2)
        assert said(ann) == [b"", [b"1", {"x": b"2"}]]
        assert said(bob) == [b"\x00\xff", [b"1", {"x": b"2"}]]


async def test_a_node_without_members_receives_nothing(redis: RedisServer) -> None:
    async with some_nodes(redis.url, "one", "two") as (one, two):
        ann, bob = await one.client(LOBBY), await two.client(LOBBY)
        assert redis.say("PUBSUB", "NUMSUB", CHANNEL)[1] == 2
        await two.bus.leave("/", bob.sid, LOBBY)
        await until(lambda: redis.say("PUBSUB", "NUMSUB", CHANNEL)[1] == 1)
        heard = []
        two.bus.hear = lambda *message: heard.append(message)  # type: ignore[method-assign]
        for number in range(100):
            await say(two, number)  # one need not be a member to speak
        await ann.hears(100)
        assert heard == []
        await ann.sio.disconnect()
        await until(lambda: redis.say("PUBSUB", "NUMSUB", CHANNEL)[1] == 0)
        await say(two, "into the void")


async def test_what_is_local_stays_local(redis: RedisServer) -> None:
    async with some_nodes(redis.url, "one", "two") as (one, two):
        ann, bob = await one.client(LOBBY), await two.client(LOBBY)
        one.bus.deliver("/", LOBBY, "said", {"": 1})
        one.bus.deliver_json("/", LOBBY, "said", '{"":2}')
        await one.bus.send("/", ann.sid, "said", {"": 3})
        await one.bus.send("/", bob.sid, "said", {"": "not mine"})
        await one.bus.leave("/", ann.sid, LOBBY)
        await say(one, 4)
        await one.bus.send("/", ann.sid, "said", {"": 5})
        await ann.hears(4)
        await bob.hears(1)
        assert (said(ann), said(bob)) == ([1, 2, 3, 5], [4])


async def test_joining_what_is_heard_suspends_nobody(redis: RedisServer) -> None:
    def at_once(node: Node, client: Client, room: str) -> bool:
        joining = node.bus.join("/", client.sid, room)
        try:
            joining.send(None)
        except StopIteration:
            return True
        joining.close()
        return False

    async with some_nodes(redis.url, "one") as (node,):
        ann, bob = await node.client(LOBBY), await node.client()
        assert at_once(node, bob, LOBBY)
        assert not at_once(node, bob, "room:other")
        await node.bus.follow("room:followed", Ear())
        assert at_once(node, bob, "room:followed")
        await node.bus.unfollow("room:followed", Ear())
        assert ann.sid in node.bus.rooms["/"][LOBBY]


async def test_who_left_while_waiting_is_no_member(redis: RedisServer) -> None:
    async with some_nodes(redis.url, "one") as (node,):
        client = await node.client()
        joining = asyncio.create_task(node.bus.join("/", client.sid, LOBBY))
        await asyncio.sleep(0)
        node.bus.basic_disconnect(client.sid, "/")
        await joining
        assert LOBBY not in node.bus.rooms.get("/", {})


async def test_followers_hear_what_is_no_event(redis: RedisServer) -> None:
    async with some_nodes(redis.url, "one", "two") as (one, two):
        mine, other = Ear(), Ear()
        await one.bus.follow(LOBBY, mine)
        await two.bus.follow(LOBBY, other)
        client = await two.client(LOBBY)
        messages = [b"{}", b"p\x00", b"{" + bytes(range(256))]
        for message in messages:
            await one.bus.publish(LOBBY, message)
        await say(one, "an event")
        redis.say("PUBLISH", CHANNEL, '{"of":"a script"}')
        await until(lambda: len(mine.heard) == len(other.heard) == 4)
        assert mine.heard == other.heard == [*messages, b'{"of":"a script"}']
        await client.hears(1)
        await one.bus.unfollow(LOBBY, mine)
        await two.bus.publish(LOBBY, b"{}")
        await until(lambda: len(other.heard) == 5)
        assert len(mine.heard) == 4


async def test_slow_readers_get_no_broadcasts(redis: RedisServer) -> None:
    async with some_nodes(redis.url, "one", "two") as (one, two):
        ann, bob = await two.client(LOBBY), await two.client(LOBBY)
        slow = two.bus.eio_sid_from_sid(ann.sid, "/")
        assert slow is not None
        two.bus.hold_back(slow)
        for number in range(3):
            await say(one, number)
        await one.sio.emit("said", {"": "of the program"}, room=LOBBY)
        await bob.hears(4)
        await ann.hears(1)
        missed = two.bus.let_go(slow)
        assert list(missed) == [("/", LOBBY)]
        two.bus.resend(slow, missed["/", LOBBY]["said"])
        await say(one, "last")
        await ann.hears(3)
        assert said(ann) == ["of the program", 2, "last"]
