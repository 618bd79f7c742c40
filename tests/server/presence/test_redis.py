"""Presence on a real Redis: leases, nodes that die or were only stopped, and farewells."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from stretto_core.errors import Unavailable
from stretto_core.roster import Member, Roster
from stretto_server.presence.interface import RosterSnapshot
from stretto_server.presence.redis import RedisPresence, keys_of
from stretto_server.presence.redis_session import RedisSession
from stretto_server.presence.share import RosterShare
from stretto_server.redis_client.cluster import slot_of
from stretto_server.redis_client.names import channel_of
from tests.server.cluster import SharedMailboxes
from tests.server.presence.fakes import ANN
from tests.services.processes import running
from tests.services.redis_server import RedisServer

ROOM = "doc:notes"
TTL_S = 0.9


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), appendfsync="no")
    with running(server):
        yield server


class Ear:
    """A follower that feeds a roster."""

    def __init__(self, share: RosterShare) -> None:
        self._share = share

    def hear(self, message: bytes) -> None:
        self._share.hear(message)

    def missed(self) -> None:
        self._share.resync()


class Node:
    """A roster of one node that hears the others on a real channel."""

    def __init__(self, url: str, name: str, ttl_s: float) -> None:
        self.bus, self.session = SharedMailboxes(url), RedisSession(url)
        self.presence = RedisPresence(self.session, name, idle_ttl=1, ttl_s=ttl_s)
        self.members = Roster()
        self.share = RosterShare(self.presence, ROOM, self.members, lambda: None)

    async def start(self) -> None:
        await self.bus.start()
        await self.session.start()
        self.presence.start()
        await self.bus.follow(ROOM, Ear(self.share))
        await self.share.ready()

    async def join(self, *names: str) -> None:
        for name in names:
            self.members.join(Member(name, ANN))
            self.share.own(name)
        await self.share.written()

    async def freeze(self) -> None:
        """Do nothing more, as a process that was stopped."""
        refreshing = self.presence._refreshing
        assert refreshing is not None
        refreshing.cancel()
        await asyncio.wait([refreshing])
        self.bus.deaf = True

    def thaw(self) -> None:
        self.bus.deaf = False
        self.presence.start()

    async def stop(self) -> None:
        await self.presence.stop()
        self.share.close()
        await self.session.close()
        await self.bus.close()

    def ids(self) -> set[str]:
        return {member.id for member in self.members}


@contextlib.asynccontextmanager
async def nodes(url: str, count: int, ttl_s: float = TTL_S) -> AsyncIterator[list[Node]]:
    made = [Node(url, f"n{number}", ttl_s) for number in range(count)]
    for node in made:
        await node.start()
    try:
        yield made
    finally:
        for node in made:
            await node.stop()


async def until(met: Callable[[], bool], within_s: float = 5.0) -> float:
    """Wait until something is true; return how long that took."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with asyncio.timeout(within_s):
        while not met():
            await asyncio.sleep(0.005)
    return loop.time() - start


@pytest.fixture(autouse=True)
def _empty(server: RedisServer) -> None:
    server.say("FLUSHALL")


async def test_nodes_have_one_roster(server: RedisServer) -> None:
    async with nodes(server.url, 3) as (one, two, three):
        await one.join("a", "b")
        await two.join("c")
        await until(lambda: one.ids() == two.ids() == three.ids() == {"a", "b", "c"})
        one.members.leave("a")
        one.share.disown("a")
        await until(lambda: one.ids() == two.ids() == three.ids() == {"b", "c"})


async def test_a_dead_node_is_gone_within_the_ttl(server: RedisServer) -> None:
    async with nodes(server.url, 3) as (one, two, three):
        await one.join("a", "b")
        await two.join("c")
        await three.join("d")
        await until(lambda: two.ids() == three.ids() == {"a", "b", "c", "d"})
        await asyncio.sleep(TTL_S)
        assert len(two.ids()) == 4
        await one.freeze()
        took = await until(lambda: two.ids() == three.ids() == {"c", "d"})
        assert took <= TTL_S + 0.3
        assert server.say("HLEN", keys_of(ROOM)[0]) == 2


