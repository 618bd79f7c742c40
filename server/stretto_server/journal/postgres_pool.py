"""Connections to PostgreSQL: a few, kept open, with a deadline for everything.

asyncpg's own pool waits for a server that hangs, when a connection comes back to it among
other times. This one drops what did not answer, and while the server is away it looks for
it in the background, so that calls learn at once that it is not there.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

logger = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 0.5

CONNECT_ERRORS: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What connecting may raise; TimeoutError is an OSError."""


class Unreachable(Exception):
    """Raised when there is no connection to be had: nothing was sent."""


class PostgresPool:
    """Gives connections that ``connect`` opens, at most ``size`` at a time.

    Waiting for one takes ``timeout_s`` at most, and while the server is away
    ``patience_s``. Use it from one event loop.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        *,
        size: int,
        timeout_s: float,
        patience_s: float,
    ) -> None:
        self._connect = connect
        self._size = size
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._idle: list[Any] = []
        self._places = asyncio.Semaphore(size)
        self._problem: str | None = None
        self._probe: asyncio.Task[None] | None = None
        self._closed = True

    async def start(self) -> None:
        """Open the first connection. Raises Unreachable with what is wrong."""
        self._closed = False
        self._idle.append(await self._opened())

    async def close(self) -> None:
        """Give all connections up; twice is fine."""
        self._closed = True
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.wait([self._probe])
        self._drop_idle()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Lend a connection; one that is closed when it comes back is not lent again.

        Raises Unreachable.
        """
        await self._require_reachable()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._places.acquire()
        except TimeoutError:
            raise Unreachable(f"all {self._size} connections are busy") from None
        try:
            connection = await self._next()
            try:
                yield connection
            finally:
                if self._closed:
                    connection.terminate()
                if not connection.is_closed():
                    self._idle.append(connection)
        finally:
            self._places.release()

    def fail(self, problem: str) -> None:
        """Say that the server does not answer, or is the wrong one: look for it again."""
        self._drop_idle()
        if self._problem is None and not self._closed:
            logger.warning("the connections to PostgreSQL were given up: %s", problem)
            self._probe = asyncio.create_task(self._look())
        self._problem = problem

    async def _require_reachable(self) -> None:
        if self._closed:
            raise Unreachable("it is not open")
        if self._problem is not None and self._probe is not None:
            await asyncio.wait([self._probe], timeout=self._patience_s)
        if self._problem is not None:
            raise Unreachable(self._problem)

    async def _next(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        try:
            return await self._opened()
        except Unreachable as error:
            self.fail(str(error))
            raise

    async def _opened(self) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._connect()
        except TimeoutError:
            raise Unreachable(f"no answer within {self._timeout_s:g} s") from None
        except CONNECT_ERRORS as error:
            raise Unreachable(str(error) or type(error).__name__) from error

    async def _look(self) -> None:
        """Try to connect until it works."""
        pause = FIRST_PAUSE_S
        while self._problem is not None:
            try:
                self._idle.append(await self._opened())
                self._problem = None
            except Unreachable as error:
                self._problem = str(error)
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().terminate()
