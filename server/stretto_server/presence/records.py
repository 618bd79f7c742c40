"""Members as Redis keeps them, and what nodes tell each other of them. Without I/O.

A member is one JSON object, as the wire contract writes it, with the ``client`` whose
operations its cursor rides on. A message is ``p`` and a JSON object ``{seq, by, gone,
set}``: ids of members that are gone, and members that node ``by`` entered or changed.
Nothing here is trusted: what no node of ours wrote is passed over.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stretto_core.roster import NO_STATUS, Member, User
from stretto_server import wire_json

PRESENCE: Final = b"p"
"""How messages about presence start."""
MOST_HEAD_BYTES: Final = 200
"""A number and the name of a node, before anything that a user could have written."""


@dataclass(frozen=True, slots=True)
class PresenceMessage:
    """One change of a room's presence."""

    seq: int
    by: str
    entered: tuple[Member, ...]
    left: tuple[str, ...]


def member_record(member: Member) -> str:
    """Return a member as it is kept."""
    return wire_json.dumps({**member.to_payload(), "client": member.client})


def read_record(record: str | bytes) -> Member | None:
    """Return a kept member; None for garbage."""
    try:
        return _member(wire_json.loads(record))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def read_message(message: bytes, node: str) -> PresenceMessage | None:
    """Return what was told about presence; None for garbage and other messages.

    What ``node`` told itself of its members is left out: it knows.
    """
    if not message.startswith(PRESENCE):
        return None
    head, entering, _ = message.partition(b',"set":')
    if entering and head.find(b',"by":"%b",' % node.encode(), 0, MOST_HEAD_BYTES) > 0:
        message = head + b',"set":[]}'
    try:
        told = wire_json.loads(message[1:])
        entered = tuple(_member(one) for one in told["set"])
        left = tuple(_text(one) for one in told["gone"])
        return PresenceMessage(_whole(told["seq"]), _text(told["by"]), entered, left)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _member(kept: Mapping[str, Any]) -> Member:
    user = kept["user"]
    ranges = kept.get("ranges")
    return Member(
        _text(kept["id"]),
        User(_text(user["id"]), _text(user["name"]), _text(user["color"])),
        None if ranges is None else tuple((_whole(start), _whole(end)) for start, end in ranges),
        None if ranges is None else _whole(kept["version"]),
        kept.get("status", NO_STATUS),
        _text(kept["client"]),
    )


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError
    return value


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError
    return value
