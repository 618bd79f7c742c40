"""python-socketio's rooms, emits, calls and disconnects, for clients of all nodes."""

import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import socketio

from stretto_core.eio.socketio import RESERVED_EVENTS, PacketType, SocketPacket
from stretto_core.errors import Unavailable
from stretto_server.bus.callbacks import Callbacks
from stretto_server.bus.channels import Channels, name_of
from stretto_server.bus.control import Inquiries, check_node, node_channel, node_of, sid_on
from stretto_server.bus.local import LocalBus
from stretto_server.bus.messages import (
    AckMessage,
    Control,
    EventMessage,
    GarbageError,
    Room,
    encode_ack,
    encode_event,
)
from stretto_server.engine.answers import Answer
from stretto_server.engine.encoded import Encoded
from stretto_server.engine.members import Member
from stretto_server.engine.room_manager import EVERYBODY
from stretto_server.metrics import Metrics

logger = logging.getLogger(__name__)


class SharedRooms(socketio.AsyncRedisManager, LocalBus):  # type: ignore[misc]
    """A client manager whose rooms have members on several nodes.

    Of python-socketio's Redis manager it is the interface alone: a sid tells whose client it
    is, so only that node is asked; a room's nodes hear the room's channel. What cannot be
    sent raises Unavailable, as in :class:`~.redis.RedisBus`, which publishes and hears.
    """

    shared = True

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        node: str,
        channels: Channels,
        callbacks: Callable[[Callable[[Any], None]], Callbacks],
    ) -> None:
        socketio.AsyncRedisManager.__init__(self, url)
        self.node = check_node(node)
        self._metrics = metrics
        self._channels = channels
        self._callbacks = callbacks(self._forget)
        self._inquiries = Inquiries(self._publish)

    def initialize(self) -> None:
        """Do nothing: the bus is started by whoever made it."""

    async def _publish(self, channel: str, message: bytes) -> int:
        """Publish a message; return how many subscriptions got it. Raises Unavailable."""
        raise NotImplementedError  # abstract: RedisBus has the connection

    async def _listen(self) -> None:
        """Never open what python-socketio would listen to."""
        raise NotImplementedError  # nobody calls it: :meth:`initialize` starts no listener

    # Events.

    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str | None = None,
        room: Any = None,
        skip_sid: str | list[str] | None = None,
        callback: Callable[..., Any] | None = None,
        to: Any = None,
        volatile: bool = False,
        ignore_queue: bool = False,
        **_options: Any,
    ) -> None:
        """Send an event to one client, a room, several rooms, or the whole namespace.

        With ``ignore_queue`` clients of this node alone get it. ``callback`` is called with
        each answer; those that are late, or too many, are dropped. Raises Unavailable.
        """
        namespace, room = namespace or "/", to or room
        mine = isinstance(room, str) and self.member(room, namespace) is not None
        if ignore_queue or mine:
            await LocalBus.emit(
                self, event, data, namespace, room, skip_sid, callback, volatile=volatile
            )
            return
        if event in RESERVED_EVENTS:
            raise ValueError(f"{event!r} is reserved: no client would take it")
        given = data if isinstance(data, tuple) else () if data is None else (data,)
        packet = SocketPacket(PacketType.EVENT, namespace, None, [str(event), *given])
        encoded = self.server.codec.encode(packet)
        several = isinstance(room, list | tuple | set | frozenset)
        message = EventMessage(
            namespace,
            None,
            encoded.text,
            encoded.attachments,
            skip=(skip_sid,) if isinstance(skip_sid, str) else tuple(skip_sid or ()),
            volatile=volatile,
        )
        await self._emit_to(list(dict.fromkeys(room)) if several else [room], message, callback)

    async def _emit_to(
        self, rooms: list[Room], message: EventMessage, callback: Callable[..., Any] | None
    ) -> None:
        """Send an event to rooms, to each in its order; who is in several gets it once."""
        number = 0
        if callback is not None:
            once = len(rooms) == 1 and node_of(rooms[0]) is not None
            number = self._callbacks.add(callback, once=once)
            message = message._replace(callback=(self.node, number))
        receivers = 0
        try:
            for place, room in enumerate(rooms):
                receivers += await self._send_event(
                    message._replace(room=room, but=tuple(rooms[:place]))
                )
        finally:
            if number and not receivers:
                self._callbacks.drop(number)

    async def _send_event(self, event: EventMessage) -> int:
        """Publish an event; return how many nodes got it. Raises Unavailable."""
        node = node_of(event.room)
        channel = node_channel(node) if node else name_of(event.namespace, event.room)
        receivers = await self._publish(channel, encode_event(event))
        if not receivers and self.audience(event.namespace, event.room):
            # Not even this node hears the channel: nobody was told.
            self._metrics.bus_publish_failures.inc()
            raise Unavailable("the room is not heard at the moment")
        return receivers

    def _relay(self, event: EventMessage) -> None:
        """Hand an event to the members here."""
        audience: Iterable[Member] = self.audience(event.namespace, event.room)
        if event.but:
            audience = [one for one in audience if not _is_in(one, event.but)]
        if event.callback is not None:
            self._ask_members(event, list(audience))
            return
        if not audience:
            return
        encoded = Encoded(event.text, event.attachments)
        name = event.event
        if name is not None and self._missed:
            room = str(event.room)
            audience = [one for one in audience if not self._passes(one, room, name, encoded)]
        self.send_to(audience, encoded, frozenset(event.skip), event.volatile)

    # Answers.

    def _ask_members(self, event: EventMessage, audience: list[Member]) -> None:
        """Send an event of which somebody wants the answers."""
        assert event.callback is not None
        if not audience and node_of(event.room) is not None:
            node, number = event.callback
            self._keep(self._publish(node_channel(node), encode_ack(AckMessage(number))))
            return
        packet = self._decoded(event.text, event.attachments)
        for member in audience:
            if member.sid not in event.skip:
                ack = self._generate_ack_id(
                    member.sid, _Forwarded(self, member, *event.callback), member.namespace
                )
                asking = SocketPacket(PacketType.EVENT, member.namespace, ack, packet.data)
                member.socket.send(self.server.codec.encode(asking), volatile=event.volatile)

    def _decoded(self, text: bytes | None, attachments: tuple[bytes, ...]) -> SocketPacket:
        """Return a packet of another node. Raises GarbageError."""
        decoder = self.server.codec.decoder()
        packet: Any = None
        parts = ([] if text is None else [text[1:].decode()]) + list(attachments)
        for part in parts:
            packet = decoder.decode(part)
        if not isinstance(packet, SocketPacket):
            raise GarbageError("no packet")
        return packet

    def answer(self, node: str, number: int, member: Member, data: list[Any] | None) -> None:
        """Send the answer of a client to the node that asked; None when there will be none."""
        message = AckMessage(number)
        if data is not None:
            packet = SocketPacket(PacketType.ACK, member.namespace, 0, data)
            encoded = self.server.codec.encode(packet)
            message = AckMessage(number, encoded.text, encoded.attachments)
        self._keep(self._publish(node_channel(node), encode_ack(message)))

    def _take_answer(self, message: AckMessage) -> None:
        """Call what waits for an answer."""
        if message.text is None and not message.attachments:
            self._callbacks.drop(message.id)
            return
        packet = self._decoded(message.text, message.attachments)
        callback = self._callbacks.take(message.id)
        if callback is not None:
            result = callback(*packet.data)
            if inspect.isawaitable(result):
                self._keep(result)

    def _forget(self, callback: Any) -> None:
        self.server.forget_callback(callback)

    def _keep(self, work: Awaitable[Any]) -> None:
        """Run something that nobody waits for."""
        self.server.eio.keep(_quietly(work))

    # Clients of other nodes.

    async def can_disconnect(self, sid: str, namespace: str) -> bool:
        """Tell whether a client is here; one of another node is disconnected there."""
        if self.member(sid, namespace) is None:
            await self._ask_owner(sid, "disconnect", namespace)
        return self.is_connected(sid, namespace)

    async def disconnect(self, sid: str, namespace: str, **options: Any) -> None:
        """Take a client out of a namespace, wherever it is."""
        if options.get("ignore_queue"):
            self.basic_disconnect(sid, namespace)
        else:
            await self.server.disconnect(sid, namespace)

    async def enter_room(
        self, sid: str, namespace: str, room: Any, eio_sid: str | None = None
    ) -> None:
        """Let a client into a room, wherever it is; returns once it hears the room."""
        if self.member(sid, namespace) is not None or node_of(sid) in (None, self.node):
            await self._enter(sid, namespace, room)
        else:
            await self._ask_owner(sid, "enter", namespace, room)

    async def leave_room(self, sid: str, namespace: str, room: Any) -> None:
        """Take a client out of a room, wherever it is."""
        if self.member(sid, namespace) is not None:
            self.basic_leave_room(sid, namespace, room)
        else:
            await self._ask_owner(sid, "leave", namespace, room)

    async def close_room(self, room: Any, namespace: str | None = None) -> None:
        """Take everybody out of a room, on all nodes."""
        namespace = namespace or "/"
        if self.is_sid_room(namespace, room):
            raise ValueError("cannot close a sid room")
        closing = Control("close", self.node, namespace=namespace, room=room)
        await self._inquiries.tell(name_of(namespace, room), closing)
        self.basic_close_room(room, namespace)

    async def members(self, namespace: str, room: Room = EVERYBODY) -> list[str]:
        """Return the sids in a room, or in the namespace, of all nodes that answer in time."""
        request = Control("members", self.node, namespace=namespace, room=room)
        answers, _ = await self._inquiries.ask(name_of(namespace, room), request)
        found = {sid for answer in answers for sid in answer.sids}
        return sorted(found | {one.sid for one in self.audience(namespace, room)})

    async def _ask_owner(self, sid: str, do: str, namespace: str, room: Room = None) -> None:
        node = node_of(sid)
        if node is not None and node != self.node:
            request = Control(do, self.node, namespace=namespace, room=room, sid=sid)
            await self._inquiries.ask_node(node, request)

    def _obey(self, control: Control) -> None:
        """Do what another node asks, or take its answer."""
        if control.do == "done":
            self._inquiries.answered(control)
        elif control.do == "close":
            self.basic_close_room(control.room, control.namespace)
        elif control.do == "members":
            audience = self.audience(control.namespace, control.room)
            self._done(control, tuple(one.sid for one in audience))
        else:
            self._keep(self._serve(control))

    async def _serve(self, control: Control) -> None:
        """Do something for a client of this node, and say so; nothing for one that is gone."""
        sid, namespace, room = control.sid, control.namespace, control.room
        if self.member(sid, namespace) is None:
            pass
        elif control.do == "disconnect":
            self._done(control)  # the application may take its time
            await self.server.disconnect(sid, namespace, ignore_queue=True)
            return
        elif control.do == "enter":
            with contextlib.suppress(ValueError, KeyError):  # it went while we waited
                await self._enter(sid, namespace, room)
        else:
            self.basic_leave_room(sid, namespace, room)
        self._done(control)

    def _done(self, control: Control, sids: tuple[str, ...] = ()) -> None:
        done = Control("done", self.node, control.id, sids=sids)
        self._keep(self._inquiries.tell(node_channel(control.node), done))

    async def _enter(self, sid: str, namespace: str, room: Any) -> None:
        """Let a client of this node in, once the room is heard; raises as its namesake does."""
        name = name_of(namespace, room)
        if room in self.rooms.get(namespace, ()) or not self._channels.untried(name):
            self.basic_enter_room(sid, namespace, room)
            return
        channel = await self._channels.prepare(name)
        try:
            self.basic_enter_room(sid, namespace, room)
        finally:
            self._channels.prepared(channel)

    # Rooms of this node.

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Make a member that is not connected yet; None when there is one.

        Raises RuntimeError for a namespace with connection state recovery: what its clients
        miss would have to be kept on every node.
        """
        if self.server.recoveries.log(namespace) is not None:
            raise RuntimeError("connection state recovery needs a single node")
        name = name_of(namespace, EVERYBODY)
        if self._channels.untried(name):
            channel = await self._channels.prepare(name)
            try:
                return self._make_member(eio_sid, namespace)
            finally:
                self._channels.prepared(channel)
        return self._make_member(eio_sid, namespace)

    def _make_member(self, eio_sid: str, namespace: str) -> str | None:
        client = self.server.client(eio_sid)
        if client is None or client.gone or namespace in client.members:
            return None
        sid = sid_on(self.node, self.server.eio.generate_id())
        return self.add(Member(client, namespace, sid)).sid

    def add(self, member: Member) -> Member:
        """Take a member in."""
        self._channels.occupy(name_of(member.namespace, EVERYBODY))
        return super().add(member)

    def basic_enter_room(
        self, sid: str, namespace: str, room: Any, eio_sid: str | None = None
    ) -> None:
        """Let a member into a room, without waiting for its channel."""
        occupied = room in self.rooms.get(namespace, ())
        super().basic_enter_room(sid, namespace, room, eio_sid)
        if not occupied and room in self.rooms[namespace]:
            self._channels.occupy(name_of(namespace, room))

    def _take_out(self, member: Member, room: Any) -> None:
        super()._take_out(member, room)
        if room in self.rooms.get(member.namespace, ()):
            return
        if room is EVERYBODY or not any(room in rooms for rooms in self.rooms.values()):
            self._channels.vacate(name_of(member.namespace, room))


class _Forwarded(Answer):
    """A callback of another node."""

    def __init__(self, rooms: SharedRooms, member: Member, node: str, number: int) -> None:
        self._rooms = rooms
        self._member = member
        self._node = node
        self._number = number

    def __call__(self, *data: Any) -> None:
        self._rooms.answer(self._node, self._number, self._member, list(data))

    def gone(self) -> None:
        self._rooms.answer(self._node, self._number, self._member, None)


async def _quietly(work: Awaitable[Any]) -> None:
    try:
        await work
    except Unavailable as error:
        logger.warning("another node is not told: %s", error)
    except Exception:  # nobody waits for it, so nobody else would tell of it
        logger.exception("a request of another node failed")


def _is_in(member: Member, rooms: Iterable[Room]) -> bool:
    return any(room == member.sid or room in (member.rooms or ()) for room in rooms)
