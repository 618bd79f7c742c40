"""Channels of one server or of a cluster, and the trial that finds a deaf connection."""

import asyncio
import itertools
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from stretto_server.redis_client.cluster import Cluster
from stretto_server.redis_client.link import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Address,
    Login,
    NoReply,
    NotSent,
)
from stretto_server.redis_client.names import PREFIX
from stretto_server.redis_client.resp import ReplyError
from stretto_server.redis_client.servers import TIMEOUT_S, Servers, SingleServer
from stretto_server.redis_client.subscriber import Ear, Subscriber

MOVES: Final = frozenset({"MOVED", "CLUSTERDOWN", "TRYAGAIN", "LOADING", "MASTERDOWN"})
"""Refusals that pass, or of which another node knows more."""

Publish = Callable[[str, bytes], Awaitable[object]]
"""Publishes a message; raises NotSent, NoReply or ReplyError."""


class Subscriptions(Protocol):
    """Hears channels, wherever they are; tells one :class:`~.subscriber.Ear`."""

    @property
    def connected(self) -> bool:
        """Whether every connection is there."""

    def start(self) -> None:
        """Connect, and go on trying."""

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the connections under way; tell whether they are there."""

    async def close(self) -> None:
        """Give all connections up; twice is fine."""

    def subscribe(self, channel: bytes) -> None:
        """Hear a channel; asked for already, nothing happens."""

    def unsubscribe(self, channel: bytes) -> None:
        """Hear a channel no longer."""

    async def try_all(self, publish: Publish, timeout_s: float) -> int:
        """Send a word through each connection; make those anew that do not hear it.

        Return how many did not.
        """


def subscriptions_of(servers: Servers, ear: Ear, *, timeout_s: float = TIMEOUT_S) -> Subscriptions:
    """Return what hears the channels of ``servers``, not started."""
    if isinstance(servers, Cluster):
        return ClusterSubscriptions(servers, ear, timeout_s)
    assert isinstance(servers, SingleServer)
    return SingleSubscriptions(servers, ear, timeout_s)


class Line:
    """One connection, and the channel on which it is tried; an ear that tells another."""

    def __init__(
        self,
        find: Callable[[], Awaitable[Address]],
        login: Login,
        ear: Ear,
        trial: str,
        *,
        timeout_s: float,
        sharded: bool,
    ) -> None:
        self._ear = ear
        self.trial = trial
        self._trial = trial.encode()
        self._word = b""
        self._heard = asyncio.Event()
        self._connections = 0
        self.subscriber = Subscriber(find, login, self, timeout_s=timeout_s, sharded=sharded)
        self.subscriber.subscribe(self._trial)

    async def hears(self, publish: Publish, timeout_s: float) -> bool:
        """Send a word and listen; make the connection anew if the word does not come.

        A connection that is away, or a word that could not be sent, proves nothing.
        """
        if not self.subscriber.connected:
            return True
        tried = self._connections
        self._word = secrets.token_bytes(8)
        self._heard.clear()
        try:
            await publish(self.trial, self._word)
            async with asyncio.timeout(timeout_s):
                await self._heard.wait()
        except (NotSent, NoReply, ReplyError):
            return True
        except TimeoutError:
            if self._connections == tried and self.subscriber.connected:
                self.subscriber.drop("it is deaf: it did not hear what was published")
                return False
        return True

    def try_on(self, trial: str) -> None:
        """Try it on another channel from now on."""
        self.subscriber.unsubscribe(self._trial)
        self.trial = trial
        self._trial = trial.encode()
        self.subscriber.subscribe(self._trial)

    def hear(self, channel: bytes, message: bytes) -> None:
        """Pass a message on."""
        if channel != self._trial:
            self._ear.hear(channel, message)
        elif message == self._word:
            self._heard.set()

    def confirmed(self, channel: bytes) -> None:
        """Pass it on."""
        if channel != self._trial:
            self._ear.confirmed(channel)

    def silenced(self, channels: Iterable[bytes]) -> None:
        """Pass it on."""
        self._ear.silenced([one for one in channels if one != self._trial])

    def refused(self, channel: bytes, error: ReplyError | None) -> None:
        """Pass it on."""
        if channel != self._trial:
            self._ear.refused(channel, error)

    def came(self) -> None:
        """Pass it on."""
        self._connections += 1
        self._ear.came()

    def failed(self, problem: str, lost: bool) -> None:
        """Pass it on."""
        self._ear.failed(problem, lost)


class SingleSubscriptions:
    """The channels of one Redis, which Sentinels may replace."""

    def __init__(self, server: SingleServer, ear: Ear, timeout_s: float) -> None:
        trial = f"{PREFIX}:trial:{secrets.token_hex(8)}"
        self._line = Line(server.find, server.login, ear, trial, timeout_s=timeout_s, sharded=False)
        self.subscribe = self._line.subscriber.subscribe
        self.unsubscribe = self._line.subscriber.unsubscribe
        self.start = self._line.subscriber.start
        self.wait = self._line.subscriber.wait
        self.close = self._line.subscriber.close

    @property
    def connected(self) -> bool:
        """Whether the connection is there."""
        return self._line.subscriber.connected

    async def try_all(self, publish: Publish, timeout_s: float) -> int:
        """Try the connection; return 1 if it was deaf."""
        return not await self._line.hears(publish, timeout_s)


class ClusterSubscriptions:
    """The channels of a cluster: a connection to each primary, which changes as slots move."""

    def __init__(self, cluster: Cluster, ear: Ear, timeout_s: float) -> None:
        self._cluster = cluster
        self._ear = ear
        self._timeout_s = timeout_s
        self._lines: dict[Address, Line] = {}
        self._places: dict[bytes, Address | None] = {}
        self._astray: set[bytes] = set()
        """Channels that their node refused."""
        self._sorting: asyncio.Task[None] | None = None
        self._again = False
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether every connection is there."""
        return all(line.subscriber.connected for line in self._lines.values())

    def start(self) -> None:
        """Connect to every primary."""
        for address in self._cluster.primaries():
            self._line(address)

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the connections under way; tell whether they are there."""
        waits = [line.subscriber.wait(timeout_s) for line in self._lines.values()]
        return all(await asyncio.gather(*waits))

    async def close(self) -> None:
        """Give all connections up; twice is fine."""
        self._closed = True
        if self._sorting is not None:
            self._sorting.cancel()
            await asyncio.wait([self._sorting])
        await asyncio.gather(*(line.subscriber.close() for line in self._lines.values()))

    def subscribe(self, channel: bytes) -> None:
        """Hear a channel, at whoever owns its slot."""
        if channel in self._places:
            return
        owner = self._places[channel] = self._cluster.owner(channel.decode())
        if owner is None:
            self.sort_soon()
        else:
            self._line(owner).subscriber.subscribe(channel)

    def unsubscribe(self, channel: bytes) -> None:
        """Hear a channel no longer."""
        place = self._places.pop(channel, None)
        self._astray.discard(channel)
        if place is not None and place in self._lines:
            self._lines[place].subscriber.unsubscribe(channel)

    async def try_all(self, publish: Publish, timeout_s: float) -> int:
        """Try each connection; return how many were deaf."""
        owned = [line for at, line in self._lines.items() if self._cluster.owner(line.trial) == at]
        heard = await asyncio.gather(*(line.hears(publish, timeout_s) for line in owned))
        return heard.count(False)

    def _line(self, address: Address) -> Line:
        line = self._lines.get(address)
        if line is None:

            async def find() -> Address:
                return address

            line = self._lines[address] = Line(
                find,
                self._cluster.login,
                _Place(self, self._ear, address),
                self._trial(address),
                timeout_s=self._timeout_s,
                sharded=True,
            )
            line.subscriber.start()
        return line

    def _trial(self, address: Address) -> str:
        """Return a channel of a slot that lies at ``address``."""
        node = secrets.token_hex(8)
        names = (f"{PREFIX}:{{{number}}}:trial:{node}" for number in itertools.count())
        return next(
            name
            for name in itertools.islice(names, 1_000_000)
            if self._cluster.owner(name) == address
        )

    # When something moved.

    def at(self, channel: bytes) -> Address | None:
        """Return where a channel is asked for."""
        return self._places.get(channel)

    def went_astray(self, channel: bytes) -> None:
        """Look for the node that a refused channel is heard at."""
        if channel in self._places:
            self._astray.add(channel)
            self.sort_soon()

    def sort_soon(self) -> None:
        """Learn anew who owns what, and ask there."""
        self._again = True
        if not self._closed and (self._sorting is None or self._sorting.done()):
            self._sorting = asyncio.create_task(self._sort())

    async def _sort(self) -> None:
        pause = FIRST_PAUSE_S
        while self._again:
            self._again = False
            try:
                await self._cluster.learn()
            except NotSent:
                self._again = True
            else:
                await self._move()
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _move(self) -> None:
        """Ask for each channel where it lies now, and leave nodes that own nothing."""
        astray, self._astray = self._astray, set()
        for channel, place in self._places.items():
            owner = self._cluster.owner(channel.decode())
            if owner is None:
                self._again = True
            elif owner != place:
                if place is not None and place in self._lines:
                    self._lines[place].subscriber.unsubscribe(channel)
                self._ear.silenced((channel,))
                self._places[channel] = owner
                self._line(owner).subscriber.subscribe(channel)
            elif channel in astray:
                self._line(owner).subscriber.again(channel)
        primaries = self._cluster.primaries()
        for address in self._lines.keys() - set(primaries):
            await self._lines.pop(address).subscriber.close()
            self._ear.came()  # perhaps it was the only one missing
        for address in primaries:
            line = self._line(address)
            if self._cluster.owner(line.trial) != address:
                line.try_on(self._trial(address))


class _Place:
    """The ear of one node of a cluster: what it refuses is looked for elsewhere."""

    def __init__(self, whole: ClusterSubscriptions, ear: Ear, address: Address) -> None:
        self._whole = whole
        self._address = address
        self._ear = ear
        self.hear = ear.hear
        self.came = ear.came
        self.silenced = ear.silenced

    def confirmed(self, channel: bytes) -> None:
        if self._whole.at(channel) == self._address:
            self._ear.confirmed(channel)

    def refused(self, channel: bytes, error: ReplyError | None) -> None:
        if self._whole.at(channel) != self._address:
            return
        if error is None or error.code in MOVES:
            self._ear.refused(channel, None)
            self._whole.went_astray(channel)
        else:
            self._ear.refused(channel, error)

    def failed(self, problem: str, lost: bool) -> None:
        self._ear.failed(problem, lost)
        self._whole.sort_soon()
