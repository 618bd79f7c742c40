"""The rules that every journal enforces, as pure functions.

A journal reads what it keeps inside its own transaction, asks these functions, and
writes only when they let it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from stretto_core.entries import ClientRecord, Entry
from stretto_core.errors import EpochChanged, NotFound, VersionAhead, VersionGone
from stretto_server.journal.interface import Head, StaleClient

UNKNOWN: Final = ClientRecord()
"""The record of a client that did nothing yet."""


def require_history(doc: str, head: Head | None, epoch: str) -> Head:
    """Return ``head`` if it is one of ``epoch``. Raises NotFound, EpochChanged."""
    if head is None:
        raise NotFound(f"there is no document {doc}")
    if head.epoch != epoch:
        raise EpochChanged(details={"epoch": head.epoch})
    return head


def require_readable(head: Head, first: int) -> None:
    """Check that a page may start at version ``first``. Raises VersionGone, VersionAhead."""
    if first <= head.floor:
        raise VersionGone(details={"floor": head.floor})
    if first > head.version + 1:
        raise VersionAhead(details={"version": head.version})


def advance_clients(
    known: Mapping[str, ClientRecord], base: int, entries: Sequence[Entry]
) -> dict[str, ClientRecord] | StaleClient:
    """Return the records of the clients of ``entries`` once these follow version ``base``.

    ``known`` are the records before; a client that is not in it is unknown. Where an
    entry is not its client's next one, or the client is fenced, the answer is the
    refusal with the record as it is kept.
    """
    advanced: dict[str, ClientRecord] = {}
    for version, entry in enumerate(entries, base + 1):
        kept = known.get(entry.client, UNKNOWN)
        record = advanced.get(entry.client, kept)
        if record.fenced or entry.seq != record.last_seq + 1:
            return StaleClient(entry.client, kept)
        advanced[entry.client] = record.advanced(entry.seq, version, entry.user)
    return advanced


def clients_of(entries: Sequence[Entry]) -> dict[str, ClientRecord]:
    """Return the records that a whole history of ``entries``, from version 1 on, leaves."""
    return {
        entry.client: ClientRecord(entry.seq, version, entry.user)
        for version, entry in enumerate(entries, 1)
    }


def encoded_bytes(entry: Entry) -> int:
    """Return the bytes that ``entry`` takes on the wire, as compact UTF-8 JSON."""
    return len(entry.to_json().encode())


def fill_page(
    kept: Iterable[tuple[Entry, str]], max_bytes: int | None
) -> tuple[tuple[Entry, ...], str | None]:
    """Return the first of ``kept`` that fit into ``max_bytes``, and the hash at the last.

    ``kept`` are entries with their hashes, already cut to the limit of entries. One
    entry always fits. The hash is None when there are no entries.
    """
    page: list[Entry] = []
    last: str | None = None
    room = max_bytes
    for entry, digest in kept:
        if room is not None:
            room -= encoded_bytes(entry)
            if room < 0 and page:
                break
        page.append(entry)
        last = digest
    return tuple(page), last
