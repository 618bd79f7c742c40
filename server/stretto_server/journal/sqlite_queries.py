"""What the SQLite journal reads and writes: functions on a connection in a transaction.

They mirror the methods of :class:`~stretto_server.journal.interface.Journal`. One that
raises may leave a part written: the caller rolls back.

A document's entries are in ``batches``, the newest of them still in ``log``, where
:mod:`~stretto_server.journal.sqlite_appends` puts them; reading goes through both. What
``documents`` and ``clients`` say is as of ``batches``. Functions that change a history
want the log to be empty.
"""

import sqlite3
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Final

from stretto_core.entries import ClientRecord, Entry
from stretto_core.errors import Forbidden, NotFound
from stretto_core.protocol import NO_HASH
from stretto_server import wire_json
from stretto_server.journal.interface import Head, Loaded, Page, Snapshot
from stretto_server.journal.rules import (
    clients_of,
    fill_page,
    require_history,
    require_readable,
)

VERSION_BITS: Final = 32
HASH_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Row:
    """A row of ``documents``."""

    id: int
    head: Head
    floor_hash: bytes
    created_ms: int


def place_of(document: int, version: int) -> int:
    """Return the key of what ends at ``version``; all of a document are next to each other."""
    return document << VERSION_BITS | version


def bounds_of(document: int, after: int = 0) -> tuple[int, int]:
    """Return two keys: what a document has after a version lies between them."""
    return place_of(document, after), place_of(document + 1, 0)


def pack(
    document: int, base: int, entries: Sequence[Entry], hashes: Sequence[str]
) -> tuple[int, bytes, str]:
    """Return the row of ``entries`` after version ``base``, of ``batches`` or ``log``."""
    return (
        place_of(document, base + len(entries)),
        bytes.fromhex("".join(hashes)),
        f"[{','.join([entry.to_json() for entry in entries])}]",
    )


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
    logged = connection.execute(
        "SELECT place, hashes FROM log WHERE place > ? AND place < ? ORDER BY id DESC LIMIT 1",
        bounds_of(id_),
    ).fetchone()
    if logged is not None:
        version, digest = logged[0] - place_of(id_, 0), logged[1][-HASH_BYTES:]
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


def renew(connection: sqlite3.Connection, doc: str, epoch: str, new_epoch: str) -> Head:
    """Give the history of ``epoch`` another one, as it stands; return the head."""
    row = find(connection, doc)
    if row is None:
        raise NotFound(f"there is no document {doc}")
    head = row.head
    if head.epoch != epoch:
        return head
    connection.execute("UPDATE documents SET epoch = ? WHERE id = ?", (new_epoch, row.id))
    return Head(new_epoch, head.version, head.hash, head.floor)


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
    return Loaded(row.head, snapshot, entries_after(connection, row.id, snapshot.version))


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
    with closing(_entries(connection, row.id, first - 1)) as kept:
        entries, last = fill_page(islice(kept, max(limit, 0)), max_bytes)
    if last is None:
        last = _hash_at(connection, row, first - 1).hex()
    return Page(first, entries, last, row.head)


def client(connection: sqlite3.Connection, doc: str, name: str) -> ClientRecord | None:
    """Return what is known of the replica ``name``."""
    row = find(connection, doc)
    if row is None:
        return None
    record = recorded_client(connection, row.id, name)
    # The newest first; whoever is not named there needs no JSON to be read.
    named = f'"client":{wire_json.dumps(name)},'
    rows = connection.execute(
        "SELECT place, hashes, entries FROM log"
        " WHERE place > ? AND place < ? AND instr(entries, ?) ORDER BY id DESC LIMIT 1",
        (*bounds_of(row.id), named),
    )
    for place, hashes, text in rows:
        first = place - place_of(row.id, 0) - len(hashes) // HASH_BYTES + 1
        for version, item in enumerate(wire_json.loads(text), first):
            if item["client"] == name:
                record = (record or ClientRecord()).advanced(item["seq"], version, item["user"])
    return record


