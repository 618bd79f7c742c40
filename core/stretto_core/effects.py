"""What a replica asks its shell to send, and what it reports of its calls."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stretto_core.entries import Entry
from stretto_core.errors import StrettoError
from stretto_core.ot import Operation


class Origin(StrEnum):
    """Why the text shown changed."""

    LOCAL = "local"
    REMOTE = "remote"
    REFUSED = "refused"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Request:
    """What to send next; an answer that comes for an older connection is ignored."""

    event: str
    payload: dict[str, Any]
    connection: int


@dataclass(frozen=True, slots=True)
class Changed:
    """The text shown changed by ``op``. ``entry`` and ``version`` say whose it was, if remote."""

    op: Operation
    origin: Origin
    entry: Entry | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The entry of the replica's own operation came back: it is in the history at ``version``."""

    entry: Entry
    version: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The document is open on this connection; ``answer`` is the server's."""

    answer: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Returned:
    """Text of the user's that the application must not lose, and why it is given back.

    After ``refused`` it is what the operation inserted, which is no longer in the document.
    After ``replaced`` it is the whole text as it was shown before another history took over.
    """

    text: str
    origin: Origin
    error: StrettoError | None = None


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """The right on the document is another one now."""

    role: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The document cannot be used any more; ``text`` is what was shown, if part was unsent."""

    error: StrettoError
    text: str


Effect = Changed | Confirmed | Opened | Returned | RoleChanged | Closed
