import json
import math
from typing import Any, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stretto_core.eio.socketio import (
    CLIENT_TYPES,
    MAX_ID,
    RESERVED_EVENTS,
    Decoder,
    PacketType,
    SocketPacket,
    dumps_finite,
    encode,
)
from stretto_core.eio.violations import Reason, Violation

CONNECT, DISCONNECT, EVENT, ACK = (
    PacketType.CONNECT,
    PacketType.DISCONNECT,
    PacketType.EVENT,
    PacketType.ACK,
)
ALL = frozenset(PacketType)
ZERO = '{"_placeholder":true,"num":0}'
ONE = '{"_placeholder":true,"num":1}'


def decode(*messages: str | bytes, **limits: Any) -> SocketPacket | Violation | None:
    decoder = Decoder(**limits)
    decoded = None
    for number, message in enumerate(messages):
        decoded = decoder.decode(message)
        if number < len(messages) - 1:
            assert decoded is None
    return decoded


@pytest.mark.parametrize(
    ("messages", "packet"),
    [
        # The examples of the protocol's "Packet encoding".
        (["0"], SocketPacket(CONNECT)),
        (['0{"token":"123"}'], SocketPacket(CONNECT, data={"token": "123"})),
        (["0/admin"], SocketPacket(CONNECT, "/admin")),
        (["0/admin,"], SocketPacket(CONNECT, "/admin")),
        (['0/admin,{"sid":"x"}'], SocketPacket(CONNECT, "/admin", data={"sid": "x"})),
        (["1"], SocketPacket(DISCONNECT)),
        (["1/admin,"], SocketPacket(DISCONNECT, "/admin")),
        (['2["foo"]'], SocketPacket(EVENT, data=["foo"])),
        (['212["foo"]'], SocketPacket(EVENT, id=12, data=["foo"])),
        (['2/admin,12["foo",1]'], SocketPacket(EVENT, "/admin", 12, ["foo", 1])),
        (["312[]"], SocketPacket(ACK, id=12, data=[])),
        (['3/admin,13["bar"]'], SocketPacket(ACK, "/admin", 13, ["bar"])),
        ([f'51-["baz",{ZERO}]', b"\x01"], SocketPacket(EVENT, data=["baz", b"\x01"])),
        (
            [f'52-/admin,["baz",{ZERO},{ONE}]', b"\x01", b""],
            SocketPacket(EVENT, "/admin", data=["baz", b"\x01", b""]),
        ),
        ([f'51-7["baz",{ZERO}]', b"\x01"], SocketPacket(EVENT, id=7, data=["baz", b"\x01"])),
        ([f"61-15[{ZERO}]", b"\x01"], SocketPacket(ACK, id=15, data=[b"\x01"])),
        ([f"61-/a,0[{ZERO}]", b"\x01"], SocketPacket(ACK, "/a", 0, [b"\x01"])),
        # In any order, at any depth.
        (
            [f'52-["a",{{"b":[{ONE}]}},{ZERO}]', b"0", b"1"],
            SocketPacket(EVENT, data=["a", {"b": [b"1"]}, b"0"]),
        ),
        # Legal, if unusual.
        (["2[1]"], SocketPacket(EVENT, data=[1])),
        (["2[1.5]"], SocketPacket(EVENT, data=[1.5])),
        (['2[""]'], SocketPacket(EVENT, data=[""])),
        (['2 ["a"] '], SocketPacket(EVENT, data=["a"])),
        (['2/,["a"]'], SocketPacket(EVENT, data=["a"])),
        ([f'2{MAX_ID}["a"]'], SocketPacket(EVENT, id=MAX_ID, data=["a"])),
        ([f'2["a",{ZERO}]'], SocketPacket(EVENT, data=["a", json.loads(ZERO)])),
        (['2["a","\\ud800"]'], SocketPacket(EVENT, data=["a", "\ud800"])),
        (['2["a","connect"]'], SocketPacket(EVENT, data=["a", "connect"])),
        (['3007["connect"]'], SocketPacket(ACK, id=7, data=["connect"])),
        (["2" + '["a",' + "[" * 63 + "]" * 63 + "]"], None),
    ],
)
def test_packets(messages: list[str | bytes], packet: SocketPacket | None) -> None:
    decoded = decode(*messages)
    assert isinstance(decoded, SocketPacket)
    assert packet is None or decoded == packet


