"""Frames as RFC 6455 has them, whole and in pieces, and permessage-deflate (RFC 7692)."""

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stretto_core.eio.violations import Reason, Violation
from stretto_core.eio.websocket import (
    CLOSE_CODES,
    DEFLATE_ANSWER,
    DEFLATE_OFFER,
    FRAGMENTS,
    Close,
    Event,
    FrameReader,
    Opcode,
    Ping,
    close_frame,
    deflate,
    deflated_frame,
    encode_frame,
    inflate,
    message_frame,
    unmask,
)

MASK = b"\x37\xfa\x21\x3d"
LIMIT = 70_000
FIN, DEFLATED = 0x80, 0x40
TEXT, BINARY, CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION


def masked(data: bytes, mask: bytes = MASK) -> bytes:
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def frame(first: int, payload: bytes = b"", *, mask: bytes = MASK, width: int = 0) -> bytes:
    """Return a client's frame; ``width`` forces a length of that many bytes."""
    length = len(payload)
    width = width or (0 if length < 126 else 2 if length < 65_536 else 8)
    short = {0: length, 2: 126, 8: 127}[width]
    extended = length.to_bytes(width) if width else b""
    return bytes((first, 0x80 | short)) + extended + mask + masked(payload, mask)


def read(*pieces: bytes, max_bytes: int = LIMIT, deflate: bool = False) -> list[Event]:
    reader = FrameReader(max_bytes, deflate=deflate)
    return [event for piece in pieces for event in reader.feed(piece)]


def text(message: str) -> bytes:
    return frame(FIN | TEXT, message.encode())


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(FIN | Opcode.CLOSE, code.to_bytes(2) + reason)


# What clients send.


def test_the_masked_example_of_the_rfc() -> None:
    assert read(bytes.fromhex("818537fa213d7f9f4d5158")) == ["Hello"]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, LIMIT])
def test_messages_of_every_length(size: int) -> None:
    assert read(text("x" * size)) == ["x" * size]
    assert read(frame(FIN | BINARY, bytes(size))) == [bytes(size)]


@pytest.mark.parametrize(
    ("frames", "events"),
    [
        ([frame(TEXT, b"a"), frame(CONTINUATION, b"b"), frame(FIN, b"c")], ["abc"]),
        ([frame(BINARY, b"a"), frame(FIN, b"b")], [b"ab"]),
        ([frame(TEXT), frame(CONTINUATION), frame(FIN)], [""]),
        # A character may be cut anywhere.
        ([frame(TEXT, "€".encode()[:1]), frame(FIN, "€".encode()[1:])], ["€"]),
        # "5.4.": control frames may come between fragments, and messages after them.
        (
            [frame(TEXT, b"a"), frame(FIN | Opcode.PING, b"p"), frame(FIN, b"b"), text("c")],
            [Ping(b"p"), "ab", "c"],
        ),
        ([frame(FIN | Opcode.PONG, b"x" * 125), text("a")], ["a"]),
        ([frame(FIN | Opcode.PING)], [Ping(b"")]),
        ([frame(FIN | Opcode.CLOSE)], [Close(1000)]),
        ([close(1001, "Tschüß".encode())], [Close(1001)]),
        ([close(1000), text("a")], [Close(1000)]),
    ],
)
def test_messages_and_control_frames(frames: list[bytes], events: list[Event]) -> None:
    assert read(b"".join(frames)) == events
    assert read(*frames) == events


@pytest.mark.parametrize("code", [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_codes_that_a_peer_may_close_with(code: int) -> None:
    assert read(close(code)) == [Close(code)]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000])
def test_codes_that_no_peer_may_close_with(code: int) -> None:
    assert read(close(code), text("a")) == [Violation(Reason.INVALID_FRAME)]


