"""Ways of writing packets: JSON with attachments, msgpack, and a class of the application."""

import json
import math
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from socketio.msgpack_packet import MsgPackPacket
from socketio.packet import Packet

from stretto_core.eio.socketio import MAX_DEPTH, Decoder, PacketType, SocketPacket
from stretto_core.eio.violations import Reason, Violation
from stretto_server.engine.codecs import ClassCodec, Codec, JsonCodec, MsgPackCodec

CONNECT, EVENT, ACK = PacketType.CONNECT, PacketType.EVENT, PacketType.ACK
ZERO = '{"_placeholder":true,"num":0}'


def json_codec(module: Any = None, **options: Any) -> JsonCodec:
    return JsonCodec(module, **{"max_bytes": 10_000, "max_attachments": 3, **options})


def event(*data: Any, namespace: str = "/", ack: int | None = None) -> SocketPacket:
    return SocketPacket(EVENT, namespace, ack, list(data))


def read(codec: Codec, packet: SocketPacket) -> SocketPacket | Violation | None:
    """Return what a peer of the same codec reads."""
    decoder, decoded = codec.decoder(), None
    for each in codec.encode(packet).packets:
        decoded = decoder.decode(each.data)
    return decoded


CODECS: dict[str, Codec] = {
    "json": json_codec(),
    "json of the standard library": json_codec(json),
    "msgpack": MsgPackCodec(max_bytes=10_000),
    "python-socketio's own class": ClassCodec(Packet, max_bytes=10_000, max_attachments=3),
    "python-socketio's msgpack": ClassCodec(MsgPackPacket, max_bytes=10_000, max_attachments=3),
}
every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)

PACKETS = [
    SocketPacket(CONNECT, "/", None, None),
    SocketPacket(CONNECT, "/a", None, {"token": "é"}),
    SocketPacket(PacketType.DISCONNECT, "/a", None, None),
    event("a"),
    event("a", {"b": [1, None, True, "😀"]}, namespace="/docs", ack=7),
    SocketPacket(ACK, "/", 0, []),
    SocketPacket(ACK, "/docs", 12, [{"ok": True}]),
    event("a", b"\x00", {"b": b"\x01"}, ack=1),
    SocketPacket(ACK, "/docs", 12, [b"\x00\xff"]),
]


@every_codec
@pytest.mark.parametrize("packet", PACKETS, ids=repr)
def test_packets_round_trip(codec: Codec, packet: SocketPacket) -> None:
    # What is remembered of the first time must not change the second.
    assert [read(codec, packet), read(codec, packet)] == [packet, packet]


@every_codec
def test_nothing_is_awaited_at_first(codec: Codec) -> None:
    assert codec.decoder().awaited is None


# JSON.


def test_text_as_the_wire_has_it() -> None:
    codec = json_codec()
    for _ in range(2):
        assert codec.encode(event("a", {"b": 1})).text == b'42["a",{"b":1}]'
        assert codec.encode(event("é", ack=3, namespace="/d")).text == '42/d,3["é"]'.encode()
        assert codec.encode(SocketPacket(CONNECT, "/d", None, {})).text == b"40/d,{}"
        assert codec.encode(SocketPacket(PacketType.DISCONNECT, "/d")).text == b"41/d,"
        attached = codec.encode(event("a", b"x"))
        assert attached.text == f'451-["a",{ZERO}]'.encode()
        assert attached.attachments == (b"x",)


def test_an_ack_without_binary_data_is_text_at_once() -> None:
    codec = json_codec()
    assert codec.ack_text("/", 7, [{"ok": True}]) == b'437[{"ok":true}]'
    assert codec.ack_text("/docs", 7, []) == b"43/docs,7[]"
    assert codec.ack_text("/docs", 7, [b"binary"]) is None


@pytest.mark.parametrize(
    "packet",
    [
        event(),
        event("connect"),
        event("a", namespace="no slash"),
        event("a", namespace="/a,b"),
        event("a", *[b""] * 4),
        event("a", {"_placeholder": True, "num": 0}, b""),
        SocketPacket(CONNECT, "/", None, {"a": b""}),
    ],
)
def test_what_no_peer_would_accept_is_refused(packet: SocketPacket) -> None:
    with pytest.raises(ValueError):
        json_codec().encode(packet)


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j])
def test_what_is_no_json_is_refused(value: Any) -> None:
    codec = json_codec()
    for _ in range(2):
        with pytest.raises(TypeError):
            codec.encode(event("a", value))
        codec.encode(event("a"))
    assert codec.ack_text("/", 1, [value]) is None


def test_only_heads_of_sound_packets_are_remembered_and_not_too_many() -> None:
    codec = json_codec()
    with pytest.raises(ValueError):
        codec.encode(event("a", namespace="/a,b"))
    assert codec._heads == {}
    for number in range(1_100):
        codec.encode(event("a", namespace=f"/{number}"))
    assert len(codec._heads) == 1_000
    assert codec.encode(event("a", namespace="/1099")).text == b'42/1099,["a"]'


