"""What the server answers and sends, as schemas, for those who generate code or documents.

The requests are in :mod:`stretto_core.protocol`. Clients ignore unknown keys; the schemas
here refuse them, so that tests notice a key which nobody described.
"""

from collections.abc import Mapping
from typing import Final

from marshmallow import RAISE, Schema, validate
from marshmallow import fields as mm

from stretto_core.errors import ERRORS
from stretto_core.payload_fields import Flag, Listing, Ranges, Text, Whole
from stretto_core.protocol import (
    DOCS,
    DOCUMENT_TYPES,
    ROOMS,
    SESSION,
    Limits,
    RoomMetadata,
    ServerEvent,
)

ROLES: Final = ("viewer", "editor", "owner")


def _role() -> Text:
    return Text(required=True, validate=validate.OneOf(ROLES))


def _hash() -> Text:
    return Text(required=True, validate=validate.Regexp(r"[0-9a-f]{16}\Z"))


class Reply(Schema):
    """What all replies and events have in common: every key is described."""

    class Meta:
        """Tell marshmallow to refuse unknown keys."""

        unknown = RAISE


class ErrorObject(Reply):
    """Why something was refused."""

    code = Text(required=True, validate=validate.OneOf(tuple(ERRORS)))
    message = Text(required=True)
    retryable = Flag(required=True)
    retry_after_ms = Whole()
    details = mm.Dict(keys=Text(), values=mm.Raw(allow_none=True))


class Refusal(Reply):
    """The ack object of a request that failed."""

    ok = Flag(required=True, validate=validate.Equal(False))
    error = mm.Nested(ErrorObject, required=True)


class UserObject(Reply):
    """A person or program; ``color`` is ``#rrggbb``."""

    id = Text(required=True)
    name = Text(required=True)
    color = Text(required=True, validate=validate.Regexp(r"#[0-9a-f]{6}\Z"))


class Origin(Reply):
    """Who did something: the member id, and the user."""

    id = Text(required=True)
    user = mm.Nested(UserObject, required=True)


class DocumentMember(Origin):
    """One presence in a document; ``ranges`` count in the text at ``version``."""

    ranges = Ranges()
    version = Whole()


class RoomMember(Origin):
    """One presence in a room."""

    status = mm.Raw(allow_none=True)


class LogEntry(Reply):
    """One committed operation; its version is its place in the log."""

    client = Text(required=True)
    seq = Whole(1, required=True)
    op = Listing(required=True)
    user = Text(required=True)
    at_ms = Whole(required=True)


class Empty(Reply):
    """Nothing but the success."""


class Fenced(Reply):
    """What the fenced client had committed."""

    last_seq = Whole(required=True)


class Refreshed(Reply):
    """The answer to ``refresh_token``."""

    token_ttl_s = Whole(required=True)


class Opened(Reply):
    """The answer to ``open``: with ``ops`` or with ``content``."""

    doc = Text(required=True)
    type = Text(required=True, validate=validate.OneOf(DOCUMENT_TYPES))
    epoch = Text(required=True)
    version = Whole(required=True)
    hash = _hash()
    member_id = Text(required=True)
    last_seq = Whole(required=True)
    role = _role()
    members = mm.List(mm.Nested(DocumentMember), required=True)
    fenced = mm.Nested(Fenced)
    ops = mm.List(mm.Nested(LogEntry))
    content = Text()
    reset = Flag()
    floor = Whole()


class Submitted(Reply):
    """The answer to ``submit``."""

    version = Whole(1, required=True)


class Fetched(Reply):
    """The answer to ``fetch``; ``hash`` is that of the last entry sent."""

    from_ = Whole(1, required=True, data_key="from")
    ops = mm.List(mm.Nested(LogEntry), required=True)
    hash = _hash()
    version = Whole(required=True)


class Joined(Reply):
    """The answer to ``join``."""

    room = Text(required=True)
    member_id = Text(required=True)
    members = mm.List(mm.Nested(RoomMember), required=True)
    state = mm.Dict(keys=Text(), values=mm.Raw(allow_none=True), required=True)
    revision = Whole(required=True)
    metadata = mm.Nested(RoomMetadata, required=True)


class StateSet(Reply):
    """The answer to ``set_state``."""

    revision = Whole(required=True)


class MetadataSet(Reply):
    """The answer to ``set_metadata``: all of it, merged."""

    metadata = mm.Nested(RoomMetadata, required=True)


class FoundRoom(Reply):
    """One row of ``find``; ``members`` is their count."""

    room = Text(required=True)
    members = Whole(required=True)
    metadata = mm.Nested(RoomMetadata, required=True)


class Found(Reply):
    """The answer to ``find``."""

    rooms = mm.List(mm.Nested(FoundRoom), required=True)


LimitsObject: Final = Reply.from_dict(
    {key: Whole(1, required=True) for key in Limits().to_payload()}, name="LimitsObject"
)
"""``ready.limits``; their meaning stands in ``docs/protocol.md``."""