REFUSED = {
    "not masked": (b"\x81\x01a", Reason.UNMASKED),
    "a control frame that is not masked": (b"\x89\x00", Reason.UNMASKED),
    "a reserved bit": (frame(FIN | 0x20 | TEXT, b"a"), Reason.INVALID_FRAME),
    "another reserved bit": (frame(FIN | 0x10 | BINARY, b"a"), Reason.INVALID_FRAME),
    "deflate that was not negotiated": (frame(FIN | DEFLATED | TEXT, b""), Reason.INVALID_FRAME),
    **{
        f"opcode {opcode:#x}": (frame(FIN | opcode), Reason.INVALID_FRAME)
        for opcode in (*range(0x3, 0x8), *range(0xB, 0x10))
    },
    "a control frame in fragments": (frame(Opcode.PING, b"a"), Reason.INVALID_FRAME),
    "a control frame with a reserved bit": (frame(0xC9, b"a"), Reason.INVALID_FRAME),
    "a control frame that is too long": (frame(0x89, b"a" * 126), Reason.INVALID_FRAME),
    "a close frame with half a code": (frame(0x88, b"\x03"), Reason.INVALID_FRAME),
    "a close frame with a reason that is none": (close(1000, b"\xff"), Reason.INVALID_UTF8),
    "a continuation of nothing": (frame(FIN, b"a"), Reason.INVALID_FRAME),
    "a message within a message": (frame(TEXT, b"a") + text("b"), Reason.INVALID_FRAME),
    "binary within a message": (frame(TEXT) + frame(FIN | BINARY), Reason.INVALID_FRAME),
    "a length of two bytes that fits in one": (
        frame(FIN | TEXT, b"a" * 125, width=2),
        Reason.INVALID_FRAME,
    ),
    "a length of eight bytes that fits in two": (
        frame(FIN | TEXT, b"a" * 65_535, width=8),
        Reason.INVALID_FRAME,
    ),
    "a negative length": (b"\x81\xff\x80" + bytes(7), Reason.INVALID_FRAME),
    "text that is none": (frame(FIN | TEXT, b"\xff"), Reason.INVALID_UTF8),
    "half a character": (frame(FIN | TEXT, "é".encode()[:1]), Reason.INVALID_UTF8),
    "a surrogate": (frame(FIN | TEXT, b"\xed\xa0\x80"), Reason.INVALID_UTF8),
    "text in fragments that is none": (
        frame(TEXT, b"a\xc3") + frame(FIN, b"a"),
        Reason.INVALID_UTF8,
    ),
}


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(data: bytes, reason: Reason) -> None:
    reader = FrameReader(LIMIT)
    assert reader.feed(text("before") + data + text("after")) == ["before", Violation(reason)]
    assert reader.feed(text("later")) == []
    assert reader.whole_text(text("later")) is None


def test_each_violation_has_a_status() -> None:
    assert {*CLOSE_CODES.values()} == {1007, 1009}
    assert CLOSE_CODES[Reason.TOO_LARGE] == 1009


# Limits: nothing may cost more memory than was announced.


def test_a_header_that_announces_too_much_is_refused_before_its_payload() -> None:
    assert read(b"\x82\xfe" + (126).to_bytes(2), max_bytes=100) == [Violation(Reason.TOO_LARGE)]
    for length in (65_536, 2**40, 2**63 - 1):
        header = b"\x82\xff" + length.to_bytes(8)
        for cut in range(1, len(header)):
            refused = read(header[:cut], header[cut:], max_bytes=60_000)
            assert refused == [Violation(Reason.TOO_LARGE)], cut


@pytest.mark.parametrize("first", [b"\x01\x80" + MASK, frame(TEXT, b"a" * 60)])
def test_fragments_count_together(first: bytes) -> None:
    many = [first, frame(CONTINUATION, b"a" * 40), frame(FIN, b"a" * 61)]
    assert read(*many, max_bytes=100) == [Violation(Reason.TOO_LARGE)]


def test_fragments_of_exactly_the_limit_pass() -> None:
    exactly = [frame(BINARY, b"a" * 50), frame(Opcode.PING | FIN, b"b"), frame(FIN, b"c" * 50)]
    assert read(*exactly, *exactly, max_bytes=100)[1::2] == [b"a" * 50 + b"c" * 50] * 2


def test_fragments_are_counted_because_each_costs_memory() -> None:
    first, more = frame(TEXT), frame(CONTINUATION)
    assert read(first, more * (FRAGMENTS - 2), frame(FIN, b"a")) == ["a"]
    assert read(first, more * (FRAGMENTS - 1)) == [Violation(Reason.TOO_LARGE)]


def test_a_control_frame_needs_no_room() -> None:
    assert read(frame(FIN | Opcode.PING, b"a" * 125), max_bytes=1) == [Ping(b"a" * 125)]


def test_a_long_message_in_many_segments_grows_in_place() -> None:
    data = frame(FIN | BINARY, bytes(60_000))
    reader = FrameReader(LIMIT)
    buffers = []
    for start in range(0, len(data) - 1, 1_000):
        assert reader.feed(data[start : start + 1_000][: len(data) - 1 - start]) == []
        buffers.append(reader._buffer)
    assert {id(buffer) for buffer in buffers[1:]} == {id(buffers[-1])}
    assert isinstance(buffers[-1], bytearray)
    assert reader.feed(data[-1:]) == [bytes(60_000)]
    assert reader._buffer == b""


