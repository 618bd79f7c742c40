"""Several nodes of one test on a real Redis: mailboxes instead of sockets, channels as they are."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from stretto_core.protocol import ROOMS, Limits
from stretto_server.bus.channels import Channels
from stretto_server.bus.interface import Follower
from stretto_server.connections import Connection
from stretto_server.presence.redis import RedisPresence
from stretto_server.presence.redis_session import RedisSession
from stretto_server.redis_client.discovery import discover
from stretto_server.redis_client.names import channel_of
from stretto_server.redis_client.resp import ReplyError
from stretto_server.redis_client.servers import Servers
from stretto_server.redis_client.subscriptions import Subscriptions, subscriptions_of
from stretto_server.redis_client.url import RedisUrl
from stretto_server.room_store.redis import RedisRoomStore
from stretto_server.rooms import Rooms
from tests.server.stubs import SilentBus

ROOM_LIMITS = Limits(room_members=2, joined_rooms=3, room_state_bytes=100)


class SharedMailboxes(SilentBus):
    """The bus of one node: what is published comes back on one connection, in its order."""

    shared = True

    def __init__(self, url: str) -> None:
        self.rooms: dict[str, list[str]] = {}
        self.boxes: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        self.times: dict[str, list[float]] = {}
        self.delay_s = 0.0
        """How late this node hears everything."""
        self.deaf = False
        """Whether it hears nothing at all."""
        self._url = url
        self._channels = Channels(linger_s=0.01, spread_s=0.05)
        self._servers: Servers | None = None
        self._heard: Subscriptions | None = None

    async def start(self) -> None:
        self._servers = await discover(RedisUrl.parse(self._url))
        await self._servers.start()
        self._heard = subscriptions_of(self._servers, self)
        self._channels.use(self._heard)
        self._heard.start()

    async def close(self) -> None:
        self._channels.close()
        for one in (self._heard, self._servers):
            if one is not None:
                await one.close()

    def followers(self) -> list[Follower]:
        """Return who follows a room here."""
        channels = self._channels._channels.values()
        return [one for channel in channels for one in channel.followers]

    async def broadcast(
        self,
        namespace: str,
        room: str,
        event: str,
        payload: dict[str, Any],
        *,
        skip: str | None = None,
        binary: bool = False,
    ) -> None:
        packet = json.dumps([room, event, payload, skip])
        await self.publish(room, b"e" + packet.encode())

    def deliver(self, namespace: str, room: str, event: str, payload: dict[str, Any]) -> None:
        self._put(room, event, payload, None)

    def deliver_json(
        self, namespace: str, room: str, event: str, payload: str, *, skip: str | None = None
    ) -> None:
        self._put(room, event, json.loads(payload), skip)

    async def send(self, namespace: str, sid: str, event: str, payload: dict[str, Any]) -> None:
        self._put_into(sid, event, payload)

    async def join(self, namespace: str, sid: str, room: str) -> None:
        self.rooms.setdefault(room, []).append(sid)

    async def leave(self, namespace: str, sid: str, room: str) -> None:
        self.rooms[room].remove(sid)

    async def publish(self, room: str, message: bytes) -> None:
        assert self._servers is not None
        channel = channel_of(room)
        command = "SPUBLISH" if self._servers.sharded else "PUBLISH"
        await self._servers.call(channel, command, channel, message, writes=True)

    async def follow(self, room: str, follower: Follower) -> None:
        await self._channels.follow(channel_of(room), follower)

    async def unfollow(self, room: str, follower: Follower) -> None:
        self._channels.unfollow(channel_of(room), follower)

    def heard(self, who: Connection, event: str) -> list[dict[str, Any]]:
        box = self.boxes.get(who.sids[ROOMS], [])
        return [payload for name, payload in box if name == event]

    async def hears(self, who: Connection, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until a connection has heard an event so often; return all of them."""
        async with asyncio.timeout(5):
            while len(self.heard(who, event)) < count:
                await asyncio.sleep(0.005)
        return self.heard(who, event)

    # What the subscriptions tell.

    def hear(self, channel: bytes, message: bytes) -> None:
        if self.delay_s:
            loop = asyncio.get_running_loop()
            loop.call_later(self.delay_s, self._hear, channel, message)
        elif not self.deaf:
            self._hear(channel, message)

    def confirmed(self, channel: bytes) -> None:
        self._channels.confirmed(channel)

    def silenced(self, channels: Iterable[bytes]) -> None:
        self._channels.silenced(channels)

    def refused(self, channel: bytes, error: ReplyError | None) -> None:
        raise AssertionError(error)

    def came(self) -> None:
        """Count nothing."""

    def failed(self, problem: str, lost: bool) -> None:
        """Count nothing."""

    def _hear(self, channel: bytes, message: bytes) -> None:
        if message.startswith(b"e"):
            self._put(*json.loads(message[1:]))
            return
        found = self._channels.get(channel)
        for follower in list(found.followers) if found is not None else ():
            follower.hear(message)

    def _put(self, room: str, event: str, payload: dict[str, Any], skip: str | None) -> None:
        for sid in self.rooms.get(room, ()):
            if sid != skip:
                self._put_into(sid, event, payload)

    def _put_into(self, sid: str, event: str, payload: dict[str, Any]) -> None:
        self.boxes.setdefault(sid, []).append((event, payload))
        self.times.setdefault(sid, []).append(asyncio.get_running_loop().time())


@dataclass(slots=True)
class RoomsNode:
    """One node of a cluster that has rooms and nothing else."""

    bus: SharedMailboxes
    session: RedisSession
    presence: RedisPresence
    store: RedisRoomStore
    rooms: Rooms

    async def die(self) -> None:
        """End without telling anybody."""
        if self.presence._refreshing is not None:
            self.presence._refreshing.cancel()
        self.rooms.stop()
        await self.session.close()
        await self.bus.close()


@contextlib.asynccontextmanager
async def rooms_node(
    url: str,
    name: str,
    *,
    limits: Limits = ROOM_LIMITS,
    idle_ttl: float = 60.0,
    ttl_s: float = 15.0,
) -> AsyncIterator[RoomsNode]:
    """Run a node."""
    bus, session = SharedMailboxes(url), RedisSession(url)
    presence = RedisPresence(session, name, idle_ttl=idle_ttl, ttl_s=ttl_s)
    store = RedisRoomStore(session, presence, limits)
    rooms = Rooms(bus, limits, idle_ttl=idle_ttl, store=store, presence=presence)
    await bus.start()
    await session.start()
    presence.start()
    node = RoomsNode(bus, session, presence, store, rooms)
    try:
        yield node
    finally:
        await presence.stop()
        await node.die()
