"""The SQLite journal's file: how it is created, opened, migrated, and what its errors mean."""

import os
import sqlite3
from pathlib import Path
from typing import Final

from stretto_core.errors import Unavailable

APPLICATION_ID: Final = 0x53545254
"""Marks a database file as ours (the bytes ``STRT``), so that no other is touched."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE documents (
            id INTEGER PRIMARY KEY,
            doc TEXT NOT NULL UNIQUE,
            epoch TEXT NOT NULL,
            version INTEGER NOT NULL,
            hash BLOB NOT NULL,
            floor INTEGER NOT NULL,
            floor_hash BLOB NOT NULL,
            created_ms INTEGER NOT NULL,
            updated_ms INTEGER NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE entries (
            document INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
            version INTEGER NOT NULL,
            hash BLOB NOT NULL,
            client TEXT NOT NULL,
            seq INTEGER NOT NULL,
            op TEXT NOT NULL,
            user TEXT NOT NULL,
            at_ms INTEGER NOT NULL,
            PRIMARY KEY (document, version)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE clients (
            document INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
            client TEXT NOT NULL,
            last_seq INTEGER NOT NULL,
            last_version INTEGER NOT NULL,
            user TEXT,
            fenced INTEGER NOT NULL,
            used_ms INTEGER NOT NULL,
            PRIMARY KEY (document, client)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE snapshots (
            document INTEGER PRIMARY KEY REFERENCES documents (id) ON DELETE CASCADE,
            version INTEGER NOT NULL,
            hash BLOB NOT NULL,
            text BLOB NOT NULL
        ) STRICT
        """,
    ),
    (
        # Of 64 bits the document has the upper half: its entries lie together, in order.
        """
        CREATE TABLE batches (
            place INTEGER PRIMARY KEY,  -- document << 32 | version of the last entry
            hashes BLOB NOT NULL,  -- 8 bytes each
            entries TEXT NOT NULL  -- a JSON array
        ) STRICT
        """,
        # What was appended last, of all documents in the order of arrival.
        """
        CREATE TABLE log (
            id INTEGER PRIMARY KEY,
            place INTEGER NOT NULL,
            hashes BLOB NOT NULL,
            entries TEXT NOT NULL
        ) STRICT
        """,
        """
        INSERT INTO batches (place, hashes, entries)
            SELECT document << 32 | version, hash, json_array(json_object(
                'client', client, 'seq', seq, 'op', json(op), 'user', user, 'at_ms', at_ms))
            FROM entries
        """,
        "DROP TABLE entries",
    ),
)
"""What leads from each schema version (``user_version``) to the next. Only ever appended to."""

WRITER_SETTINGS: Final = (
    # Of a new file; an old one keeps its own. A commit writes whole pages, each by itself.
    "PRAGMA page_size = 8192",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    # Without these two, macOS leaves what was synchronised in the drive's cache.
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",
    # Some builds overwrite what is deleted, with writes that nothing else would need.
    "PRAGMA secure_delete = FAST",
)

_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_READONLY: "it may not be written: check the file's owner, mode and mount",
    sqlite3.SQLITE_BUSY: "another process keeps it locked: end that process or wait for it",
    sqlite3.SQLITE_LOCKED: "another connection keeps it locked: try again",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check the path and the rights on its folder",
    sqlite3.SQLITE_PERM: "it cannot be opened: check the rights on the file",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: stop the server and restore a backup",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database: check the path",
    sqlite3.SQLITE_IOERR: "the disk reports an error: check it and the system's log",
}


def primary_code(error: Exception) -> int:
    """Return the primary result code of ``error``; -1 when SQLite itself gave none."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else int(code) & 0xFF


def unavailable(path: Path, error: Exception) -> Unavailable:
    """Return what to tell a caller about ``error``, with what to do about it."""
    remedy = _REMEDIES.get(primary_code(error), "SQLite refused")
    failure = Unavailable(f"the journal {path}: {remedy} ({error})")
    failure.__cause__ = error
    return failure


def create_folders(path: Path) -> None:
    """Create the folders that the file at ``path`` lies in. Raises Unavailable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _cannot_create(path, error) from error


def create_file(path: Path) -> None:
    """Create an empty file where there is none. Raises Unavailable. Call it as the owner.

    What people write is nobody else's business: only the owner may read it. SQLite gives
    the files beside it the same mode. (In a process that has the file open in SQLite,
    opening and closing it here would drop SQLite's locks on it.)
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _cannot_create(path, error) from error


def _cannot_create(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"cannot open the journal {path}: {error.strerror}; "
        "choose another place or change the rights"
    )


def open_writer(
    path: Path, wait_s: float, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """Open the existing file for writing, bring its schema up to date, return the connection.

    It waits up to ``wait_s`` seconds for locks. Raises Unavailable or sqlite3.Error.
    """
    connection = _connect(path, "rw", wait_s, factory)
    try:
        _require_known(path, connection)
        for setting in WRITER_SETTINGS:
            connection.execute(setting)
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal":
            raise Unavailable(
                f"the journal {path}: its file system has no shared memory, which SQLite needs "
                "for its write-ahead log; use a local disk"
            )
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path, wait_s: float) -> sqlite3.Connection:
    """Open the existing file for reading alone. Raises Unavailable or sqlite3.Error."""
    connection = _connect(path, "ro", wait_s)
    try:
        connection.execute("PRAGMA query_only = ON")
        if _require_known(path, connection) < len(MIGRATIONS):
            raise Unavailable(
                f"the journal {path} was not written by this version of Stretto yet: "
                "start the server on it once"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(
    path: Path, mode: str, wait_s: float, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    # Never "rwc": a file that vanished under a running server must not come back empty.
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=wait_s, isolation_level=None, factory=factory)


def _require_known(path: Path, connection: sqlite3.Connection) -> int:
    """Return the file's schema version if it is ours and not newer than we are."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and tables > 0:
        raise Unavailable(f"{path} is a database of another program: choose another file")
    if version > len(MIGRATIONS):
        raise Unavailable(
            f"the journal {path} has schema {version}, this version of Stretto knows up to "
            f"{len(MIGRATIONS)}: install the newer version that wrote it"
        )
    return int(version)


def _migrate(connection: sqlite3.Connection) -> None:
    """Run the migrations that the file lacks, all in one transaction."""
    if _version(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    for statements in MIGRATIONS[_version(connection) :]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
