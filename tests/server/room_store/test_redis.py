"""The store on a real Redis and on a cluster, and what scripts leave there."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stretto_core.errors import Unavailable
from stretto_core.roster import Member
from stretto_server.presence.redis import RedisPresence
from stretto_server.presence.redis_session import RedisSession
from stretto_server.room_store import redis as redis_store
from stretto_server.room_store.interface import RoomStore
from stretto_server.room_store.redis import SCRIPTS, RedisRoomStore
from tests.contracts.room_store_suite import (
    AUTHOR,
    FOUNDING,
    IDLE_S,
    SUITE_LIMITS,
    Leave,
    RoomStoreSuite,
    enter,
    found,
)
from tests.services.processes import running
from tests.services.redis_server import RedisCluster, RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), appendfsync="no")
    with running(server):
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    with running(cluster):
        yield cluster


@contextlib.asynccontextmanager
async def opened(url: str, node: str = "n1") -> AsyncIterator[RedisRoomStore]:
    session = RedisSession(url)
    await session.start()
    presence = RedisPresence(session, node, idle_ttl=IDLE_S)
    try:
        yield RedisRoomStore(session, presence, SUITE_LIMITS)
    finally:
        await session.close()


class OnRedis(RoomStoreSuite):
    @pytest.fixture
    def leave(self, store: RoomStore) -> Leave:
        assert isinstance(store, RedisRoomStore)
        presence = store._presence

        async def leave(room: str, member: Member) -> None:
            await presence.write(f"room:{room}", (), [member.id], stays=False)
            await store.leave(room, member.id)

        return leave


class TestRedisRoomStore(OnRedis):
    @pytest.fixture
    async def store(self, server: RedisServer) -> AsyncIterator[RoomStore]:
        server.say("FLUSHALL")
        async with opened(server.url) as store:
            yield store


class TestRedisRoomStoreOnACluster(OnRedis):
    @pytest.fixture
    async def store(self, cluster: RedisCluster) -> AsyncIterator[RoomStore]:
        cluster.flush()
        async with opened(cluster.url) as store:
            yield store


def test_every_script_is_known() -> None:
    folder = Path(redis_store.__file__).parent
    assert {path.stem for path in folder.glob("*.lua")} == {*SCRIPTS, "functions"}
    assert [name for name, script in SCRIPTS.items() if not script.writes] == ["load"]


async def test_rooms_that_are_gone_leave_nothing(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.say("FLUSHALL")
    monkeypatch.setattr(redis_store, "REAP_PAGE", 2)
    async with opened(server.url) as store:
        for name in "abcde":
            await enter(store, name, name, tags=["x", "y"], name=name)
        for name in "bce":
            server.say("DEL", f"stretto:{{rooms}}:room:{name}")
        for _ in range(4):
            await store.reap()
        assert server.say("ZRANGE", "stretto:{rooms}:rooms", 0, -1) == ["a", "d"]
        assert sorted(server.say("SMEMBERS", "stretto:{rooms}:listed:tag:y")) == ["a", "d"]
        assert sorted(server.say("HKEYS", "stretto:{rooms}:listed")) == ["a", "d"]
        assert await found(store) == ["a", "d"]


async def test_every_key_expires(server: RedisServer) -> None:
    server.say("FLUSHALL")
    async with opened(server.url) as store:
        await enter(store, "a", "m1", tags=["x"])
        await store.set_state("a", {"k": 1}, None, AUTHOR)
        await store.set_metadata("a", {"name": "A"}, AUTHOR)
        await store.set_state("b", {"k": 1}, None, AUTHOR, FOUNDING)
    keys = server.say("KEYS", "*")
    assert len(keys) >= 11
    assert [key for key in keys if server.say("PTTL", key) < 0] == []


async def test_redis_that_is_away_makes_rooms_unavailable(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", appendfsync="no")
    with running(server):
        async with opened(server.url) as store:
            await enter(store, "a", "m1")
            server.stop()
            with pytest.raises(Unavailable):
                await store.snapshot("a")
            with pytest.raises(Unavailable):
                await enter(store, "a", "m2")


async def test_what_is_no_room_is_unavailable(server: RedisServer) -> None:
    server.say("FLUSHALL")
    async with opened(server.url) as store:
        server.say("HSET", "stretto:{rooms}:room:a", "creator", "ann")
        with pytest.raises(Unavailable):
            await store.snapshot("a")
