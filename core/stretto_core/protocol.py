"""The wire contract as data: names, payload schemas and limits.

Everything that crosses the network is named here and nowhere else. Payloads that a
client sends are described by marshmallow schemas (:data:`REQUESTS`); what the server
sends is documented in ``docs/protocol.md``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final

from marshmallow import RAISE, Schema, ValidationError, validate
from marshmallow import fields as mm

from stretto_core.errors import InvalidRequest
from stretto_core.payload_fields import Flag, Listing, Ranges, Text, Whole, whole
from stretto_core.shapes import Shape, shape_of

PROTOCOL_VERSION: Final = 1

SESSION: Final = "/"
DOCS: Final = "/docs"
ROOMS: Final = "/rooms"
NAMESPACES: Final = (SESSION, DOCS, ROOMS)

DOCUMENT_TYPES: Final = ("text",)
NO_HASH: Final = "0" * 16
"""The history hash of version 0."""
NO_HISTORY: Final = "f" * 16
"""What a replica says for a hash that wants the content, because it trusts nothing it has."""

PAGE_ENTRIES: Final = 500
PAGE_BYTES: Final = 512 * 1024
"""An answer carries at most this many entries, or this many encoded bytes, of a log."""

FIND_DEFAULT: Final = 50
FIND_MAX: Final = 100


class ServerEvent(StrEnum):
    """Events that the server sends."""

    READY = "ready"
    TOKEN_EXPIRED = "token_expired"
    SHUTDOWN = "shutdown"
    REFUSED = "refused"
    OPS = "ops"
    BEHIND = "behind"
    RESET = "reset"
    ROLE = "role"
    CLOSED = "closed"
    PRESENCE = "presence"
    MESSAGE = "message"
    STATE = "state"
    METADATA = "metadata"


class Budget(StrEnum):
    """Token buckets; each value is the key in :class:`Limits` that fills it."""

    OPS = "ops_per_s"
    CURSORS = "cursors_per_s"
    JOINS = "joins_per_s"
    MESSAGES = "messages_per_s"
    READS = "reads_per_s"


BURST_S: Final = 4
"""A bucket holds this many seconds of its rate."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server accepts. Sizes in bytes, lengths in code points, rates per second."""

    message_bytes: int = 1024 * 1024
    op_components: int = 10_000
    op_inserted: int = 256 * 1024
    document_chars: int = 1024 * 1024
    cursor_ranges: int = 100
    room_state_bytes: int = 64 * 1024
    document_members: int = 2_000
    room_members: int = 100
    open_documents: int = 50
    joined_rooms: int = 50
    user_connections: int = 20
    address_unauthenticated: int = 50
    address_connections: int = 1_000
    ops_per_s: int = 100
    cursors_per_s: int = 30
    joins_per_s: int = 20
    messages_per_s: int = 50
    reads_per_s: int = 100
    unsent_bytes: int = 256 * 1024

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if value < 1:
                raise ValueError(f"limit {limit.name} must be at least 1, not {value}")

    def to_payload(self) -> dict[str, int]:
        """Return the limits as ``ready.limits`` tells them."""
        return asdict(self)


ROOM_MEMBERS_MAX: Final = 1_000
"""``metadata.max_members`` may raise ``room_members`` up to this."""

_ID = re.compile(r"[A-Za-z0-9._:~-][A-Za-z0-9._:~/-]{0,199}")
_CLIENT = re.compile(r"[A-Za-z0-9_-]{16,64}")


def is_resource_id(value: str) -> bool:
    """Tell whether ``value`` may name a document or a room."""
    return _ID.fullmatch(value) is not None and not any(
        segment in ("", ".", "..") for segment in value.split("/")
    )


def is_client_id(value: str) -> bool:
    """Tell whether ``value`` may name a replica."""
    return _CLIENT.fullmatch(value) is not None


