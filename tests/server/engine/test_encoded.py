"""Each form of a message is made once, and all say the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto_core.eio.packets import Packet, PacketType
from stretto_core.eio.websocket import Opcode, deflated_frame, encode_frame
from stretto_server.engine.encoded import Encoded, frame_for

LONG = "x" * 100


def test_a_text() -> None:
    encoded = Encoded.of_messages('2["é"]')
    assert encoded.text == '42["é"]'.encode()
    assert encoded.frames == b"\x81\x08" + '42["é"]'.encode()
    assert encoded.packets == (Packet(PacketType.MESSAGE, '2["é"]'),)
    assert encoded.size == len(encoded.frames)


def test_a_text_with_attachments() -> None:
    encoded = Encoded.of_messages("52-", b"a", b"bc")
    assert (
        encoded.frames == b"\x81\x0452-".replace(b"\x04", b"\x04" + b"4") + b"\x82\x01a\x82\x02bc"
    )
    assert [packet.data for packet in encoded.packets] == ["52-", b"a", b"bc"]


def test_bytes_alone() -> None:
    encoded = Encoded.of_messages(b"\x84", b"more")
    assert encoded.text is None
    assert encoded.frames == b"\x82\x01\x84\x82\x04more"
    assert [packet.data for packet in encoded.packets] == [b"\x84", b"more"]


def test_each_form_is_made_once_and_only_for_those_who_need_it() -> None:
    encoded = Encoded(b"4" + LONG.encode())
    assert (encoded._packets, encoded._deflated) == (None, None)
    assert encoded.packets is encoded.packets
    assert encoded.deflated(10) is encoded.deflated(10)
    record = encoded.packets[0].record
    assert encoded.packets[0].record is record


def test_only_what_is_long_enough_is_compressed() -> None:
    long, short = LONG.encode(), b"short"
    encoded = Encoded(b"4" + long, (short, long))
    text, attachment = deflated_frame("4" + LONG), deflated_frame(long)
    assert encoded.deflated(50) == text + encode_frame(Opcode.BINARY, short) + attachment
    assert Encoded(None, (short,)).deflated(50) == encode_frame(Opcode.BINARY, short)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        Encoded.of_messages("\ud800")


@pytest.mark.parametrize("message", ["a" * 10, b"a" * 10])
def test_a_single_frame(message: str | bytes) -> None:
    opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
    plain = encode_frame(opcode, b"a" * 10)
    assert frame_for(message, None) == frame_for(message, 11) == plain
    assert frame_for(message, 10) == deflated_frame(message)


def test_a_threshold_counts_bytes() -> None:
    assert frame_for("é" * 5, 10) == deflated_frame("é" * 5)


@settings(deadline=None)
@given(st.text(max_size=20), st.lists(st.binary(max_size=20), max_size=3))
def test_polling_and_websockets_get_the_same(text: str, attachments: list[bytes]) -> None:
    text = text.encode("utf-8", "replace").decode()
    encoded = Encoded.of_messages(text, *attachments)
    framed = b"".join(
        encode_frame(Opcode.TEXT, frame.encode())
        if isinstance(frame := packet.frame, str)
        else encode_frame(Opcode.BINARY, frame)
        for packet in encoded.packets
    )
    assert framed == encoded.frames
