"""Many nodes on one Redis: rooms of all of them, each message heard everywhere in one order.

Every room has a channel. An event is encoded once, by its sender, and published there; every
node with members in the room, the sender's own too, hands it on when it hears it. python-
socketio's rooms and callbacks work across nodes; its own way to Redis is not used.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable
from typing import Any, Final

from stretto_core.eio.socketio import PacketType, SocketPacket
from stretto_core.errors import Unavailable
from stretto_server.bus.callbacks import Callbacks
from stretto_server.bus.channels import Channels, name_of
from stretto_server.bus.control import node_channel
from stretto_server.bus.interface import Follower
from stretto_server.bus.messages import (
    ACK,
    CONTROL,
    EVENT,
    EventMessage,
    GarbageError,
    decode_ack,
    decode_control,
    decode_event,
)
from stretto_server.bus.publisher import Publisher
from stretto_server.bus.shared_rooms import SharedRooms
from stretto_server.metrics import Metrics
from stretto_server.redis_client.cluster import Cluster
from stretto_server.redis_client.discovery import discover
from stretto_server.redis_client.link import NoReply, NotSent
from stretto_server.redis_client.resp import ReplyError
from stretto_server.redis_client.servers import TIMEOUT_S, Servers
from stretto_server.redis_client.subscriptions import Subscriptions, subscriptions_of
from stretto_server.redis_client.url import RedisUrl

logger = logging.getLogger(__name__)

TRIAL_S: Final = 5.0
"""So often subscriptions are tried, and so long they have to hear a word."""


class RedisBus(SharedRooms):
    """The client manager of one node of several, named ``node``, on the Redis at ``url``.

    All nodes need the same ``serializer``. A sid names its node, so no room may be named as
    sids are. Use it from one loop, between :meth:`start` and :meth:`close`.
    """

    shared = True

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        *,
        node: str,
        timeout_s: float = TIMEOUT_S,
        trial_s: float = TRIAL_S,
        channels: Channels | None = None,
        callbacks: Callable[..., Callbacks] = Callbacks,
    ) -> None:
        """Take the URL in. Raises ValueError when it is none."""
        super().__init__(url, metrics, node, channels or Channels(), callbacks)
        self.url = RedisUrl.parse(url)
        self._timeout_s = timeout_s
        self._trial_s = trial_s
        self._servers: Servers | None = None
        self._publisher: Publisher | None = None
        self._subscriptions: Subscriptions | None = None
        self._trying: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect. Raises Unavailable with what to do."""
        try:
            servers = self._servers = await discover(self.url, timeout_s=self._timeout_s)
            await servers.start()
            failed = self._metrics.bus_publish_failures.inc
            if isinstance(servers, Cluster):
                self._publisher = Publisher(servers, failed, servers.owner)
            else:
                self._publisher = Publisher(servers, failed)
            heard = self._subscriptions = subscriptions_of(servers, self, timeout_s=self._timeout_s)
            self._channels.use(heard)
            heard.start()
            channel = self._channels.open(node_channel(self.node))
            channel.occupied = True
            async with asyncio.timeout(2 * self._timeout_s):
                await channel.heard.wait()
        except (NotSent, NoReply, ReplyError, ValueError, TimeoutError) as error:
            await self.close()
            problem = str(error) or "its channels cannot be heard: allow its user stretto:*"
            raise Unavailable(f"the bus {self.url}: {problem}") from error
        except BaseException:
            await self.close()
            raise
        self._trying = asyncio.create_task(self._try_again_and_again())

    async def close(self) -> None:
        """Give the connections up; twice is fine."""
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.wait([self._trying])
        self._callbacks.close()
        self._channels.close()
        if self._subscriptions is not None:
            await self._subscriptions.close()
        if self._servers is not None:
            await self._servers.close()
        self._metrics.bus_connected.set(0)

    # The bus.

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
        """Send to everyone in ``room`` but ``skip``, on all nodes."""
        packet = SocketPacket(PacketType.EVENT, namespace, None, [str(event), payload])
        encoded = self.server.codec.encode(packet)
        skipped = () if skip is None else (skip,)
        await self._send_event(
            EventMessage(namespace, room, encoded.text, encoded.attachments, str(event), skipped)
        )

    async def join(self, namespace: str, sid: str, room: str) -> None:
        """Let a connection into ``room``; the first one waits until its channel is heard."""
        occupied = room in self.rooms.get(namespace, ())
        if occupied or not self._channels.untried(name_of(namespace, room)):
            self.basic_enter_room(sid, namespace, room)
            return
        with contextlib.suppress(ValueError, KeyError):  # it left while it waited
            await self._enter(sid, namespace, room)

    async def publish(self, room: str, message: bytes) -> None:
        """Send a message to the followers of ``room`` on every node."""
        await self._publish(name_of("", room), message)

    async def follow(self, room: str, follower: Follower) -> None:
        """Let ``follower`` hear the channel of ``room``."""
        await self._channels.follow(name_of("", room), follower)

    async def unfollow(self, room: str, follower: Follower) -> None:
        """Let ``follower`` hear nothing more."""
        self._channels.unfollow(name_of("", room), follower)

    # What is heard; the bus is the ear of its subscriptions.

    def hear(self, channel: bytes, message: bytes) -> None:
        """Hand on what came on a channel."""
        kind = message[:1]
        try:
            if kind == EVENT:
                self._relay(decode_event(message))
            elif kind == CONTROL:
                self._obey(decode_control(message))
            elif kind == ACK:
                self._take_answer(decode_ack(message))
            elif not kind:
                raise GarbageError("nothing")
            else:
                found = self._channels.get(channel)
                for follower in tuple(found.followers) if found is not None else ():
                    follower.hear(message)
        except GarbageError:
            self._metrics.bus_garbage.inc()
        except Exception:  # one message must not end the subscription that all rooms share
            logger.exception("a message of another node could not be handled")

    def confirmed(self, channel: bytes) -> None:
        """Note that a channel is heard."""
        self._channels.confirmed(channel)

    def silenced(self, channels: Iterable[bytes]) -> None:
        """Note that channels are not heard for now."""
        self._channels.silenced(channels)

    def refused(self, channel: bytes, error: ReplyError | None) -> None:
        """Note that a channel is not heard for now."""
        self._channels.silenced((channel,))
        if error is not None:
            logger.warning("Redis refuses a channel: %s", error)

    def came(self) -> None:
        """Count it."""
        heard = self._subscriptions
        self._metrics.bus_connected.set(heard is not None and heard.connected)

    def failed(self, problem: str, lost: bool) -> None:
        """Count it."""
        self._metrics.bus_connected.set(0)
        if lost:
            self._metrics.bus_reconnects.inc()

    # To Redis.

    async def _publish(self, channel: str, message: bytes) -> int:
        if self._publisher is None:
            raise Unavailable("the bus was not started")
        return await self._publisher.publish(channel, message)

    async def _try_again_and_again(self) -> None:
        """Look every few seconds whether the subscriptions are deaf."""
        assert self._publisher is not None
        assert self._subscriptions is not None
        while True:
            await asyncio.sleep(self._trial_s * random.uniform(0.9, 1.1))
            try:
                deaf = await self._subscriptions.try_all(self._publisher.send, self._trial_s)
            except Exception:  # a probe that ended would leave a deaf subscription unnoticed
                logger.exception("the subscriptions could not be tried")
            else:
                self._metrics.bus_probe_timeouts.inc(deaf)
