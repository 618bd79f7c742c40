import asyncio
import time

import pytest
import uvloop

from stretto_server.redis_client.link import Address, Login, NoReply, NotSent, RedisLink
from stretto_server.redis_client.resp import ReplyError
from tests.server.redis_client.fake_redis import linked


def echo(command: list[bytes]) -> bytes | None:
    """Answer with the last argument; nothing to SLOW."""
    if command[0] == b"SLOW":
        return None
    if command[0] == b"FAIL":
        return b"-ERR told to\r\n"
    return b"$%d\r\n%b\r\n" % (len(command[-1]), command[-1])


async def test_replies_come_to_those_who_asked() -> None:
    async with linked(echo) as (fake, link):
        replies = await asyncio.gather(*(link.call("ECHO", number) for number in range(100)))
        assert replies == [b"%d" % number for number in range(100)]
        assert fake.connections == 1


def test_it_works_on_the_other_event_loop_too() -> None:
    async def echo_and_hang() -> None:
        async with linked(echo) as (_, link):
            assert await link.call("ECHO", "x") == b"x"
            with pytest.raises(NoReply):
                await link.call("SLOW")
            assert await link.call("ECHO", "y") == b"y"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(echo_and_hang())


async def test_errors_are_raised_and_the_connection_stays() -> None:
    async with linked(echo) as (fake, link):
        with pytest.raises(ReplyError, match="told to"):
            await link.call("FAIL")
        with pytest.raises(ReplyError, match="told to"):
            await link.call_together(("ECHO", "a"), ("FAIL",), ("ECHO", "b"))
        assert await link.call_together(("ECHO", "a"), ("ECHO", "b")) == [b"a", b"b"]
        assert fake.connections == 1


async def test_silence_ends_the_connection_and_nothing_is_sent_twice() -> None:
    async with linked(echo) as (fake, link):
        started = time.monotonic()
        slow = asyncio.create_task(link.call("SLOW"))
        await asyncio.sleep(0)
        with pytest.raises(NoReply, match="no answer within"):
            await link.call("ECHO", "behind it")
        with pytest.raises(NoReply):
            await slow
        assert time.monotonic() - started < 3
        assert await link.call("ECHO", "again") == b"again"
        assert [command for command in fake.commands if command[0] == b"SLOW"] == [[b"SLOW"]]
        assert fake.connections == 2


async def test_who_is_cancelled_leaves_its_reply_to_nobody() -> None:
    async with linked(echo) as (fake, link):
        for number in range(50):
            cancelled = asyncio.create_task(link.call("ECHO", "cancelled"))
            await asyncio.sleep(0)
            cancelled.cancel()
            assert await link.call("ECHO", number) == b"%d" % number
        assert fake.connections == 1


async def test_a_server_that_went_away_is_found_again() -> None:
    async with linked(echo) as (fake, link):
        await fake.stop()
        while True:
            try:
                await link.call("ECHO", "x")
            except NotSent:
                break
            except NoReply:
                continue
        with pytest.raises(NotSent):  # and nothing waits longer than its patience
            await link.call("ECHO", "x")
        await fake.start()
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await link.call("ECHO", "back") == b"back"
                except NotSent:
                    continue
                break


@pytest.mark.parametrize("noise", [b"HTTP/1.1 400 Bad Request\r\n", b"+OK\r\n+one too many\r\n"])
async def test_who_does_not_speak_like_redis_is_left(noise: bytes) -> None:
    async with linked(lambda command: noise if command[0] == b"NOISE" else b"+OK\r\n") as (
        fake,
        link,
    ):
        if noise.startswith(b"HTTP"):
            with pytest.raises(NoReply, match="does not speak"):
                await link.call("NOISE")
        else:
            assert await link.call("NOISE") == b"OK"
        assert await link.call("ECHO", "x") == b"OK"
        assert fake.connections == 2


async def test_the_greeting_says_who_we_are() -> None:
    login = Login("ann", "secret", 3)
    async with linked(lambda _: b"+OK\r\n", login) as (fake, _):
        assert fake.commands == [[b"AUTH", b"ann", b"secret"], [b"SELECT", b"3"], [b"PING"]]
    assert "secret" not in repr(login)


async def test_a_replica_is_refused_where_a_primary_is_needed() -> None:
    role = b"*1\r\n$5\r\nslave\r\n"

    def answer(_command: list[bytes]) -> bytes:
        return role

    with pytest.raises(NotSent, match="is a replica"):
        async with linked(answer, Login(must_be_primary=True)):
            raise AssertionError("it was taken for a primary")
    role = b"*1\r\n$6\r\nmaster\r\n"
    async with linked(answer, Login(must_be_primary=True)):
        pass


async def test_a_refused_greeting_is_told_at_the_start() -> None:
    with pytest.raises(NotSent, match="WRONGPASS"):
        async with linked(lambda _: b"-WRONGPASS no\r\n", Login(password="x")):
            raise AssertionError("it was let in")


async def test_closed_it_sends_nothing_and_opens_again() -> None:
    async with linked(echo) as (fake, link):
        waiting = asyncio.create_task(link.call("SLOW"))
        await asyncio.sleep(0)
        await link.close()
        await link.close()
        with pytest.raises(NoReply, match="closed"):
            await waiting
        with pytest.raises(NotSent, match="closed"):
            await link.call("ECHO", "x")
        await link.start()
        assert await link.call("ECHO", "x") == b"x"
        assert fake.connections == 2


async def test_a_host_that_cannot_be_found_is_told() -> None:
    async def find() -> Address:
        raise NotSent("nobody knows where it is")

    link = RedisLink(find, Login(), timeout_s=0.2, patience_s=0.1)
    with pytest.raises(NotSent, match="nobody knows"):
        await link.start()
    await link.close()
