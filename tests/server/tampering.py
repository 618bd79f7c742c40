"""Changes a closed SQLite journal behind everybody's back, one entry at a time."""

import sqlite3
from contextlib import closing
from pathlib import Path

from stretto_server.journal.sqlite_appends import open_journal_writer

SPREAD = """
CREATE TEMP TABLE entries AS
SELECT place >> 32 AS document,
    (place & 0xffffffff) - json_array_length(entries) + 1 + key AS version,
    substr(hashes, 8 * key + 1, 8) AS hash,
    json_extract(value, '$.client') AS client,
    json_extract(value, '$.seq') AS seq,
    json_extract(value, '$.op') AS op,
    json_extract(value, '$.user') AS user,
    json_extract(value, '$.at_ms') AS at_ms
FROM batches, json_each(batches.entries)
"""
GATHER = """
INSERT INTO batches (place, hashes, entries)
SELECT document << 32 | version, hash, '[{"client":' || json_quote(client) || ',"seq":' || seq
    || ',"op":' || op || ',"user":' || json_quote(user) || ',"at_ms":' || at_ms || '}]'
FROM entries
"""


def tamper(path: Path, statement: str) -> None:
    """Run a statement that may speak of ``entries``, with a row for each, and changes some."""
    open_journal_writer(path, 1).close()  # which leaves no log
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(SPREAD)
        assert connection.execute(statement).rowcount > 0
        connection.execute("DELETE FROM batches")
        connection.execute(GATHER)
        connection.commit()
