"""Every error that Stretto reports, as one closed set of codes.

::

    StrettoError
    ├── Unauthenticated    unauthenticated     no token, or one that does not verify
    ├── TokenExpired       token_expired       the token ran out; refresh it
    ├── Forbidden          forbidden           visible, but not allowed
    ├── NotFound           not_found           does not exist, or may not be seen
    ├── NotJoined          not_joined          open the document or join the room first
    ├── InvalidRequest     invalid_request     the payload's shape is wrong
    ├── InvalidOperation   invalid_operation   the operation does not fit its document
    ├── TooLarge           too_large           a limit of size or count
    ├── RoomFull           room_full           no place left
    ├── RevisionConflict   revision_conflict   the state moved on
    ├── VersionAhead       version_ahead       a version that does not exist yet
    ├── VersionGone        version_gone        a version that was compacted away
    ├── SequenceGap        sequence_gap        not the next seq of this client
    ├── EpochChanged       epoch_changed       another history of this document
    ├── InternalError      internal_error      our fault; the outcome is unknown
    └── Retryable          (never raised itself) wait ``retry_after_ms``, then again
        ├── RateLimited    rate_limited
        ├── Busy           busy
        ├── Unavailable    unavailable
        └── ShuttingDown   shutting_down
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final


class StrettoError(Exception):
    """Raised for everything that a caller can be told about.

    ``code`` is stable and meant for programs, ``message`` for people. ``details``
    holds what the code's row in the contract names (``last_seq``, ``epoch``, …).
    """

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False
    summary: ClassVar[str] = "something went wrong"

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after_ms: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.message = message if message is not None else self.summary
        self.retry_after_ms = retry_after_ms
        self.details = dict(details) if details is not None else None
        super().__init__(self.message)

    def to_payload(self) -> dict[str, Any]:
        """Return the error object of the wire contract."""
        payload: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
        }
        if self.retry_after_ms is not None:
            payload["retry_after_ms"] = self.retry_after_ms
        if self.details is not None:
            payload["details"] = self.details
        return payload


class Unauthenticated(StrettoError):
    """Raised when there is no token, or one that does not verify."""

    code = "unauthenticated"
    summary = "a valid token is needed"


class TokenExpired(StrettoError):
    """Raised when a right is used after the token's expiry."""

    code = "token_expired"
    summary = "the token has expired; refresh it"


class Forbidden(StrettoError):
    """Raised when something visible may not be done by this user."""

    code = "forbidden"
    summary = "not allowed"


class NotFound(StrettoError):
    """Raised when a thing does not exist, or this user may not know that it does."""

    code = "not_found"
    summary = "not found"


class NotJoined(StrettoError):
    """Raised when a document is not open, or a room not joined, on this connection."""

    code = "not_joined"
    summary = "not open on this connection"


class InvalidRequest(StrettoError):
    """Raised when a payload does not have the shape of its event."""

    code = "invalid_request"
    summary = "the payload does not have the shape of this event"


class InvalidOperation(StrettoError):
    """Raised when an operation is malformed or does not fit its document."""

    code = "invalid_operation"
    summary = "the operation is malformed or does not fit its document"


class TooLarge(StrettoError):
    """Raised when a limit of size or count is passed."""

    code = "too_large"
    summary = "a limit was passed"


class RoomFull(StrettoError):
    """Raised when a room or document has no place for one more member."""

    code = "room_full"
    summary = "no place left"


class RevisionConflict(StrettoError):
    """Raised when ``if_revision`` is not the state's revision (``details.revision``)."""

    code = "revision_conflict"
    summary = "the state has another revision"


class VersionAhead(StrettoError):
    """Raised for a version above the journal's head (``details.version``)."""

    code = "version_ahead"
    summary = "that version does not exist yet"


class VersionGone(StrettoError):
    """Raised for a version below the journal's floor (``details.floor``)."""

    code = "version_gone"
    summary = "that version is no longer kept"


class SequenceGap(StrettoError):
    """Raised when a seq is not the client's next (``details.last_seq``)."""

    code = "sequence_gap"
    summary = "not the next sequence number of this client"


class EpochChanged(StrettoError):
    """Raised when the document has another history now (``details.epoch``)."""

    code = "epoch_changed"
    summary = "the document has another history"


class InternalError(StrettoError):
    """Raised when Stretto itself is at fault; what became of the request is unknown."""

    code = "internal_error"
    summary = "internal error"


class Retryable(StrettoError):
    """What passes by itself: wait ``retry_after_ms`` milliseconds, then send again."""

    retryable = True
    default_retry_after_ms: ClassVar[int] = 1_000

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after_ms: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        wait = self.default_retry_after_ms if retry_after_ms is None else retry_after_ms
        super().__init__(message, retry_after_ms=wait, details=details)


class RateLimited(Retryable):
    """Raised when a token bucket is empty."""

    code = "rate_limited"
    summary = "too many requests"


class Busy(Retryable):
    """Raised when a queue is full or too many races were lost."""

    code = "busy"
    summary = "too much work is waiting"
    default_retry_after_ms = 200


class Unavailable(Retryable):
    """Raised when the journal or the network cannot be reached."""

    code = "unavailable"
    summary = "the service cannot be reached"


class ShuttingDown(Retryable):
    """Raised while the server drains."""

    code = "shutting_down"
    summary = "the server is shutting down"


ERRORS: Final[dict[str, type[StrettoError]]] = {
    cls.code: cls
    for cls in (
        Unauthenticated,
        TokenExpired,
        Forbidden,
        NotFound,
        NotJoined,
        InvalidRequest,
        InvalidOperation,
        TooLarge,
        RateLimited,
        RoomFull,
        RevisionConflict,
        VersionAhead,
        VersionGone,
        SequenceGap,
        EpochChanged,
        Busy,
        Unavailable,
        ShuttingDown,
        InternalError,
    )
}
"""The closed set: code → class."""


def error_from_payload(payload: Mapping[str, Any]) -> StrettoError:
    """Return the error that an error object of the wire contract describes.

    An unknown code, as a newer server may send one, becomes :class:`InternalError`:
    its outcome is unknown, which is the safe reading.
    """
    details = payload.get("details")
    return ERRORS.get(str(payload.get("code")), InternalError)(
        str(payload.get("message", "")) or None,
        retry_after_ms=payload.get("retry_after_ms"),
        details=details if isinstance(details, Mapping) else None,
    )
