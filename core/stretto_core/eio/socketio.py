"""The packets of Socket.IO 5, as they travel in Engine.IO messages.

Protocol revision 5, "Packet encoding":
``<type>[<attachments>-][<namespace>,][<ack id>][JSON]``, and one binary message for each
attachment afterwards. The rules for payloads are those of the reference decoder
(``Decoder`` of socket.io-parser 4.2), which closes the connection on each; beyond it a
packet's bytes, depth and numbers are limited, because a server relays what it decodes.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple, NoReturn

from stretto_core.eio.payloads import Survey, deconstruct, reconstruct, survey
from stretto_core.eio.violations import Reason, Violation

MAX_ATTACHMENTS: Final = 10
"""As in socket.io-parser since 4.2.6; before, one packet could announce millions."""

MAX_DEPTH: Final = 64
"""Levels of lists and objects. Deeper ones overflow the stack of recursive readers."""

MAX_BYTES: Final = 1024 * 1024
"""Of a packet with all its attachments; Stretto's ``message_bytes``."""

MAX_ID: Final = 2**53 - 1
"""JavaScript's ``Number.MAX_SAFE_INTEGER``: a larger id would be answered as another one."""

RESERVED_EVENTS: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""``RESERVED_EVENTS`` of socket.io-parser: they would call handlers that nobody emitted to."""


class PacketType(IntEnum):
    """The types of protocol revision 5. Decoded packets are never of a binary type."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


CLIENT_TYPES: Final = frozenset(PacketType) - {PacketType.CONNECT_ERROR}
"""What a client may send ("Connection to a namespace": only servers refuse)."""

_WITHOUT_BINARY: Final = {
    PacketType.BINARY_EVENT: PacketType.EVENT,
    PacketType.BINARY_ACK: PacketType.ACK,
}
_WITH_BINARY: Final = {plain: binary for binary, plain in _WITHOUT_BINARY.items()}


class SocketPacket(NamedTuple):
    """A packet with its binary data in place; ``data`` is None where there is no payload."""

    type: PacketType
    namespace: str = "/"
    id: int | None = None
    data: Any = None


_TYPES: Final = {str(int(kind)): kind for kind in PacketType}
_EVENT: Final = PacketType.EVENT
_ACK: Final = PacketType.ACK
_PLAIN_TYPES: Final = {"2": _EVENT, "3": _ACK}
"""Of packets without attachments, which is nearly every packet."""
_HEADER: Final = re.compile(r"([0-6])(?:([0-9]*)-)?(?:(/[^,]*)(?:,|\Z))?([0-9]*)")
"""All but the payload. Digits are ASCII: other scripts' would pass ``str.isdigit``."""


class NotFiniteError(ValueError):
    """Raised for JSON with NaN, Infinity or a number that a relay would make one of them."""


Loads = Callable[[str], Any]
Dumps = Callable[[Any], str]


def loads_finite(text: str) -> Any:
    """Return the value of JSON; raises ValueError for numbers that are no finite doubles."""
    return json.loads(text, parse_constant=_refuse, parse_float=_double, parse_int=_integer)


def _refuse(name: str) -> NoReturn:
    raise NotFiniteError(name)


