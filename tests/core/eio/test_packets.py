import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stretto_core.eio.packets import (
    PACKETS_PER_RESPONSE,
    Packet,
    PacketType,
    decode_frame,
    decode_payload,
    encode_payload,
)
from stretto_core.eio.violations import Reason, Violation

LIMIT = 1_000
MESSAGE = PacketType.MESSAGE

texts = st.text(st.characters(exclude_characters="\x1e", exclude_categories=["Cs"]))
messages = st.builds(Packet, st.just(MESSAGE), st.one_of(texts, st.binary()))
controls = st.sampled_from(
    [
        Packet(PacketType.CLOSE),
        Packet(PacketType.PING),
        Packet(PacketType.PING, "probe"),
        Packet(PacketType.PONG),
        Packet(PacketType.PONG, "probe"),
        Packet(PacketType.UPGRADE),
        Packet(PacketType.NOOP),
        Packet(PacketType.OPEN, "{}"),
    ]
)
packets = st.one_of(messages, controls)


@pytest.mark.parametrize(
    ("packet", "frame", "record"),
    [
        # The examples of the protocol's "Packet encoding".
        (Packet(PacketType.OPEN, "{}"), "0{}", "0{}"),
        (Packet(PacketType.CLOSE), "1", "1"),
        (Packet(PacketType.PING, "probe"), "2probe", "2probe"),
        (Packet(MESSAGE, "hello"), "4hello", "4hello"),
        (Packet(MESSAGE, "€"), "4€", "4€"),
        (Packet(MESSAGE, ""), "4", "4"),
        (Packet(MESSAGE, b"\x01\x02\x03\x04"), b"\x01\x02\x03\x04", "bAQIDBA=="),
        (Packet(MESSAGE, b""), b"", "b"),
    ],
)
def test_forms(packet: Packet, frame: str | bytes, record: str) -> None:
    assert packet.frame == frame
    assert packet.record == record
    assert decode_frame(frame, LIMIT) == packet
    assert list(decode_payload(record.encode(), LIMIT)) == [packet]
    assert packet.size == len(frame if isinstance(frame, bytes) else frame.encode())


