"""What every journal promises; one contract suite holds all of them to it.

A journal keeps, per document, one history: an epoch, entries with versions 1, 2, 3 …,
their hashes, the newest snapshot, and a record per client. Appending is a
compare-and-set on the version, so any number of writers may try at once and exactly
one wins. Nothing here transforms operations.

Every method may raise :class:`~stretto_core.errors.Unavailable` when the journal cannot
be reached and *nothing was written*, and writing methods :class:`OutcomeUnknown` when
that cannot be told. Cancelling a call leaves its outcome unknown.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from stretto_core.entries import ClientRecord, Entry


class OutcomeUnknown(Exception):
    """Raised when a write may or may not have happened: read before you go on."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a history stands.

    ``floor`` is the oldest version that can still be replayed from: entries
    ``floor + 1 … version`` are kept.
    """

    epoch: str
    version: int
    hash: str
    floor: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole text at one version, with that version's history hash."""

    version: int
    hash: str
    text: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Enough to serve a document: the newest snapshot and the entries after it."""

    head: Head
    snapshot: Snapshot
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of a log: entries from version ``first`` on, oldest first.

    ``hash`` is the history hash at the last of them (at ``first - 1`` when there are none).
    """

    first: int
    entries: tuple[Entry, ...]
    hash: str
    head: Head


@dataclass(frozen=True, slots=True)
class Appended:
    """All entries are durable, at the versions after ``base``."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing was written: the head is not ``base``. ``missed`` are the entries after it.

    A head *below* ``base``, with nothing missed, means that this journal lost its tail.
    """

    head: Head
    missed: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class StaleClient:
    """Nothing was written: an entry is not its client's next one (duplicate, gap or fence).

    ``record`` is what is kept of the client, without the entries before it in the batch.
    """

    client: str
    record: ClientRecord


AppendResult = Appended | Conflict | StaleClient


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """One row of a listing; times in milliseconds since the epoch."""

    doc: str
    head: Head
    created_ms: int
    updated_ms: int


class Journal(Protocol):
    """A durable log of documents; see the module's text for what may be raised."""

    async def start(self) -> None:
        """Open the journal. Raises Unavailable with what to do when that fails."""

    async def close(self) -> None:
        """Finish what was begun and release everything; calling it twice is fine."""

    async def create(self, doc: str, epoch: str, at_ms: int) -> Head:
        """Create ``doc`` empty, or leave the one that exists; return its head either way."""

    async def load(self, doc: str) -> Loaded | None:
        """Return the newest snapshot and all entries after it; None when unknown.

        Version 0 with empty text counts as a snapshot.
        """

    def append(
        self,
        doc: str,
        epoch: str,
        base: int,
        entries: Sequence[Entry],
        hashes: Sequence[str],
        *,
        base_hash: str | None = None,
    ) -> Awaitable[AppendResult]:
        """Append ``entries`` at versions ``base + 1 …``, all or none, durably.

        ``hashes`` are the history hashes after each entry, ``base_hash`` the one before them:
        a head at ``base`` with another hash is a :class:`Conflict` too, with nothing missed.
        Checked in this order: the
        document exists (NotFound), ``epoch`` (EpochChanged with ``details.epoch``), the
        head is ``base`` (else :class:`Conflict`), each entry has its client's next seq and
        that client is not fenced (else :class:`StaleClient`). Where a conflict's missed
        entries are no longer all kept, it is VersionGone with ``details.floor`` instead.
        Records of the clients are advanced in the same transaction.
        """

    async def read(
        self, doc: str, epoch: str, first: int, limit: int, max_bytes: int | None = None
    ) -> Page:
        """Return up to ``limit`` entries from version ``first`` on (0: only the hash).

        With ``max_bytes`` it stops before the entries, encoded as compact UTF-8 JSON of
        their payloads, pass that size together, but never before one entry. ``first`` one
        past the head gives an empty page. Raises NotFound, EpochChanged, VersionGone with
        ``details.floor`` when ``first <= floor``, VersionAhead with ``details.version``
        when ``first > version + 1``.
        """

    async def heads(self, docs: Sequence[str]) -> list[Head | None]:
        """Return where the histories of ``docs`` stand; None for one that does not exist.

        They are asked for together, in as few round trips as can be.
        """

    async def renew(self, doc: str, epoch: str, new_epoch: str) -> Head:
        """Give the history of ``epoch`` as it stands the epoch ``new_epoch``; return the head.

        So that nobody who knows it otherwise goes on from what it has lost. A history of
        another epoch is left alone: of several who try, one is first. Raises NotFound.
        """

    async def client(self, doc: str, client: str) -> ClientRecord | None:
        """Return what is known of a replica; None when unknown or expired."""

    async def fence(self, doc: str, epoch: str, client: str, user: str, at_ms: int) -> int:
        """Durably stop ``client`` from committing anything more; return its ``last_seq``.

        An unknown client gets a fenced record with ``last_seq`` 0. Raises Forbidden when
        the client is bound to another user, NotFound, EpochChanged. Fencing twice gives
        the same answer.
        """

    async def snapshot(self, doc: str, epoch: str, snapshot: Snapshot) -> None:
        """Keep ``snapshot`` if it is newer than the kept one and of this epoch; else do nothing.

        One above the head, or whose hash is not the log's at that version, is none of this
        history, and is not kept.
        """

    async def compact(self, doc: str, epoch: str, floor: int) -> Head:
        """Forget entries up to version ``floor``, but none above the snapshot; return the head.

        A lower floor than today's changes nothing. Client records stay.
        """

    async def replace(
        self,
        doc: str,
        epoch: str,
        entries: Sequence[Entry],
        hashes: Sequence[str],
        at_ms: int,
    ) -> Head:
        """Start another history under a new ``epoch`` with ``entries``; the old one is gone.

        Creates the document when it does not exist, else keeps when that was. Client records
        are forgotten with the old history, but for those of ``entries``.
        """

    async def delete(
        self, doc: str, *, epoch: str | None = None, unless_written: bool = False
    ) -> bool:
        """Delete the document with all it has; tell whether there was something to delete.

        With ``epoch`` only that history; with ``unless_written`` only at version 0.
        """

    async def documents(
        self, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[DocumentInfo]:
        """Return documents with ids that start with ``prefix`` and sort behind ``after``.

        They are ordered by id, code point by code point, and at most ``limit``.
        """

    async def expire_clients(self, before_ms: int) -> int:
        """Forget client records last used before ``before_ms``; return how many."""
