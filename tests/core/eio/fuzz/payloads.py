"""Engine.IO packets: frames and bodies against a decoder written from the protocol's text."""

import base64
import binascii
from typing import Final

from stretto_core.eio.packets import (
    SEPARATOR,
    Packet,
    PacketType,
    decode_frame,
    decode_payload,
    encode_payload,
)
from stretto_core.eio.violations import Reason, Violation

MAX_BYTES: Final = 1_000

BODIES: Final = [
    b"4hello",
    "4€\x1e4".encode(),
    b"4hello\x1ebAQID\x1eb\x1e3\x1e1",
    b'0{"sid":"a"}',
    b"2probe\x1e3probe\x1e5\x1e6\x1e2",
    b"b====\x1ebA=\x1ebAB==",
    b"\x1e\x1e",
    b"10:4a",
    b"4\xed\xa0\x80",
    b"4" * MAX_BYTES,
    b"4\x1e" * (MAX_BYTES // 2),
]

_DATA: Final = {"1": [""], "2": ["", "probe"], "3": ["", "probe"], "5": [""], "6": [""]}


def check_body(data: bytes) -> None:
    """Decode a POST's body, and what is encoded from it again."""
    decoded = list(decode_payload(data, MAX_BYTES))
    assert decoded == _expected(data), decoded
    *packets, last = decoded
    assert all(type(one) is Packet for one in packets)
    if isinstance(last, Packet):
        packets.append(last)
        body, taken = encode_payload(packets, len(packets))  # type: ignore[arg-type]
        assert taken == len(packets)
        assert list(decode_payload(body, len(body))) == packets


def check_frame(data: bytes) -> None:
    """Decode a frame: binary, or text with whatever a text can hold."""
    for frame in (data, data.decode("utf-8", "surrogatepass" if data[:1] == b"4" else "replace")):
        packet = decode_frame(frame, MAX_BYTES)
        size = len(frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass"))
        if size > MAX_BYTES:
            assert packet == Violation(Reason.TOO_LARGE)
        elif isinstance(frame, bytes):
            assert packet == Packet(PacketType.MESSAGE, frame)
        else:
            assert packet == _packet(frame)
        if isinstance(packet, Packet):
            assert packet.frame == frame
            assert decode_frame(packet.frame, MAX_BYTES) == packet


def check_any_frame(data: bytes) -> None:
    """Decode a frame, if its bytes can be one at all."""
    try:
        check_frame(data)
    except UnicodeDecodeError:
        check_frame(b"4" + data.decode("utf-8", "replace").encode())


def _expected(body: bytes) -> list[Packet | Violation]:
    if len(body) > MAX_BYTES:
        return [Violation(Reason.TOO_LARGE)]
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return [Violation(Reason.INVALID_UTF8)]
    packets: list[Packet | Violation] = []
    for record in text.split(SEPARATOR):
        packets.append(_record(record))
        if isinstance(packets[-1], Violation):
            break
    return packets


def _record(record: str) -> Packet | Violation:
    if record[:1] != "b":
        return _packet(record)
    try:
        return Packet(PacketType.MESSAGE, base64.b64decode(record[1:].encode(), validate=True))
    except binascii.Error:
        return Violation(Reason.INVALID_BASE64)


def _packet(text: str) -> Packet | Violation:
    if text == "":
        return Violation(Reason.EMPTY)
    if text[0] not in "0123456":
        return Violation(Reason.UNKNOWN_TYPE)
    if text[0] in _DATA and text[1:] not in _DATA[text[0]]:
        return Violation(Reason.UNEXPECTED_DATA)
    return Packet(PacketType(text[0]), text[1:])