# Deflate.


def test_what_is_negotiated_keeps_no_context() -> None:
    assert DEFLATE_ANSWER.startswith(DEFLATE_OFFER)
    assert DEFLATE_ANSWER.count("no_context_takeover") == 2


def test_the_examples_of_rfc_7692() -> None:
    hello = bytes.fromhex("f248cdc9c90700")
    assert inflate(hello, 100) == b"Hello"
    # "7.2.3.3.": a block without compression, "7.2.3.4.": one with BFINAL, "7.2.3.5.": two.
    assert inflate(bytes.fromhex("000500faff48656c6c6f00"), 100) == b"Hello"
    assert inflate(bytes.fromhex("f348cdc9c9070000"), 100) == b"Hello"
    assert inflate(bytes.fromhex("f248050000 00ffffcac9c90700".replace(" ", "")), 100) == b"Hello"
    fragments = [frame(DEFLATED | TEXT, hello[:3]), frame(FIN, hello[3:])]
    assert read(*fragments, deflate=True) == ["Hello"]


@given(st.binary(max_size=2_000))
def test_deflate_round_trips(data: bytes) -> None:
    assert inflate(deflate(data), 2_000) == data
    assert read(frame(FIN | DEFLATED | BINARY, deflate(data)), deflate=True) == [data]


def test_compressed_and_plain_messages_may_follow_each_other() -> None:
    one = frame(FIN | DEFLATED | TEXT, deflate("é".encode()))
    assert read(one + text("b") + one, deflate=True) == ["é", "b", "é"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(FIN | DEFLATED | TEXT, b"\xff\xff"), Reason.INVALID_DEFLATE),
        (frame(FIN | DEFLATED | TEXT, deflate(b"\xff")), Reason.INVALID_UTF8),
        # "6.1.": only the first frame of a message carries the bit, and no control frame.
        (frame(DEFLATED | TEXT) + frame(FIN | DEFLATED), Reason.INVALID_FRAME),
        (frame(TEXT) + frame(FIN | DEFLATED), Reason.INVALID_FRAME),
        (frame(FIN | DEFLATED | Opcode.PING), Reason.INVALID_FRAME),
    ],
)
def test_what_is_refused_with_deflate(data: bytes, reason: Reason) -> None:
    assert read(data, deflate=True) == [Violation(reason)]


def test_a_bomb_is_never_inflated() -> None:
    bomb = deflate(bytes(10_000_000))
    assert len(bomb) < 60_000
    assert read(frame(FIN | DEFLATED | BINARY, bomb), deflate=True) == [Violation(Reason.TOO_LARGE)]
    halves = [frame(DEFLATED | TEXT, bomb[:5_000]), frame(FIN, bomb[5_000:])]
    assert read(*halves, deflate=True) == [Violation(Reason.TOO_LARGE)]


def test_inflating_stops_one_byte_beyond_the_limit() -> None:
    exactly = deflate(b"a" * 100)
    assert inflate(exactly, 100) == b"a" * 100
    assert inflate(exactly, 99) == Violation(Reason.TOO_LARGE)
    bomb = deflate(bytes(10_000_000))
    tracemalloc.start()
    try:
        assert inflate(bomb, 1_000_000) == Violation(Reason.TOO_LARGE)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


# What servers send.


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, "8200"),
        (125, "827d"),
        (126, "827e007e"),
        (65_535, "827effff"),
        (65_536, "827f0000000000010000"),
    ],
)
def test_frames_of_a_server_are_not_masked(size: int, head: str) -> None:
    assert message_frame(bytes(size)) == bytes.fromhex(head) + bytes(size)


def test_each_kind_of_frame() -> None:
    assert message_frame("é") == b"\x81\x02" + "é".encode()
    assert encode_frame(Opcode.PONG, b"p") == b"\x8a\x01p"
    assert close_frame() == b"\x88\x02\x03\xe8"
    assert close_frame(1009) == b"\x88\x02\x03\xf1"
    for message, first in (("a" * 200, 0xC1), (b"a" * 200, 0xC2)):
        compressed = deflated_frame(message)
        assert compressed[0] == first
        assert compressed[1] == len(compressed) - 2
        assert inflate(compressed[2:], 200) == b"a" * 200


def test_a_lone_surrogate_cannot_be_framed() -> None:
    for make in (message_frame, deflated_frame):
        with pytest.raises(UnicodeEncodeError):
            make("\ud800")


# Properties.


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=40))
def test_unmask(mask: bytes, data: bytes) -> None:
    unmasked = bytearray(data)
    unmask(mask, unmasked)
    assert unmasked == masked(data, mask)


