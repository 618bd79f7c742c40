"""Socket.IO packets: what is decoded is sound, and is decoded again from what is encoded."""

import json
from collections.abc import Iterator
from typing import Any, Final

from stretto_core.eio.socketio import (
    MAX_ID,
    Decoder,
    Loads,
    PacketType,
    SocketPacket,
    encode,
    loads_finite,
    mistake,
)
from stretto_core.eio.violations import Violation

MAX_BYTES: Final = 2_000
MAX_ATTACHMENTS: Final = 3
MAX_DEPTH: Final = 8
Message = str | bytes

ZERO: Final = b'{"_placeholder":true,"num":0}'
ONE: Final = b'{"_placeholder":true,"num":1}'
CONVERSATIONS: Final = [
    b'2["hello",1,{"a":[true,null,-1.5e3,"x"]}]',
    b"0",
    b'0/admin,{"token":"x"}',
    b"1/admin,",
    b"312[]\n3/a,13[1]",
    b'2/admin?a=b,456["project:delete",123]',
    b'51-["a",' + ZERO + b"]\n\x00\x01\x02",
    b'52-/a,7["b",[' + ONE + b"," + ZERO + b"]]\n\x00\x01\n\x00\x02",
    b"61-/a,9[" + ZERO + b"]\n\x00",
    b'2["_placeholder",{"_placeholder":true,"num":0}]',
    b'2["a",NaN]\n2["a",1e999]\n2["a",-Infinity]',
    b'2["a",123456789012345678901234567890,0.1,1E5]',
    b'2["a","\\ud800","\\u0000"]',
    b'2["a",' + b"[" * 20 + b"]" * 20 + b"]",
    b'2["a",' + b'{"":' * 20 + b"1" + b"}" * 20 + b"]",
    b'29007199254740992["a"]',
    b'2["connect"]\n2["a"]',
    b'4{"message":"x"}',
    b"2[1]\n2[]\n2",
    '2["€",{"é":"😀"}]'.encode(),
]


def decoder(loads: Loads = loads_finite) -> Decoder:
    """Return a decoder with small limits."""
    return Decoder(
        loads=loads,
        max_bytes=MAX_BYTES,
        max_attachments=MAX_ATTACHMENTS,
        max_depth=MAX_DEPTH,
    )


def messages(data: bytes) -> Iterator[Message]:
    """Give the messages of one connection: lines, binary ones with a zero byte before them."""
    for line in data.split(b"\n"):
        if line[:1] == b"\0":
            yield line[1:]
        else:
            yield line.decode("utf-8", "replace" if line[:1] == b"2" else "surrogateescape")


def check_conversation(data: bytes) -> None:
    """Decode the messages of one connection."""
    decoded = list(_decoded(decoder(), data))
    spent = 0
    for message, packet in decoded:
        spent += len(message if isinstance(message, bytes) else message.encode("utf-8", "replace"))
        if isinstance(packet, SocketPacket):
            _check_packet(packet)
            assert _size(packet.data) <= MAX_BYTES * 2
            spent = 0
        elif packet is None:
            assert spent <= MAX_BYTES
    carefully = decoder()
    carefully._plain_types = {}
    assert list(_decoded(carefully, data)) == decoded, "the short way differs from the long one"


def compare_parsers(data: bytes, loads: Loads) -> None:
    """Decode with another parser of JSON: the same packets, and mistakes at the same places."""
    ours, theirs = _decoded(decoder(loads_finite), data), _decoded(decoder(loads), data)
    for (message, one), (_, other) in zip(ours, theirs, strict=True):
        if isinstance(one, Violation):
            assert isinstance(other, Violation), message
        else:
            assert _alike(one) == _alike(other), message


def _decoded(
    decoder: Decoder, data: bytes
) -> Iterator[tuple[Message, SocketPacket | Violation | None]]:
    violation: Violation | None = None
    for message in messages(data):
        packet = decoder.decode(message)
        assert packet is None or isinstance(packet, SocketPacket | Violation)
        assert violation is None or packet == violation, "something came behind a violation"
        assert (decoder.awaited is not None) is (packet is None)
        violation = packet if isinstance(packet, Violation) else None
        yield message, packet


def _check_packet(packet: SocketPacket) -> None:
    assert mistake(packet) is None
    assert packet.type in (
        *(PacketType.CONNECT, PacketType.DISCONNECT, PacketType.EVENT, PacketType.ACK),
    )
    assert packet.id is None or 0 <= packet.id <= MAX_ID
    found: list[bytes] = []
    assert _depth(packet.data, found) <= MAX_DEPTH
    assert len(found) <= MAX_ATTACHMENTS
    encoded = encode(packet, max_attachments=MAX_ATTACHMENTS)
    again = Decoder(max_bytes=1 << 20, max_attachments=MAX_ATTACHMENTS, max_depth=MAX_DEPTH)
    *before, last = [again.decode(message) for message in encoded]
    assert all(one is None for one in before)
    assert repr(last) == repr(packet)


def _depth(data: Any, found: list[bytes]) -> int:
    """Return the levels of decoded data, and gather its attachments."""
    if isinstance(data, bytes):
        found.append(data)
    if isinstance(data, dict):
        return 1 + max((_depth(value, found) for value in data.values()), default=0)
    if isinstance(data, list):
        return 1 + max((_depth(value, found) for value in data), default=0)
    if isinstance(data, int | float):
        assert abs(float(data)) < float("inf")
    return 0


def _size(data: Any) -> int:
    if isinstance(data, bytes):
        return len(data)
    if isinstance(data, dict):
        return sum(map(_size, data.values()))
    if isinstance(data, list):
        return sum(map(_size, data))
    return len(json.dumps(data, ensure_ascii=False))


def _alike(value: Any) -> Any:
    """Return data as JavaScript sees it: large integers are doubles."""
    if isinstance(value, tuple | list):
        return [_alike(one) for one in value]
    if isinstance(value, dict):
        return {key: _alike(one) for key, one in value.items()}
    if type(value) is int and abs(value) > MAX_ID:
        return float(value)
    return value