VIOLATIONS = [
    ("", Reason.EMPTY),
    ("7", Reason.UNKNOWN_TYPE),
    ("abc", Reason.UNKNOWN_TYPE),
    ("true", Reason.UNKNOWN_TYPE),
    ('{"a":1}', Reason.UNKNOWN_TYPE),
    ('٢["a"]', Reason.UNKNOWN_TYPE),
    ('-1["a"]', Reason.UNKNOWN_TYPE),
    # Only servers refuse connections.
    ('4{"message":"no"}', Reason.UNEXPECTED_TYPE),
    ('4"no"', Reason.UNEXPECTED_TYPE),
    ("4", Reason.UNEXPECTED_TYPE),
    ("4true", Reason.UNEXPECTED_TYPE),
    # Connect and disconnect.
    ("0null", Reason.INVALID_PAYLOAD),
    ("0[]", Reason.INVALID_PAYLOAD),
    ('0"token"', Reason.INVALID_PAYLOAD),
    ("0true", Reason.INVALID_PAYLOAD),
    ("0/admin,[]", Reason.INVALID_PAYLOAD),
    ("01{}", Reason.INVALID_ID),
    ("1{}", Reason.INVALID_PAYLOAD),
    ("1[]", Reason.INVALID_PAYLOAD),
    ("1null", Reason.INVALID_PAYLOAD),
    ("1true", Reason.INVALID_PAYLOAD),
    ("11", Reason.INVALID_ID),
    # Events.
    ("2", Reason.INVALID_PAYLOAD),
    ("2/admin", Reason.INVALID_PAYLOAD),
    ("2/admin,", Reason.INVALID_PAYLOAD),
    ("212", Reason.INVALID_PAYLOAD),
    ("2{}", Reason.INVALID_PAYLOAD),
    ("2null", Reason.INVALID_PAYLOAD),
    ('2"a"', Reason.INVALID_PAYLOAD),
    ("2[]", Reason.INVALID_PAYLOAD),
    ("2[null]", Reason.INVALID_PAYLOAD),
    ("2[true]", Reason.INVALID_PAYLOAD),
    ('2[{"a":1}]', Reason.INVALID_PAYLOAD),
    ('2[["a"]]', Reason.INVALID_PAYLOAD),
    *((f'2["{name}"]', Reason.RESERVED_EVENT) for name in sorted(RESERVED_EVENTS)),
    ('2["\\u0063onnect"]', Reason.RESERVED_EVENT),
    # Acks and ids.
    ("3[]", Reason.INVALID_ID),
    ("3", Reason.INVALID_ID),
    ("31", Reason.INVALID_PAYLOAD),
    ("31{}", Reason.INVALID_PAYLOAD),
    ('31"a"', Reason.INVALID_PAYLOAD),
    (f'2{MAX_ID + 1}["a"]', Reason.INVALID_ID),
    ("2" + "9" * 400 + '["a"]', Reason.INVALID_ID),
    ('2abc["a"]', Reason.INVALID_JSON),
    ('2١["a"]', Reason.INVALID_JSON),
    ('2-1["a"]', Reason.INVALID_ATTACHMENTS),
    ('2+1["a"]', Reason.INVALID_JSON),
    ('21.5["a"]', Reason.INVALID_JSON),
    # JSON.
    ('2["a"', Reason.INVALID_JSON),
    ('2["a"]]', Reason.INVALID_JSON),
    ('2["a",]', Reason.INVALID_JSON),
    ("2['a']", Reason.INVALID_JSON),
    ('2["a",' + "9" * 5_000 + "]", Reason.NOT_FINITE),
    ('2["a",' + "9" * 400 + "]", Reason.NOT_FINITE),
    ('2["a",NaN]', Reason.NOT_FINITE),
    ('2["a",Infinity]', Reason.NOT_FINITE),
    ('2["a",{"b":-Infinity}]', Reason.NOT_FINITE),
    ('2["a",1e999]', Reason.NOT_FINITE),
    ('2["a",[-1e999]]', Reason.NOT_FINITE),
    ("2[1e999]", Reason.NOT_FINITE),
    ('2["a",' + "[" * 64 + "]" * 64 + "]", Reason.TOO_DEEP),
    ('2["a",' + '{"a":' * 64 + "1" + "}" * 64 + "]", Reason.TOO_DEEP),
    ('2["a",' + "[" * 100_000 + "]" * 100_000 + "]", Reason.TOO_DEEP),
    ("0" + '{"a":' * 65 + "1" + "}" * 65, Reason.TOO_DEEP),
    # Attachments.
    (f'5["a",{ZERO}]', Reason.INVALID_ATTACHMENTS),
    (f'5-["a",{ZERO}]', Reason.INVALID_ATTACHMENTS),
    ('50-["a"]', Reason.INVALID_ATTACHMENTS),
    ("60-1[]", Reason.INVALID_ATTACHMENTS),
    (f'51["a",{ZERO}]', Reason.INVALID_ATTACHMENTS),
    (f'5/admin,["a",{ZERO}]', Reason.INVALID_ATTACHMENTS),
    (f'51.0-["a",{ZERO}]', Reason.INVALID_ATTACHMENTS),
    (f'5١-["a",{ZERO}]', Reason.INVALID_ATTACHMENTS),
    (f'5-1-["a",{ZERO}]', Reason.INVALID_ATTACHMENTS),
    (f'5 1-["a",{ZERO}]', Reason.INVALID_ATTACHMENTS),
    (f'21-["a",{ZERO}]', Reason.INVALID_ATTACHMENTS),
    (f'511-["a",{ZERO}]', Reason.TOO_MANY_ATTACHMENTS),
    (f'59999999999-["a",{ZERO}]', Reason.TOO_MANY_ATTACHMENTS),
    ("5" + "9" * 5_000 + '-["a"]', Reason.TOO_MANY_ATTACHMENTS),
    ("5", Reason.INVALID_ATTACHMENTS),
    ("51-", Reason.INVALID_PAYLOAD),
    ("51-[]", Reason.INVALID_PAYLOAD),
    (f"51-{ZERO}", Reason.INVALID_PAYLOAD),
    (f"51-[{ZERO}]", Reason.INVALID_PAYLOAD),
    (f'51-["connect",{ZERO}]', Reason.RESERVED_EVENT),
    (f"61-[{ZERO}]", Reason.INVALID_ID),
    ('51-["a"]', Reason.INVALID_PLACEHOLDER),
    (f'51-["a",{ONE}]', Reason.INVALID_PLACEHOLDER),
    (f'51-["a",{ZERO},{ZERO}]', Reason.INVALID_PLACEHOLDER),
    (f'52-["a",{ZERO},{ZERO}]', Reason.INVALID_PLACEHOLDER),
    (f'52-["a",{ZERO}]', Reason.INVALID_PLACEHOLDER),
    ('51-["a",{"_placeholder":true}]', Reason.INVALID_PLACEHOLDER),
    ('51-["a",{"_placeholder":true,"num":-1}]', Reason.INVALID_PLACEHOLDER),
    ('51-["a",{"_placeholder":true,"num":0.0}]', Reason.INVALID_PLACEHOLDER),
    ('51-["a",{"_placeholder":true,"num":"0"}]', Reason.INVALID_PLACEHOLDER),
    ('51-["a",{"_placeholder":true,"num":"splice"}]', Reason.INVALID_PLACEHOLDER),
    ('51-["a",{"_placeholder":true,"num":false}]', Reason.INVALID_PLACEHOLDER),
    ('51-["a",{"_placeholder":1,"num":0}]', Reason.INVALID_PLACEHOLDER),
    (b"", Reason.UNEXPECTED_BINARY),
    (b"\x01", Reason.UNEXPECTED_BINARY),
]


