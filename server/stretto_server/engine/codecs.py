"""How Socket.IO packets are written: as JSON with attachments, as msgpack, or as a class says."""

from collections.abc import Callable
from typing import Any, Protocol

from stretto_core.eio.payloads import survey
from stretto_core.eio.socketio import (
    MAX_DEPTH,
    RESERVED_EVENTS,
    Decoder,
    NotFiniteError,
    PacketType,
    SocketPacket,
    encode,
    mistake,
)
from stretto_core.eio.violations import Reason, Violation
from stretto_server import wire_json
from stretto_server.engine.encoded import Encoded


class PacketDecoder(Protocol):
    """Puts the packets of one connection together."""

    @property
    def awaited(self) -> str | None:
        """The namespace of a packet that is not complete."""

    def decode(self, message: str | bytes) -> SocketPacket | Violation | None:
        """Take a message. Never raises."""


class Codec(Protocol):
    """One way of writing packets."""

    def ack_text(self, namespace: str, ack: int, data: list[Any]) -> bytes | None:
        """Return an ack as the payload of one text frame, where it is that simple."""

    def decoder(self) -> PacketDecoder:
        """Return a decoder for one connection."""

    def encode(self, packet: SocketPacket) -> Encoded:
        """Return a packet for the wire. Raises ValueError or TypeError for what cannot be."""


