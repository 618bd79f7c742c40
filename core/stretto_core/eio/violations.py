"""What a peer can do wrong: a closed set, so that metrics can count by reason."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why bytes of a peer are refused. The values are stable."""

    EMPTY = "empty"
    """A payload, frame or packet of no characters."""
    UNKNOWN_TYPE = "unknown_type"
    """The first character is no packet type of the protocol."""
    UNEXPECTED_TYPE = "unexpected_type"
    """A packet type that this side only sends, or that has no place here."""
    UNEXPECTED_DATA = "unexpected_data"
    """Data in a packet of a type that carries none."""
    TOO_LARGE = "too_large"
    """More bytes than were announced as allowed."""
    INVALID_UTF8 = "invalid_utf8"
    INVALID_BASE64 = "invalid_base64"

    UNMASKED = "unmasked"
    """A WebSocket frame that its client did not mask."""
    INVALID_FRAME = "invalid_frame"
    """A WebSocket frame that RFC 6455 does not allow, or not here."""
    INVALID_DEFLATE = "invalid_deflate"
    """A compressed WebSocket message that is none."""

    INVALID_ATTACHMENTS = "invalid_attachments"
    """No attachment count of ASCII digits and ``-`` where there must be one."""
    TOO_MANY_ATTACHMENTS = "too_many_attachments"
    INVALID_PLACEHOLDER = "invalid_placeholder"
    """Placeholders and attachments do not pair off exactly."""
    UNEXPECTED_BINARY = "unexpected_binary"
    """An attachment that no packet announced."""
    MISSING_BINARY = "missing_binary"
    """Another packet where an attachment was announced."""
    INVALID_ID = "invalid_id"
    """An ack id that is missing, out of place or no safe integer."""
    INVALID_JSON = "invalid_json"
    TOO_DEEP = "too_deep"
    NOT_FINITE = "not_finite"
    """NaN, Infinity, or a number too large for a double."""
    INVALID_PAYLOAD = "invalid_payload"
    """JSON of another shape than the packet type demands."""
    RESERVED_EVENT = "reserved_event"
    """An event name that clients must not use."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Returned instead of a packet. Close the connection; there is nothing to answer."""

    reason: Reason