@pytest.mark.parametrize(("message", "reason"), VIOLATIONS)
def test_violations(message: str | bytes, reason: Reason) -> None:
    assert decode(message) == Violation(reason)


@pytest.mark.parametrize("text", ["2", '2["a"]', "0", "1", "x", ""])
def test_text_where_an_attachment_was_announced(text: str) -> None:
    assert decode(f'51-["a",{ZERO}]', text) == Violation(Reason.MISSING_BINARY)


def test_servers_refuse_and_clients_read_it() -> None:
    refused = decode('4{"message":"no"}', types=ALL)
    assert refused == SocketPacket(PacketType.CONNECT_ERROR, data={"message": "no"})
    assert decode('4"no"', types=ALL) == SocketPacket(PacketType.CONNECT_ERROR, data="no")
    for payload in ("", "[]", "true", "null"):
        assert decode("4" + payload, types=ALL) == Violation(Reason.INVALID_PAYLOAD)


def test_bytes_of_a_packet_and_its_attachments_are_counted() -> None:
    text = f'52-["é",{ZERO},{ONE}]'
    size = len(text.encode())
    limit = size + 10
    assert isinstance(decode(text, bytes(5), bytes(5), max_bytes=limit), SocketPacket)
    assert decode(text, bytes(5), bytes(6), max_bytes=limit) == Violation(Reason.TOO_LARGE)
    assert decode(text, bytes(11), max_bytes=limit) == Violation(Reason.TOO_LARGE)
    assert decode(text, max_bytes=size) is None
    assert decode(text, max_bytes=size - 1) == Violation(Reason.TOO_LARGE)


