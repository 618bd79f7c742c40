"""How the client's errors come out of the journal; a real Redis is in the other tests."""

import pytest

from stretto_core.errors import EpochChanged, NotFound, Unavailable
from stretto_server.journal.interface import OutcomeUnknown
from stretto_server.journal.redis_session import RedisSession
from tests.server.redis_client.fake_redis import FakeRedis

INFO = b"redis_version:7.2.0\r\ncluster_enabled:0\r\nrole:master\r\n"


class Given:
    """A session on a fake server, which answers scripts with ``answer``."""

    def __init__(self, answer: bytes | None, info: bytes = INFO) -> None:
        self.fake = FakeRedis(self._answer)
        self._scripted = answer
        self._info = info

    def _answer(self, command: list[bytes]) -> bytes | None:
        if command[0] == b"INFO":
            return b"$%d\r\n%b\r\n" % (len(self._info), self._info)
        if command[0] in (b"SET", b"GET"):
            return b"$-1\r\n"
        return self._scripted

    async def __aenter__(self) -> RedisSession:
        await self.fake.start()
        host, port = self.fake.address.host, self.fake.address.port
        url = f"redis://ann:hunter2@{host}:{port}"
        self.session = RedisSession(url, read_only=False, timeout_s=0.3)
        self._scripted, answer = b"+OK\r\n", self._scripted
        await self.session.start()
        self._scripted = answer
        return self.session

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        await self.fake.stop()


@pytest.mark.parametrize(
    ("answer", "raised", "said"),
    [
        (b"-OOM command not allowed\r\n", Unavailable, "raise maxmemory"),
        (b"-MISCONF Errors writing to the AOF file\r\n", Unavailable, "disk"),
        (b"-NOPERM no\r\n", Unavailable, "lacks a right"),
        (b"-READONLY no\r\n", Unavailable, "replica"),
        (b"-LOADING wait\r\n", Unavailable, "loading"),
        (b"-BUSY a script runs\r\n", Unavailable, "it refuses .*BUSY"),
        (b"-ERR user_script:1: x\r\n", Unavailable, "document notes is damaged"),
        (b"-WRONGTYPE no\r\n", Unavailable, "document notes is damaged"),
        (b"*2\r\n$7\r\ndamaged\r\n$3\r\nwhy\r\n", Unavailable, "is damaged .why."),
        (b"*1\r\n$7\r\nmissing\r\n", NotFound, "no document notes"),
        (None, OutcomeUnknown, "did not answer"),
    ],
)
async def test_what_a_writing_call_raises(
    answer: bytes | None, raised: type[Exception], said: str
) -> None:
    async with Given(answer) as session:
        with pytest.raises(raised, match=said) as told:
            await session.run("create", "notes")
        assert "hunter2" not in str(told.value)


async def test_a_reading_call_without_an_answer_is_no_riddle() -> None:
    async with Given(None) as session:
        with pytest.raises(Unavailable, match="did not answer"):
            await session.run("load", "notes")
        with pytest.raises(Unavailable):
            await session.read("key", "HGET", "field")


async def test_another_epoch_is_named() -> None:
    async with Given(b"*2\r\n$5\r\nepoch\r\n$3\r\ntwo\r\n") as session:
        with pytest.raises(EpochChanged) as told:
            await session.run("fence", "notes")
        assert told.value.details == {"epoch": "two"}


async def test_an_old_redis_is_refused() -> None:
    given = Given(b"+OK\r\n", INFO.replace(b"7.2.0", b"6.2.14"))
    with pytest.raises(Unavailable, match=r"6\.2\.14 is too old"):
        await given.__aenter__()
    await given.__aexit__()


async def test_before_it_is_started_nothing_is_reached() -> None:
    session = RedisSession("redis://host", read_only=False, timeout_s=0.3)
    with pytest.raises(Unavailable, match="not open"):
        await session.run("load", "notes")
    await session.close()


async def test_settings_that_may_not_be_read_are_a_weakness() -> None:
    async with Given(b"-NOPERM no\r\n") as session:
        assert any("CONFIG is not allowed" in text for text in await session.weaknesses())
