"""Messages come out as they went in, and nothing else passes for one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto_server.bus.messages import (
    AckMessage,
    Control,
    EventMessage,
    GarbageError,
    decode_ack,
    decode_control,
    decode_event,
    encode_ack,
    encode_control,
    encode_event,
    event_head,
)

ROOMS = st.one_of(st.none(), st.integers(-(2**53), 2**53), st.text())
TEXTS = st.text().map(lambda text: b"42" + text.encode(errors="replace"))
EVENTS = st.builds(
    EventMessage,
    namespace=st.text(),
    room=ROOMS,
    text=TEXTS,
    attachments=st.lists(st.binary(), max_size=3).map(tuple),
    event=st.one_of(st.none(), st.text()),
    skip=st.lists(st.text(), max_size=3).map(tuple),
    but=st.lists(ROOMS, max_size=3).map(tuple),
    volatile=st.booleans(),
    callback=st.one_of(st.none(), st.tuples(st.text(), st.integers(0, 2**53))),
)


@given(EVENTS)
def test_events_come_out_as_they_went_in(event: EventMessage) -> None:
    assert decode_event(encode_event(event)) == event


def test_a_script_can_put_an_event_together() -> None:
    head = event_head("/rooms", "room:x", event="state")
    assert head == b'e{"n":"/rooms","r":"room:x","e":"state"}\n'
    packet = b'42/rooms,["state",{"revision":7}]'
    assert decode_event(head + packet) == EventMessage("/rooms", "room:x", packet, event="state")


def test_binary_packets_need_no_text() -> None:
    event = EventMessage("/", "room", None, (b"\x81\n\x00", b""))
    assert decode_event(encode_event(event)) == event


def test_other_rooms_cannot_be_sent() -> None:
    with pytest.raises(TypeError, match="named by text or a number"):
        encode_event(EventMessage("/", ("a", "b"), b"42[]"))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        encode_event(EventMessage("/", "a", b"42[]", but=(True,)))


@given(st.one_of(st.none(), TEXTS), st.lists(st.binary(min_size=1), max_size=3))
def test_acks_come_out_as_they_went_in(text: bytes | None, attachments: list[bytes]) -> None:
    ack = AckMessage(7, text and b"43" + text, tuple(attachments))
    assert decode_ack(encode_ack(ack)) == ack


def test_controls_come_out_as_they_went_in() -> None:
    for control in (
        Control("enter", "one", 5, "/docs", "room:x", "one~sid"),
        Control("members", "one", 6, "/", None),
        Control("done", "two", 6, sids=("a", "ü")),
    ):
        assert decode_control(encode_control(control)) == control


HEADERS = [
    {},
    {"n": "/"},
    {"r": "x"},
    {"n": 1, "r": "x"},
    {"n": "/", "r": True},
    {"n": "/", "r": 1.5},
    {"n": "/", "r": ["x"]},
    {"n": "/", "r": "x", "e": 1},
    {"n": "/", "r": "x", "s": "sid"},
    {"n": "/", "r": "x", "s": [1]},
    {"n": "/", "r": "x", "b": [{}]},
    {"n": "/", "r": "x", "b": "room"},
    {"n": "/", "r": "x", "v": 1},
    {"n": "/", "r": "x", "c": ["one"]},
    {"n": "/", "r": "x", "c": ["one", "2"]},
    {"n": "/", "r": "x", "c": "one"},
    {"n": "/", "r": "x", "a": []},
    {"n": "/", "r": "x", "a": [-1]},
    {"n": "/", "r": "x", "a": [True]},
    {"n": "/", "r": "x", "a": [10_000]},
    {"n": "/", "r": "x", "a": {"0": 1}},
    {"n": "/", "r": "x", "unknown": 1},
]


@pytest.mark.parametrize("header", HEADERS)
def test_wrong_headers_are_garbage(header: object) -> None:
    with pytest.raises(GarbageError):
        decode_event(b"e" + json.dumps(header).encode() + b'\n42["x"]')


@pytest.mark.parametrize(
    "message",
    [
        b"e",
        b"e\n",
        b"e{}",
        b'e{"n":"/","r":"x"}',
        b'e{"n":"/","r":"x"}\n',
        b'e{"n":"/","r":"x"}\n40',
        b'e{"n":"/","r":"x"}\n42["\xff"]',
        b'e["n"]\n42["x"]',
        b"e\xff\xfe\n42[]",
        b"e" + b"[" * 100_000 + b"\n42[]",
        b'e{"n":"/","r":NaN}\n42[]',
        b'e{"n":"/","r":"' + b"x" * 70_000 + b'"}\n42[]',
    ],
)
def test_wrong_events_are_garbage(message: bytes) -> None:
    with pytest.raises(GarbageError):
        decode_event(message)


@pytest.mark.parametrize(
    "message",
    [
        b"k",
        b"k{}\n",
        b'k{"i":"1"}\n43[]',
        b'k{"i":true}\n43[]',
        b'k{"i":1,"x":2}\n',
        b'k{"i":1}\n42["x"]',
    ],
)
def test_wrong_acks_are_garbage(message: bytes) -> None:
    with pytest.raises(GarbageError):
        decode_ack(message)


GOOD = ["enter", "one", 5, "/", "room", "sid", []]


@pytest.mark.parametrize(
    ("place", "value"), list(enumerate([*[["enter"]] * 2, "5", 5, {}, 5, [5]]))
)
def test_wrong_controls_are_garbage(place: int, value: object) -> None:
    row = [*GOOD[:place], value, *GOOD[place + 1 :]]
    decode_control(b"c" + json.dumps(GOOD).encode())
    wrong: list[object] = [row, GOOD[:-1], [*GOOD, 1], {}, None]
    for message in wrong:
        with pytest.raises(GarbageError):
            decode_control(b"c" + json.dumps(message).encode())
    for raw in (b"c", b"c\xff", b"c[", b'c["fly","one",5,"/","room","sid",[]]'):
        with pytest.raises(GarbageError):
            decode_control(raw)


@given(st.binary())
def test_anything_else_is_garbage_or_a_message(data: bytes) -> None:
    for decode in (decode_event, decode_ack, decode_control):
        try:
            decode(data)
        except GarbageError:
            continue