def _double(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise NotFiniteError(digits)
    return number


def _integer(digits: str) -> int:
    # The largest double has 309 digits; int() of very many would be slow besides.
    if len(digits) > 300:
        _double(digits)
    return int(digits)


def dumps_finite(value: Any) -> str:
    """Return compact JSON; raises ValueError for NaN and Infinity, which are none."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class _Header:
    """What stands before a payload; ``type`` is the one without binary data."""

    type: PacketType
    namespace: str
    id: int | None
    attachments: int
    payload: str

    def packet(self, data: Any = None) -> SocketPacket:
        return SocketPacket(self.type, self.namespace, self.id, data)


@dataclass(slots=True)
class _Pending:
    """A packet whose attachments have not all come, and the bytes that they may still be."""

    packet: SocketPacket
    expected: int
    budget: int
    attachments: list[bytes] = field(default_factory=list)


class Decoder:
    """Puts the packets of one connection together from its messages.

    After a violation it refuses everything else for the same reason: close the connection.
    """

    __slots__ = (
        *("_loads", "_max_attachments", "_max_bytes", "_max_depth", "_pending"),
        *("_plain_types", "_reserved", "_types", "_violation"),
    )

    def __init__(
        self,
        *,
        loads: Loads = loads_finite,
        types: frozenset[PacketType] = CLIENT_TYPES,
        max_bytes: int = MAX_BYTES,
        max_attachments: int = MAX_ATTACHMENTS,
        max_depth: int = MAX_DEPTH,
        reserved: frozenset[str] = RESERVED_EVENTS,
    ) -> None:
        """Limit what a peer may send; events of ``reserved`` names are violations.

        ``loads`` raises ValueError for what is not JSON or not finite, RecursionError or
        ValueError for what is nested too deep for it.
        """
        self._loads = loads
        self._types = types
        self._plain_types = _PLAIN_TYPES
        if types is not CLIENT_TYPES:
            self._plain_types = {
                digit: kind for digit, kind in _PLAIN_TYPES.items() if kind in types
            }
        self._max_bytes = max_bytes
        self._max_attachments = max_attachments
        self._max_depth = max_depth
        self._reserved = reserved
        self._pending: _Pending | None = None
        self._violation: Violation | None = None

    def decode(self, message: str | bytes) -> SocketPacket | Violation | None:
        """Take a message: a packet is complete, or impossible, or None while it is neither."""
        if self._violation is not None:
            return self._violation
        if self._pending is None and type(message) is str:
            packet = self._plain(message)
            if packet is not None:
                return packet
        decoded = self._binary(message) if isinstance(message, bytes) else self._text(message)
        if isinstance(decoded, Violation):
            self._violation = decoded
            self._pending = None
        return decoded

    @property
    def awaited(self) -> str | None:
        """The namespace of a packet whose attachments are still to come."""
        return self._pending.packet.namespace if self._pending is not None else None

    def _plain(self, text: str) -> SocketPacket | None:
        """Return the packet of a plain event or ack; None leaves any doubt to :meth:`_text`."""
        start = text.find("[")
        if start < 1 or len(text) * 4 > self._max_bytes:
            return None
        kind = self._plain_types.get(text[0])
        if kind is None:
            return None
        namespace, digits = "/", text[1:start]
        if digits[:1] == "/":
            namespace, comma, digits = digits.partition(",")
            if not comma:
                return None
        if digits:
            if len(digits) > 15 or not (digits.isascii() and digits.isdigit()):
                return None
        elif kind is _ACK:
            return None
        # Each level takes two characters, so most packets need no closer look.
        if len(text) > 2 * self._max_depth and text.count("[") + text.count("{") > self._max_depth:
            return None
        try:
            data = self._loads(text[start:])
        except ValueError:
            return None
        if type(data) is not list:
            return None
        if kind is _EVENT and (not data or type(data[0]) is not str or data[0] in self._reserved):
            return None
        ack = int(digits) if digits else None
        # As the constructor does, without its call in Python.
        return tuple.__new__(SocketPacket, (kind, namespace, ack, data))

    def _binary(self, data: bytes) -> SocketPacket | Violation | None:
        pending = self._pending
        if pending is None:
            return Violation(Reason.UNEXPECTED_BINARY)
        pending.budget -= len(data)
        if pending.budget < 0:
            return Violation(Reason.TOO_LARGE)
        pending.attachments.append(data)
        if len(pending.attachments) < pending.expected:
            return None
        self._pending = None
        whole = reconstruct(pending.packet.data, pending.attachments)
        return pending.packet._replace(data=whole)

    def _text(self, text: str) -> SocketPacket | Violation | None:
        if self._pending is not None:
            return Violation(Reason.MISSING_BINARY)
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if size > self._max_bytes:
            return Violation(Reason.TOO_LARGE)
        header = self._header(text)
        if isinstance(header, Violation):
            return header
        packet = self._payload(header)
        if isinstance(packet, Violation) or not header.attachments:
            return packet
        self._pending = _Pending(packet, header.attachments, self._max_bytes - size)
        return None

    def _header(self, text: str) -> _Header | Violation:
        """Read everything before the payload ("Packet encoding")."""
        if not text:
            return Violation(Reason.EMPTY)
        match = _HEADER.match(text)
        if match is None:
            return Violation(Reason.UNKNOWN_TYPE)
        digit, count, namespace, digits = match.groups()
        kind = _TYPES[digit]
        if kind not in self._types:
            return Violation(Reason.UNEXPECTED_TYPE)
        attachments = _attachments(kind, count, self._max_attachments)
        if isinstance(attachments, Violation):
            return attachments
        kind = _WITHOUT_BINARY.get(kind, kind)
        ack = _ack_id(kind, digits)
        if isinstance(ack, Violation):
            return ack
        return _Header(kind, namespace or "/", ack, attachments, text[match.end() :])

    def _payload(self, header: _Header) -> SocketPacket | Violation:
        """Parse the payload and check its shape, depth, numbers and placeholders."""
        if not header.payload:
            reason = _shape(header.type, None, self._reserved)
            return header.packet() if reason is None else Violation(reason)
        try:
            data = self._loads(header.payload)
        except RecursionError:
            return Violation(Reason.TOO_DEEP)
        except NotFiniteError:
            return Violation(Reason.NOT_FINITE)
        except ValueError:
            return Violation(Reason.INVALID_JSON)
        surveyed = survey(data, self._max_depth, placeholders=header.attachments > 0)
        if isinstance(surveyed, Violation):
            return surveyed
        if data is None:
            return Violation(Reason.INVALID_PAYLOAD)
        reason = _shape(header.type, data, self._reserved) or _pairing(surveyed, header.attachments)
        return header.packet(data) if reason is None else Violation(reason)


def encode(
    packet: SocketPacket,
    *,
    dumps: Dumps = dumps_finite,
    max_attachments: int = MAX_ATTACHMENTS,
) -> list[str | bytes]:
    """Return the messages of a packet: its text, then its attachments.

    Raises ValueError for what a peer would have to refuse.
    """
    reason = mistake(packet)
    if reason is not None:
        raise ValueError(f"no peer accepts this packet: {reason}")
    data, attachments = deconstruct(packet.data)
    if len(attachments) > max_attachments:
        raise ValueError(f"{len(attachments)} attachments; at most {max_attachments} may be sent")
    kind = _WITH_BINARY.get(packet.type) if attachments else packet.type
    if kind is None:
        raise ValueError(f"a packet of type {packet.type.name} cannot hold binary data")
    return ["".join(_parts(packet, kind, data, len(attachments), dumps)), *attachments]


def mistake(packet: SocketPacket) -> Reason | None:
    """Find what no side may send, however it is written."""
    if not packet.namespace.startswith("/") or "," in packet.namespace:
        return Reason.INVALID_PAYLOAD
    if packet.id is not None and type(packet.id) is not int:
        return Reason.INVALID_ID
    digits = "" if packet.id is None else str(packet.id)
    if digits.startswith("-") or isinstance(_ack_id(packet.type, digits), Violation):
        return Reason.INVALID_ID
    return _shape(packet.type, packet.data, RESERVED_EVENTS)


def _parts(
    packet: SocketPacket, kind: PacketType, data: Any, attachments: int, dumps: Dumps
) -> Iterator[str]:
    yield str(int(kind))
    if attachments:
        yield f"{attachments}-"
    if packet.namespace != "/":
        yield packet.namespace + ","
    if packet.id is not None:
        yield str(packet.id)
    if data is not None:
        yield dumps(data)


def _attachments(kind: PacketType, count: str | None, most: int) -> int | Violation:
    """Read the count that binary packets have, 1 or more, and others have not."""
    if kind not in _WITHOUT_BINARY:
        return 0 if count is None else Violation(Reason.INVALID_ATTACHMENTS)
    digits = (count or "").lstrip("0")
    if not digits:
        return Violation(Reason.INVALID_ATTACHMENTS)
    if len(digits) > len(str(most)) or int(digits) > most:
        return Violation(Reason.TOO_MANY_ATTACHMENTS)
    return int(digits)


def _ack_id(kind: PacketType, digits: str) -> int | Violation | None:
    """Read the id that acks have and events may have ("Acknowledgement")."""
    if not digits:
        return Violation(Reason.INVALID_ID) if kind is PacketType.ACK else None
    if kind not in (PacketType.EVENT, PacketType.ACK):
        return Violation(Reason.INVALID_ID)
    if len(digits) > len(str(MAX_ID)) or int(digits) > MAX_ID:
        return Violation(Reason.INVALID_ID)
    return int(digits)


def _shape(kind: PacketType, data: Any, reserved: frozenset[str]) -> Reason | None:
    """Check a payload's shape: ``Decoder.isPayloadValid`` of socket.io-parser.

    None is no payload: what "Connection to a namespace" may have and "Disconnection" has.
    """
    if kind is PacketType.CONNECT:
        valid = data is None or type(data) is dict
    elif kind is PacketType.DISCONNECT:
        valid = data is None
    elif kind is PacketType.CONNECT_ERROR:
        valid = type(data) in (dict, str)
    elif kind is PacketType.ACK:
        valid = type(data) is list
    else:
        # "Event": a list that starts with the event's name. Numbers are names too.
        valid = type(data) is list and data != [] and type(data[0]) in (str, int, float)
        if valid and type(data[0]) is str and data[0] in reserved:
            return Reason.RESERVED_EVENT
    return None if valid else Reason.INVALID_PAYLOAD


def _pairing(surveyed: Survey, attachments: int) -> Reason | None:
    """Check that each attachment is meant by exactly one placeholder.

    The reference decoder lets several mean the same one, but a server that relays such a
    packet would send that attachment several times.
    """
    paired = sorted(surveyed.placeholders) == list(range(attachments))
    return None if paired else Reason.INVALID_PLACEHOLDER