def test_the_limits_reach_the_decoder() -> None:
    small = json_codec(max_bytes=40, max_attachments=1)
    assert small.decoder().decode('2["a","' + "x" * 40 + '"]') == Violation(Reason.TOO_LARGE)
    assert small.decoder().decode(f'52-["a",{ZERO}]') == Violation(Reason.TOO_MANY_ATTACHMENTS)
    deep = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    assert json_codec().decoder().decode(f'2["a",{deep}]') == Violation(Reason.TOO_DEEP)
    assert json_codec().decoder().decode('2["connect"]') == Violation(Reason.RESERVED_EVENT)
    free = json_codec(reserved=frozenset())
    assert free.decoder().decode('2["connect"]') == event("connect")


@pytest.mark.parametrize("module", [None, json])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
def test_numbers_are_finite_whoever_reads_them(module: Any, number: str) -> None:
    decoder = json_codec(module).decoder()
    assert decoder.decode(f'2["a",{number}]') == Violation(Reason.NOT_FINITE)


def test_a_module_of_the_application_reads_and_writes() -> None:
    seen: list[str] = []

    def dumps(value: Any, **options: Any) -> str:
        seen.append("dumps")
        return json.dumps(value, **options)

    def loads(text: str) -> Any:
        seen.append("loads")
        return json.loads(text)

    codec = json_codec(SimpleNamespace(dumps=dumps, loads=loads))
    assert codec.encode(event("a", 1)).text == b'42["a",1]'
    assert codec.decoder().decode('2["a",1]') == event("a", 1)
    assert set(seen) == {"dumps", "loads"}


# msgpack.


def pack(**packet: Any) -> bytes:
    return bytes(msgpack.packb(packet))


def unpack(message: bytes | str, codec: Codec = CODECS["msgpack"]) -> Any:
    return codec.decoder().decode(message)


def test_a_msgpack_packet_is_one_binary_message() -> None:
    codec: Codec = MsgPackCodec(max_bytes=100)
    encoded = codec.encode(event("a", b"x", namespace="/d", ack=0))
    assert encoded.text is None
    (whole,) = encoded.attachments
    assert msgpack.unpackb(whole) == {"type": 2, "nsp": "/d", "data": ["a", b"x"], "id": 0}
    assert codec.encode(SocketPacket(PacketType.DISCONNECT)).attachments == (pack(type=1, nsp="/"),)
    assert codec.ack_text("/", 1, []) is None


def test_undefined_of_javascript_is_nothing() -> None:
    undefined = msgpack.ExtType(0, b"\x00")
    assert unpack(pack(type=2, nsp="/", data=["a", undefined], id=undefined)) == event("a", None)
    other = msgpack.ExtType(5, b"x")
    assert unpack(pack(type=2, nsp="/", data=["a", other])) == event("a", other)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("text", Reason.UNKNOWN_TYPE),
        (b"", Reason.INVALID_PAYLOAD),
        (b"\xc1", Reason.INVALID_PAYLOAD),
        (b"\x93\x01", Reason.INVALID_PAYLOAD),
        (b"\xc0\xc0", Reason.INVALID_PAYLOAD),
        (b"\xdd\xff\xff\xff\xff", Reason.INVALID_PAYLOAD),
        (b"\x81\x90\x90", Reason.INVALID_PAYLOAD),
        (b"\xa1\xff", Reason.INVALID_PAYLOAD),
        (bytes(10_001), Reason.TOO_LARGE),
        (b"\x91" * 5_000, Reason.TOO_DEEP),
        (pack(), Reason.INVALID_PAYLOAD),
        (pack(type=2, data=["a"]), Reason.INVALID_PAYLOAD),
        (pack(type=2, nsp=1, data=["a"]), Reason.INVALID_PAYLOAD),
        (pack(type=2, nsp=b"/", data=["a"]), Reason.INVALID_PAYLOAD),
        (pack(type=2, nsp="docs", data=["a"]), Reason.INVALID_PAYLOAD),
        (pack(nsp="/", data=["a"]), Reason.UNKNOWN_TYPE),
        (pack(type=4, nsp="/", data={}), Reason.UNKNOWN_TYPE),
        (pack(type=5, nsp="/", data=["a"]), Reason.UNKNOWN_TYPE),
        (pack(type=True, nsp="/"), Reason.UNKNOWN_TYPE),
        (pack(type=2, nsp="/"), Reason.INVALID_PAYLOAD),
        (pack(type=2, nsp="/", data=[b"a"]), Reason.INVALID_PAYLOAD),
        (pack(type=2, nsp="/", data=["connect"]), Reason.RESERVED_EVENT),
        (pack(type=2, nsp="/", data=["a"], id=1.5), Reason.INVALID_ID),
        (pack(type=2, nsp="/", data=["a"], id=True), Reason.INVALID_ID),
        (pack(type=2, nsp="/", data=["a"], id=2**53), Reason.INVALID_ID),
        (pack(type=3, nsp="/", data=[]), Reason.INVALID_ID),
        (pack(type=1, nsp="/", data={}), Reason.INVALID_PAYLOAD),
        (pack(type=2, nsp="/", data=["a", math.inf]), Reason.NOT_FINITE),
        (pack(type=2, nsp="/", data=["a", {"b": [math.nan]}]), Reason.NOT_FINITE),
    ],
)
def test_what_is_refused_as_msgpack(message: bytes | str, reason: Reason) -> None:
    assert unpack(message) == Violation(reason)


