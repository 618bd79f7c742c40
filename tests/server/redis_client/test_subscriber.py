"""A subscription that is lost in every way, and comes back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from stretto_server.redis_client.link import Address, Login
from stretto_server.redis_client.resp import ReplyError, encode
from stretto_server.redis_client.subscriber import Subscriber
from tests.server.redis_client.fake_redis import FakeRedis
from tests.services.processes import running
from tests.services.redis_server import RedisServer

PATIENCE_S = 20.0


class Ear:
    def __init__(self) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self.confirmations: list[bytes] = []
        self.silent: list[bytes] = []
        self.refusals: list[tuple[bytes, str | None]] = []
        self.comings = 0
        self.failures: list[tuple[str, bool]] = []

    def hear(self, channel: bytes, message: bytes) -> None:
        self.heard.append((channel, message))

    def confirmed(self, channel: bytes) -> None:
        self.confirmations.append(channel)

    def silenced(self, channels: Iterable[bytes]) -> None:
        self.silent.extend(channels)

    def refused(self, channel: bytes, error: ReplyError | None) -> None:
        self.refusals.append((channel, None if error is None else error.code))

    def came(self) -> None:
        self.comings += 1

    def failed(self, problem: str, lost: bool) -> None:
        self.failures.append((problem, lost))

    async def until(self, *confirmed: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.confirmations != list(confirmed):
                await asyncio.sleep(0.005)

    async def hears(self, count: int) -> list[tuple[bytes, bytes]]:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.heard) < count:
                await asyncio.sleep(0.005)
        return self.heard


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    with running(server):
        yield server


def subscriber_of(port: int, ear: Ear, login: Login | None = None) -> Subscriber:
    async def find() -> Address:
        return Address("127.0.0.1", port)

    return Subscriber(find, login or Login(), ear, timeout_s=1.0)


@pytest.fixture
async def ear() -> Ear:
    return Ear()


@pytest.fixture
async def subscriber(redis: RedisServer, ear: Ear) -> AsyncIterator[Subscriber]:
    subscriber = subscriber_of(redis.port, ear, Login(database=3))
    subscriber.start()
    assert await subscriber.wait(PATIENCE_S)
    yield subscriber
    await subscriber.close()
    await subscriber.close()


async def test_messages_come_in_order(redis: RedisServer, subscriber: Subscriber, ear: Ear) -> None:
    for channel in (b"a", b"b", b"a"):
        subscriber.subscribe(channel)
    await ear.until(b"a", b"b")
    expected = []
    for number in range(200):
        name = "ab"[number % 2]
        redis.say("PUBLISH", name, f"{number}\r\n\0")
        expected.append((name.encode(), b"%d\r\n\0" % number))
    redis.say("PUBLISH", "c", "nobody listens")
    big = "x" * 3_000_000
    redis.say("PUBLISH", "a", big)
    assert await ear.hears(201) == [*expected, (b"a", big.encode())]


def test_it_works_on_the_other_event_loop_too(redis: RedisServer) -> None:
    async def listen() -> None:
        ear = Ear()
        subscriber = subscriber_of(redis.port, ear)
        subscriber.subscribe(b"a")
        subscriber.start()
        await ear.until(b"a")
        redis.say("PUBLISH", "a", "x")
        assert await ear.hears(1) == [(b"a", b"x")]
        await subscriber.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(listen())


async def test_what_is_given_up_is_not_heard(
    redis: RedisServer, subscriber: Subscriber, ear: Ear
) -> None:
    subscriber.subscribe(b"gone")
    await ear.until(b"gone")
    subscriber.unsubscribe(b"gone")
    subscriber.unsubscribe(b"gone")
    async with asyncio.timeout(PATIENCE_S):
        while redis.say("PUBLISH", "gone", "x"):
            await asyncio.sleep(0.005)
    # Only what was asked last counts: there is one confirmation, of the last question.
    for _ in range(3):
        subscriber.subscribe(b"gone")
        subscriber.unsubscribe(b"gone")
    subscriber.subscribe(b"gone")
    await ear.until(b"gone", b"gone")
    await asyncio.sleep(0.05)
    assert ear.confirmations == [b"gone", b"gone"]
    assert redis.say("PUBLISH", "gone", "back") == 1


@pytest.mark.parametrize("command", ["CLIENT KILL TYPE pubsub", "overflow"])
async def test_redis_cuts_it_and_it_comes_back(
    redis: RedisServer, subscriber: Subscriber, ear: Ear, command: str
) -> None:
    channels = [b"%d" % number for number in range(2000)]
    for channel in channels:
        subscriber.subscribe(channel)
    await ear.until(*channels)
    if command == "overflow":
        redis.say("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
        redis.say("PUBLISH", "1", "x" * 4_000_000)
    else:
        redis.say(*command.split())
    await ear.until(*channels, *channels)
    assert ear.silent == channels
    assert [lost for _, lost in ear.failures if lost] == [True]
    redis.say("PUBLISH", "7", "again")
    async with asyncio.timeout(PATIENCE_S):
        while ear.heard[-1:] != [(b"7", b"again")]:
            await asyncio.sleep(0.005)


async def test_it_waits_for_a_redis_that_restarts(tmp_path: Path, ear: Ear) -> None:
    redis = RedisServer(tmp_path)
    with running(redis):
        subscriber = subscriber_of(redis.port, ear)
        subscriber.subscribe(b"a")
        subscriber.start()
        await ear.until(b"a")
        redis.kill()
        async with asyncio.timeout(PATIENCE_S):
            while len(ear.failures) < 3:
                await asyncio.sleep(0.005)
        assert not subscriber.connected
        subscriber.subscribe(b"b")
        await asyncio.to_thread(redis.start)
        await ear.until(b"a", b"a", b"b")
        assert ear.comings == 2
        await subscriber.close()
        assert ear.failures[0][1]
        assert not any(lost for _, lost in ear.failures[1:-1])


async def test_a_replica_or_a_wrong_password_is_none(redis: RedisServer, ear: Ear) -> None:
    subscriber = subscriber_of(redis.port, ear, Login(password="wrong"))
    subscriber.start()
    async with asyncio.timeout(PATIENCE_S):
        while len(ear.failures) < 2:
            await asyncio.sleep(0.005)
    assert "AUTH" in subscriber.problem
    assert not await subscriber.wait(0.01)
    await subscriber.close()
    redis.say("REPLICAOF", "127.0.0.1", "1")
    try:
        subscriber = subscriber_of(redis.port, Ear(), Login(must_be_primary=True))
        subscriber.start()
        async with asyncio.timeout(PATIENCE_S):
            while "replica" not in subscriber.problem:
                await asyncio.sleep(0.005)
        await subscriber.close()
    finally:
        redis.say("REPLICAOF", "NO", "ONE")


async def test_a_channel_may_be_refused(redis: RedisServer, ear: Ear) -> None:
    redis.say("ACL", "SETUSER", "few", "on", ">secret", "+@all", "resetchannels", "&good*")
    subscriber = subscriber_of(redis.port, ear, Login("few", "secret"))
    for channel in (b"good:a", b"bad", b"good:b"):
        subscriber.subscribe(channel)
    subscriber.start()
    await ear.until(b"good:a", b"good:b")
    assert ear.refusals == [(b"bad", "NOPERM")]
    redis.say("ACL", "SETUSER", "few", "&bad")
    subscriber.again(b"bad")
    subscriber.again(b"unknown")
    await ear.until(b"good:a", b"good:b", b"bad")
    await subscriber.close()


class Mute:
    """A server that says nothing by itself."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(OSError):
            await reader.read()


