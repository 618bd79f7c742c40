"""What nodes tell each other on channels, told apart by the first byte. Without I/O.

- ``e``: an event packet for members of a room, as its sender encoded it: a header, the
  attachments, the text. Without attachments that is
  ``e{"n":"/rooms","r":"room:x","e":"state"}`` + newline + ``42/rooms,["state",{…}]``,
  so a script in Redis can put one together.
- ``c``: a request of one node to others, or the answer.
- ``k``: the ack of a client to the node that asked it.

Whatever starts otherwise is for the followers of the room, and not looked at here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from stretto_server import wire_json

Room = str | int | None
"""A room as programs name it; None is everybody in the namespace."""

EVENT: Final = b"e"
CONTROL: Final = b"c"
ACK: Final = b"k"
OURS: Final = (EVENT, CONTROL, ACK)

MOST_HEADER_BYTES: Final = 64 * 1024


class GarbageError(ValueError):
    """Raised for a message that no node of ours sent."""


class EventMessage(NamedTuple):
    """An event packet, and who gets it.

    ``event`` names it where slow readers are passed over; ``but`` are rooms whose members
    got it otherwise. A ``callback`` (node, id) wants the answers.
    """

    namespace: str
    room: Room
    text: bytes | None
    attachments: tuple[bytes, ...] = ()
    event: str | None = None
    skip: tuple[str, ...] = ()
    but: tuple[Room, ...] = ()
    volatile: bool = False
    callback: tuple[str, int] | None = None


class AckMessage(NamedTuple):
    """What a client answered, as an ack packet; without one it never will."""

    id: int
    text: bytes | None = None
    attachments: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Control:
    """A request (``do``) of ``node``, which awaits an answer to ``id`` if that is not 0."""

    do: str
    node: str
    id: int = 0
    namespace: str = "/"
    room: Room = None
    sid: str = ""
    sids: tuple[str, ...] = ()


REQUESTS: Final = frozenset({"disconnect", "enter", "leave", "close", "members", "done"})


def event_head(
    namespace: str,
    room: Room,
    *,
    event: str | None = None,
    skip: Sequence[str] = (),
    but: Sequence[Room] = (),
    volatile: bool = False,
    callback: tuple[str, int] | None = None,
    attachments: Sequence[bytes] = (),
) -> bytes:
    """Return what goes before the text of an event packet."""
    header: dict[str, Any] = {"n": namespace, "r": room}
    if event is not None:
        header["e"] = event
    if skip:
        header["s"] = list(skip)
    if but:
        header["b"] = list(but)
    if volatile:
        header["v"] = True
    if callback is not None:
        header["c"] = list(callback)
    return _head(EVENT, header, attachments)


def encode_event(message: EventMessage) -> bytes:
    """Return the message. Raises TypeError for a room that is neither text nor a number."""
    for room in (message.room, *message.but):
        if not _is_room(room):
            raise TypeError(f"a room of several nodes is named by text or a number, not {room!r}")
    head = event_head(
        message.namespace,
        message.room,
        event=message.event,
        skip=message.skip,
        but=message.but,
        volatile=message.volatile,
        callback=message.callback,
        attachments=message.attachments,
    )
    return head + (message.text or b"")


def encode_ack(message: AckMessage) -> bytes:
    """Return the message."""
    return _head(ACK, {"i": message.id}, message.attachments) + (message.text or b"")


def encode_control(control: Control) -> bytes:
    """Return the message."""
    values = [control.do, control.node, control.id, control.namespace]
    return CONTROL + wire_json.dump([*values, control.room, control.sid, list(control.sids)])


def decode_event(message: bytes) -> EventMessage:
    """Return an event packet. Raises GarbageError."""
    header, text, attachments = _parts(message)
    namespace, room = header.pop("n", None), header.pop("r", 0.5)
    if type(namespace) is not str or not _is_room(room):
        raise GarbageError("neither namespace nor room")
    if text is not None and text[:2] not in (b"42", b"45"):
        raise GarbageError("no event packet")
    if not header:
        return EventMessage(namespace, room, text, attachments)
    event, volatile = header.pop("e", None), header.pop("v", False)
    skip, but = header.pop("s", []), header.pop("b", [])
    callback = header.pop("c", None)
    if (
        header
        or type(event) not in (str, type(None))
        or type(volatile) is not bool
        or not _is_list_of(str, skip)
        or type(but) is not list
        or not all(map(_is_room, but))
        or not (callback is None or _is_callback(callback))
    ):
        raise GarbageError("a header that is none")
    return EventMessage(
        namespace,
        room,
        text,
        attachments,
        event,
        tuple(skip),
        tuple(but),
        volatile,
        None if callback is None else (callback[0], callback[1]),
    )


def decode_ack(message: bytes) -> AckMessage:
    """Return an ack. Raises GarbageError."""
    header, text, attachments = _parts(message, nothing=True)
    if header.keys() != {"i"} or type(header["i"]) is not int:
        raise GarbageError("no ack")
    if text is not None and text[:2] not in (b"43", b"46"):
        raise GarbageError("no ack packet")
    return AckMessage(header["i"], text, attachments)


def decode_control(message: bytes) -> Control:
    """Return a request. Raises GarbageError."""
    try:
        values = wire_json.loads(message[1:])
    except ValueError:
        raise GarbageError("no JSON") from None
    if type(values) is not list or len(values) != 7:
        raise GarbageError("no request")
    do, node, number, namespace, room, sid, sids = values
    if (
        type(do) is not str
        or do not in REQUESTS
        or type(number) is not int
        or not _is_list_of(str, [node, namespace, sid])
        or not _is_room(room)
        or not _is_list_of(str, sids)
    ):
        raise GarbageError("no request of ours")
    return Control(do, node, number, namespace, room, sid, tuple(sids))


def _head(kind: bytes, header: dict[str, Any], attachments: Sequence[bytes]) -> bytes:
    if attachments:
        header["a"] = [len(one) for one in attachments]
    return b"".join((kind, wire_json.dump(header), b"\n", *attachments))


def _parts(
    message: bytes, *, nothing: bool = False
) -> tuple[dict[str, Any], bytes | None, tuple[bytes, ...]]:
    """Return header, text and attachments; only with ``nothing`` both may be missing."""
    end = message.find(b"\n", 0, MOST_HEADER_BYTES)
    try:
        header = wire_json.loads(message[1:end]) if end > 0 else None
    except ValueError:
        header = None
    if type(header) is not dict:
        raise GarbageError("no header")
    start = end + 1
    attachments: tuple[bytes, ...] = ()
    lengths = header.pop("a", None)
    if lengths is not None:
        if not _is_list_of(int, lengths) or min(lengths, default=-1) < 0:
            raise GarbageError("no lengths of attachments")
        found = []
        for length in lengths:
            found.append(message[start : start + length])
            start += length
        attachments = tuple(found)
        if start > len(message):
            raise GarbageError("cut off")
    text = message[start:] or None
    if text is not None and not text.isascii():
        try:
            text.decode()  # clients close connections that send anything else
        except UnicodeDecodeError:
            raise GarbageError("no UTF-8") from None
    if text is None and not attachments and not nothing:
        raise GarbageError("no packet")
    return header, text, attachments


def _is_room(value: object) -> bool:
    return value is None or type(value) in (str, int)


def _is_list_of(kind: type, value: object) -> bool:
    return type(value) is list and all(type(one) is kind for one in value)


def _is_callback(value: object) -> bool:
    return (
        type(value) is list and len(value) == 2 and type(value[0]) is str and type(value[1]) is int
    )
