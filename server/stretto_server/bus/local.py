"""One node: rooms of our engine, and what slow readers missed."""

from collections.abc import Iterable
from typing import Any, Final

from stretto_core.eio.socketio import PacketType, SocketPacket
from stretto_server.bus.interface import Follower
from stretto_server.engine.encoded import Encoded
from stretto_server.engine.members import Member
from stretto_server.engine.room_manager import RoomManager

Missed = dict[tuple[str, str], dict[str, Encoded]]
"""By namespace and room: the last frame of each event that was not sent."""

NOBODY: Final[frozenset[str]] = frozenset()


class LocalBus(RoomManager):
    """The client manager of a single node.

    A frame is encoded once and written to every member's connection before the call
    returns; nothing is awaited on the way. Members that read too slowly are passed over.
    """

    shared = False

    def __init__(self) -> None:
        super().__init__()
        self._missed: dict[str, Missed] = {}

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
        """Send to everyone in ``room`` but ``skip``."""
        self.deliver(namespace, room, event, payload, skip=skip)

    def deliver(
        self,
        namespace: str,
        room: str,
        event: str,
        payload: dict[str, Any],
        *,
        skip: str | None = None,
    ) -> None:
        """Send to everyone in ``room`` but ``skip``. Never waits."""
        members = self.rooms.get(namespace, {}).get(room)
        if not members:
            return
        packet = SocketPacket(PacketType.EVENT, namespace, None, [str(event), payload])
        self._broadcast(members, room, event, self.server.codec.encode(packet), skip)

    def deliver_json(
        self, namespace: str, room: str, event: str, payload: str, *, skip: str | None = None
    ) -> None:
        """Do as :meth:`deliver` with a payload that is JSON already."""
        members = self.rooms.get(namespace, {}).get(room)
        if members:
            head = "" if namespace == "/" else f"{namespace},"
            encoded = Encoded(f'42{head}["{event}",{payload}]'.encode())
            self._broadcast(members, room, event, encoded, skip)

    def _broadcast(
        self,
        members: dict[str, Member],
        room: str,
        event: str,
        encoded: Encoded,
        skip: str | None,
    ) -> None:
        audience: Iterable[Member] = members.values()
        if self._missed:
            audience = [one for one in audience if not self._passes(one, room, event, encoded)]
        self.send_to(audience, encoded, NOBODY if skip is None else frozenset((skip,)))

    async def send(self, namespace: str, sid: str, event: str, payload: dict[str, Any]) -> None:
        """Send to one connection; one that is gone is passed over."""
        member = self.member(sid, namespace)
        if member is not None:
            packet = SocketPacket(PacketType.EVENT, namespace, None, [str(event), payload])
            member.socket.send(self.server.codec.encode(packet))

    async def join(self, namespace: str, sid: str, room: str) -> None:
        """Let a connection into ``room``."""
        self.basic_enter_room(sid, namespace, room)

    async def leave(self, namespace: str, sid: str, room: str) -> None:
        """Take a connection out of ``room``."""
        self.basic_leave_room(sid, namespace, room)

    async def publish(self, room: str, message: bytes) -> None:
        """Do nothing: there are no other nodes."""

    async def follow(self, room: str, follower: Follower) -> None:
        """Do nothing: all that happens to a room happens here."""

    async def unfollow(self, room: str, follower: Follower) -> None:
        """Do nothing."""

    # Slow readers.

    def hold_back(self, engine_sid: str) -> None:
        """Send a connection no broadcasts until :meth:`let_go`."""
        self._missed.setdefault(engine_sid, {})

    def let_go(self, engine_sid: str) -> Missed:
        """Send a connection broadcasts again; return what it missed."""
        return self._missed.pop(engine_sid, {})

    def forget(self, engine_sid: str) -> None:
        """Forget a connection that is gone."""
        self._missed.pop(engine_sid, None)

    def resend(self, engine_sid: str, encoded: Encoded) -> None:
        """Send a connection a frame that it missed."""
        socket = self.server.eio.sockets.get(engine_sid)
        if socket is not None:
            socket.send(encoded)

    def _passes(self, member: Member, room: str, event: str, encoded: Encoded) -> bool:
        missed = self._missed.get(member.client.socket.sid)
        if missed is None:
            return False
        missed.setdefault((member.namespace, room), {})[event] = encoded
        return True
