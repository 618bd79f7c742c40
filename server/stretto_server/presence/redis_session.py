"""The way to the Redis that presence and rooms are kept in: scripts, and errors for clients."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from stretto_core.errors import Unavailable
from stretto_server.redis_client.discovery import discover
from stretto_server.redis_client.link import NoReply, NotSent
from stretto_server.redis_client.names import channel_of
from stretto_server.redis_client.resp import Argument, ReplyError
from stretto_server.redis_client.scripts import Script
from stretto_server.redis_client.servers import TIMEOUT_S, Servers
from stretto_server.redis_client.url import RedisUrl


class RedisSession:
    """Connections that the services of one node share. Its methods raise Unavailable."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Take the URL in. Raises ValueError when it is none."""
        self.url = RedisUrl.parse(url)
        self._timeout_s = timeout_s
        self._servers: Servers | None = None

    async def start(self) -> None:
        """Connect. Raises Unavailable with what is wrong."""
        with self._translated():
            self._servers = await discover(self.url, timeout_s=self._timeout_s)
            await self._servers.start()

    async def close(self) -> None:
        """Give the connections up; twice is fine."""
        if self._servers is not None:
            await self._servers.close()

    def publishing(self, room: str) -> tuple[str, str]:
        """Return the command that publishes, and the channel of ``room``."""
        return self.publish_command, channel_of(room)

    @property
    def publish_command(self) -> str:
        """How scripts publish here."""
        sharded = self._servers is not None and self._servers.sharded
        return "SPUBLISH" if sharded else "PUBLISH"

    async def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        """Run a script; return what it answers."""
        with self._translated():
            if self._servers is None:
                raise NotSent("not connected yet")
            return await self._servers.run(script, keys, *arguments)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except NotSent as error:
            raise Unavailable(f"cannot reach {self.url}: {error}") from error
        except NoReply as error:
            raise Unavailable(f"{self.url} did not answer: {error}") from error
        except (ReplyError, ValueError) as error:
            raise Unavailable(f"{self.url} refuses: {error}") from error