@asynccontextmanager
async def mute() -> AsyncIterator[Mute]:
    one = Mute()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    yield one
    server.close()
    for writer in one.writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    "answer",
    [
        b"+PONG\r\n",
        b"!what\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n$5\r\nother\r\n:1\r\n",
        b"*2\r\n$9\r\nsubscribe\r\n$1\r\na\r\n",
        b"-ERR one\r\n-ERR two\r\n",
    ],
)
async def test_what_is_no_redis_is_left(ear: Ear, answer: bytes) -> None:
    fake = FakeRedis(lambda _: answer)
    await fake.start()
    subscriber = subscriber_of(fake.address.port, ear)
    subscriber.subscribe(b"a")
    subscriber.start()
    async with asyncio.timeout(PATIENCE_S):
        while fake.connections < 3:
            await asyncio.sleep(0.005)
    await subscriber.close()
    await fake.stop()
    assert ear.confirmations == []


async def test_silence_is_no_greeting(ear: Ear) -> None:
    async with mute() as server:

        async def find() -> Address:
            return Address("127.0.0.1", server.port)

        subscriber = Subscriber(find, Login(), ear, timeout_s=0.05)
        subscriber.start()
        async with asyncio.timeout(PATIENCE_S):
            while len(ear.failures) < 2:
                await asyncio.sleep(0.005)
        assert subscriber.problem == "no answer within 0.05 s"
        await subscriber.close()


async def test_a_server_that_cuts_at_once_is_not_stormed(ear: Ear) -> None:
    fake = FakeRedis(lambda _: b"*0\r\n")  # it greets, and then says nonsense
    await fake.start()
    subscriber = subscriber_of(fake.address.port, ear)
    subscriber.subscribe(b"a")
    subscriber.start()
    await asyncio.sleep(0.5)
    assert fake.connections <= 12
    await subscriber.close()
    await fake.stop()


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100, 1_000_000])
async def test_messages_may_come_in_any_pieces(ear: Ear, size: int) -> None:
    expected = [(b"a\r\n", b"*3\r\n$7\r\nmessage\r\n"), (b"a", b""), (b"", b"x" * 200)] * 10
    said = [b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"]
    said += [
        encode(b"smessage" if number % 2 else b"message", *one)
        for number, one in enumerate(expected)
    ]
    whole = b"".join(said)
    async with mute() as server:
        subscriber = subscriber_of(server.port, ear)
        subscriber.subscribe(b"a")
        subscriber.start()
        async with asyncio.timeout(PATIENCE_S):
            while not server.writers:
                await asyncio.sleep(0.005)
        writer = server.writers[0]
        for byte in b"+PONG\r\n":
            writer.write(bytes([byte]))
        async with asyncio.timeout(PATIENCE_S):
            while not ear.comings:
                await asyncio.sleep(0.005)
        for start in range(0, len(whole), size):
            await asyncio.sleep(0)
            writer.write(whole[start : start + size])
        assert await ear.hears(len(expected)) == expected
        await subscriber.close()
    assert ear.confirmations == [b"a"]
