"""Changes of a room on its channel, for the nodes that follow it. Without I/O.

``s<mark> <skip> <revision> <JSON>`` tells of a change of the state, ``m<mark> <skip> 0
<JSON>`` of the metadata. The JSON is the event as its members get it, to be relayed as it
is; ``mark`` names the change for whoever made it, ``skip`` is the Socket.IO id that is not
told; ``-`` where there is none.
"""

from typing import Any, Final, NamedTuple

from stretto_core.protocol import ServerEvent
from stretto_server import wire_json
from stretto_server.room_store.interface import Author, RoomSnapshot

KINDS: Final = {b"s": ServerEvent.STATE, b"m": ServerEvent.METADATA}


class Told(NamedTuple):
    """One change, as all nodes hear of it; ``revision`` is 0 for metadata."""

    event: ServerEvent
    mark: str
    skip: str | None
    revision: int
    payload: str
    values: dict[str, Any]
    """What the payload says."""


def message_head(event: ServerEvent, author: Author) -> str:
    """Return the message up to the revision, which Redis puts in, and a space."""
    kind = "s" if event == ServerEvent.STATE else "m"
    return f"{kind}{author.mark or '-'} {author.skip or '-'} "


def read_told(message: bytes) -> Told | None:
    """Return the change that a message tells of; None for others and for garbage."""
    event = KINDS.get(message[:1])
    parts = message[1:].split(b" ", 3)
    if event is None or len(parts) != 4 or not parts[2].isdigit():
        return None
    try:
        mark, skip, payload = parts[0].decode(), parts[1].decode(), parts[3].decode()
        values = wire_json.loads(payload)
        changed = values["changes" if event == ServerEvent.STATE else "metadata"]
    except (ValueError, KeyError, TypeError):
        return None
    if type(values) is not dict or type(changed) is not dict:
        return None
    return Told(event, mark, None if skip == "-" else skip, int(parts[2]), payload, values)


def bring_up(snapshot: RoomSnapshot, heard: list[Told]) -> None:
    """Make a snapshot as new as what was heard since it was asked for."""
    for told in heard:
        if told.event == ServerEvent.METADATA:
            snapshot.metadata = told.values["metadata"]
        elif told.revision == snapshot.revision + 1:
            snapshot.revision = told.revision
            for key, value in told.values["changes"].items():
                if value is None:
                    snapshot.state.pop(key, None)
                else:
                    snapshot.state[key] = value