async def test_a_stopped_node_enters_its_members_again(server: RedisServer) -> None:
    async with nodes(server.url, 2) as (one, two):
        await one.join("a", "b")
        await two.join("c")
        await until(lambda: two.ids() == {"a", "b", "c"})
        await one.freeze()
        await until(lambda: two.ids() == {"c"})
        one.thaw()
        await until(lambda: one.ids() == two.ids() == {"a", "b", "c"})


async def test_members_of_a_cluster_that_died_vanish(server: RedisServer) -> None:
    async with nodes(server.url, 1, ttl_s=0.3) as (one,):
        await one.join("a")
        await one.freeze()
        await until(lambda: server.say("DBSIZE") == 0)


async def test_a_node_that_stops_says_farewell(server: RedisServer) -> None:
    async with nodes(server.url, 1, ttl_s=60) as (one,):
        async with nodes(server.url, 1, ttl_s=60) as (other,):
            other.presence.node = "other"
            other.presence._lease = ("other", *other.presence._lease[1:])
            await other.join("b")
            await one.join("a")
            await until(lambda: one.ids() == {"a", "b"})
        await until(lambda: one.ids() == {"a"})


async def test_a_member_on_its_way_in_keeps_the_lease(server: RedisServer) -> None:
    async with nodes(server.url, 1) as (one,):
        presence = RedisPresence(one.session, "other", idle_ttl=1)
        await presence.write(ROOM, [Member("a", ANN)], (), stays=True)
        await presence.write(ROOM, [Member("b", ANN)], (), stays=True)
        assert await presence.write(ROOM, (), ["a"], stays=False)
        assert await presence.write(ROOM, (), ["b"], stays=False)
        assert not await presence.write(ROOM, (), (), stays=False)


async def test_whoever_has_a_snapshot_needs_no_other(server: RedisServer) -> None:
    async with nodes(server.url, 2) as (one, two):
        snapshot, asked = two.presence.snapshot, 0

        async def counted(room: str) -> RosterSnapshot:
            nonlocal asked
            asked += 1
            return await snapshot(room)

        two.presence.snapshot = counted  # type: ignore[method-assign]
        await one.join("a")
        await one.join("b")
        await until(lambda: two.ids() == {"a", "b"})
        assert asked == 0


async def test_garbage_in_redis_is_passed_over(server: RedisServer) -> None:
    async with nodes(server.url, 1) as (one,):
        await one.join("a")
        server.say("HSET", keys_of(ROOM)[0], "other/x", "{}", "nonsense", "[")
        server.say("PUBLISH", channel_of(ROOM), 'p{"seq":"x"}')
        one.share.resync()
        await one.share.ready()
        assert one.ids() == {"a"}


async def test_redis_that_comes_back_empty_gets_everybody_again(server: RedisServer) -> None:
    async with nodes(server.url, 2) as (one, two):
        await one.join("a")
        await two.join("b")
        await until(lambda: one.ids() == two.ids() == {"a", "b"})
        server.say("FLUSHALL")
        await until(lambda: server.say("HLEN", keys_of(ROOM)[0]) == 2)
        await until(lambda: one.ids() == two.ids() == {"a", "b"})


async def test_chores_are_done_whatever_happens_to_one(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[int] = []

    async def fail() -> None:
        done.append(len(done))
        raise Unavailable if len(done) % 2 else RuntimeError("broken")

    presence = RedisPresence(RedisSession(server.url), "n1", idle_ttl=1, ttl_s=0.03)
    presence.chores.append(fail)
    presence.start()
    await until(lambda: len(done) > 3)
    await presence.stop()
    assert "broken" in caplog.text


def test_keys_of_one_thing_lie_together() -> None:
    for room in ("doc:notes/a", "room:lobby"):
        assert len({slot_of(key) for key in [*keys_of(room), channel_of(room)]}) == 1
    assert len(keys_of("doc:a")) == 3
    assert len(keys_of("room:a")) == 6
