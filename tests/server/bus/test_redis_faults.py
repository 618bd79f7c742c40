"""What goes wrong between nodes, and who is told."""

import asyncio
import random
import signal
import time
from pathlib import Path

import pytest

from stretto_core.errors import Unavailable
from stretto_server.bus import channels
from stretto_server.bus.channels import Channels, name_of
from stretto_server.bus.messages import EventMessage, encode_event
from stretto_server.bus.redis import RedisBus
from stretto_server.metrics import Metrics
from tests.faults.proxy import Way, proxied
from tests.server.bus.nodes import (
    LOBBY,
    Ear,
    Node,
    said,
    say,
    some_nodes,
    until,
    until_said,
)
from tests.services.processes import running
from tests.services.redis_server import RedisServer

CHANNEL = name_of("/", LOBBY)


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
