"""A connection that hears channels. It comes back by itself and asks for all of them again.

What is published while it is away is lost; its :class:`Ear` is told of each channel once it
is heard (again), and decides what that means.
"""

import asyncio
import logging
import random
import re
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol, cast

from stretto_server.redis_client.link import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Address,
    Login,
    NoReply,
    NotSent,
    greetings,
)
from stretto_server.redis_client.resp import ProtocolError, Reply, ReplyError, ReplyReader, encode

logger = logging.getLogger(__name__)

STEADY_S: Final = 1.0
"""A connection that lived shorter is not made again at once."""


class Ear(Protocol):
    """Who hears. No method may raise or wait."""

    def hear(self, channel: bytes, message: bytes) -> None:
        """Take a message, in the order of its channel."""

    def confirmed(self, channel: bytes) -> None:
        """Note that from now on a channel is heard; not for the first time after a loss."""

    def silenced(self, channels: Iterable[bytes]) -> None:
        """Note that channels are not heard for now."""

    def refused(self, channel: bytes, error: ReplyError | None) -> None:
        """Note that the server does not let a channel be heard, or no longer (None)."""

    def came(self) -> None:
        """Note that there is a connection."""

    def failed(self, problem: str, lost: bool) -> None:
        """Note that a connection was ``lost``, or that an attempt to make one failed."""


class Subscriber:
    """Hears channels of one server; ``find`` tells where it is, anew for each attempt.

    On a cluster (``sharded``) the channels must be those of the server's slots.
    """

    def __init__(
        self,
        find: Callable[[], Awaitable[Address]],
        login: Login,
        ear: Ear,
        *,
        timeout_s: float,
        sharded: bool = False,
    ) -> None:
        self._find = find
        self._login = login
        self._ear = ear
        self._timeout_s = timeout_s
        self._commands = (b"SSUBSCRIBE", b"SUNSUBSCRIBE") if sharded else _COMMANDS
        self._wanted: dict[bytes, None] = {}
        self._stream: _Stream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False
        self._pause = FIRST_PAUSE_S
        self.problem = "not connected yet"

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._stream is not None

    def start(self) -> None:
        """Connect, and go on trying."""
        self._connecting = asyncio.create_task(self._connect(0.0))

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the connection under way; tell whether there is one."""
        if self._connecting is not None:
            await asyncio.wait([self._connecting], timeout=timeout_s)
        return self.connected

    async def close(self) -> None:
        """Give the connection up; twice is fine."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._stream is not None:
            self._stream.abort("closed")

    def drop(self, problem: str) -> None:
        """Give the connection up and make another, perhaps to another server."""
        if self._stream is not None:
            self._stream.abort(problem)

    def subscribe(self, channel: bytes) -> None:
        """Hear a channel; asked for already, nothing happens."""
        if channel not in self._wanted:
            self._wanted[channel] = None
            self._say(0, channel)

    def again(self, channel: bytes) -> None:
        """Ask once more for a channel that was refused."""
        if channel in self._wanted:
            self._say(0, channel)

    def unsubscribe(self, channel: bytes) -> None:
        """Hear a channel no longer."""
        if channel in self._wanted:
            del self._wanted[channel]
            self._say(1, channel)

    def _say(self, which: int, channel: bytes) -> None:
        if self._stream is not None:
            self._stream.say(encode(self._commands[which], channel), [(which, channel)])

    async def _connect(self, pause: float) -> None:
        """Try until there is a connection, then ask for everything."""
        try:
            while self._stream is None:
                await asyncio.sleep(random.uniform(pause / 2, pause))
                try:
                    async with asyncio.timeout(self._timeout_s):
                        self._stream = await self._open()
                except TimeoutError:
                    self.problem = f"no answer within {self._timeout_s:g} s"
                except (OSError, ReplyError, NoReply, NotSent, ProtocolError) as error:
                    self.problem = str(error) or type(error).__name__
                if self._stream is None:
                    pause = self._next_pause()
                    self._ear.failed(self.problem, lost=False)
        finally:
            self._connecting = None
        asked = [(0, channel) for channel in self._wanted]
        command = self._commands[0]
        self._stream.say(b"".join([encode(command, one) for _, one in asked]), asked)
        self._ear.came()

    def _next_pause(self) -> float:
        """Return how long to pause at most; it is longer each time until things are steady."""
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE_S)
        return pause

    async def _open(self) -> "_Stream":
        address = await self._find()
        login = self._login
        hello = greetings(login)
        _, stream = await asyncio.get_running_loop().create_connection(
            lambda: _Stream(self._ear, len(hello), self._lost),
            address.host,
            address.port,
            ssl=login.tls,
            ssl_handshake_timeout=self._timeout_s if login.tls else None,
        )
        try:
            stream.say(b"".join(hello), [])
            role = await stream.greeted
            if login.must_be_primary and role[0] != b"master":
                raise NotSent(f"{address} is a replica")
        except BaseException:
            stream.abort("the greeting failed")
            raise
        return stream

    def _lost(self, stream: "_Stream", problem: str) -> None:
        if self._stream is not stream:
            return
        self._stream = None
        self.problem = problem
        if self._closed:
            return
        logger.warning("the subscription to Redis was lost: %s", problem)
        if stream.age() >= STEADY_S:
            self._pause = FIRST_PAUSE_S
            pause = 0.0
        else:
            pause = self._next_pause()
        self._connecting = asyncio.create_task(self._connect(pause))
        self._ear.silenced(list(self._wanted))
        self._ear.failed(problem, lost=True)