class Ready(Reply):
    """Sent once the session namespace was joined."""

    session_id = Text(required=True)
    user = mm.Nested(UserObject, required=True)
    protocol = Whole(1, required=True)
    node = Text(required=True)
    server_time_ms = Whole(required=True)
    token_ttl_s = Whole(required=True)
    limits = mm.Nested(LimitsObject, required=True)


class TokenExpiry(Reply):
    """Sent when the token expires."""

    grace_s = Whole(required=True)


class Shutdown(Reply):
    """Sent by a node that drains; the time is drawn for each client."""

    reason = Text(required=True)
    reconnect_after_ms = Whole(required=True)


class Refused(Reply):
    """Sent after an event without an ack callback that failed."""

    event = Text(required=True)
    error = mm.Nested(ErrorObject, required=True)
    doc = Text()
    room = Text()
    seq = Whole()


class OpsFrame(Reply):
    """Committed operations; the first has version ``from``, ``hash`` is that of the last."""

    doc = Text(required=True)
    epoch = Text(required=True)
    from_ = Whole(1, required=True, data_key="from")
    ops = mm.List(mm.Nested(LogEntry), required=True)
    hash = _hash()


class Behind(Reply):
    """Sent when this connection missed frames."""

    doc = Text(required=True)
    version = Whole(required=True)


class Reset(Reply):
    """Sent when another history replaced the document's."""

    doc = Text(required=True)
    epoch = Text(required=True)
    version = Whole(required=True)
    hash = _hash()


class DocumentRole(Reply):
    """Sent when the right on a document became another one."""

    doc = Text(required=True)
    role = _role()


class DocumentClosed(Reply):
    """Sent when the right to see a document is gone, or the document."""

    doc = Text(required=True)
    error = mm.Nested(ErrorObject, required=True)


class DocumentPresence(Reply):
    """Who came, went and changed in a document."""

    doc = Text(required=True)
    joined = mm.List(mm.Nested(DocumentMember), required=True)
    left = mm.List(Text(), required=True)
    updated = mm.List(mm.Nested(DocumentMember), required=True)


class RoomRole(Reply):
    """Sent when the right on a room became another one."""

    room = Text(required=True)
    role = _role()


class RoomClosed(Reply):
    """Sent when the right to be in a room is gone."""

    room = Text(required=True)
    error = mm.Nested(ErrorObject, required=True)


class RoomPresence(Reply):
    """Who came, went and changed in a room."""

    room = Text(required=True)
    joined = mm.List(mm.Nested(RoomMember), required=True)
    left = mm.List(Text(), required=True)
    updated = mm.List(mm.Nested(RoomMember), required=True)


class Message(Reply):
    """A message to a room; ``data`` is any JSON, binary included."""

    room = Text(required=True)
    event = Text(required=True)
    data = mm.Raw(required=True, allow_none=True)
    from_ = mm.Nested(Origin, required=True, data_key="from")
    at_ms = Whole(required=True)


class StateChanged(Reply):
    """A change of a room's state; a null value removed its key."""

    room = Text(required=True)
    revision = Whole(1, required=True)
    changes = mm.Dict(keys=Text(), values=mm.Raw(allow_none=True), required=True)
    by = mm.Nested(Origin, required=True)


class MetadataChanged(Reply):
    """A room's metadata, merged."""

    room = Text(required=True)
    metadata = mm.Nested(RoomMetadata, required=True)


ANSWERS: Final[Mapping[str, Mapping[str, Schema]]] = {
    SESSION: {"refresh_token": Refreshed()},
    DOCS: {
        "open": Opened(),
        "submit": Submitted(),
        "fetch": Fetched(),
        "close": Empty(),
        "cursor": Empty(),
    },
    ROOMS: {
        "join": Joined(),
        "leave": Empty(),
        "send": Empty(),
        "set_state": StateSet(),
        "set_status": Empty(),
        "set_metadata": MetadataSet(),
        "find": Found(),
    },
}
"""What each request is answered with, beside ``ok``."""

EVENTS: Final[Mapping[str, Mapping[ServerEvent, Schema]]] = {
    SESSION: {
        ServerEvent.READY: Ready(),
        ServerEvent.TOKEN_EXPIRED: TokenExpiry(),
        ServerEvent.SHUTDOWN: Shutdown(),
        ServerEvent.REFUSED: Refused(),
    },
    DOCS: {
        ServerEvent.OPS: OpsFrame(),
        ServerEvent.BEHIND: Behind(),
        ServerEvent.RESET: Reset(),
        ServerEvent.ROLE: DocumentRole(),
        ServerEvent.CLOSED: DocumentClosed(),
        ServerEvent.PRESENCE: DocumentPresence(),
        ServerEvent.REFUSED: Refused(),
    },
    ROOMS: {
        ServerEvent.MESSAGE: Message(),
        ServerEvent.STATE: StateChanged(),
        ServerEvent.METADATA: MetadataChanged(),
        ServerEvent.PRESENCE: RoomPresence(),
        ServerEvent.ROLE: RoomRole(),
        ServerEvent.CLOSED: RoomClosed(),
        ServerEvent.REFUSED: Refused(),
    },
}
"""What the server sends by itself."""

REFUSAL: Final = Refusal()
"""The ack object of every request that failed."""
