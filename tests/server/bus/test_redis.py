"""Delivery between nodes: one order, nothing to those who need nothing, and every loss told."""

import asyncio
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from stretto_core.errors import Unavailable
from stretto_server.bus import channels
from stretto_server.bus.channels import Channels, name_of
from stretto_server.bus.messages import EventMessage, encode_event
from stretto_server.bus.redis import RedisBus
from stretto_server.metrics import Metrics
from stretto_server.redis_client.cluster import Cluster
from tests.faults.proxy import Way, proxied
from tests.server.bus.nodes import LOBBY, Client, Ear, Node, some_nodes, until
from tests.server.redis_client.test_subscriptions import knows_replica
from tests.services.processes import running
from tests.services.redis_server import RedisCluster, RedisServer, SentinelServer

CHANNEL = name_of("/", LOBBY)


async def say(node: Node, what: Any, **options: Any) -> None:
    await node.bus.broadcast("/", LOBBY, "said", {"": what}, **options)


def said(client: Client) -> list[Any]:
    return [payload[""] for payload in client.heard]


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


async def until_said(node: Node, what: Any) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await say(node, what)
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                return


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


# Failures.


async def test_a_redis_that_is_not_there_is_told(tmp_path: Path) -> None:
    bus = RedisBus("redis://127.0.0.1:1", Metrics(), node="one")
    with pytest.raises(Unavailable, match=r"redis://127\.0\.0\.1:1.*Connect"):
        await bus.start()
    with pytest.raises(Unavailable, match="not started"):
        await bus.publish(LOBBY, b"{}")
    with pytest.raises(ValueError, match="redis://"):
        RedisBus("http://127.0.0.1", Metrics(), node="one")
    redis = RedisServer(tmp_path)
    with running(redis):
        redis.say("ACL", "SETUSER", "few", "on", ">secret", "+@all", "~*", "resetchannels")
        url = redis.url.replace("//", "//few:secret@")
        bus = RedisBus(url, Metrics(), node="one", timeout_s=0.3)
        with pytest.raises(Unavailable, match="allow its user"):
            await bus.start()


async def test_a_killed_subscription_comes_back(redis: RedisServer) -> None:
    async with some_nodes(redis.url, "one", "two") as (one, two):
        client, ear = await two.client(LOBBY), Ear()
        await two.bus.follow(LOBBY, ear)
        for round_ in range(1, 4):
            redis.say("CLIENT", "KILL", "TYPE", "pubsub")
            while ear.heard.count(None) < round_:
                await asyncio.sleep(0.005)
            await say(one, round_)
            await client.hears(round_)
        assert said(client) == [1, 2, 3]
        assert two.counted("bus_connected") == 1
        assert two.counted("bus_reconnects_total") == 3
        assert two.counted("bus_publish_failures_total") == 0


