"""Which documents there are in SQLite, and where they stand: functions as in ``sqlite_queries``.

They look through the log once, however many documents are asked for.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from stretto_server import wire_json
from stretto_server.journal.interface import DocumentInfo, Head
from stretto_server.journal.sqlite_queries import HASH_BYTES, VERSION_BITS, place_of

LAST_CHARACTER: Final = "\U0010ffff"


def heads(connection: sqlite3.Connection, docs: Sequence[str]) -> list[Head | None]:
    """Return where the histories of ``docs`` stand; None for one that does not exist."""
    logged = {
        document: (version, digest) for document, version, digest, _ in _logged_heads(connection)
    }
    found: list[Head | None] = []
    for doc in docs:
        row = connection.execute(
            "SELECT id, epoch, version, hash, floor FROM documents WHERE doc = ?", (doc,)
        ).fetchone()
        if row is None:
            found.append(None)
            continue
        id_, epoch, version, digest, floor = row
        version, digest = logged.get(id_, (version, digest))
        found.append(Head(epoch, version, digest.hex(), floor))
    return found


def documents(
    connection: sqlite3.Connection, prefix: str, after: str, limit: int
) -> list[DocumentInfo]:
    """Return documents by id, those after ``after`` whose id starts with ``prefix``."""
    rows = connection.execute(
        "SELECT id, doc, epoch, version, hash, floor, created_ms, updated_ms FROM documents"
        " WHERE doc >= ? AND doc < ? AND doc > ? ORDER BY doc LIMIT ?",
        (prefix, prefix + LAST_CHARACTER, after, max(limit, 0)),
    ).fetchall()
    logged = {
        document: (version, digest, entries)
        for document, version, digest, entries in _logged_heads(connection)
    }
    found = []
    for id_, doc, epoch, version, digest, floor, created_ms, updated_ms in rows:
        if id_ in logged:
            version, digest, entries = logged[id_]
            updated_ms = wire_json.loads(entries)[-1]["at_ms"]
        head = Head(epoch, version, digest.hex(), floor)
        found.append(DocumentInfo(doc, head, created_ms, updated_ms))
    return found


def _logged_heads(connection: sqlite3.Connection) -> Iterable[tuple[int, int, bytes, str]]:
    """Give ``(document, version, hash, last entries)`` of the documents that are in the log."""
    rows = connection.execute(
        "SELECT max(place), hashes, entries FROM log GROUP BY place >> ?", (VERSION_BITS,)
    )
    for place, hashes, entries in rows:
        document = place >> VERSION_BITS
        yield document, place - place_of(document, 0), hashes[-HASH_BYTES:], entries
