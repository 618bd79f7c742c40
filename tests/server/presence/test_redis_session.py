import signal
from pathlib import Path

import pytest

from stretto_core.errors import Unavailable
from stretto_server.presence.redis import SNAPSHOT, WRITE, keys_of
from stretto_server.presence.redis_session import RedisSession
from tests.services.processes import running
from tests.services.redis_server import RedisServer

KEYS = keys_of("doc:notes")


async def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", appendfsync="no")
    session = RedisSession(server.url, timeout_s=0.3)
    with pytest.raises(Unavailable, match="not connected"):
        await session.run(SNAPSHOT, KEYS, "n1", "PUBLISH", "channel")
    with pytest.raises(Unavailable, match="cannot reach"):
        await session.start()
    with running(server):
        await session.start()
        assert session.publishing("room:a") == ("PUBLISH", "stretto:{rooms}:channel:room:a")
        server.say("SET", KEYS[0], "no hash")
        with pytest.raises(Unavailable, match="refuses"):
            await session.run(SNAPSHOT, KEYS, "n1", "PUBLISH", "channel")
        server.signal(signal.SIGSTOP)
        with pytest.raises(Unavailable, match="did not answer"):
            await session.run(WRITE, KEYS, "n1", 1, 1, "PUBLISH", "channel", 0, 0)
        server.signal(signal.SIGCONT)
        await session.close()
        await session.close()


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="redis"):
        RedisSession("http://127.0.0.1")