masks = st.binary(min_size=4, max_size=4)
sizes = st.integers(0, 140) | st.sampled_from([65_534, 65_535, 65_536])
payloads = st.one_of(
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
    st.binary(max_size=130),
    st.builds(lambda size, byte: bytes([byte]) * size, sizes, st.integers(0, 255)),
)
firsts = st.sampled_from([0x81, 0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x80, 0x89, 0x8A, 0xC1, 0xC2])
frames = st.one_of(
    st.builds(lambda first, data, mask: frame(first, data, mask=mask), firsts, payloads, masks),
    st.builds(lambda data: frame(FIN | DEFLATED | TEXT, deflate(data)), payloads),
    st.binary(max_size=12),
    st.builds(close, st.sampled_from([999, 1000, 1006, 4000]), st.binary(max_size=4)),
)
streams = st.lists(frames, max_size=6).map(b"".join)


@given(streams, st.lists(st.integers(0, 200), max_size=12), st.booleans())
@example(b"\x81" + b"\x05", [1], False)
@example(b"\x81\xff" + (2**40).to_bytes(8), [1, 1, 3], False)
def test_bytes_may_be_split_anywhere(stream: bytes, lengths: list[int], deflate: bool) -> None:
    whole = read(stream, max_bytes=65_536, deflate=deflate)
    pieces = []
    for length in lengths:
        pieces.append(stream[:length])
        stream = stream[length:]
    pieces.append(stream)
    assert read(*pieces, max_bytes=65_536, deflate=deflate) == whole
    assert not any(isinstance(event, Violation | Close) for event in whole[:-1])


@given(streams)
def test_bytes_may_come_one_by_one(stream: bytes) -> None:
    stream = stream[:2_000]
    assert read(*(bytes((byte,)) for byte in stream)) == read(stream)


texts = st.builds(lambda data, mask: frame(0x81, data, mask=mask), payloads, masks)
slightly_wrong = st.builds(
    lambda data, at, byte: data[:at] + bytes((byte,)) + data[at + 1 :],
    texts,
    st.integers(0, 9),
    st.integers(0, 255),
)


@given(texts | slightly_wrong | streams, st.integers(0, 3))
@example(frame(0x81, b"a" * 126), 0)
@example(frame(0x81, b"a" * 125, width=2), 0)
@example(frame(0x81, b"a" * 131)[:133], 0)
@example(frame(0x81, b"a" * 65_535), 0)
@example(frame(0x81, b"a" * 65_536), 0)
@example(frame(0x81, b"\xff"), 0)
@example(b"", 0)
def test_the_short_way_says_the_same(data: bytes, cut: int) -> None:
    data = data[: len(data) - cut]
    reader = FrameReader(65_536)
    message = reader.whole_text(data)
    if message is not None:
        assert read(data) == [message]
    # It changed nothing, so the long way may be asked as well.
    assert reader.feed(data) == read(data, max_bytes=65_536)


@given(texts.filter(lambda data: len(data) < 65_536))
def test_the_short_way_is_taken(data: bytes) -> None:
    (event,) = read(data)
    reader = FrameReader(LIMIT)
    assert reader.whole_text(data) == (None if isinstance(event, Violation) else event)


def test_the_short_way_waits_behind_what_is_not_complete() -> None:
    whole = text("a")
    beginnings = (whole[:3], frame(TEXT, b"b"), frame(BINARY, b"b"), close(1000), b"\x81\x00")
    for begun in beginnings:
        reader = FrameReader(LIMIT)
        reader.feed(begun)
        assert reader.whole_text(whole) is None
    reader = FrameReader(LIMIT)
    reader.feed(whole[:3])
    assert reader.feed(whole[3:]) == ["a"]
    assert reader.whole_text(whole) == "a"


def test_the_short_way_keeps_the_limit() -> None:
    assert FrameReader(3).whole_text(text("abc")) == "abc"
    assert FrameReader(3).whole_text(text("abcd")) is None


@given(st.lists(st.text(max_size=30) | st.binary(max_size=30), max_size=5))
def test_what_is_framed_here_is_read_by_clients(messages: list[str | bytes]) -> None:
    # A client's reader wants no masks; ours wants them, so they are put on here.
    stream = b""
    for message in messages:
        if isinstance(message, str):
            message = message.encode("utf-8", "replace").decode()
        made = message_frame(message)
        stream += bytes((made[0], made[1] | 0x80)) + MASK + masked(made[2:])
    said = [m.encode("utf-8", "replace").decode() if isinstance(m, str) else m for m in messages]
    assert read(stream) == said
