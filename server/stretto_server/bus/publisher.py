"""Sends messages to channels, in the order of the calls."""

import asyncio
from collections.abc import Callable, Hashable

from stretto_core.errors import Unavailable
from stretto_server.redis_client.link import NoReply, NotSent
from stretto_server.redis_client.resp import ReplyError
from stretto_server.redis_client.servers import Servers


class Publisher:
    """Publishes one message at once, or all that came meanwhile together. Nothing is repeated.

    Messages wait for those before them on the same server; ``owner`` tells which that is,
    so that one which hangs holds up no others.
    """

    def __init__(
        self,
        servers: Servers,
        failed: Callable[[], None],
        owner: Callable[[str], Hashable] = lambda _channel: None,
    ) -> None:
        self._servers = servers
        self._failed = failed
        self._owner = owner
        self._command = "SPUBLISH" if servers.sharded else "PUBLISH"
        self._lanes: dict[Hashable, _Lane] = {}

    async def publish(self, channel: str, message: bytes) -> int:
        """Send a message; return how many subscriptions got it.

        Raises Unavailable. When Redis does not answer, it may have been sent all the same.
        """
        owner = self._owner(channel)
        lane = self._lanes.get(owner)
        try:
            if lane is not None:
                return await lane.wait(channel, message)
            lane = self._lanes[owner] = _Lane(self, owner)
            try:
                return await self.send(channel, message)
            finally:
                lane.go_on()
        except (NotSent, NoReply, ReplyError) as error:
            self._failed()
            raise Unavailable(f"the other nodes could not be told: {error}") from error

    async def send(self, channel: str, message: bytes) -> int:
        """Send a message now, past those that wait. Raises NotSent, NoReply, ReplyError."""
        return int(await self._servers.call(channel, self._command, channel, message, writes=True))

    def forget(self, owner: Hashable) -> None:
        """Note that nothing is under way to a server."""
        del self._lanes[owner]


class _Lane:
    """What waits behind a message that is under way."""

    def __init__(self, publisher: Publisher, owner: Hashable) -> None:
        self._publisher = publisher
        self._owner = owner
        self._queue: list[tuple[str, bytes, asyncio.Future[int]]] = []
        self._draining: asyncio.Task[None] | None = None

    async def wait(self, channel: str, message: bytes) -> int:
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append((channel, message, turn))
        return await turn

    def go_on(self) -> None:
        if self._queue:
            self._draining = asyncio.create_task(self._drain())
        else:
            self._publisher.forget(self._owner)

    async def _drain(self) -> None:
        """Send what waits, until nothing does."""
        while self._queue:
            batch = [one for one in self._queue if not one[2].done()]  # else it was cancelled
            self._queue.clear()
            results = await asyncio.gather(
                *(self._publisher.send(channel, message) for channel, message, _ in batch),
                return_exceptions=True,
            )
            for (_, _, turn), result in zip(batch, results, strict=True):
                if turn.done():
                    continue
                if isinstance(result, BaseException):
                    turn.set_exception(result)
                else:
                    turn.set_result(result)
        self._publisher.forget(self._owner)
