"""WebSocket frames (RFC 6455) of a server, and permessage-deflate (RFC 7692) without context.

:class:`FrameReader` turns a client's bytes into messages; the functions below make frames,
which are the same bytes for every client ("5.1. Overview": a server masks nothing), so a
broadcast is framed once. With both ``no_context_takeover`` parameters ("7.1.1.") it is
compressed once too, and a connection keeps no compressor.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from stretto_core.eio.violations import Reason, Violation

DEFLATE_OFFER: Final = "permessage-deflate"
DEFLATE_ANSWER: Final = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
"""What is answered to a client that offers the extension ("7.1. Negotiation")."""

DEFLATE_TAIL: Final = b"\x00\x00\xff\xff"
"""What ends a flushed block; it is not sent ("7.2.1. Compression")."""

FRAGMENTS: Final = 1_024
"""Frames that one message may consist of: each costs memory, however short it is."""

_DEFLATE_LEVEL: Final = 6
_CLOSE_CODES: Final = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
"""Codes that a peer may send ("7.4. Status Codes")."""


class Opcode(IntEnum):
    """What a frame is ("5.2. Base Framing Protocol")."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer with a pong of the same data ("5.5.2. Ping")."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The peer closes; answer with a close frame and end ("5.5.1. Close")."""

    code: int


Event = str | bytes | Ping | Close | Violation
"""A message, or what a control frame asks for. After a violation nothing follows."""

CLOSE_CODES: Final = {
    Reason.TOO_LARGE: 1009,
    Reason.INVALID_UTF8: 1007,
    Reason.INVALID_DEFLATE: 1007,
}
"""The status that goes with a violation; 1002 (protocol error) with any other."""


Unmask = Callable[[bytes, bytearray], None]
"""Takes a mask of 4 bytes off, in place ("5.3. Client-to-Server Masking")."""


def unmask(mask: bytes, data: bytearray) -> None:
    """Take a mask off, in place: one operation on two large integers."""
    length = len(data)
    key = int.from_bytes((mask * (length + 3 >> 2))[:length], "little")
    data[:] = (int.from_bytes(data, "little") ^ key).to_bytes(length, "little")


class FrameReader:
    """Puts the messages of one connection together from its bytes.

    ``max_bytes`` limits a message, inflated; ``deflate`` tells whether the extension was
    negotiated. Feed it bytes as they arrive.
    """

    __slots__ = (
        *("_buffer", "_deflate", "_idle", "_kind", "_max_bytes", "_over", "_parts", "_size"),
        *("_unmask", "_wanted"),
    )

    def __init__(self, max_bytes: int, *, deflate: bool = False, unmask: Unmask = unmask) -> None:
        self._max_bytes = max_bytes
        self._unmask = unmask
        self._deflate = deflate
        self._buffer: bytes | bytearray = b""
        self._wanted = 0
        self._parts: list[bytes] | None = None
        self._kind = 0
        self._size = 0
        self._over = False
        self._idle = True

    def whole_text(self, data: bytes) -> str | None:
        """Return the text of bytes that are one whole text frame, as most reads are.

        None says nothing but that :meth:`feed` is to be asked.
        """
        length = len(data) - 6
        start = 6
        if length > 125:
            length -= 2
            start = 8
            if length < 126 or data[1] != 0xFE or length != data[2] << 8 | data[3]:
                return None
        elif length < 0 or data[1] != length | 0x80:
            return None
        if data[0] != 0x81 or not self._idle or length > self._max_bytes:
            return None
        text = bytearray(data[start:])
        self._unmask(data[start - 4 : start], text)
        try:
            return text.decode()
        except UnicodeDecodeError:
            return None

    def feed(self, data: bytes) -> list[Event]:
        """Return what the bytes complete, in order."""
        if self._buffer:
            # A bytearray grows in place: a long message in many segments is copied once.
            if type(self._buffer) is bytes:
                self._buffer = bytearray(self._buffer)
            self._buffer += data
            # Whoever waits for a long frame looks at its header again only when it is whole.
            if len(self._buffer) < self._wanted:
                return []
            data = bytes(self._buffer)
            self._buffer = b""
        events: list[Event] = []
        position, end = 0, len(data)
        while position < end and not self._over:
            position = self._frame(data, position, end, events)
            if position < 0:
                break
        self._idle = not (self._buffer or self._over) and self._parts is None
        return events

    def _frame(self, data: bytes, start: int, end: int, events: list[Event]) -> int:
        """Read one frame at ``start``; return where the next one begins, -1 for none."""
        if end - start < 2:
            return self._wait(data, start)
        first, second = data[start], data[start + 1]
        reason = self._refuse_header(first, second)
        if reason is not None:
            return self._violate(reason, events)
        length = second & 0x7F
        position = start + 2
        if length > 125:
            width = 2 if length == 126 else 8
            if end - position < width:
                return self._wait(data, start)
            length = int.from_bytes(data[position : position + width])
            position += width
            if length < (126 if width == 2 else 65_536) or length >> 63:
                # "the minimal number of bytes MUST be used", and the highest bit is 0.
                return self._violate(Reason.INVALID_FRAME, events)
        if length + self._size > self._max_bytes and not first & 0x8:
            return self._violate(Reason.TOO_LARGE, events)
        body = position + 4
        if end - body < length:
            return self._wait(data, start, body + length - start)
        unmasked = bytearray(data[body : body + length])
        self._unmask(data[position:body], unmasked)
        payload = bytes(unmasked)
        if first & 0x8:
            event: Event | None = self._control(first & 0xF, payload)
        else:
            event = self._data(first, payload)
        if event is not None:
            if type(event) is Violation or type(event) is Close:
                self._over = True
            events.append(event)
        return body + length

    def _wait(self, data: bytes, start: int, wanted: int = 0) -> int:
        """Keep the beginning of a frame, of ``wanted`` bytes once its header was checked."""
        self._buffer = data[start:]
        self._wanted = wanted
        return -1

    def _violate(self, reason: Reason, events: list[Event]) -> int:
        self._over = True
        events.append(Violation(reason))
        return -1

    def _refuse_header(self, first: int, second: int) -> Reason | None:
        """Check the first two bytes ("5.2." to "5.5."); the usual ones pass at once."""
        if not second & 0x80:
            return Reason.UNMASKED  # "5.1.": close the connection upon it
        if first == 0x81 and self._parts is None:
            return None
        opcode = first & 0xF
        if opcode not in (0, 1, 2, 8, 9, 10):
            return Reason.INVALID_FRAME
        if opcode & 0x8:
            # "5.5.": at most 125 bytes, never fragmented, never compressed.
            whole = first & 0xF0 == 0x80 and second & 0x7F <= 125
            return None if whole else Reason.INVALID_FRAME
        compressed = first & 0x70
        if compressed and not (compressed == 0x40 and self._deflate and opcode):
            return Reason.INVALID_FRAME
        if bool(opcode) is (self._parts is not None):
            # "5.4. Fragmentation": a continuation of nothing, or a message within one.
            return Reason.INVALID_FRAME
        return None

    def _control(self, opcode: int, payload: bytes) -> Event | None:
        if opcode == Opcode.PING:
            return Ping(payload)
        if opcode == Opcode.PONG:
            return None
        if not payload:
            return Close(1000)
        code = int.from_bytes(payload[:2])
        if len(payload) < 2 or code not in _CLOSE_CODES:
            return Violation(Reason.INVALID_FRAME)
        try:
            payload[2:].decode()
        except UnicodeDecodeError:
            return Violation(Reason.INVALID_UTF8)
        return Close(code)

    def _data(self, first: int, payload: bytes) -> Event | None:
        """Take the payload of a data frame; the last one of a message completes it."""
        if first & 0x80:
            if self._parts is None:
                return self._message(first, payload)
            self._parts.append(payload)
            payload, kind = b"".join(self._parts), self._kind
            self._parts, self._size = None, 0
            return self._message(kind, payload)
        if self._parts is None:
            self._parts, self._kind = [], first
        self._parts.append(payload)
        self._size += len(payload)
        return None if len(self._parts) < FRAGMENTS else Violation(Reason.TOO_LARGE)

    def _message(self, first: int, payload: bytes) -> Event:
        if first & 0x40:
            inflated = inflate(payload, self._max_bytes)
            if isinstance(inflated, Violation):
                return inflated
            payload = inflated
        if first & 0xF == Opcode.BINARY:
            return payload
        try:
            return payload.decode()
        except UnicodeDecodeError:
            return Violation(Reason.INVALID_UTF8)


def encode_frame(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    """Return the one frame of a message, or a control frame."""
    first = 0x80 | (0x40 if compressed else 0) | opcode
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65_536:
        return bytes((first, 126, length >> 8, length & 0xFF)) + payload
    return bytes((first, 127)) + length.to_bytes(8) + payload


def message_frame(message: str | bytes) -> bytes:
    """Return the frame of a message. Raises UnicodeEncodeError for a lone surrogate."""
    if isinstance(message, str):
        return encode_frame(Opcode.TEXT, message.encode())
    return encode_frame(Opcode.BINARY, message)


def deflated_frame(message: str | bytes) -> bytes:
    """Return the frame of a message, compressed by itself."""
    opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
    data = message.encode() if isinstance(message, str) else message
    return encode_frame(opcode, deflate(data), compressed=True)


def close_frame(code: int = 1000) -> bytes:
    """Return a close frame ("5.5.1. Close")."""
    return encode_frame(Opcode.CLOSE, code.to_bytes(2))


def deflate(data: bytes) -> bytes:
    """Compress a message ("7.2.1. Compression")."""
    compressor = zlib.compressobj(_DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflate(data: bytes, max_bytes: int) -> bytes | Violation:
    """Return a compressed message's data, never making more of it than is allowed."""
    inflator = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflator.decompress(data + DEFLATE_TAIL, max_bytes + 1)
    except zlib.error:
        return Violation(Reason.INVALID_DEFLATE)
    if len(inflated) > max_bytes:
        return Violation(Reason.TOO_LARGE)
    return inflated