FRAMES = [
    ("", Reason.EMPTY),
    ("7", Reason.UNKNOWN_TYPE),
    ("x", Reason.UNKNOWN_TYPE),
    ("-1", Reason.UNKNOWN_TYPE),
    (" 4", Reason.UNKNOWN_TYPE),
    ("٤a", Reason.UNKNOWN_TYPE),  # a digit, but not an ASCII one
    ("\ud800", Reason.UNKNOWN_TYPE),
    ("1bye", Reason.UNEXPECTED_DATA),
    ("2x", Reason.UNEXPECTED_DATA),
    ("3x", Reason.UNEXPECTED_DATA),
    ("5x", Reason.UNEXPECTED_DATA),
    ("6x", Reason.UNEXPECTED_DATA),
    ("4" + "a" * LIMIT, Reason.TOO_LARGE),
    ("4" + "é" * (LIMIT // 2), Reason.TOO_LARGE),
    ("4" + "\ud800" * (LIMIT // 2), Reason.TOO_LARGE),
]


@pytest.mark.parametrize(("frame", "reason"), FRAMES)
def test_refused_frames(frame: str, reason: Reason) -> None:
    assert decode_frame(frame, LIMIT) == Violation(reason)


def test_a_binary_frame_is_limited_too() -> None:
    assert decode_frame(bytes(LIMIT), LIMIT) == Packet(MESSAGE, bytes(LIMIT))
    assert decode_frame(bytes(LIMIT + 1), LIMIT) == Violation(Reason.TOO_LARGE)


def test_text_of_exactly_the_limit_passes() -> None:
    text = "4" + "é" * ((LIMIT - 2) // 2) + "a"
    assert decode_frame(text, LIMIT) == Packet(MESSAGE, text[1:])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"\x1e", Reason.EMPTY),
        (b"4a\x1e", Reason.EMPTY),
        (b"\x1e4a", Reason.EMPTY),
        (b"4a\x1e\x1e4b", Reason.EMPTY),
        (b"abc", Reason.UNKNOWN_TYPE),
        (b"4a\x1eabc", Reason.UNKNOWN_TYPE),
        (b"10:4a", Reason.UNEXPECTED_DATA),  # a payload of protocol revision 3
        (b"4\xff", Reason.INVALID_UTF8),
        (b"4\xed\xa0\x80", Reason.INVALID_UTF8),  # an encoded surrogate
        (b"4\xc0\x80", Reason.INVALID_UTF8),  # not the shortest form
        (b"bA", Reason.INVALID_BASE64),
        (b"bAQI", Reason.INVALID_BASE64),
        (b"bAQ=\n", Reason.INVALID_BASE64),
        (b"bA-_A", Reason.INVALID_BASE64),
        ("bé===".encode(), Reason.INVALID_BASE64),
        (b"b=", Reason.INVALID_BASE64),
        (b"4" + b"a" * LIMIT, Reason.TOO_LARGE),
    ],
)
def test_refused_payloads(body: bytes, reason: Reason) -> None:
    *before, last = decode_payload(body, LIMIT)
    assert last == Violation(reason)
    assert all(packet == Packet(MESSAGE, "a") for packet in before)


def test_a_payload_of_exactly_the_limit_passes() -> None:
    assert list(decode_payload(b"4" * LIMIT, LIMIT)) == [Packet(MESSAGE, "4" * (LIMIT - 1))]


def test_packets_of_a_payload_are_not_counted() -> None:
    body = b"\x1e".join([b"4"] * (LIMIT // 2))
    assert list(decode_payload(body, LIMIT)) == [Packet(MESSAGE)] * (LIMIT // 2)


def test_a_response_holds_sixteen_packets() -> None:
    queue = [Packet(MESSAGE, str(number)) for number in range(40)]
    body, taken = encode_payload(queue)
    assert taken == PACKETS_PER_RESPONSE == 16
    assert list(decode_payload(body, LIMIT)) == queue[:16]
    assert encode_payload(queue, 50)[1] == 40


def test_an_empty_payload_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        encode_payload([])


def test_only_messages_are_binary() -> None:
    with pytest.raises(ValueError, match="PING"):
        Packet(PacketType.PING, b"")


def test_a_lone_surrogate_cannot_be_sent() -> None:
    with pytest.raises(UnicodeEncodeError):
        _ = Packet(MESSAGE, "\ud800").size


def test_each_form_is_made_once() -> None:
    packet = Packet(MESSAGE, b"\x01\x02")
    assert packet.record is packet.record
    assert packet.record == "b" + base64.b64encode(b"\x01\x02").decode()


def test_packets_are_values() -> None:
    packet = Packet(MESSAGE, "a")
    assert packet == Packet(MESSAGE, "a")
    assert packet != Packet(MESSAGE, b"a")
    assert packet != Packet(PacketType.OPEN, "a")
    assert packet != "4a"
    assert len({packet, Packet(MESSAGE, "a"), Packet(MESSAGE, b"a")}) == 2
    assert repr(packet) == "Packet(MESSAGE, 'a')"


@given(packets)
def test_frames_round_trip(packet: Packet) -> None:
    assert decode_frame(packet.frame, 1 << 20) == packet


@given(st.lists(packets, min_size=1, max_size=20))
def test_payloads_round_trip(queue: list[Packet]) -> None:
    body, taken = encode_payload(queue, 20)
    assert taken == len(queue)
    assert list(decode_payload(body, 1 << 20)) == queue


@given(st.one_of(st.binary(max_size=50), st.text("0123456b=\x1eAé").map(str.encode)))
@example(b"b\x1eb\x1eb")
def test_no_bytes_raise(body: bytes) -> None:
    *before, last = decode_payload(body, 40)
    assert all(type(one) is Packet for one in before)
    assert isinstance(last, Packet | Violation)
    assert isinstance(decode_frame(body, 40), Packet | Violation)


@given(st.text(st.characters()))
def test_no_text_raises(text: str) -> None:
    assert isinstance(decode_frame(text, 40), Packet | Violation)
