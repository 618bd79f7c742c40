"""One node on python-engineio's server, for comparison with :mod:`~stretto_server.bus.local`."""

from typing import Any

from engineio import packet as engine_packet
from socketio import AsyncManager

from stretto_server import wire_json
from stretto_server.bus.interface import Follower


class StockBus(AsyncManager):  # type: ignore[misc]
    """The client manager of a single node that runs python-engineio.

    The stock manager makes one task per recipient, which is most of a broadcast's cost
    and lets a frame overtake an ack. Here a frame is encoded once and put on every
    recipient's queue before the call returns; nothing is awaited on the way.
    """

    shared = False

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
        self.deliver(namespace, room, event, payload, skip=skip, binary=binary)

    def deliver(
        self,
        namespace: str,
        room: str,
        event: str,
        payload: dict[str, Any],
        *,
        skip: str | None = None,
        binary: bool = False,
    ) -> None:
        """Send to everyone in ``room`` but ``skip``. Never waits."""
        members = self.rooms.get(namespace, {}).get(room)
        if not members:
            return
        packets = self._frames(namespace, event, payload, binary=binary)
        for sid, engine_sid in members.items():
            if sid != skip:
                self._put(engine_sid, packets)

    def deliver_json(
        self, namespace: str, room: str, event: str, payload: str, *, skip: str | None = None
    ) -> None:
        """Do as :meth:`deliver` with a payload that is JSON already."""
        self.deliver(namespace, room, event, wire_json.loads(payload), skip=skip)

    async def send(self, namespace: str, sid: str, event: str, payload: dict[str, Any]) -> None:
        """Send to one connection; one that is gone is passed over."""
        engine_sid = self.eio_sid_from_sid(sid, namespace)
        if engine_sid is not None:
            self._put(engine_sid, self._frames(namespace, event, payload))

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

    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str,
        room: str | list[str] | None = None,
        skip_sid: str | list[str] | None = None,
        callback: Any = None,
        to: str | list[str] | None = None,
        **options: Any,
    ) -> None:
        """Serve python-socketio's own ``emit`` in the same way, where it needs no callback."""
        if callback is not None:
            await super().emit(event, data, namespace, room, skip_sid, callback, to, **options)
            return
        skipped = {skip_sid} if isinstance(skip_sid, str) else set(skip_sid or ())
        arguments = list(data) if isinstance(data, tuple) else [] if data is None else [data]
        packet = self.server.packet_class(namespace=namespace, data=[event, *arguments])
        packets = _engine_packets(packet.encode())
        for sid, engine_sid in self.get_participants(namespace, to or room):
            if sid not in skipped:
                self._put(engine_sid, packets)

    def _frames(
        self, namespace: str, event: str, payload: dict[str, Any], *, binary: bool = False
    ) -> list[engine_packet.Packet]:
        # binary=None lets python-socketio search the payload for attachments; False spares
        # that walk where we know that there are none.
        packet = self.server.packet_class(
            namespace=namespace, data=[event, payload], binary=None if binary else False
        )
        return _engine_packets(packet.encode())

    def _put(self, engine_sid: str, packets: list[engine_packet.Packet]) -> None:
        socket = self.server.eio.sockets.get(engine_sid)
        if socket is not None and not socket.closed:
            for packet in packets:
                if packet.binary:
                    # It remembers how it was encoded first, and a polling member needs it
                    # in base64 where a WebSocket takes the bytes.
                    packet = engine_packet.Packet(engine_packet.MESSAGE, packet.data)
                socket.queue.put_nowait(packet)


def _engine_packets(encoded: str | list[str | bytes]) -> list[engine_packet.Packet]:
    parts = encoded if isinstance(encoded, list) else [encoded]
    return [engine_packet.Packet(engine_packet.MESSAGE, part) for part in parts]
