"""Rooms, and delivery to those in them without a task, a copy or an object per recipient."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, cast

import socketio

from stretto_core.eio.socketio import RESERVED_EVENTS, PacketType, SocketPacket
from stretto_server.engine.encoded import Encoded
from stretto_server.engine.engine_socket import LARGE, MOST_PENDING, EngineSocket
from stretto_server.engine.members import Member, MemberState

MOST_ELSEWHERE: Final = 10_000
"""Clients of other processes whose acks may be awaited."""
EVERYBODY = None
"""The room that all of a namespace are in, as python-socketio names it."""


class RoomManager(socketio.AsyncManager):  # type: ignore[misc]
    """python-socketio's client manager with rooms of :class:`~.members.Member` objects.

    A member knows its rooms, so leaving costs as many steps as it has rooms. A broadcast is
    encoded once, and the same bytes go to everybody's transport. To use it with a message
    queue, mix it in behind: ``class Manager(socketio.AsyncRedisManager, RoomManager)``.
    """

    rooms: dict[str, dict[Any, dict[str, Member]]]

    def set_server(self, server: Any) -> None:
        """Belong to a :class:`~.socket_server.SocketServer`."""
        super().set_server(server)
        self.rooms = {}
        self._members: dict[str, dict[str, Member]] = {}

    # Clients.

    def get_namespaces(self) -> Iterable[str]:
        """Return the namespaces with members."""
        return self._members.keys()

    def member(self, sid: str, namespace: str) -> Member | None:
        """Return a member, connected or not."""
        return self._members.get(namespace, {}).get(sid)

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Make a member that is not connected yet; None when there is one."""
        client = self.server.client(eio_sid)
        if client is None or namespace in client.members:
            return None
        return self.add(Member(client, namespace, self.server.eio.generate_id())).sid

    def add(self, member: Member) -> Member:
        """Take a member in: its own room and everybody's are open to it."""
        member.client.members[member.namespace] = member
        self._members.setdefault(member.namespace, {})[member.sid] = member
        rooms = self.rooms.setdefault(member.namespace, {})
        rooms.setdefault(EVERYBODY, {})[member.sid] = member
        return member

    async def connect(self, sid: str, namespace: str) -> str:
        """Note that a member was accepted."""
        member = self.member(sid, namespace)
        if member is not None and member.state is MemberState.CONNECTING:
            member.state = MemberState.CONNECTED
        return sid

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        """Tell whether a member is not accepted yet."""
        member = self.member(sid, namespace)
        return member is not None and member.state is MemberState.CONNECTING

    def is_connected(self, sid: str, namespace: str) -> bool:
        """Tell whether a member is accepted and not leaving."""
        member = self.member(sid, namespace)
        return member is not None and member.state is MemberState.CONNECTED

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        """Return the sid of a client in a namespace."""
        client = self.server.client(eio_sid)
        member = client.members.get(namespace) if client is not None else None
        return member.sid if member is not None else None

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        """Return the Engine.IO sid of a member."""
        member = self.member(sid, namespace)
        return member.client.socket.sid if member is not None else None

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        """Note that a member leaves."""
        member = self.member(sid, namespace)
        if member is None:
            return None
        member.state = MemberState.LEAVING
        return member.client.socket.sid

    def basic_disconnect(self, sid: str, namespace: str, **_options: Any) -> None:
        """Forget a member: as many steps as it has rooms."""
        members = self._members.get(namespace, {})
        member = members.pop(sid, None)
        if member is None:
            return
        if member.client.members.get(namespace) is member:
            del member.client.members[namespace]
        for room in (*(member.rooms or ()), EVERYBODY):
            self._take_out(member, room)
        member.rooms = None
        callbacks, member.callbacks = member.callbacks, None
        for callback in (callbacks or {}).values():
            self.server.forget_callback(callback)
        if not members:
            del self._members[namespace]

    # Rooms.

    def is_sid_room(self, namespace: str, room: Any) -> bool:
        """Tell whether a room is a member's own."""
        return self.member(room, namespace) is not None if isinstance(room, str) else False

    def basic_enter_room(
        self, sid: str, namespace: str, room: Any, eio_sid: str | None = None
    ) -> None:
        """Let a member into a room.

        Raises ValueError for another member's own room, and for a namespace without
        members; KeyError for who is no member.
        """
        if namespace not in self._members:
            raise ValueError("sid is not connected to requested namespace")
        member = self._members[namespace][sid]
        if room == sid or room is EVERYBODY:
            return
        if self.is_sid_room(namespace, room):
            raise ValueError("cannot enter a sid room")
        self.rooms[namespace].setdefault(room, {})[sid] = member
        if member.rooms is None:
            member.rooms = set()
        member.rooms.add(room)

    def basic_leave_room(self, sid: str, namespace: str, room: Any) -> None:
        """Take a member out of a room; nothing happens where it is not in."""
        member = self.member(sid, namespace)
        if member is not None and member.rooms is not None and room in member.rooms:
            member.rooms.discard(room)
            self._take_out(member, room)

    def basic_close_room(self, room: Any, namespace: str) -> None:
        """Take everybody out of a room. Raises ValueError for a member's own."""
        if self.is_sid_room(namespace, room):
            raise ValueError("cannot close a sid room")
        for sid in list(self.rooms.get(namespace, {}).get(room, ())):
            self.basic_leave_room(sid, namespace, room)

    def get_rooms(self, sid: str, namespace: str) -> list[Any]:
        """Return the rooms of a member, its own first."""
        member = self.member(sid, namespace)
        return [sid, *(member.rooms or ())] if member is not None else []

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Give the sid and the Engine.IO sid of all in a room, or in any of several."""
        for member in list(self.audience(namespace, room)):
            yield member.sid, member.client.socket.sid

    def audience(self, namespace: str, room: Any) -> Iterable[Member]:
        """Return the members in a room, or in any of several; each once."""
        if isinstance(room, list | tuple | set | frozenset):
            several: dict[str, Member] = {}
            for each in room:
                several.update((one.sid, one) for one in self.audience(namespace, each))
            return several.values()
        members = self.rooms.get(namespace, {}).get(room)
        if members is not None:
            return members.values()
        alone = self.member(room, namespace) if isinstance(room, str) else None
        return (alone,) if alone is not None else ()

    def _take_out(self, member: Member, room: Any) -> None:
        rooms = self.rooms[member.namespace]
        members = rooms.get(room)
        if members is None:
            return
        members.pop(member.sid, None)
        if not members:
            del rooms[room]
            if not rooms:
                del self.rooms[member.namespace]

    # Delivery.

    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str,
        room: Any = None,
        skip_sid: str | list[str] | None = None,
        callback: Callable[..., Any] | None = None,
        to: Any = None,
        volatile: bool = False,
        **_options: Any,
    ) -> None:
        """Send an event to one member, a room, several rooms, or the whole namespace.

        A tuple is several arguments. ``callback`` is called with each answer. Raises
        ValueError for a reserved event name, TypeError for what cannot be encoded.
        """
        if event in RESERVED_EVENTS:
            raise ValueError(f"{event!r} is reserved: no client would take it")
        if isinstance(data, tuple):
            arguments = [str(event), *data]
        else:
            arguments = [str(event)] if data is None else [str(event), data]
        audience = self.audience(namespace, to or room)
        skipped = frozenset((skip_sid,) if isinstance(skip_sid, str) else skip_sid or ())
        if callback is None:
            log = self.server.recoveries.log(namespace) if not volatile else None
            if log is not None:
                arguments.append(log.next_offset)
            if audience or log is not None:
                packet = SocketPacket(PacketType.EVENT, namespace, None, arguments)
                encoded = self.server.codec.encode(packet)
                if log is not None:
                    self.server.recoveries.add(namespace, encoded, to or room, skipped)
                self.send_to(audience, encoded, skipped, volatile)
            return
        for member in list(audience):
            if member.sid not in skipped:
                ack = self._generate_ack_id(member.sid, callback, namespace)
                packet = SocketPacket(PacketType.EVENT, namespace, ack, arguments)
                member.socket.send(self.server.codec.encode(packet), volatile=volatile)

    def send_to(
        self,
        audience: Iterable[Member],
        encoded: Encoded,
        skipped: frozenset[str] = frozenset(),
        volatile: bool = False,
    ) -> None:
        """Send the same packet to many; those who cannot take it at once get it later."""
        frames = encoded.frames
        most = MOST_PENDING if len(frames) < LARGE else 1
        eio = self.server.eio
        gathered = eio.gathered
        for member in audience:
            if skipped and member.sid in skipped:
                continue
            socket = member.socket
            pending = socket.pending
            if pending is None or socket.deflate_from is not None:
                socket.send(encoded, volatile=volatile)
                continue
            if not pending:
                if not gathered:
                    eio.begin_gathering()
                gathered.append(socket)
            pending.append(frames)
            if len(pending) >= most:
                cast(EngineSocket, socket).flush()

    # Acks.

    def _generate_ack_id(
        self, sid: str, callback: Callable[..., Any], namespace: str | None = None
    ) -> int:
        """Return an id for an answer of a member; 0 for one who is not in ``namespace``.

        A message queue gives no namespace, and may find a client of another process.
        """
        spaces = [namespace] if namespace is not None else list(self._members)
        for each in spaces:
            member = self.member(sid, each)
            if member is not None:
                if member.callbacks is None:
                    member.callbacks = {}
                member.last_ack += 1
                member.callbacks[member.last_ack] = callback
                return member.last_ack
        if namespace is not None:
            return 0
        # python-socketio would keep these forever.
        while len(self.callbacks) >= MOST_ELSEWHERE:
            del self.callbacks[next(iter(self.callbacks))]
        return cast(int, super()._generate_ack_id(sid, callback))

    async def trigger_callback(self, sid: str, id: int, data: list[Any]) -> None:
        """Call what waits for an ack; one that nobody waits for is passed over."""
        for members in self._members.values():
            member = members.get(sid)
            if member is not None:
                result = self.answered(member, id, data)
                if inspect.isawaitable(result):
                    await result
                return
        if sid in self.callbacks:
            await super().trigger_callback(sid, id, data)

    def answered(self, member: Member, ack: int, data: list[Any]) -> Any:
        """Call what waits for an ack of a member; return what it returned."""
        callback = member.callbacks.pop(ack, None) if member.callbacks is not None else None
        if member.callbacks is not None and not member.callbacks:
            member.callbacks = None
        return callback(*data) if callback is not None else None


def with_rooms(manager: Any) -> Any:
    """Return a client manager of python-socketio with our rooms under its message queue."""
    if isinstance(manager, RoomManager):
        return manager
    if not isinstance(manager, socketio.AsyncManager):
        raise TypeError("client_manager must be an asyncio manager of python-socketio")
    kind = type(manager)
    manager.__class__ = type(kind.__name__, (kind, RoomManager), {})
    return manager
