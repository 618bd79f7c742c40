"""One server, and Sentinels; what a real Redis does is in the journal's tests."""

import asyncio

import pytest

from stretto_server.redis_client.link import Address, Login, NoReply, NotSent
from stretto_server.redis_client.resp import ReplyError
from stretto_server.redis_client.scripts import Script
from stretto_server.redis_client.servers import SingleServer, ask, find_primary
from stretto_server.redis_client.url import RedisUrl
from tests.server.redis_client.fake_redis import Answer, FakeRedis

WRITING = Script("#!lua\nreturn 1", "a" * 40, writes=True)
READING = Script("#!lua flags=no-writes\nreturn 1", "b" * 40, writes=False)
NOBODY = Login()


class Given:
    """A fake server and a :class:`SingleServer` on it."""

    def __init__(self, answer: Answer) -> None:
        self.fake = FakeRedis(answer)

    async def __aenter__(self) -> tuple[FakeRedis, SingleServer]:
        await self.fake.start()
        self.server = SingleServer(RedisUrl((self.fake.address,)), timeout_s=0.3)
        await self.server.start()
        return self.fake, self.server

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()
        await self.fake.stop()


async def test_reads_and_writes_have_connections_of_their_own() -> None:
    async with Given(lambda _: b":1\r\n") as (fake, server):
        assert await server.call("key", "GET", "key", writes=False) == 1
        assert await server.call("key", "SET", "key", "x", writes=True) == 1
        assert await server.everywhere("INFO") == [1]
        assert fake.connections == 2


async def test_reads_are_sent_together() -> None:
    def answer(command: list[bytes]) -> bytes:
        return b"-WRONGTYPE no\r\n" if command[1] == b"bad" else b":%d\r\n" % int(command[1])

    async with Given(answer) as (fake, server):
        assert await server.read_together([]) == []
        commands = [("GET", str(number)) for number in range(500)]
        assert await server.read_together(commands) == list(range(500))
        sent = [command for command in fake.commands if command[0] != b"PING"]
        assert [int(command[1]) for command in sent] == list(range(500))
        with pytest.raises(ReplyError, match="WRONGTYPE"):
            await server.read_together([("GET", "1"), ("GET", "bad"), ("GET", "2")])
        assert await server.read_together([("GET", "7")]) == [7]


async def test_when_a_write_is_not_answered_reads_do_not_wait_as_long_again() -> None:
    silent = False

    def answer(_command: list[bytes]) -> bytes | None:
        return None if silent else b":1\r\n"

    async with Given(answer) as (fake, server):
        silent = True
        with pytest.raises(NoReply):
            await server.call("key", "SET", "key", "x", writes=True)
        silent = False
        assert await server.call("key", "GET", "key", writes=False) == 1
        assert fake.connections >= 3  # the reads have another one, too

        silent, before = True, fake.connections
        with pytest.raises(NoReply):
            await server.call("key", "GET", "key", writes=False)
        silent = False
        assert await server.call("key", "SET", "key", "x", writes=True) == 1
        assert fake.connections <= before + 2  # writes go on where they were


async def test_reads_together_leave_a_demoted_primary() -> None:
    async with Given(lambda _: b"-MASTERDOWN no\r\n") as (fake, server):
        with pytest.raises(ReplyError, match="MASTERDOWN"):
            await server.read_together([("GET", "1"), ("GET", "2")])
        async with asyncio.timeout(10):
            while fake.connections < 4:
                await asyncio.sleep(0.01)


async def test_a_script_is_sent_whole_only_where_it_is_not_known() -> None:
    def answer(command: list[bytes]) -> bytes:
        known = command[0] != b"EVALSHA" or command[1] == READING.sha.encode()
        return b":1\r\n" if known else b"-NOSCRIPT No matching script\r\n"

    async with Given(answer) as (fake, server):
        assert await server.run(WRITING, ["key"], "argument") == 1
        assert await server.run(READING, ["key"]) == 1
    sent = [command for command in fake.commands if command[0] != b"PING"]
    assert sent == [
        [b"EVALSHA", b"a" * 40, b"1", b"key", b"argument"],
        [b"EVAL", WRITING.text.encode(), b"1", b"key", b"argument"],
        [b"EVALSHA", b"b" * 40, b"1", b"key"],
    ]


async def test_a_demoted_primary_is_left() -> None:
    async with Given(lambda _: b"-READONLY You can't write\r\n") as (fake, server):
        with pytest.raises(ReplyError, match="READONLY"):
            await server.run(WRITING, ["key"])
        with pytest.raises(ReplyError, match="READONLY"):
            await server.call("key", "SET", "key", "x", writes=True)
        assert fake.connections > 2


async def test_the_first_sentinel_that_knows_is_believed() -> None:
    sentinel = FakeRedis(lambda _: b"*2\r\n$9\r\n127.0.0.5\r\n$4\r\n7000\r\n")
    ignorant = FakeRedis(lambda _: b"*-1\r\n")
    await sentinel.start()
    await ignorant.start()
    nobody = Address("127.0.0.1", 1)
    try:
        sentinels = [nobody, ignorant.address, sentinel.address]
        assert await find_primary(sentinels, "main", NOBODY, 1.0) == Address("127.0.0.5", 7000)
        with pytest.raises(NotSent, match="does not know main"):
            await find_primary(sentinels[:2], "main", NOBODY, 1.0)
        assert sentinel.commands[-1] == [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", b"main"]
    finally:
        await sentinel.stop()
        await ignorant.stop()


async def test_asking_leaves_no_connection_behind() -> None:
    fake = FakeRedis(lambda _: b"+fine\r\n")
    await fake.start()
    try:
        assert await ask(fake.address, NOBODY, 1.0, "HOW") == b"fine"
    finally:
        await fake.stop()