_COMMANDS: Final = (b"SUBSCRIBE", b"UNSUBSCRIBE")
_MESSAGES: Final = (b"message", b"smessage")
_MESSAGE: Final = re.compile(rb"\*3\r\n\$[78]\r\ns?message\r\n\$(\d+)\r\n")
_SIZE: Final = re.compile(rb"\r\n\$(\d+)\r\n")
_CONFIRMATIONS: Final = {
    b"subscribe": 0,
    b"ssubscribe": 0,
    b"unsubscribe": 1,
    b"sunsubscribe": 1,
}


class _Stream(asyncio.Protocol):
    """The transport of a subscriber, and what was asked on it and not confirmed yet."""

    def __init__(
        self, ear: Ear, greetings_left: int, on_lost: Callable[["_Stream", str], None]
    ) -> None:
        self._ear = ear
        self._on_lost = on_lost
        self._greetings_left = greetings_left
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._reader = ReplyReader()
        self._asked: deque[tuple[int, bytes]] = deque()
        self._open: dict[bytes, int] = {}
        """How many questions about a channel are under way: the last decides."""
        self._transport: asyncio.Transport | None = None
        self._problem: str | None = None
        self.greeted: asyncio.Future[Reply] = self._loop.create_future()

    def age(self) -> float:
        return self._loop.time() - self._began

    def say(self, data: bytes, asked: list[tuple[int, bytes]]) -> None:
        """Send commands; ``asked`` tells what each is about."""
        if self._transport is None or self._problem is not None:
            return
        for one in asked:
            self._asked.append(one)
            self._open[one[1]] = self._open.get(one[1], 0) + 1
        if data:
            self._transport.write(data)

    def abort(self, problem: str) -> None:
        """End the connection now."""
        if self._problem is not None:
            return
        self._problem = problem
        if self._transport is not None:
            self._transport.abort()
        if not self.greeted.done():
            self.greeted.set_exception(NotSent(problem))
            self.greeted.exception()
        self._on_lost(self, problem)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def connection_lost(self, error: Exception | None) -> None:
        self.abort(str(error) if error is not None else "Redis closed the connection")

    def data_received(self, data: bytes) -> None:
        start = 0
        if self._reader.idle:
            start = self._hear_whole(data)
        if start == len(data):
            return
        try:
            for reply in self._reader.feed(data[start:] if start else data):
                if self._problem is not None:
                    return
                if type(reply) is list and len(reply) == 3 and reply[0] in _MESSAGES:
                    self._ear.hear(reply[1], reply[2])
                elif self._greetings_left:
                    self._greet(reply)
                else:
                    self._confirm(reply)
        except ProtocolError as error:
            self.abort(f"it does not speak like Redis: {error}")

    def _hear_whole(self, data: bytes) -> int:
        """Take messages that came in one piece, as nearly all do; return where they end."""
        start = 0
        while self._problem is None and (head := _MESSAGE.match(data, start)) is not None:
            channel_end = head.end() + int(head[1])
            size = _SIZE.match(data, channel_end)
            if size is None:
                break
            end = size.end() + int(size[1])
            if len(data) < end + 2:
                break
            start = end + 2
            self._ear.hear(data[head.end() : channel_end], data[size.end() : end])
        return start

    def _greet(self, reply: Reply) -> None:
        self._greetings_left -= 1
        if isinstance(reply, ReplyError):
            if not self.greeted.done():
                self.greeted.set_exception(reply)
                self.greeted.exception()
        elif not self._greetings_left and not self.greeted.done():
            self.greeted.set_result(reply)

    def _confirm(self, reply: Reply) -> None:
        """Take what answers the oldest question, or a channel that moved away unasked."""
        if isinstance(reply, ReplyError):
            if not self._asked:
                raise ProtocolError(reply.text)
            _, channel = self._answered()
            self._ear.refused(channel, reply)
            return
        if not isinstance(reply, list) or len(reply) != 3 or reply[0] not in _CONFIRMATIONS:
            raise ProtocolError("it said what nobody asked")
        which, channel = _CONFIRMATIONS[reply[0]], reply[1]
        if self._asked and self._asked[0] == (which, channel):
            self._answered()
            if which == 0 and channel not in self._open:
                self._ear.confirmed(channel)
        elif which == 1:
            if channel not in self._open:
                self._ear.refused(channel, None)
        else:
            raise ProtocolError("it confirms what nobody asked")

    def _answered(self) -> tuple[int, bytes]:
        one = self._asked.popleft()
        left = self._open[one[1]] - 1
        if left:
            self._open[one[1]] = left
        else:
            del self._open[one[1]]
        return one
