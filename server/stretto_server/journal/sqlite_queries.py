"""What the SQLite journal reads and writes: functions on a connection in a transaction.

They mirror the methods of :class:`~stretto_server.journal.interface.Journal`. One that
raises may leave a part written: the caller rolls back.
"""

import sqlite3
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from stretto_core.entries import ClientRecord, Entry
from stretto_core.errors import Forbidden, VersionGone
from stretto_core.protocol import NO_HASH
from stretto_server import wire_json
from stretto_server.journal.interface import (
    Appended,
    AppendResult,
    Conflict,
    DocumentInfo,
    Head,
    Loaded,
    Page,
    Snapshot,
    StaleClient,
)
from stretto_server.journal.rules import (
    advance_clients,
    clients_of,
    fill_page,
    require_history,
    require_readable,
)

LAST_CHARACTER: Final = "\U0010ffff"
ALL: Final = -1
"""As a LIMIT: no limit."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of ``documents``."""

    id: int
    head: Head
    floor_hash: bytes
    created_ms: int


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry on its way into the file, encoded before the transaction begins."""

    entry: Entry
    op: str
    hash: bytes


def encode(entries: Sequence[Entry], hashes: Sequence[str]) -> list[NewEntry]:
    """Return ``entries`` encoded, each with its hash. Raises ValueError on unequal lengths."""
    return [
        NewEntry(entry, wire_json.dumps(entry.op), bytes.fromhex(digest))
        for entry, digest in zip(entries, hashes, strict=True)
    ]


def find(connection: sqlite3.Connection, doc: str) -> Row | None:
    """Return the row of ``doc``; None when there is no such document."""
    row = connection.execute(
        "SELECT id, epoch, version, hash, floor, floor_hash, created_ms FROM documents"
        " WHERE doc = ?",
        (doc,),
    ).fetchone()
    if row is None:
        return None
    id_, epoch, version, digest, floor, floor_hash, created_ms = row
    return Row(id_, Head(epoch, version, digest.hex(), floor), floor_hash, created_ms)


def require(connection: sqlite3.Connection, doc: str, epoch: str) -> Row:
    """Return the row of ``doc``. Raises NotFound, EpochChanged."""
    row = find(connection, doc)
    require_history(doc, None if row is None else row.head, epoch)
    assert row is not None
    return row


def create(connection: sqlite3.Connection, doc: str, epoch: str, at_ms: int) -> Head:
    """Create ``doc`` empty, or leave the one that exists."""
    row = find(connection, doc)
    if row is not None:
        return row.head
    head = Head(epoch, 0, NO_HASH, 0)
    _insert_document(connection, doc, head, at_ms, at_ms)
    return head


def load(connection: sqlite3.Connection, doc: str) -> Loaded | None:
    """Return the newest snapshot and all entries after it."""
    row = find(connection, doc)
    if row is None:
        return None
    kept = connection.execute(
        "SELECT version, hash, text FROM snapshots WHERE document = ?", (row.id,)
    ).fetchone()
    snapshot = Snapshot(0, NO_HASH, "")
    if kept is not None:
        version, digest, text = kept
        snapshot = Snapshot(version, digest.hex(), text.decode())
    return Loaded(row.head, snapshot, _entries_after(connection, row.id, snapshot.version))


def append(
    connection: sqlite3.Connection, doc: str, epoch: str, base: int, new: Sequence[NewEntry]
) -> AppendResult:
    """Append ``new`` after version ``base``, or say why not."""
    row = require(connection, doc, epoch)
    if base < row.head.floor:
        raise VersionGone(details={"floor": row.head.floor})
    if base != row.head.version:
        return Conflict(row.head, _entries_after(connection, row.id, base))
    known = {name: _client(connection, row.id, name) for name in {new.entry.client for new in new}}
    advanced = advance_clients(
        {name: record for name, record in known.items() if record is not None},
        base,
        [item.entry for item in new],
    )
    if isinstance(advanced, StaleClient):
        return advanced
    if new:
        _insert_entries(connection, row.id, base, new, advanced)
        connection.execute(
            "UPDATE documents SET version = ?, hash = ?, updated_ms = ? WHERE id = ?",
            (base + len(new), new[-1].hash, new[-1].entry.at_ms, row.id),
        )
    return Appended()


def read(
    connection: sqlite3.Connection,
    doc: str,
    epoch: str,
    first: int,
    limit: int,
    max_bytes: int | None,
) -> Page:
    """Return a page of the log from version ``first`` on."""
    row = require(connection, doc, epoch)
    require_readable(row.head, first)
    with closing(_entries(connection, row.id, first - 1, max(limit, 0))) as kept:
        entries, last = fill_page(kept, max_bytes)
    if last is None:
        last = _hash_at(connection, row, first - 1).hex()
    return Page(first, entries, last, row.head)


def client(connection: sqlite3.Connection, doc: str, name: str) -> ClientRecord | None:
    """Return what is known of the replica ``name``."""
    row = find(connection, doc)
    return None if row is None else _client(connection, row.id, name)


def fence(
    connection: sqlite3.Connection, doc: str, epoch: str, name: str, user: str, at_ms: int
) -> int:
    """Stop the replica ``name`` for good; return its ``last_seq``."""
    row = require(connection, doc, epoch)
    record = _client(connection, row.id, name) or ClientRecord(user=user)
    if record.user != user:
        raise Forbidden("this client belongs to another user")
    connection.execute(
        "INSERT INTO clients (document, client, last_seq, last_version, user, fenced, used_ms)"
        " VALUES (?, ?, 0, 0, ?, 1, ?)"
        " ON CONFLICT DO UPDATE SET fenced = 1, used_ms = excluded.used_ms",
        (row.id, name, user, at_ms),
    )
    return record.last_seq


def keep_snapshot(connection: sqlite3.Connection, doc: str, epoch: str, snapshot: Snapshot) -> None:
    """Keep ``snapshot`` if it is newer than the kept one and of this history."""
    row = find(connection, doc)
    if row is None or row.head.epoch != epoch:
        return
    if _snapshot_version(connection, row.id) < snapshot.version <= row.head.version:
        connection.execute(
            "INSERT OR REPLACE INTO snapshots (document, version, hash, text) VALUES (?, ?, ?, ?)",
            (row.id, snapshot.version, bytes.fromhex(snapshot.hash), snapshot.text.encode()),
        )


def compact(connection: sqlite3.Connection, doc: str, epoch: str, floor: int) -> Head:
    """Forget entries up to version ``floor``, but none above the snapshot."""
    row = require(connection, doc, epoch)
    floor = min(floor, _snapshot_version(connection, row.id))
    if floor <= row.head.floor:
        return row.head
    connection.execute(
        "UPDATE documents SET floor = ?, floor_hash = ? WHERE id = ?",
        (floor, _hash_at(connection, row, floor), row.id),
    )
    connection.execute("DELETE FROM entries WHERE document = ? AND version <= ?", (row.id, floor))
    return Head(row.head.epoch, row.head.version, row.head.hash, floor)


def replace(
    connection: sqlite3.Connection, doc: str, epoch: str, new: Sequence[NewEntry], at_ms: int
) -> Head:
    """Put another history in the place of the one that there may be."""
    row = find(connection, doc)
    if row is not None:
        connection.execute("DELETE FROM documents WHERE id = ?", (row.id,))
    created_ms = at_ms if row is None else row.created_ms
    head = Head(epoch, len(new), new[-1].hash.hex() if new else NO_HASH, 0)
    document = _insert_document(connection, doc, head, created_ms, at_ms)
    _insert_entries(connection, document, 0, new, clients_of([item.entry for item in new]))
    return head


def delete(
    connection: sqlite3.Connection, doc: str, epoch: str | None, unless_written: bool
) -> bool:
    """Delete the document with all it has; tell whether there was something to delete."""
    row = find(connection, doc)
    if row is None or (epoch is not None and row.head.epoch != epoch):
        return False
    if unless_written and row.head.version > 0:
        return False
    connection.execute("DELETE FROM documents WHERE id = ?", (row.id,))
    return True


def documents(
    connection: sqlite3.Connection, prefix: str, after: str, limit: int
) -> list[DocumentInfo]:
    """Return documents by id, those after ``after`` whose id starts with ``prefix``."""
    rows = connection.execute(
        "SELECT doc, epoch, version, hash, floor, created_ms, updated_ms FROM documents"
        " WHERE doc >= ? AND doc < ? AND doc > ? ORDER BY doc LIMIT ?",
        (prefix, prefix + LAST_CHARACTER, after, max(limit, 0)),
    )
    return [
        DocumentInfo(doc, Head(epoch, version, digest.hex(), floor), created_ms, updated_ms)
        for doc, epoch, version, digest, floor, created_ms, updated_ms in rows
    ]


def expire_clients(connection: sqlite3.Connection, before_ms: int) -> int:
    """Forget client records last used before ``before_ms``; return how many."""
    return connection.execute("DELETE FROM clients WHERE used_ms < ?", (before_ms,)).rowcount


def _insert_document(
    connection: sqlite3.Connection, doc: str, head: Head, created_ms: int, updated_ms: int
) -> int:
    cursor = connection.execute(
        "INSERT INTO documents"
        " (doc, epoch, version, hash, floor, floor_hash, created_ms, updated_ms)"
        " VALUES (?, ?, ?, ?, 0, ?, ?, ?)",
        (
            doc,
            head.epoch,
            head.version,
            bytes.fromhex(head.hash),
            bytes.fromhex(NO_HASH),
            created_ms,
            updated_ms,
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _insert_entries(
    connection: sqlite3.Connection,
    document: int,
    base: int,
    new: Sequence[NewEntry],
    records: Mapping[str, ClientRecord],
) -> None:
    """Insert ``new`` after version ``base``, and the records that they leave."""
    connection.executemany(
        "INSERT INTO entries (document, version, hash, client, seq, op, user, at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                document,
                version,
                item.hash,
                entry.client,
                entry.seq,
                item.op,
                entry.user,
                entry.at_ms,
            )
            for version, item in enumerate(new, base + 1)
            for entry in (item.entry,)
        ),
    )
    used_ms = {item.entry.client: item.entry.at_ms for item in new}
    connection.executemany(
        "INSERT OR REPLACE INTO clients"
        " (document, client, last_seq, last_version, user, fenced, used_ms)"
        " VALUES (?, ?, ?, ?, ?, 0, ?)",
        (
            (document, name, record.last_seq, record.last_version, record.user, used_ms[name])
            for name, record in records.items()
        ),
    )


def _client(connection: sqlite3.Connection, document: int, name: str) -> ClientRecord | None:
    row = connection.execute(
        "SELECT last_seq, last_version, user, fenced FROM clients"
        " WHERE document = ? AND client = ?",
        (document, name),
    ).fetchone()
    return None if row is None else ClientRecord(row[0], row[1], row[2], bool(row[3]))


def _entries(
    connection: sqlite3.Connection, document: int, after: int, limit: int
) -> Generator[tuple[Entry, str], None, None]:
    rows = connection.execute(
        "SELECT client, seq, op, user, at_ms, hash FROM entries"
        " WHERE document = ? AND version > ? ORDER BY version LIMIT ?",
        (document, after, limit),
    )
    with closing(rows):
        for name, seq, op, user, at_ms, digest in rows:
            yield Entry(name, seq, tuple(wire_json.loads(op)), user, at_ms), digest.hex()


def _entries_after(connection: sqlite3.Connection, document: int, after: int) -> tuple[Entry, ...]:
    return tuple(entry for entry, _ in _entries(connection, document, after, ALL))


def _hash_at(connection: sqlite3.Connection, row: Row, version: int) -> bytes:
    """Return the history hash at ``version``, which is not below the floor."""
    if version == row.head.floor:
        return row.floor_hash
    (digest,) = connection.execute(
        "SELECT hash FROM entries WHERE document = ? AND version = ?", (row.id, version)
    ).fetchone()
    return bytes(digest)


def _snapshot_version(connection: sqlite3.Connection, document: int) -> int:
    row = connection.execute(
        "SELECT version FROM snapshots WHERE document = ?", (document,)
    ).fetchone()
    return 0 if row is None else int(row[0])
