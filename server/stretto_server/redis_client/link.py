"""One connection to one Redis: commands are pipelined, each has a deadline, none is repeated."""

import asyncio
import logging
import random
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, cast

from stretto_server.redis_client.resp import (
    Argument,
    ProtocolError,
    Reply,
    ReplyError,
    ReplyReader,
    encode,
)

logger = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 0.5
"""Between attempts to connect: doubled each time, and jittered, so that nodes come apart."""


class NotSent(Exception):
    """Raised when a command never left: Redis cannot have run it."""


class NoReply(Exception):
    """Raised when a command left and no reply came: Redis may have run it, or yet run it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where one Redis listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Login:
    """What a new connection says first."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: ssl.SSLContext | None = None
    must_be_primary: bool = False
    """Refuse a server that says it is a replica, as one does that was just demoted."""


class RedisLink:
    """A connection that comes back by itself.

    ``find`` tells where to connect to, anew for each attempt. A command that got no reply
    within ``timeout_s`` ends the connection, and with it every command that waits on it;
    while it is being made again, calls wait ``patience_s`` at most. Use it from one loop.
    """

    def __init__(
        self,
        find: Callable[[], Awaitable[Address]],
        login: Login,
        *,
        timeout_s: float,
        patience_s: float,
    ) -> None:
        self._find = find
        self._login = login
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._problem = "not connected yet"
        self._closed = False
        self.on_hang: Callable[[str], None] | None = None
        """Called with the problem when a command was not answered in time."""

    async def start(self) -> None:
        """Connect, with a whole timeout's patience. Raises NotSent with what is wrong."""
        self._closed = False
        await self._connected(self._timeout_s)

    async def close(self) -> None:
        """Give the connection up; commands under way raise NoReply. Twice is fine."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._connection is not None:
            self._connection.abort("closed")

    def drop(self, problem: str) -> None:
        """Give the connection up and make another, perhaps to another server."""
        if self._connection is not None:
            self._connection.abort(problem)

    async def call(self, *arguments: Argument) -> Reply:
        """Send one command and return its reply.

        Raises ReplyError, NotSent, NoReply. Cancelling is safe; the command may still run.
        """
        (reply,) = await self.call_together(arguments)
        return reply

    async def call_together(self, *commands: tuple[Argument, ...]) -> list[Reply]:
        """Send commands with nothing in between; return their replies. Raises as :meth:`call`."""
        data = b"".join([encode(*command) for command in commands])
        connection = self._connection
        if connection is None:
            connection = await self._connected(self._patience_s)
        waiting = connection.send(data, len(commands))
        replies = [await one for one in waiting]
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise reply
        return replies

    async def _connected(self, patience_s: float) -> "_Connection":
        """Return the connection once there is one. Raises NotSent."""
        if self._closed:
            raise NotSent("the connection was closed")
        if self._connection is None:
            if self._connecting is None:
                self._connecting = asyncio.create_task(self._connect())
            await asyncio.wait([self._connecting], timeout=patience_s)
        if self._connection is None:
            raise NotSent(self._problem)
        return self._connection

    async def _connect(self) -> None:
        """Try until there is a connection."""
        pause = FIRST_PAUSE_S
        try:
            while self._connection is None:
                try:
                    async with asyncio.timeout(self._timeout_s):
                        self._connection = await self._open()
                except TimeoutError:
                    self._problem = f"no answer within {self._timeout_s:g} s"
                except (OSError, ReplyError, NoReply, NotSent, ProtocolError) as error:
                    self._problem = str(error) or type(error).__name__
                if self._connection is None:
                    await asyncio.sleep(random.uniform(pause / 2, pause))
                    pause = min(2 * pause, LONGEST_PAUSE_S)
        finally:
            self._connecting = None

    async def _open(self) -> "_Connection":
        address = await self._find()
        loop = asyncio.get_running_loop()
        login = self._login
        _, connection = await loop.create_connection(
            lambda: _Connection(self._timeout_s, self._lost),
            address.host,
            address.port,
            ssl=login.tls,
            ssl_handshake_timeout=self._timeout_s if login.tls else None,
        )
        try:
            hello = greetings(login)
            for waiting in connection.send(b"".join(hello), len(hello)):
                reply = await waiting
                if isinstance(reply, ReplyError):
                    raise reply
            if login.must_be_primary and reply[0] != b"master":
                raise NotSent(f"{address} is a replica")
        except BaseException:
            connection.abort("the greeting failed")
            raise
        return connection

    def _lost(self, connection: "_Connection", problem: str, hung: bool) -> None:
        if self._connection is not connection:
            return
        if hung and self.on_hang is not None:
            self.on_hang(problem)
        self._connection = None
        self._problem = problem
        if not self._closed:
            logger.warning("a connection to Redis was lost: %s", problem)
            self._connecting = asyncio.create_task(self._connect())


def greetings(login: Login) -> list[bytes]:
    """Return the commands that begin a connection; the last asks for the role."""
    hello = []
    if login.password is not None:
        user = () if login.username is None else (login.username,)
        hello.append(encode("AUTH", *user, login.password))
    if login.database:
        hello.append(encode("SELECT", login.database))
    # PING, because ROLE needs a right that a careful operator may not have given.
    return [*hello, encode("ROLE" if login.must_be_primary else "PING")]


class _Connection(asyncio.Protocol):
    """The transport of a link, and the commands that wait for replies on it, oldest first."""

    def __init__(
        self, timeout_s: float, on_lost: Callable[["_Connection", str, bool], None]
    ) -> None:
        self._timeout_s = timeout_s
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._reader = ReplyReader()
        self._waiting: deque[tuple[float, asyncio.Future[Reply]]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._problem: str | None = None

    def send(self, data: bytes, count: int) -> list["asyncio.Future[Reply]"]:
        """Send ``count`` commands; the futures give their replies, errors as values too."""
        if self._problem is not None or self._transport is None:
            raise NotSent(self._problem or "not connected")
        deadline = self._loop.time() + self._timeout_s
        futures = [self._loop.create_future() for _ in range(count)]
        self._waiting.extend((deadline, future) for future in futures)
        if self._watch is None:
            self._watch = self._loop.call_at(deadline, self._check)
        self._transport.write(data)
        return futures

    def abort(self, problem: str, *, hung: bool = False) -> None:
        """End the connection now; whoever waits on it gets NoReply."""
        if self._problem is not None:
            return
        self._problem = problem
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(NoReply(problem))
                future.exception()  # of commands sent together only the first is awaited
        self._waiting.clear()
        self._on_lost(self, problem, hung)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        try:
            replies = self._reader.feed(data)
        except ProtocolError as error:
            self.abort(f"it does not speak like Redis: {error}")
            return
        for reply in replies:
            if not self._waiting:
                self.abort("it answered what nobody asked")
                return
            _, future = self._waiting.popleft()
            if not future.done():  # else its caller was cancelled
                future.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self.abort(str(error) if error is not None else "Redis closed the connection")

    def _check(self) -> None:
        """Look whether the oldest command waits for too long, and come back when it may."""
        self._watch = None
        if not self._waiting:
            return
        deadline = self._waiting[0][0]
        if deadline <= self._loop.time():
            self.abort(f"no answer within {self._timeout_s:g} s", hung=True)
        else:
            self._watch = self._loop.call_at(deadline, self._check)
