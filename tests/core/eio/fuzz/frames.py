"""WebSocket frames: the reader against one that has everything at once and hurries nowhere."""

import random
import zlib
from collections.abc import Iterator
from typing import Final

from stretto_core.eio.violations import Reason, Violation
from stretto_core.eio.websocket import (
    FRAGMENTS,
    Close,
    Event,
    FrameReader,
    Opcode,
    Ping,
    deflate,
    encode_frame,
    inflate,
)

MAX_BYTES: Final = 600
MASK: Final = b"\x01\x02\x03\x04"


def masked(opcode: int, payload: bytes, *, first: int = 0x80) -> bytes:
    """Return a client's frame; ``first`` holds the bits beside the opcode."""
    head = bytearray(encode_frame(opcode, b""))[:1]
    head[0] = first | opcode
    length = encode_frame(opcode, payload)[1 : 2 if len(payload) < 126 else 4]
    body = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))
    return bytes(head) + bytes([length[0] | 0x80]) + length[1:] + MASK + body


STREAMS: Final = [
    masked(Opcode.TEXT, b"4hello"),
    masked(Opcode.TEXT, "4€".encode() * 100) + masked(Opcode.BINARY, bytes(300)),
    masked(Opcode.TEXT, b"4he", first=0)
    + masked(Opcode.PING, b"x")
    + masked(Opcode.CONTINUATION, b"llo"),
    masked(Opcode.TEXT, b"4\xe2", first=0) + masked(Opcode.CONTINUATION, b"\x82\xac"),
    masked(Opcode.TEXT, deflate(b"4" + b"a" * 500), first=0xC0),
    masked(Opcode.BINARY, deflate(bytes(MAX_BYTES + 1)), first=0xC0),
    masked(Opcode.TEXT, deflate(b"4ab")[:3], first=0x40)
    + masked(Opcode.CONTINUATION, deflate(b"4ab")[3:]),
    masked(Opcode.CLOSE, b"\x03\xe8bye") + masked(Opcode.TEXT, b"4late"),
    masked(Opcode.PONG, b"") * 3,
    masked(Opcode.CONTINUATION, b"", first=0) * 3,
    masked(Opcode.TEXT, b"", first=0) + masked(Opcode.CONTINUATION, b"", first=0) * FRAGMENTS,
    b"\x81\xfe\x00\x7d",
    b"\x81\xff\x80",
    encode_frame(Opcode.TEXT, b"4unmasked"),
]


def check_stream(data: bytes) -> None:
    """Feed a client's bytes in one piece, byte by byte and in pieces: it is all the same."""
    chance = random.Random(zlib.crc32(data))
    for compressed in (False, True):
        expected = list(_events(data, compressed))
        assert _feed([data], compressed) == expected
        pieces = list(_pieces(data, chance))
        assert _feed(pieces, compressed) == expected, pieces
        if len(data) < 200:
            assert _feed([data[at : at + 1] for at in range(len(data))], compressed) == expected
        ends = [isinstance(one, Violation | Close) for one in expected]
        assert not any(ends[:-1])
        sizes = [len(one.encode()) for one in expected if isinstance(one, str)]
        sizes += [len(one) for one in expected if isinstance(one, bytes)]
        assert all(size <= MAX_BYTES for size in sizes)


def _feed(pieces: list[bytes], compressed: bool) -> list[Event]:
    reader = FrameReader(MAX_BYTES, deflate=compressed)
    events: list[Event] = []
    for piece in pieces:
        text = reader.whole_text(piece)
        if text is None:
            events += reader.feed(piece)
        else:
            events.append(text)
        assert len(reader._buffer) <= MAX_BYTES + 14
        assert sum(map(len, reader._parts or ())) <= MAX_BYTES
        assert len(reader._parts or ()) <= FRAGMENTS
    if events and isinstance(events[-1], Violation | Close):
        behind = masked(Opcode.TEXT, b"4behind")
        assert reader.whole_text(behind) is None
        assert reader.feed(behind) == []
    return events


def _pieces(data: bytes, chance: random.Random) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        size = chance.choice([1, 2, 3, 7, 50, 1_000])
        yield data[start : start + size]
        start += size


def _events(data: bytes, compressed: bool) -> Iterator[Event]:
    """Read what RFC 6455 and RFC 7692 say of these bytes; the first mistake is the end."""
    parts: list[bytes] = []
    kind = 0
    while len(data) >= 2:
        reason = _header(data[0], data[1], bool(parts), compressed)
        if reason is not None:
            yield Violation(reason)
            return
        width = {126: 2, 127: 8}.get(data[1] & 127, 0)
        if len(data) < 2 + width:
            return
        length = int.from_bytes(data[2 : 2 + width], "big") if width else data[1] & 127
        if (width == 2 and length < 126) or (width == 8 and not 65_536 <= length < 1 << 63):
            yield Violation(Reason.INVALID_FRAME)
            return
        if not data[0] & 8 and sum(map(len, parts)) + length > MAX_BYTES:
            yield Violation(Reason.TOO_LARGE)
            return
        start = 2 + width + 4
        if len(data) < start + length:
            return
        mask = data[start - 4 : start]
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data[start:][:length]))
        first, data = data[0], data[start + length :]
        if first & 8:
            yield from _control(first & 15, payload)
            if first & 15 == Opcode.CLOSE:
                return
            continue
        kind = kind if parts else first
        parts.append(payload)
        if not first & 0x80:
            if len(parts) == FRAGMENTS:
                yield Violation(Reason.TOO_LARGE)
                return
            continue
        event = _message(kind, b"".join(parts))
        parts = []
        yield event
        if isinstance(event, Violation):
            return


def _header(first: int, second: int, within: bool, compressed: bool) -> Reason | None:
    opcode, final, bits = first & 15, first & 0x80, first & 0x70
    if not second & 0x80:
        return Reason.UNMASKED
    legal = opcode in tuple(Opcode)
    if opcode & 8:
        legal = legal and bool(final) and not bits and second & 127 < 126
    else:
        legal = legal and (opcode == 0) == within
        legal = legal and (not bits or (bits == 0x40 and compressed and opcode != 0))
    return None if legal else Reason.INVALID_FRAME


def _control(opcode: int, payload: bytes) -> Iterator[Event]:
    if opcode == Opcode.PING:
        yield Ping(payload)
    if opcode == Opcode.CLOSE and not payload:
        yield Close(1000)
    elif opcode == Opcode.CLOSE:
        code = int.from_bytes(payload[:2], "big")
        legal = code in (1000, 1001, 1002, 1003, *range(1007, 1015)) or 3000 <= code < 5000
        if len(payload) < 2 or not legal:
            yield Violation(Reason.INVALID_FRAME)
        elif payload[2:] != payload[2:].decode(errors="ignore").encode():
            yield Violation(Reason.INVALID_UTF8)
        else:
            yield Close(code)


def _message(first: int, payload: bytes) -> Event:
    if first & 0x40:
        inflated = inflate(payload, MAX_BYTES)
        if isinstance(inflated, Violation):
            return inflated
        payload = inflated
    if first & 15 == Opcode.BINARY:
        return payload
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return Violation(Reason.INVALID_UTF8)