def test_a_budget_is_of_one_packet() -> None:
    decoder = Decoder(max_bytes=60)
    for _ in range(5):
        assert decoder.decode(f'51-["a",{ZERO}]') is None
        assert isinstance(decoder.decode(bytes(10)), SocketPacket)


def test_which_names_are_reserved_is_up_to_the_server() -> None:
    for text in ('2["connect"]', '27["connect",1]', '2/a,["connect"]', '2["\\u0063onnect"]'):
        assert decode(text) == Violation(Reason.RESERVED_EVENT)
        packet = decode(text, reserved=frozenset())
        assert isinstance(packet, SocketPacket)
        assert packet.data[0] == "connect"
        assert decode(text, reserved=frozenset({"open"})) == packet
    assert decode('2["open"]', reserved=frozenset({"open"})) == Violation(Reason.RESERVED_EVENT)
    attached = f'51-["connect",{ZERO}]'
    assert decode(attached) == Violation(Reason.RESERVED_EVENT)
    assert decode(attached, b"", reserved=frozenset()) == SocketPacket(EVENT, data=["connect", b""])


def test_whose_attachments_are_awaited() -> None:
    decoder = Decoder()
    assert decoder.awaited is None
    assert decoder.decode(f'52-/docs,["a",{ZERO},{ONE}]') is None
    assert decoder.awaited == "/docs"
    assert decoder.decode(b"0") is None
    assert decoder.awaited == "/docs"
    assert isinstance(decoder.decode(b"1"), SocketPacket)
    assert decoder.awaited is None
    assert decoder.decode(f'51-["a",{ZERO}]') is None
    assert decoder.awaited == "/"
    assert decoder.decode('2["a"]') == Violation(Reason.MISSING_BINARY)
    assert decoder.awaited is None


def test_only_some_types_may_be_allowed() -> None:
    events = frozenset({EVENT, PacketType.BINARY_EVENT})
    assert decode('2["a"]', types=events) == SocketPacket(EVENT, data=["a"])
    assert decode('31["a"]', types=events) == Violation(Reason.UNEXPECTED_TYPE)
    assert decode("0", types=events) == Violation(Reason.UNEXPECTED_TYPE)
    assert decode('2["a"]', types=ALL - events) == Violation(Reason.UNEXPECTED_TYPE)
    assert decode('31["a"]', types=ALL - events) == SocketPacket(ACK, id=1, data=["a"])


