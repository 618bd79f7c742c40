"""The statements of the PostgreSQL journal, one for each thing it does, and their rows."""

from collections.abc import Sequence
from typing import Any, Final

from stretto_core.entries import ClientRecord, Entry, operation_json
from stretto_server import wire_json
from stretto_server.journal.interface import Head

_HEAD: Final = "d.epoch, d.version, d.hash, d.floor"
_LOG: Final = (
    "array_agg(e.version) AS versions, array_agg(e.client) AS clients, array_agg(e.seq) AS seqs,"
    " array_agg(e.op) AS ops, array_agg(e.author) AS authors, array_agg(e.at_ms) AS times,"
    " array_agg(e.hash) AS hashes"
)

CREATE: Final = f"""
INSERT INTO stretto_documents AS d
    (doc, epoch, version, hash, floor, floor_hash, created_ms, updated_ms)
VALUES ($1, $2, 0, $3, 0, $3, $4, $4)
ON CONFLICT (doc) DO UPDATE SET doc = excluded.doc
RETURNING {_HEAD}
"""
"""The update changes nothing; it makes the statement return the row that another made."""

LOAD: Final = f"""
SELECT {_HEAD}, s.version AS snapshot_version, s.hash AS snapshot_hash, s.content, log.*
FROM stretto_documents d
LEFT JOIN stretto_snapshots s ON s.document = d.id
LEFT JOIN LATERAL (
    SELECT {_LOG} FROM (
        SELECT * FROM stretto_entries
        WHERE document = d.id AND version > coalesce(s.version, 0) ORDER BY version
    ) e
) log ON true
WHERE d.doc = $1
"""

APPEND: Final = "SELECT * FROM stretto_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"

READ: Final = f"""
SELECT {_HEAD}, d.floor_hash, log.*
FROM stretto_documents d
LEFT JOIN LATERAL (
    SELECT {_LOG} FROM (
        SELECT p.*, sum(size) OVER (ORDER BY version) - size AS before
        FROM (
            SELECT *, CASE WHEN version < $2 THEN 0 ELSE octet_length(op) END AS size
            FROM stretto_entries
            WHERE document = d.id AND version >= $2::bigint - 1
            ORDER BY version LIMIT $3::bigint + 1
        ) p
    ) e
    WHERE $4::bigint IS NULL OR e.before <= $4
) log ON true
WHERE d.doc = $1
"""
"""From the entry before the page on, whose hash is wanted; a page may be cut further."""

HEADS: Final = f"SELECT d.doc, {_HEAD} FROM stretto_documents d WHERE d.doc = ANY($1::text[])"

RENEW: Final = f"""
UPDATE stretto_documents d SET epoch = CASE WHEN d.epoch = $2 THEN $3 ELSE d.epoch END
WHERE d.doc = $1
RETURNING {_HEAD}
"""
"""Whoever comes second waits for the row, and so returns the epoch that the first one gave."""

CLIENT: Final = """
SELECT c.last_seq, c.last_version, c.author, c.fenced
FROM stretto_clients c JOIN stretto_documents d ON d.id = c.document
WHERE d.doc = $1 AND c.client = $2
"""

FENCE: Final = "SELECT * FROM stretto_fence($1, $2, $3, $4, $5)"

SNAPSHOT: Final = """
INSERT INTO stretto_snapshots AS s (document, version, hash, content)
SELECT d.id, $3::bigint, $4::bytea, $5 FROM stretto_documents d
WHERE d.doc = $1 AND d.epoch = $2 AND $3 > 0 AND $3 <= d.version
    AND $4 = CASE WHEN $3 = d.floor THEN d.floor_hash ELSE (
        SELECT e.hash FROM stretto_entries e WHERE e.document = d.id AND e.version = $3
    ) END
FOR NO KEY UPDATE OF d
ON CONFLICT (document) DO UPDATE SET
    version = excluded.version, hash = excluded.hash, content = excluded.content
WHERE s.version < excluded.version
"""

COMPACT: Final = "SELECT * FROM stretto_compact($1, $2, $3)"
REPLACE: Final = "SELECT stretto_replace($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
DELETE: Final = "SELECT stretto_delete($1, $2, $3) AS deleted"

DOCUMENTS: Final = f"""
SELECT d.doc, {_HEAD}, d.created_ms, d.updated_ms FROM stretto_documents d
WHERE d.doc >= $1 AND d.doc < $1 || '\U0010ffff' AND d.doc > $2
ORDER BY d.doc LIMIT $3
"""

EXPIRE: Final = "DELETE FROM stretto_clients WHERE used_ms < $1"


def entry_columns(entries: Sequence[Entry], hashes: Sequence[str]) -> tuple[list[Any], ...]:
    """Return clients, seqs, operations, authors, times and hashes of ``entries``.

    Raises ValueError when there is not one hash for each entry.
    """
    columns: tuple[list[Any], ...] = ([], [], [], [], [], [])
    for entry, digest in zip(entries, hashes, strict=True):
        row = (
            entry.client,
            entry.seq,
            operation_json(entry.op),
            entry.user.encode(),
            entry.at_ms,
            bytes.fromhex(digest),
        )
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return columns


def read_head(row: Any) -> Head:
    """Return the head in a row."""
    return Head(row["epoch"], row["version"], row["hash"].hex(), row["floor"])


def read_record(row: Any) -> ClientRecord:
    """Return the client's record in a row; empty when it holds none."""
    if row["last_seq"] is None:
        return ClientRecord()
    return ClientRecord(row["last_seq"], row["last_version"], row["author"].decode(), row["fenced"])


def read_log(row: Any, first: int) -> list[tuple[Entry, str]]:
    """Return the entries in a row with their hashes: those from version ``first`` on.

    Raises ValueError when one is missing in between.
    """
    log = []
    columns = ("versions", "clients", "seqs", "ops", "authors", "times", "hashes")
    for wanted, (version, client, seq, op, author, at_ms, digest) in enumerate(
        zip(*(row[column] or () for column in columns), strict=True), first
    ):
        if version != wanted:
            raise ValueError(f"version {wanted} is missing from the log")
        entry = Entry(client, seq, tuple(wire_json.loads(op)), author.decode(), at_ms)
        log.append((entry, digest.hex()))
    return log


def require_whole(log: Sequence[tuple[Entry, str]], head: Head, after: int) -> tuple[Entry, ...]:
    """Return the entries of ``log`` if they lead from version ``after`` to ``head``."""
    if after + len(log) != head.version:
        raise ValueError(f"the log ends at version {after + len(log)}, not at {head.version}")
    if log and log[-1][1] != head.hash:
        raise ValueError(f"the log ends with hash {log[-1][1]}, not with {head.hash}")
    return tuple([entry for entry, _ in log])
