"""Several nodes of one test on a real Redis: mailboxes instead of sockets, channels as they are."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from stretto_core.protocol import ROOMS, Limits
from stretto_server.bus.interface import Follower
from stretto_server.connections import Connection
from stretto_server.presence.redis import RedisPresence
from stretto_server.presence.redis_session import RedisSession
from stretto_server.redis_client.names import channel_of
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
        self.followers: dict[bytes, Follower] = {}
        self.delay_s = 0.0
        """How late this node hears everything."""
        self.deaf = False
        """Whether it hears nothing at all."""
        self._redis = redis.asyncio.Redis.from_url(url)
        self._channels = self._redis.pubsub()
        self._confirmed: dict[bytes, asyncio.Event] = {}
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._channels.subscribe("nothing")
        self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        await self._channels.aclose()  # type: ignore[no-untyped-call]
        await self._redis.aclose()

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
        await self._redis.publish(channel_of(room), message)

    async def follow(self, room: str, follower: Follower) -> None:
        channel = channel_of(room).encode()
        self.followers[channel] = follower
        confirmed = self._confirmed[channel] = asyncio.Event()
        await self._channels.subscribe(channel)
        await confirmed.wait()

    async def unfollow(self, room: str, follower: Follower) -> None:
        channel = channel_of(room).encode()
        if self.followers.get(channel) is follower:
            del self.followers[channel]

    def heard(self, who: Connection, event: str) -> list[dict[str, Any]]:
        box = self.boxes.get(who.sids[ROOMS], [])
        return [payload for name, payload in box if name == event]

    async def hears(self, who: Connection, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until a connection has heard an event so often; return all of them."""
        async with asyncio.timeout(5):
            while len(self.heard(who, event)) < count:
                await asyncio.sleep(0.005)
        return self.heard(who, event)

    async def _listen(self) -> None:
        async for message in self._channels.listen():
            channel = message["channel"]
            if message["type"] == "subscribe" and channel in self._confirmed:
                self._confirmed[channel].set()
            elif message["type"] == "message" and not self.deaf:
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                self._hear(channel, message["data"])

    def _hear(self, channel: bytes, data: bytes) -> None:
        if data.startswith(b"e"):
            self._put(*json.loads(data[1:]))
        elif channel in self.followers:
            self.followers[channel].hear(data)

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