def test_a_violation_is_the_end() -> None:
    decoder = Decoder()
    assert decoder.decode("x") == Violation(Reason.UNKNOWN_TYPE)
    assert decoder.decode('2["a"]') == Violation(Reason.UNKNOWN_TYPE)


def test_the_parser_is_injected() -> None:
    seen: list[str] = []

    def loads(text: str) -> Any:
        seen.append(text)
        return ["parsed"]

    assert decode('2/a,7["a"]', loads=loads) == SocketPacket(EVENT, "/a", 7, ["parsed"])
    assert seen == ['["a"]']

    def refuse(text: str) -> NoReturn:
        raise ValueError(text)

    assert decode('2["a"]', loads=refuse) == Violation(Reason.INVALID_JSON)
    assert decode('2["a"]', loads=lambda _: {"a": 1}) == Violation(Reason.INVALID_PAYLOAD)


@pytest.mark.parametrize(
    ("packet", "messages"),
    [
        (SocketPacket(CONNECT, data={"sid": "x"}), ['0{"sid":"x"}']),
        (SocketPacket(CONNECT, "/admin"), ["0/admin,"]),
        (SocketPacket(DISCONNECT), ["1"]),
        (SocketPacket(EVENT, "/admin", 12, ["a"]), ['2/admin,12["a"]']),
        (SocketPacket(EVENT, id=0, data=["a"]), ['20["a"]']),
        (SocketPacket(ACK, id=3, data=[]), ["33[]"]),
        (
            SocketPacket(
                PacketType.CONNECT_ERROR, "/random", data={"message": "Invalid namespace"}
            ),
            ['4/random,{"message":"Invalid namespace"}'],
        ),
        (SocketPacket(EVENT, data=["a", b"\x01"]), [f'51-["a",{ZERO}]', b"\x01"]),
        (SocketPacket(ACK, "/b", 1, [b"\x01", b""]), [f"62-/b,1[{ZERO},{ONE}]", b"\x01", b""]),
    ],
)
def test_encoding(packet: SocketPacket, messages: list[str | bytes]) -> None:
    assert encode(packet) == messages


@pytest.mark.parametrize(
    "packet",
    [
        SocketPacket(EVENT),
        SocketPacket(EVENT, data=[]),
        SocketPacket(EVENT, data=["disconnect"]),
        SocketPacket(EVENT, "admin", data=["a"]),
        SocketPacket(EVENT, "/a,b", data=["a"]),
        SocketPacket(EVENT, data=["a", math.nan]),
        SocketPacket(EVENT, data=["a", math.inf]),
        SocketPacket(EVENT, data=["a"], id=MAX_ID + 1),
        SocketPacket(EVENT, data=["a"], id=-1),
        SocketPacket(EVENT, data=["a"], id=True),
        SocketPacket(EVENT, data=["a", *[b""] * 11]),
        SocketPacket(ACK, data=[]),
        SocketPacket(ACK, id=1),
        SocketPacket(CONNECT, id=1),
        SocketPacket(CONNECT, data={"a": b""}),
        SocketPacket(DISCONNECT, data={}),
        SocketPacket(PacketType.CONNECT_ERROR),
        SocketPacket(PacketType.BINARY_EVENT, data=["a", b""]),
    ],
)
def test_what_must_not_be_sent(packet: SocketPacket) -> None:
    with pytest.raises(ValueError):
        encode(packet)


