"""Sends messages to channels, in the order of the calls."""

import asyncio
from collections import deque
from collections.abc import Callable

from stretto_core.errors import Unavailable
from stretto_server.redis_client.link import NoReply, NotSent
from stretto_server.redis_client.resp import ReplyError
from stretto_server.redis_client.servers import Servers

Queued = tuple[str, bytes, "asyncio.Future[int]"]


class Publisher:
    """Publishes one message at once, or all that came meanwhile together. Nothing is repeated."""

    def __init__(self, servers: Servers, failed: Callable[[], None]) -> None:
        self._servers = servers
        self._failed = failed
        self._command = "SPUBLISH" if servers.sharded else "PUBLISH"
        self._busy = False
        self._queue: deque[Queued] = deque()
        self._draining: asyncio.Task[None] | None = None

    async def publish(self, channel: str, message: bytes) -> int:
        """Send a message; return how many subscriptions got it.

        Raises Unavailable. When Redis does not answer, it may have been sent all the same.
        """
        try:
            if self._busy:
                turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
                self._queue.append((channel, message, turn))
                return await turn
            self._busy = True
            try:
                return await self.send(channel, message)
            finally:
                self._next()
        except (NotSent, NoReply, ReplyError) as error:
            self._failed()
            raise Unavailable(f"the other nodes could not be told: {error}") from error

    async def send(self, channel: str, message: bytes) -> int:
        """Send a message now, past those that wait. Raises NotSent, NoReply, ReplyError."""
        return int(await self._servers.call(channel, self._command, channel, message, writes=True))

    def _next(self) -> None:
        if self._queue:
            self._draining = asyncio.create_task(self._drain())
        else:
            self._busy = False

    async def _drain(self) -> None:
        """Send what waits, until nothing does."""
        while self._queue:
            batch = [one for one in self._queue if not one[2].done()]
            self._queue.clear()
            results = await asyncio.gather(
                *(self.send(channel, message) for channel, message, _ in batch),
                return_exceptions=True,
            )
            for (_, _, turn), result in zip(batch, results, strict=True):
                if turn.done():
                    continue
                if isinstance(result, BaseException):
                    turn.set_exception(result)
                else:
                    turn.set_result(result)
        self._busy = False