async def test_a_deaf_subscription_is_found(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    with running(redis):
        async with (
            some_nodes(redis.url, "one") as (one,),
            proxied(redis.port) as proxy,
            some_nodes(f"redis://127.0.0.1:{proxy.port}", "two", trial_s=0.3) as (two,),
        ):
            client, ear = await two.client(LOBBY), Ear()
            await two.bus.follow(LOBBY, ear)
            await asyncio.sleep(1.0)
            assert two.counted("bus_probe_timeouts_total") == 0
            # Its subscriptions alone go deaf: it still publishes.
            await make_deaf(redis, two)
            await until(lambda: two.counted("bus_probe_timeouts_total") == 1)
            await until(lambda: ear.heard == [None])
            await say(one, "heard again")
            await client.hears(1)
            proxy.swallow(Way.DOWN)
            await asyncio.sleep(0.5)
            proxy.heal()
            await until(lambda: ear.heard.count(None) >= 2)


async def make_deaf(redis: RedisServer, node: Node) -> None:
    """Take away the channels of a node behind its back, as a failed over server does."""
    line = node.bus._subscriptions._line  # type: ignore[union-attr]
    stream = line.subscriber._stream
    assert stream is not None
    heeded, stream._confirm = stream._confirm, lambda _: None
    stream._transport.write(b"*1\r\n$11\r\nUNSUBSCRIBE\r\n")
    await until(lambda: redis.say("PUBSUB", "NUMSUB", line.trial)[1] == 0)
    await asyncio.sleep(0.05)
    stream._confirm = heeded


async def test_a_hung_redis_is_told_within_two_seconds(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    with running(redis):
        async with some_nodes(redis.url, "one", "two") as (one, two):
            client = await two.client(LOBBY)
            redis.signal(signal.SIGSTOP)
            started = time.monotonic()
            calls = [asyncio.create_task(say(one, number)) for number in range(10)]
            await asyncio.sleep(0.5)
            calls += [asyncio.create_task(say(one, number)) for number in range(10)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert time.monotonic() - started < 5  # about 1.75
            assert all(isinstance(one, Unavailable) for one in results)
            assert one.counted("bus_publish_failures_total") == 20
            started = time.monotonic()
            await one.bus.follow("room:new", ear := Ear())
            assert time.monotonic() - started < 3 * channels.WAIT_S
            redis.signal(signal.SIGCONT)
            await until_said(one, "awake")
            await until(lambda: "awake" in said(client))
            await until(lambda: ear.heard == [None])


async def test_a_redis_that_restarts(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    with running(redis):
        async with some_nodes(redis.url, "one", "two") as (one, two):
            client, ears = await two.client(LOBBY), [Ear(), Ear()]
            await two.bus.follow(LOBBY, ears[0])
            redis.kill()
            await until(lambda: two.counted("bus_connected") == 0)
            with pytest.raises(Unavailable):
                await say(one, "lost")
            started = time.monotonic()
            await two.bus.follow("room:new", ears[1])
            late = await two.client()
            assert time.monotonic() - started < 3 * channels.WAIT_S
            await asyncio.to_thread(redis.start)
            started = time.monotonic()
            await until(lambda: [ear.heard for ear in ears] == [[None], [None]])
            assert time.monotonic() - started < 6  # within the second that Redis is back
            await two.bus.join("/", late.sid, LOBBY)
            await until_said(one, "back")
            await client.hears(1)
            await late.hears(1)


async def test_nobody_told_is_told(redis: RedisServer) -> None:
    """A publisher whose subscription is away, with the only members: nobody hears it."""
    async with some_nodes(redis.url, "one") as (node,):
        await node.client(LOBBY)
        node.bus._subscriptions.unsubscribe(CHANNEL.encode())  # type: ignore[union-attr]
        await until(lambda: redis.say("PUBSUB", "NUMSUB", CHANNEL)[1] == 0)
        with pytest.raises(Unavailable, match="not heard"):
            await say(node, 1)
        assert node.counted("bus_publish_failures_total") == 1


async def test_garbage_is_counted_and_ignored(redis: RedisServer) -> None:
    dice = random.Random(7)
    good = encode_event(EventMessage("/", LOBBY, b'42["said",{"":0}]', event="said"))
    garbage = [
        b"",
        b"e",
        b"c[]",
        b"k{}",
        good[:-30],
        b'e{"n":"/","r":"room:lobby","c":["one",1]}\n42{',
        b'k{"i":1}\n43{',
        b"c" + b"[" * 10_000,
        b"e" + bytes(dice.randbytes(1000)),
        b'c["members","one",0,"\\ud800","room",[],[]]',
    ]
    async with some_nodes(redis.url, "one", "two") as (one, two):
        client, ear = await two.client(LOBBY), Ear()
        await two.bus.follow(LOBBY, ear)
        for number in range(390):
            channel = (CHANNEL, "stretto:node:two", name_of("/", None))[number % 3]
            redis.say("PUBLISH", channel, garbage[number % len(garbage)])
        # Pickled by python-socketio's manager of old: it is a follower's, and none of ours.
        redis.say("PUBLISH", CHANNEL, b"\x80\x04]\x94.")
        await say(one, "still here")
        await client.hears(1)
        assert said(client) == ["still here"]
        assert two.counted("bus_garbage_total") == 390
        assert ear.heard == [b"\x80\x04]\x94."]


async def test_a_follower_that_fails_stops_nobody(redis: RedisServer) -> None:
    class Failing(Ear):
        def hear(self, message: bytes) -> None:
            super().hear(message)
            raise ValueError

    async with some_nodes(redis.url, "one") as (node,):
        client, ear = await node.client(LOBBY), Failing()
        await node.bus.follow(LOBBY, ear)
        await node.bus.publish(LOBBY, b"{}")
        await say(node, 1)
        await client.hears(1)
        assert ear.heard == [b"{}"]


async def test_losses_are_told_spread_out(redis: RedisServer) -> None:
    spread = Channels(spread_s=0.3)
    async with some_nodes(redis.url, "one", channels=spread) as (node,):
        ears = [Ear() for _ in range(50)]
        for number, ear in enumerate(ears):
            await node.bus.follow(f"room:{number}", ear)
        redis.say("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: any(ear.heard for ear in ears))
        assert not all(ear.heard for ear in ears)
        await until(lambda: all(ear.heard for ear in ears))


async def test_closing_leaves_nothing(redis: RedisServer) -> None:
    async with some_nodes(redis.url, "one") as (node,):
        await node.bus.follow(LOBBY, Ear())
        await node.bus.close()
        await node.bus.close()
        assert node.counted("bus_connected") == 0
        with pytest.raises(Unavailable):
            await node.bus.publish(LOBBY, b"{}")