names = st.text(max_size=5).filter(lambda name: name not in RESERVED_EVENTS)
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)
attachments = st.lists(st.binary(max_size=5), max_size=10)
ids = st.integers(0, MAX_ID)
namespaces = st.just("/") | st.text(max_size=5).map(lambda name: "/" + name.replace(",", ""))
arguments = st.builds(lambda plain, binary: [*plain, *binary], st.lists(values), attachments)
packets = st.one_of(
    st.builds(SocketPacket, st.just(CONNECT), namespaces, st.none(), st.just({}) | st.none()),
    st.builds(SocketPacket, st.just(DISCONNECT), namespaces, st.none(), st.none()),
    st.builds(SocketPacket, st.just(ACK), namespaces, ids, arguments),
    st.builds(
        lambda namespace, ack, name, data: SocketPacket(EVENT, namespace, ack, [name, *data]),
        namespaces,
        st.none() | ids,
        names,
        arguments,
    ),
)


@given(packets)
@example(SocketPacket(ACK, "/", 5, [b"", {"a": [b"x"]}]))
def test_packets_round_trip(packet: SocketPacket) -> None:
    assert decode(*encode(packet)) == packet


fragments = st.sampled_from(
    ["0", "1", "2", "5", "6", "1-", "/a,", "7", "[", "]", '"a"', "{", "}", ZERO, ",", "1e999", "é"]
)
hostile = st.text(st.characters()) | st.lists(fragments).map("".join) | st.binary(max_size=5)


@given(st.lists(hostile, max_size=5))
def test_nothing_raises(messages: list[str | bytes]) -> None:
    decoder = Decoder(max_bytes=40)
    for message in messages:
        assert isinstance(decoder.decode(message), SocketPacket | Violation | None)


pieces = st.sampled_from(
    [
        *("2", "3", "5", "1-", "/a,", "/a[b,", "/", "/a", ",", "7", "007", "9" * 15, "9" * 16),
        *("-", "٢", "²", "[", "]", "[]", '["a"]', '["a",', '["connect"]', "[1]", "[true]", "{}"),
        *('"a"', ZERO, "NaN", "1e999", "1.5", '"\\ud800"', '"é"', " ", "\n", "\ufeff", "null"),
        *("[" * 7, "]" * 7, '{"a":' * 5, "}" * 5, "x" * 30),
    ]
)
almost = st.lists(pieces, max_size=8).map("".join)
well_formed = packets.map(lambda packet: str(encode(packet)[0]))


@given(
    almost | well_formed | st.sampled_from([message for message, _ in VIOLATIONS]),
    st.sampled_from([20, 120, 100_000]),
    st.sampled_from([3, 8, 64]),
    st.sampled_from([CLIENT_TYPES, ALL, ALL - {ACK}, ALL - {EVENT}]),
    st.sampled_from([RESERVED_EVENTS, frozenset[str]()]),
)
@example('2["a",[[[' + "]]]]", 100_000, 3, CLIENT_TYPES, RESERVED_EVENTS)
@example('2/a[b,["a"]', 100_000, 3, CLIENT_TYPES, RESERVED_EVENTS)
@example('2["' + "[" * 200 + '"]', 100_000, 64, CLIENT_TYPES, RESERVED_EVENTS)
def test_the_plain_way_says_the_same_as_the_careful_one(
    message: str | bytes,
    max_bytes: int,
    max_depth: int,
    types: frozenset[PacketType],
    reserved: frozenset[str],
) -> None:
    decoder = Decoder(types=types, max_bytes=max_bytes, max_depth=max_depth, reserved=reserved)
    if isinstance(message, bytes):
        assert decoder.decode(message) == Violation(Reason.UNEXPECTED_BINARY)
        return
    careful = decoder._text(message)
    decoder._pending = None
    plain = decoder._plain(message)
    assert plain is None or plain == careful
    assert decoder.decode(message) == careful


def test_most_packets_take_the_plain_way() -> None:
    decoder = Decoder()
    texts = ['2["a"]', '2/docs,12["a",{"b":[1]}]', "31[]", '3/docs,1["a"]', '2/,["a"]', "2[]", "1"]
    plain = [decoder._plain(text) is not None for text in texts]
    assert plain == [True, True, True, True, True, False, False]


def test_defaults() -> None:
    assert sorted(ALL - CLIENT_TYPES) == [PacketType.CONNECT_ERROR]
    assert dumps_finite(["a", {"b": 1}]) == '["a",{"b":1}]'