def fence(
    connection: sqlite3.Connection, doc: str, epoch: str, name: str, user: str, at_ms: int
) -> int:
    """Stop the replica ``name`` for good; return its ``last_seq``."""
    row = require(connection, doc, epoch)
    record = recorded_client(connection, row.id, name) or ClientRecord(user=user)
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
    if not _snapshot_version(connection, row.id) < snapshot.version <= row.head.version:
        return
    digest = bytes.fromhex(snapshot.hash)
    if digest == _hash_at(connection, row, snapshot.version):
        connection.execute(
            "INSERT OR REPLACE INTO snapshots (document, version, hash, text) VALUES (?, ?, ?, ?)",
            (row.id, snapshot.version, digest, snapshot.text.encode()),
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
    connection.execute(
        "DELETE FROM batches WHERE place > ? AND place <= ?",
        (place_of(row.id, 0), place_of(row.id, floor)),
    )
    return Head(row.head.epoch, row.head.version, row.head.hash, floor)


def replace(
    connection: sqlite3.Connection,
    doc: str,
    epoch: str,
    entries: Sequence[Entry],
    hashes: Sequence[str],
    at_ms: int,
) -> Head:
    """Put another history in the place of the one that there may be."""
    row = find(connection, doc)
    if row is not None:
        _delete_document(connection, row.id)
    created_ms = at_ms if row is None else row.created_ms
    head = Head(epoch, len(entries), hashes[-1] if entries else NO_HASH, 0)
    document = _insert_document(connection, doc, head, created_ms, at_ms)
    connection.executemany(
        "INSERT INTO batches (place, hashes, entries) VALUES (?, ?, ?)",
        (
            pack(document, base, [entry], [digest])
            for base, (entry, digest) in enumerate(zip(entries, hashes, strict=True))
        ),
    )
    used_ms = {entry.client: entry.at_ms for entry in entries}
    records = clients_of(entries)
    record_clients(connection, ((document, name, records[name], used_ms[name]) for name in records))
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
    _delete_document(connection, row.id)
    return True


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


def _delete_document(connection: sqlite3.Connection, document: int) -> None:
    connection.execute("DELETE FROM batches WHERE place > ? AND place < ?", bounds_of(document))
    connection.execute("DELETE FROM documents WHERE id = ?", (document,))


def record_clients(
    connection: sqlite3.Connection, rows: Iterable[tuple[int, str, ClientRecord, int]]
) -> None:
    """Write records: ``(document, client, record, when it was used last)`` each."""
    connection.executemany(
        "INSERT OR REPLACE INTO clients"
        " (document, client, last_seq, last_version, user, fenced, used_ms)"
        " VALUES (?, ?, ?, ?, ?, 0, ?)",
        (
            (document, name, record.last_seq, record.last_version, record.user, used_ms)
            for document, name, record, used_ms in rows
        ),
    )


def recorded_client(
    connection: sqlite3.Connection, document: int, name: str
) -> ClientRecord | None:
    """Return the record of a client without what the log has of it."""
    row = connection.execute(
        "SELECT last_seq, last_version, user, fenced FROM clients"
        " WHERE document = ? AND client = ?",
        (document, name),
    ).fetchone()
    return None if row is None else ClientRecord(row[0], row[1], row[2], bool(row[3]))


def _entries(
    connection: sqlite3.Connection, document: int, after: int
) -> Generator[tuple[Entry, str], None, None]:
    """Give the entries after a version with their hashes, oldest first."""
    for table in ("batches", "log"):
        rows = connection.execute(
            f"SELECT place, hashes, entries FROM {table}"
            " WHERE place > ? AND place < ? ORDER BY place",
            bounds_of(document, after),
        )
        with closing(rows):
            for place, hashes, text in rows:
                found = wire_json.loads(text)
                base = place - place_of(document, 0) - len(found)
                for index in range(max(0, after - base), len(found)):
                    digest = hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]
                    yield Entry.from_payload(found[index]), digest.hex()


def entries_after(connection: sqlite3.Connection, document: int, after: int) -> tuple[Entry, ...]:
    """Return the entries after a version that is not below the floor."""
    return tuple(entry for entry, _ in _entries(connection, document, after))


def _hash_at(connection: sqlite3.Connection, row: Row, version: int) -> bytes:
    """Return the history hash at ``version``, which is not below the floor."""
    if version == row.head.floor:
        return row.floor_hash
    for table in ("batches", "log"):
        found = connection.execute(
            f"SELECT place, hashes FROM {table} WHERE place > ? AND place < ?"
            " ORDER BY place LIMIT 1",
            bounds_of(row.id, version - 1),
        ).fetchone()
        if found is not None:
            behind = found[0] - place_of(row.id, version)
            end = len(found[1]) - behind * HASH_BYTES
            return bytes(found[1][end - HASH_BYTES : end])
    raise ValueError(f"version {version} is missing from the log")


def _snapshot_version(connection: sqlite3.Connection, document: int) -> int:
    row = connection.execute(
        "SELECT version FROM snapshots WHERE document = ?", (document,)
    ).fetchone()
    return 0 if row is None else int(row[0])
