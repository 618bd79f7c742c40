"""The other decoders that the server puts before itself: orjson, msgpack, python-socketio's."""

from typing import Final

import msgpack
from socketio.packet import Packet as StockPacket

from stretto_core.eio.socketio import SocketPacket, mistake
from stretto_core.eio.violations import Violation
from stretto_server import wire_json
from stretto_server.engine.codecs import ClassCodec, MsgPackCodec, PacketDecoder
from tests.core.eio.fuzz.messages import MAX_ATTACHMENTS, MAX_BYTES, compare_parsers, messages

PACKED: Final = [
    msgpack.packb(packet)
    for packet in (
        {"type": 0, "nsp": "/"},
        {"type": 0, "nsp": "/a", "data": {"token": "x"}},
        {"type": 2, "nsp": "/", "id": 7, "data": ["hello", b"\x01", 1.5, None]},
        {"type": 3, "nsp": "/a", "id": 0, "data": []},
        {"type": 1, "nsp": "/a"},
        {"type": 2, "nsp": "/", "data": ["a", msgpack.ExtType(0, b"\0"), msgpack.Timestamp(1, 2)]},
        {"type": 2, "nsp": "/", "data": ["a", float("nan"), 2**64 - 1]},
        {"type": 5, "nsp": "/", "data": ["a"]},
        ["a", 1],
    )
]


def check_json(data: bytes) -> None:
    """Decode with the server's JSON as with the standard library's."""
    compare_parsers(data, wire_json.parse)


def check_msgpack(data: bytes) -> None:
    """Decode a packet of msgpack, and what is encoded from it again."""
    codec = MsgPackCodec(max_bytes=MAX_BYTES)
    for message in (data, data.decode("latin-1")):
        packet = codec.decode(message)
        if isinstance(packet, SocketPacket):
            assert mistake(packet) is None
            (again,) = codec.encode(packet).attachments
            assert repr(MsgPackCodec(max_bytes=1 << 20).decode(again)) == repr(packet)
        else:
            assert isinstance(packet, Violation)


def check_class(data: bytes) -> None:
    """Decode with a packet class: whatever it does, nothing is raised."""
    decoder: PacketDecoder = ClassCodec(
        StockPacket, max_bytes=MAX_BYTES, max_attachments=MAX_ATTACHMENTS
    ).decoder()
    for message in messages(data):
        packet = decoder.decode(message)
        assert packet is None or isinstance(packet, SocketPacket | Violation)
        assert packet is None or decoder.awaited is None or isinstance(packet, Violation)
        if isinstance(packet, Violation):
            return
        assert packet is None or mistake(packet) is None