class JsonCodec:
    """The default: JSON text, and an attachment for each piece of binary data.

    ``json`` is a module with ``loads`` and ``dumps``; without one the fastest is taken.
    """

    def __init__(
        self,
        json: Any,
        *,
        max_bytes: int,
        max_attachments: int,
        reserved: frozenset[str] = RESERVED_EVENTS,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_attachments = max_attachments
        self._reserved = reserved
        self._loads = wire_json.parse if json is None else _checked(json.loads)
        self._dump: Callable[[Any], bytes] = wire_json.dump
        if json is not None:
            self._dump = lambda value: str(json.dumps(value, separators=(",", ":"))).encode()
        self._heads: dict[tuple[int, str], bytes] = {}

    def decoder(self) -> Decoder:
        """Return a decoder for one connection."""
        return Decoder(
            loads=self._loads,
            max_bytes=self._max_bytes,
            max_attachments=self._max_attachments,
            max_depth=MAX_DEPTH,
            reserved=self._reserved,
        )

    def ack_text(self, namespace: str, ack: int, data: list[Any]) -> bytes | None:
        """Return an ack without binary data."""
        try:
            body = self._dump(data)
        except TypeError:
            return None
        if namespace == "/":
            return b"43%d%b" % (ack, body)
        return b"43%b,%d%b" % (namespace.encode(), ack, body)

    def encode(self, packet: SocketPacket) -> Encoded:
        """Return a packet for the wire."""
        kind, namespace, ack, data = packet
        head = self._heads.get((kind, namespace))
        if head is None or data is None:
            return self._encode_carefully(packet)
        try:
            body = self._dump(data)
        except TypeError:
            return self._encode_carefully(packet)
        return Encoded(head + body if ack is None else b"%b%d%b" % (head, ack, body))

    def _encode_carefully(self, packet: SocketPacket) -> Encoded:
        """Encode what may hold binary data, and remember the head of a sound packet."""
        messages = encode(
            packet,
            dumps=lambda value: self._dump(value).decode(),
            max_attachments=self._max_attachments,
        )
        kind, namespace = packet.type, packet.namespace
        if len(self._heads) < 1_000:
            suffix = "" if namespace == "/" else f"{namespace},"
            self._heads[kind, namespace] = f"4{int(kind)}{suffix}".encode()
        return Encoded.of_messages(*messages)


class MsgPackCodec:
    """``serializer="msgpack"``: each packet is one binary message, as in JavaScript's parser."""

    def __init__(self, *, max_bytes: int) -> None:
        import msgpack

        self._msgpack = msgpack
        self._max_bytes = max_bytes

    def decoder(self) -> "MsgPackCodec":
        """Return itself: packets come whole."""
        return self

    @property
    def awaited(self) -> str | None:
        """Nothing is ever awaited."""
        return None

    def ack_text(self, namespace: str, ack: int, data: list[Any]) -> None:
        """Return None: nothing is text."""

    def decode(self, message: str | bytes) -> SocketPacket | Violation | None:
        """Take a message."""
        if isinstance(message, str):
            return Violation(Reason.UNKNOWN_TYPE)
        if len(message) > self._max_bytes:
            return Violation(Reason.TOO_LARGE)
        try:
            decoded = self._msgpack.unpackb(message, ext_hook=self._extension)
        except ValueError as error:
            deep = isinstance(error, self._msgpack.StackError)
            return Violation(Reason.TOO_DEEP if deep else Reason.INVALID_PAYLOAD)
        return self._packet(decoded)

    def _packet(self, decoded: Any) -> SocketPacket | Violation:
        if type(decoded) is not dict or type(decoded.get("nsp")) is not str:
            return Violation(Reason.INVALID_PAYLOAD)
        kind, namespace, ack = decoded.get("type"), decoded["nsp"], decoded.get("id")
        if type(kind) is not int or kind not in (0, 1, 2, 3):
            return Violation(Reason.UNKNOWN_TYPE)
        data = decoded.get("data")
        looked = survey(data, MAX_DEPTH, placeholders=False)
        if isinstance(looked, Violation):
            return looked
        packet = SocketPacket(PacketType(kind), namespace, ack, data)
        return _sound(packet)

    def _extension(self, code: int, data: bytes) -> Any:
        """JavaScript's ``undefined`` is extension 0; others are passed on as they are."""
        return None if code == 0 and data == b"\0" else self._msgpack.ExtType(code, data)

    def encode(self, packet: SocketPacket) -> Encoded:
        """Return a packet for the wire."""
        whole: dict[str, Any] = {"type": int(packet.type), "nsp": packet.namespace}
        if packet.data is not None:
            whole["data"] = packet.data
        if packet.id is not None:
            whole["id"] = packet.id
        return Encoded(None, (self._msgpack.packb(whole),))


class ClassCodec:
    """A packet class of the application, as python-socketio takes one."""

    def __init__(self, packet_class: Any, *, max_bytes: int, max_attachments: int) -> None:
        self._class = packet_class
        self._max_bytes = max_bytes
        self._max_attachments = max_attachments

    def ack_text(self, namespace: str, ack: int, data: list[Any]) -> None:
        """Return None: only the class knows."""

    def decoder(self) -> "_ClassDecoder":
        """Return a decoder for one connection."""
        return _ClassDecoder(self._class, self._max_bytes, self._max_attachments)

    def encode(self, packet: SocketPacket) -> Encoded:
        """Return a packet for the wire."""
        encoded = self._class(
            int(packet.type), data=packet.data, namespace=packet.namespace, id=packet.id
        ).encode()
        return Encoded.of_messages(*(encoded if isinstance(encoded, list) else [encoded]))


class _ClassDecoder:
    def __init__(self, packet_class: Any, max_bytes: int, max_attachments: int) -> None:
        self._class = packet_class
        self._budget = self._max_bytes = max_bytes
        self._max_attachments = max_attachments
        self._pending: Any = None

    @property
    def awaited(self) -> str | None:
        return (self._pending.namespace or "/") if self._pending is not None else None

    def decode(self, message: str | bytes) -> SocketPacket | Violation | None:
        self._budget -= len(message)
        if self._budget < 0:
            return Violation(Reason.TOO_LARGE)
        try:
            if self._pending is not None:
                packet = self._pending
                if not packet.add_attachment(message):
                    return None
            else:
                packet = self._class(encoded_packet=message)
        except (ValueError, TypeError, LookupError, RecursionError):
            return Violation(Reason.INVALID_PAYLOAD)
        binary = packet.packet_type in (PacketType.BINARY_EVENT, PacketType.BINARY_ACK)
        if binary and self._pending is None:
            if not 0 < packet.attachment_count <= self._max_attachments:
                return Violation(Reason.TOO_MANY_ATTACHMENTS)
            self._pending = packet
            return None
        self._pending = None
        self._budget = self._max_bytes
        kind = packet.packet_type - 3 if binary else packet.packet_type
        if kind not in (0, 1, 2, 3):
            return Violation(Reason.UNKNOWN_TYPE)
        namespace = packet.namespace or "/"
        if type(namespace) is not str:
            return Violation(Reason.INVALID_PAYLOAD)
        return _sound(SocketPacket(PacketType(kind), namespace, packet.id, packet.data))


def _sound(packet: SocketPacket) -> SocketPacket | Violation:
    """Apply the rules that do not depend on how a packet was written."""
    reason = mistake(packet)
    return packet if reason is None else Violation(reason)


def _checked(loads: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a module's ``loads`` that refuses what is not finite."""

    def checked(text: str) -> Any:
        value = loads(text)
        looked = survey(value, len(text), placeholders=False)
        if isinstance(looked, Violation):
            raise NotFiniteError(looked.reason)
        return value

    return checked
