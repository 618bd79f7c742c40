"""The packets of Engine.IO 4, as WebSocket frames and as long-polling payloads.

Protocol, "Packet encoding": a packet is one ASCII digit for its type and then its data. A
WebSocket carries one packet a frame, and a binary frame is a message without any type.
Long-polling carries text alone: packets are joined by U+001E, binary ones are ``b`` and
base64.
"""

import base64
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

from stretto_core.eio.violations import Reason, Violation

SEPARATOR: Final = "\x1e"
"""Between the packets of a payload ("record separator")."""

PACKETS_PER_RESPONSE: Final = 16
"""python-engineio's client refuses a longer payload (``Payload.max_decode_packets``)."""

PROBE: Final = "probe"
"""The data of the ping and the pong that try a WebSocket out ("Upgrade")."""


class PacketType(StrEnum):
    """The types of protocol revision 4; the value is what is on the wire."""

    OPEN = "0"
    CLOSE = "1"
    PING = "2"
    PONG = "3"
    MESSAGE = "4"
    UPGRADE = "5"
    NOOP = "6"


class Packet:
    """One packet; never changed. Its encoded forms are made once, however many peers get it.

    Only messages are binary; anything else raises ValueError.
    """

    __slots__ = ("_record", "_size", "data", "type")

    def __init__(self, kind: PacketType, data: str | bytes = "") -> None:
        if type(data) is bytes and kind is not PacketType.MESSAGE:
            raise ValueError(f"a packet of type {kind.name} cannot be binary")
        self.type = kind
        self.data = data
        self._record: str | None = None
        self._size = -1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Packet):
            return NotImplemented
        return self.type is other.type and self.data == other.data

    def __hash__(self) -> int:
        return hash((self.type, self.data))

    def __repr__(self) -> str:
        return f"Packet({self.type.name}, {self.data!r})"

    @property
    def frame(self) -> str | bytes:
        """The WebSocket's form: text, or the bare bytes of a binary message."""
        return self.data if isinstance(self.data, bytes) else self.type + self.data

    @property
    def record(self) -> str:
        """The form in a payload: text, or ``b`` and base64."""
        if self._record is None:
            if isinstance(self.data, bytes):
                self._record = "b" + base64.b64encode(self.data).decode("ascii")
            else:
                self._record = self.type + self.data
        return self._record

    @property
    def size(self) -> int:
        """The bytes of the frame. Raises UnicodeEncodeError for a lone surrogate."""
        if self._size < 0:
            self._size = _utf8_length(self.frame)
        return self._size


_TYPES: Final = {str(each): each for each in PacketType}

_DATA_ALLOWED: Final[dict[PacketType, frozenset[str] | None]] = {
    PacketType.OPEN: None,
    PacketType.CLOSE: frozenset({""}),
    PacketType.PING: frozenset({"", PROBE}),
    PacketType.PONG: frozenset({"", PROBE}),
    PacketType.MESSAGE: None,
    PacketType.UPGRADE: frozenset({""}),
    PacketType.NOOP: frozenset({""}),
}
"""The data that each type may carry; None for any ("Packet types")."""


def decode_frame(frame: str | bytes, max_bytes: int) -> Packet | Violation:
    """Return the packet of one WebSocket frame."""
    if _is_longer(frame, max_bytes):
        return Violation(Reason.TOO_LARGE)
    if isinstance(frame, bytes):
        return Packet(PacketType.MESSAGE, frame)
    return _decode_text(frame)


def decode_payload(body: bytes, max_bytes: int) -> Iterator[Packet | Violation]:
    """Give the packets of a POST's body one by one; a violation is the last.

    Bytes are limited, packets are not: the JavaScript client puts everything of one tick
    into one payload. A body may hold half a million, so they are made when asked for.
    """
    if len(body) > max_bytes:
        yield Violation(Reason.TOO_LARGE)
        return
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        yield Violation(Reason.INVALID_UTF8)
        return
    start = 0
    while start >= 0:
        end = text.find(SEPARATOR, start)
        packet = _decode_record(text[start:end] if end >= 0 else text[start:])
        yield packet
        if isinstance(packet, Violation):
            return
        start = end + 1 if end >= 0 else -1


def encode_payload(
    packets: Sequence[Packet], limit: int = PACKETS_PER_RESPONSE
) -> tuple[bytes, int]:
    """Return a response's body and how many packets, from the first on, it holds.

    Raises ValueError when there is nothing to encode: an empty payload is not legal.
    """
    taken = packets[:limit]
    if not taken:
        raise ValueError("a payload holds at least one packet")
    return SEPARATOR.join([packet.record for packet in taken]).encode(), len(taken)


def _decode_record(record: str) -> Packet | Violation:
    if not record.startswith("b"):
        return _decode_text(record)
    try:
        data = base64.b64decode(record[1:], validate=True)
    except ValueError:
        return Violation(Reason.INVALID_BASE64)
    return Packet(PacketType.MESSAGE, data)


def _decode_text(text: str) -> Packet | Violation:
    if not text:
        return Violation(Reason.EMPTY)
    kind = _TYPES.get(text[0])
    if kind is None:
        return Violation(Reason.UNKNOWN_TYPE)
    data = text[1:]
    allowed = _DATA_ALLOWED[kind]
    if allowed is not None and data not in allowed:
        return Violation(Reason.UNEXPECTED_DATA)
    return Packet(kind, data)


def _is_longer(frame: str | bytes, max_bytes: int) -> bool:
    if len(frame) > max_bytes:
        return True
    # No character takes more than four bytes of UTF-8, so short texts need no encoding.
    return len(frame) * 4 > max_bytes and _utf8_length(frame, "surrogatepass") > max_bytes


def _utf8_length(frame: str | bytes, errors: str = "strict") -> int:
    if isinstance(frame, bytes) or frame.isascii():
        return len(frame)
    return len(frame.encode("utf-8", errors))