def test_msgpack_is_not_deeper_than_json() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert unpack(pack(type=2, nsp="/", data=["a", deep])) == Violation(Reason.TOO_DEEP)
    assert unpack(pack(type=2, nsp="/", data=["a", deep[0]])) == event("a", deep[0])


# A class of the application.


def test_attachments_of_a_class_are_put_in_place() -> None:
    decoder = CODECS["python-socketio's own class"].decoder()
    assert decoder.decode(f'51-/docs,["a",{ZERO}]') is None
    assert decoder.awaited == "/docs"
    assert decoder.decode(b"x") == event("a", b"x", namespace="/docs")
    assert decoder.awaited is None
    assert decoder.decode(f'51-["a",{ZERO}]') is None
    assert decoder.awaited == "/"
    assert decoder.decode(b"y") == event("a", b"y")


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (["x"], Reason.INVALID_PAYLOAD),
        ([""], Reason.INVALID_PAYLOAD),
        ([b"binary"], Reason.INVALID_PAYLOAD),
        (["2{"], Reason.INVALID_PAYLOAD),
        (["2" + "[" * 5_000], Reason.INVALID_PAYLOAD),
        (["2[]"], Reason.INVALID_PAYLOAD),
        (['2["connect"]'], Reason.RESERVED_EVENT),
        (["4{}"], Reason.UNKNOWN_TYPE),
        (["9"], Reason.UNKNOWN_TYPE),
        (['50-["a"]'], Reason.TOO_MANY_ATTACHMENTS),
        ([f'54-["a",{ZERO}]'], Reason.TOO_MANY_ATTACHMENTS),
        (['51-["a",{"_placeholder":true,"num":7}]', b"x"], Reason.INVALID_PAYLOAD),
        (["2" + "x" * 10_000], Reason.TOO_LARGE),
        ([f'52-["a",{ZERO}]', bytes(5_000), bytes(5_000)], Reason.TOO_LARGE),
    ],
)
def test_what_is_refused_whatever_the_class_says(
    messages: list[str | bytes], reason: Reason
) -> None:
    decoder = CODECS["python-socketio's own class"].decoder()
    *before, last = [decoder.decode(message) for message in messages]
    assert set(before) <= {None}
    assert last == Violation(reason)


def test_the_budget_of_a_class_is_of_one_packet() -> None:
    decoder = ClassCodec(Packet, max_bytes=60, max_attachments=1).decoder()
    for _ in range(5):
        assert decoder.decode(f'51-["a",{ZERO}]') is None
        assert decoder.decode(bytes(10)) == event("a", bytes(10))


@pytest.mark.parametrize("namespace", [1, True, b"/", {"a": 1}, 1.5, "docs", "/a,b"])
def test_a_class_may_let_any_namespace_pass(namespace: Any) -> None:
    codec = CODECS["python-socketio's msgpack"]
    refused = unpack(pack(type=2, nsp=namespace, data=["a"]), codec)
    assert refused == Violation(Reason.INVALID_PAYLOAD)


leaves = st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.binary(max_size=3)
names = st.sampled_from(["", "a", "/", "/a", "connect", "type"])
things: Any = st.recursive(
    leaves | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
)
keys = {"type": st.integers(0, 6) | things, "nsp": names | things, "data": things, "id": things}
packed = st.fixed_dictionaries({}, optional=keys)
fragments = st.sampled_from(
    [*("2", "5", "6", "1-", "2-", "/a,", "7", "?", "-"), *("[", "]", '"a"', "{", "}", ZERO, ",")]
)


@every_codec
@settings(deadline=None)
@given(
    st.lists(
        st.binary(max_size=10)
        | st.lists(fragments).map("".join)
        | packed.map(lambda value: bytes(msgpack.packb(value))),
        max_size=3,
    )
)
def test_no_decoder_raises(codec: Codec, messages: list[str | bytes]) -> None:
    decoder = codec.decoder()
    for message in messages:
        assert isinstance(decoder.decode(message), SocketPacket | Violation | None)
        assert isinstance(decoder.awaited, str | None)


def test_the_default_decoder_is_that_of_the_core() -> None:
    assert type(json_codec().decoder()) is Decoder
