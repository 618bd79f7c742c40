"""Which channels this node hears, and who is told of what comes there.

A channel is heard while the node has members in its room or somebody follows it, and a
little longer, because clients that leave often come back.
"""

import asyncio
import logging
import random
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from stretto_server.bus.interface import Follower
from stretto_server.bus.messages import Room
from stretto_server.redis_client.names import channel_of, tag_of
from stretto_server.redis_client.subscriptions import Subscriptions

logger = logging.getLogger(__name__)

WAIT_S: Final = 1.0
"""So long a first member, or a follower, waits for its channel."""
LINGER_S: Final = 1.0
SPREAD_S: Final = 2.0
"""After a loss followers look anew, spread over so long."""


@lru_cache(10_000, typed=True)
def name_of(namespace: str, room: Room) -> str:
    """Return the channel of a room; rooms of one name in several namespaces share it."""
    if isinstance(room, str):
        return channel_of(room)
    if room is None:
        return f"{tag_of(namespace)}:namespace:{namespace}"
    return f"{tag_of(str(room))}:number:{room}"


class Following:
    """How far one follower is: ``blind`` since it may have missed something."""

    __slots__ = ("blind", "timer")

    def __init__(self) -> None:
        self.blind = False
        self.timer: asyncio.TimerHandle | None = None


class Channel:
    """One channel that is heard, or will be."""

    __slots__ = ("followers", "heard", "key", "name", "occupied", "tried", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.key = name.encode()
        self.occupied = False
        """Whether a room of it has members on this node."""
        self.waiting = 0
        """How many wait to become members."""
        self.followers: dict[Follower, Following] = {}
        self.heard = asyncio.Event()
        self.tried = False
        """Whether it was heard before, or somebody waited for that in vain."""

    @property
    def wanted(self) -> bool:
        """Whether there is a reason to hear it."""
        return self.occupied or bool(self.followers) or self.waiting > 0


class Channels:
    """The channels of one node."""

    def __init__(self, *, linger_s: float = LINGER_S, spread_s: float = SPREAD_S) -> None:
        self._linger_s = linger_s
        self._spread_s = spread_s
        self._subscriptions: Subscriptions | None = None
        self._channels: dict[bytes, Channel] = {}
        self._idle: dict[bytes, float] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def use(self, subscriptions: Subscriptions) -> None:
        """Hear all channels with these subscriptions."""
        self._subscriptions = subscriptions
        for key in self._channels:
            subscriptions.subscribe(key)

    def close(self) -> None:
        """Tell nobody anything any more."""
        self._subscriptions = None
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._idle.clear()
        for channel in self._channels.values():
            for following in channel.followers.values():
                if following.timer is not None:
                    following.timer.cancel()
        self._channels.clear()

    def get(self, key: bytes) -> Channel | None:
        """Return a channel that is asked for."""
        return self._channels.get(key)

    def open(self, name: str) -> Channel:
        """Return a channel, asked for from now on; :meth:`settle` it afterwards."""
        key = name.encode()
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = Channel(name)
            if self._subscriptions is not None:
                self._subscriptions.subscribe(key)
        return channel

    def settle(self, channel: Channel) -> None:
        """Give a channel up in a while, unless somebody wants it."""
        if channel.wanted or channel.key in self._idle:
            return
        loop = asyncio.get_running_loop()
        self._idle[channel.key] = loop.time() + self._linger_s
        if self._sweep is None:
            self._sweep = loop.call_later(self._linger_s, self._give_up)

    def occupy(self, name: str) -> None:
        """Note that a room has members here."""
        self.open(name).occupied = True

    def vacate(self, name: str) -> None:
        """Note that a room has no members here any more."""
        channel = self._channels.get(name.encode())
        if channel is not None:
            channel.occupied = False
            self.settle(channel)

    def untried(self, name: str) -> bool:
        """Tell whether a first member of a room has to wait."""
        channel = self._channels.get(name.encode())
        return channel is None or not (channel.tried or channel.followers)

    async def prepare(self, name: str) -> Channel:
        """Wait for a channel that is about to have members, for a second at most.

        It stays until :meth:`prepared` is called.
        """
        channel = self.open(name)
        channel.waiting += 1
        try:
            await self._wait(channel)
        except BaseException:
            self.prepared(channel)
            raise
        return channel

    def prepared(self, channel: Channel) -> None:
        """End what :meth:`prepare` began."""
        channel.waiting -= 1
        self.settle(channel)

    async def follow(self, name: str, follower: Follower) -> None:
        """Let ``follower`` hear a channel, and learn when it may have missed something."""
        channel = self.open(name)
        following = channel.followers.setdefault(follower, Following())
        try:
            following.blind = not await self._wait(channel)
        except BaseException:
            self.unfollow(name, follower)
            raise

    def unfollow(self, name: str, follower: Follower) -> None:
        """Let ``follower`` hear nothing more."""
        channel = self._channels.get(name.encode())
        if channel is None or follower not in channel.followers:
            return
        timer = channel.followers.pop(follower).timer
        if timer is not None:
            timer.cancel()
        self.settle(channel)

    async def _wait(self, channel: Channel) -> bool:
        """Wait until a channel is heard, or for a second. Tell whether it is."""
        if not channel.heard.is_set():
            try:
                async with asyncio.timeout(WAIT_S):
                    await channel.heard.wait()
            except TimeoutError:
                channel.tried = True
        return channel.heard.is_set()

    # What the subscriptions tell.

    def confirmed(self, key: bytes) -> None:
        """Note that a channel is heard; tell those who may have missed something."""
        channel = self._channels.get(key)
        if channel is None:
            return
        channel.tried = True
        channel.heard.set()
        for follower, following in channel.followers.items():
            if following.blind:
                following.blind = False
                self._tell_later(follower, following)

    def silenced(self, keys: Iterable[bytes]) -> None:
        """Note that channels are not heard for now."""
        for key in keys:
            channel = self._channels.get(key)
            if channel is not None and channel.heard.is_set():
                channel.heard.clear()
                for following in channel.followers.values():
                    following.blind = True

    def _tell_later(self, follower: Follower, following: Following) -> None:
        def tell() -> None:
            following.timer = None
            try:
                follower.missed()
            except Exception:  # a timer's: without this it would be told by the loop alone
                logger.exception("a follower failed")

        if following.timer is None:
            delay = random.uniform(0, self._spread_s)
            following.timer = asyncio.get_running_loop().call_later(delay, tell)

    def _give_up(self) -> None:
        """Give up what nobody wanted for a while."""
        loop = asyncio.get_running_loop()
        self._sweep = None
        for key, due in list(self._idle.items()):
            channel = self._channels.get(key)
            if channel is not None and not channel.wanted:
                if due > loop.time():
                    self._sweep = loop.call_at(due, self._give_up)
                    return
                del self._channels[key]
                if self._subscriptions is not None:
                    self._subscriptions.unsubscribe(key)
            del self._idle[key]