def holds_lone_surrogate(value: object) -> bool:
    """Tell whether any string in a JSON value cannot be written as UTF-8."""
    if isinstance(value, str):
        return not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, Mapping):
        return any(holds_lone_surrogate(k) or holds_lone_surrogate(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return any(map(holds_lone_surrogate, value))
    return False


def holds_binary(value: object) -> bool:
    """Tell whether a decoded payload carries binary attachments."""
    if isinstance(value, bytes | bytearray | memoryview):
        return True
    if isinstance(value, Mapping):
        return any(map(holds_binary, value.values()))
    if isinstance(value, list | tuple):
        return any(map(holds_binary, value))
    return False


def is_whole(value: object, least: int = 0) -> bool:
    """Tell whether ``value`` is a whole number from ``least`` up to what JavaScript holds."""
    try:
        whole(value, least)
    except ValidationError:
        return False
    return True


def _check_resource(value: str) -> None:
    if not is_resource_id(value):
        raise ValidationError("not a valid id")


def _check_client(value: str) -> None:
    if not is_client_id(value):
        raise ValidationError("not a valid client id")


def _resource() -> Text:
    return Text(required=True, validate=_check_resource)


def _client(*, required: bool = True) -> Text:
    return Text(required=required, validate=_check_client)


class Request(Schema):
    """What every request has in common: an unknown key is refused."""

    class Meta:
        """Tell marshmallow to refuse unknown keys."""

        unknown = RAISE


class RefreshToken(Request):
    """``/`` ``refresh_token``."""

    token = Text(required=True)


class Since(Request):
    """What a replica already has."""

    epoch = Text(required=True)
    version = Whole(required=True)
    hash = Text(required=True, validate=validate.Regexp(r"[0-9a-f]{16}\Z"))


class OpenDocument(Request):
    """``/docs`` ``open``."""

    doc = _resource()
    client = _client()
    type = Text(validate=validate.OneOf(DOCUMENT_TYPES))
    since = mm.Nested(Since)
    fence = _client(required=False)


class Submit(Request):
    """``/docs`` ``submit``; the form of ``op`` is checked where its document is known."""

    doc = _resource()
    epoch = Text(required=True)
    client = _client()
    seq = Whole(1, required=True)
    base = Whole(required=True)
    op = Listing(required=True)


class Fetch(Request):
    """``/docs`` ``fetch``; a larger ``limit`` is clamped."""

    doc = _resource()
    epoch = Text(required=True)
    from_ = Whole(1, required=True, data_key="from")
    limit = Whole(1)


class CloseDocument(Request):
    """``/docs`` ``close``."""

    doc = _resource()


class Cursor(Request):
    """``/docs`` ``cursor``; ``ranges`` null takes the cursor away."""

    doc = _resource()
    version = Whole(required=True)
    ranges = Ranges(required=True, allow_none=True)


class RoomMetadata(Request):
    """What ``find`` looks at, and how many members a room takes."""

    name = Text()
    max_members = Whole(1, validate=validate.Range(max=ROOM_MEMBERS_MAX))
    private = Flag()
    tags = mm.List(Text())


class JoinRoom(Request):
    """``/rooms`` ``join``; ``metadata`` counts only where the room is created."""

    room = _resource()
    metadata = mm.Nested(RoomMetadata)
    status = mm.Raw(allow_none=True)


class LeaveRoom(Request):
    """``/rooms`` ``leave``."""

    room = _resource()


class SendMessage(Request):
    """``/rooms`` ``send``; ``data`` is any JSON, binary included."""

    room = _resource()
    event = Text(required=True, validate=validate.Length(min=1, max=200))
    data = mm.Raw(required=True, allow_none=True)


class SetState(Request):
    """``/rooms`` ``set_state``; a null value removes its key."""

    room = _resource()
    changes = mm.Dict(keys=Text(), values=mm.Raw(allow_none=True), required=True)
    if_revision = Whole()


class SetStatus(Request):
    """``/rooms`` ``set_status``."""

    room = _resource()
    status = mm.Raw(required=True, allow_none=True)


class SetMetadata(Request):
    """``/rooms`` ``set_metadata``; the given keys replace the room's."""

    room = _resource()
    metadata = mm.Nested(RoomMetadata, required=True)


class FindRooms(Request):
    """``/rooms`` ``find``; ``limit`` above :data:`FIND_MAX` is clamped."""

    owner = Text()
    tags = mm.List(Text())
    min_members = Whole()
    max_members = Whole()
    limit = Whole(1)


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """One event that a client may send: the shape of its payload and the bucket it drains."""

    schema: Schema
    budget: Budget
    binary: bool = False
    shape: Shape | None = field(init=False, repr=False, compare=False)
    """What spares most payloads the schema; None where the schema loads them all."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", shape_of(self.schema))


REQUESTS: Final[Mapping[str, Mapping[str, RequestSpec]]] = {
    SESSION: {
        "refresh_token": RequestSpec(RefreshToken(), Budget.READS),
    },
    DOCS: {
        "open": RequestSpec(OpenDocument(), Budget.JOINS),
        "submit": RequestSpec(Submit(), Budget.OPS),
        "fetch": RequestSpec(Fetch(), Budget.READS),
        "close": RequestSpec(CloseDocument(), Budget.READS),
        "cursor": RequestSpec(Cursor(), Budget.CURSORS),
    },
    ROOMS: {
        "join": RequestSpec(JoinRoom(), Budget.JOINS),
        "leave": RequestSpec(LeaveRoom(), Budget.READS),
        "send": RequestSpec(SendMessage(), Budget.MESSAGES, binary=True),
        "set_state": RequestSpec(SetState(), Budget.MESSAGES),
        "set_status": RequestSpec(SetStatus(), Budget.CURSORS),
        "set_metadata": RequestSpec(SetMetadata(), Budget.MESSAGES),
        "find": RequestSpec(FindRooms(), Budget.JOINS),
    },
}
"""Every event that a client may send: namespace → event → its description."""


def decode_request(spec: RequestSpec, arguments: Iterable[object]) -> dict[str, Any]:
    """Return the payload of a request, checked against its schema.

    Raises InvalidRequest, with ``details`` naming each wrong key, when there is not
    exactly one JSON object, or when it does not have the shape of its event.
    """
    given = list(arguments)
    if len(given) != 1 or not isinstance(given[0], dict):
        raise InvalidRequest("an event carries exactly one JSON object")
    payload: dict[str, Any] = given[0]
    plain = spec.shape(payload) if spec.shape is not None else None
    if plain is not None:
        return plain
    for key, value in payload.items():
        if holds_lone_surrogate(key) or (key != "op" and holds_lone_surrogate(value)):
            raise InvalidRequest("text with a lone surrogate", details={key: ["lone surrogate"]})
        if holds_binary(value) and not (spec.binary and key == "data"):
            raise InvalidRequest("binary data is not accepted here", details={key: ["binary"]})
    try:
        decoded: dict[str, Any] = spec.schema.load(payload)
    except ValidationError as error:
        raise InvalidRequest(details=_reasons(error.messages)) from None
    return decoded


def _reasons(messages: object) -> dict[str, list[str]]:
    """Flatten marshmallow's messages to ``{key: [reasons]}``."""
    if not isinstance(messages, dict):
        return {"_": [str(messages)]}
    flat: dict[str, list[str]] = {}
    for key, reasons in messages.items():
        if isinstance(reasons, dict):
            reasons = [f"{inner}: {text}" for inner, text in _reasons(reasons).items()]
        flat[str(key)] = [str(reason) for reason in reasons]
    return flat
