"""What the Redis journal keeps, as bytes: keys, entries, records and heads.

Reading raises ValueError or another of :data:`DAMAGE` for what no Stretto wrote.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from stretto_core.entries import ClientRecord, Entry
from stretto_server import wire_json
from stretto_server.journal.interface import Head
from stretto_server.redis_client.names import PREFIX, TAGS, channel_of, tag_of
from stretto_server.redis_client.resp import Argument

DAMAGE: Final = (ValueError, KeyError, TypeError, IndexError, AttributeError)
FORMAT_KEY: Final = f"{PREFIX}:format"
FORMAT: Final = "1"
"""How all of this is laid out; a server that knows another number keeps its hands off."""
INDEXES: Final = tuple(f"{tag}:documents" for tag in TAGS)
"""The sorted sets of document ids, one for each tag."""

HEAD_FIELDS: Final = ("epoch", "version", "hash", "floor")
"""What :func:`read_head` reads, in this order."""

_RECORD: Final = re.compile(rb"(\d+) (\d+) ([01]) (\d+) (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class KeptEntry:
    """An entry of the log, with its version and the history hash after it."""

    version: int
    entry: Entry
    hash: str


def keys_of(doc: str) -> tuple[str, str, str, str, str]:
    """Return the keys of a document: meta, log, clients, snapshot, and the index it is in."""
    tag = tag_of(doc)
    return (
        f"{tag}:meta:{doc}",
        f"{tag}:log:{doc}",
        f"{tag}:clients:{doc}",
        f"{tag}:snapshot:{doc}",
        f"{tag}:documents",
    )


def publish_arguments(doc: str, sharded: bool) -> tuple[str, str]:
    """Return the command that publishes, and the document's channel."""
    return "SPUBLISH" if sharded else "PUBLISH", channel_of(f"doc:{doc}")


def entry_arguments(entries: Sequence[Entry], hashes: Sequence[str]) -> tuple[list[Argument], int]:
    """Return what the scripts want to know of ``entries``, and how long their JSON is.

    Raises ValueError when there is not one hash for each entry.
    """
    arguments: list[Argument] = []
    size = 0
    for entry, digest in zip(entries, hashes, strict=True):
        data = entry.to_json().encode()
        size += len(data) + 1
        arguments += (entry.client, entry.seq, entry.at_ms, entry.user, data, digest)
    return arguments, size


def read_head(fields: Sequence[Any]) -> Head:
    """Return the head in ``HMGET meta epoch version hash floor``."""
    epoch, version, digest, floor = fields[:4]
    return Head(epoch.decode(), int(version), digest.decode(), int(floor))


def read_record(data: bytes) -> ClientRecord:
    """Return a client's record; empty when none is kept."""
    if not data:
        return ClientRecord()
    match = _RECORD.fullmatch(data)
    if match is None:
        raise ValueError(f"{data[:80]!r} is no client's record")
    seq, version, fenced, _, user = match.groups()
    return ClientRecord(int(seq), int(version), user.decode(), fenced == b"1")


def last_used(data: bytes) -> int:
    """Return when a client was last used, in milliseconds."""
    match = _RECORD.fullmatch(data)
    if match is None:
        raise ValueError(f"{data[:80]!r} is no client's record")
    return int(match[4])


def read_entries(rows: Sequence[Any], first: int) -> list[KeptEntry]:
    """Return entries of a log, which must be those from version ``first`` on, none missing."""
    kept = []
    for version, (name, (_, data, _, digest)) in enumerate(rows, first):
        if name != b"%d-0" % version:
            raise ValueError(f"version {version} is missing from the log, {name!r} is in its place")
        entry = Entry.from_payload(wire_json.loads(data))
        kept.append(KeptEntry(version, entry, digest.decode()))
    return kept


def require_whole(kept: Sequence[KeptEntry], head: Head, after: int) -> tuple[Entry, ...]:
    """Return the entries of ``kept`` if they lead from version ``after`` to ``head``."""
    if after + len(kept) != head.version:
        raise ValueError(f"the log ends at version {after + len(kept)}, not at {head.version}")
    if kept and kept[-1].hash != head.hash:
        raise ValueError(f"the log ends with hash {kept[-1].hash}, not with {head.hash}")
    return tuple([one.entry for one in kept])


def require_full(rows: Sequence[Any], max_bytes: int | None) -> None:
    """Check that a page with fewer entries than it may have is one that its bytes ended."""
    if max_bytes is None or sum(len(data) for _, (_, data, _, _) in rows) <= max_bytes:
        raise ValueError("the log ends below the document's version")


def read_hash(data: bytes) -> str:
    """Return the history hash before a page."""
    if not data:
        raise ValueError("the entry before the page is missing from the log")
    return data.decode()
