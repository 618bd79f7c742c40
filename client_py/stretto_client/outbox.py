"""Unsent edits in a file: what a process had not delivered, the next one does.

The file holds the state of every replica with unsent edits, and text that was given back and
that nobody took. A replica's state must be durable before its submit leaves the process,
because a seq must never mean two operations. Nothing else waits for the disk: it is written
on a thread of its own (a commit took 0.3 ms here, but a busy disk takes what it likes), in the
order of the changes, and what changed while it was busy goes out in one transaction.

A state may be continued once. While the file is open SQLite keeps it locked, so that no second
process has it; and it remembers where it lies, so that a copy knows that it is one. What a copy
holds is opened as new clients behind a fence, after which the original can commit nothing under
the old ones.
"""

import asyncio
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from stretto_core.errors import StrettoError, Unavailable

logger = logging.getLogger(__name__)

Row: TypeAlias = dict[str, Any]
Unsent: TypeAlias = Callable[[], Row | None]

LAYOUT: Final = 1
RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 5.0
"""How often a full disk is tried."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS documents (doc TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), file TEXT NOT NULL);
"""


class Outbox:
    """The file of one client; one user and one process at a time have it."""

    def __init__(self, path: str | Path, fresh_client: Callable[[], str]) -> None:
        self._file = _File(Path(path), fresh_client)
        self._thread: ThreadPoolExecutor | None = None
        self._opening = asyncio.Lock()
        self._rows: dict[str, Row] = {}
        """What is unsent, as it was last written or is being written."""
        self._filed: set[str] = set()
        """The documents that may be in the file."""
        self._dirty: dict[str, Unsent] = {}
        self._marked = 0
        self._written = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._pump: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Lock the file and read it; twice is fine.

        Raises Unavailable, with what to do, when another process has it or it is damaged.
        """
        async with self._opening:
            if self._thread is not None:
                return
            thread = ThreadPoolExecutor(1, thread_name_prefix="stretto-outbox")
            try:
                self._rows = await _run(thread, self._file.open)
            except BaseException:
                thread.shutdown(wait=False)
                raise
            self._filed = set(self._rows)
            self._thread = thread

    def unsent(self) -> list[str]:
        """Return the documents that have unsent edits, or text that nobody took."""
        docs = set(self._rows) | set(self._dirty)
        return sorted(doc for doc in docs if self.read(doc) is not None)

    def read(self, doc: str) -> Row | None:
        """Return what is unsent of a document; whoever goes on from it is the only one."""
        unsent = self._dirty.get(doc)
        return unsent() if unsent is not None else self._rows.get(doc)

    def changed(self, doc: str, unsent: Unsent) -> None:
        """Write what ``unsent`` returns, soon; None removes the document."""
        if doc not in self._filed and doc not in self._dirty and unsent() is None:
            return
        self._dirty[doc] = unsent
        self._marked += 1
        if self._pump is None:
            self._pump = asyncio.create_task(self._write_on())

    async def stored(self) -> None:
        """Wait until everything that changed so far is durable.

        Raises Unavailable when the file cannot be written; it is tried again. Cancelling is safe.
        """
        if self._written < self._marked:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((self._marked, done))
            await done

    async def close(self) -> None:
        """Write what is left and let go of the file; twice is fine.

        Raises Unavailable when it could not be written: the last edits are not in the file.
        """
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            while self._dirty:
                await self._write(thread)
        finally:
            for _, done in self._waiting:
                done.cancel()
            await _run(thread, self._file.close)
            thread.shutdown(wait=False)

    async def _write_on(self) -> None:
        """Write until nothing is left to write."""
        delay = RETRY_FIRST_S
        try:
            while self._dirty and self._thread is not None:
                try:
                    await self._write(self._thread)
                    delay = RETRY_FIRST_S
                except StrettoError as error:
                    logger.warning("%s", error.message)
                    self._settle(self._marked, error)
                    await asyncio.sleep(delay)
                    delay = min(2 * delay, RETRY_MOST_S)
        finally:
            self._pump = None

    async def _write(self, thread: ThreadPoolExecutor) -> None:
        """Write what changed until now, in one transaction."""
        upto, dirty = self._marked, self._dirty
        self._dirty = {}
        rows = {doc: unsent() for doc, unsent in dirty.items()}
        for doc, row in rows.items():
            if row is None:
                self._rows.pop(doc, None)
            else:
                self._rows[doc] = row
                self._filed.add(doc)
        try:
            await _run(thread, lambda: self._file.write(rows))
        except BaseException:
            self._dirty = {**dirty, **self._dirty}
            raise
        self._filed -= {doc for doc, row in rows.items() if row is None}
        self._settle(upto, None)

    def _settle(self, upto: int, error: StrettoError | None) -> None:
        if error is None:
            self._written = upto
        waiting, self._waiting = self._waiting, []
        for mark, done in waiting:
            if mark > upto:
                self._waiting.append((mark, done))
            elif not done.done():
                done.set_result(None) if error is None else done.set_exception(error)


class _File:
    """The SQLite file, used from one thread."""

    def __init__(self, path: Path, fresh_client: Callable[[], str]) -> None:
        self._path = path
        self._fresh_client = fresh_client
        self._db: sqlite3.Connection | None = None

    def open(self) -> dict[str, Row]:
        """Lock the file and return its rows."""
        try:
            self._create()
            db = sqlite3.connect(
                self._path, isolation_level=None, timeout=0, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"cannot open the outbox {self._path}: {error}") from error
        try:
            rows = self._take_possession(db)
        except sqlite3.Error as error:
            db.close()
            raise self._unusable(error) from error
        except BaseException:
            db.close()
            raise
        self._db = db
        return rows

    def write(self, rows: Mapping[str, Row | None]) -> None:
        """Write rows, or remove them where there is None, all or none."""
        assert self._db is not None  # opened before anything is written
        encoded = {doc: row if row is None else _encode(row) for doc, row in rows.items()}
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._put(self._db, encoded)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise Unavailable(f"cannot write the outbox {self._path}: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _create(self) -> None:
        """Make the file, readable by its owner alone: it holds text."""
        # One that exists is not opened here: closing it would drop locks of this process.
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def _take_possession(self, db: sqlite3.Connection) -> dict[str, Row]:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN EXCLUSIVE")
        layout = db.execute("PRAGMA user_version").fetchone()[0]
        if layout not in (0, LAYOUT):
            raise Unavailable(f"the outbox {self._path} was written by a newer stretto: update")
        for statement in _TABLES.strip().splitlines():
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {LAYOUT}")
        rows = {doc: json.loads(row) for doc, row in db.execute("SELECT doc, row FROM documents")}
        if not self._is_where_it_was(db):
            rows = {doc: fenced(row, self._fresh_client()) for doc, row in rows.items()}
            self._put(db, {doc: _encode(row) for doc, row in rows.items()})
        db.execute("COMMIT")
        return rows

    def _is_where_it_was(self, db: sqlite3.Connection) -> bool:
        """Tell whether this is the very file that was written, and note that it is now."""
        status = os.stat(self._path)
        file = f"{status.st_dev}:{status.st_ino}"
        known = db.execute("SELECT file FROM place").fetchone()
        db.execute("INSERT OR REPLACE INTO place VALUES (1, ?)", (file,))
        return known is None or known[0] == file

    def _put(self, db: sqlite3.Connection, rows: Mapping[str, str | None]) -> None:
        _many(
            db,
            "INSERT OR REPLACE INTO documents VALUES (?, ?)",
            ((doc, row) for doc, row in rows.items() if row is not None),
        )
        _many(
            db,
            "DELETE FROM documents WHERE doc = ?",
            ((doc,) for doc, row in rows.items() if row is None),
        )

    def _unusable(self, error: sqlite3.Error) -> StrettoError:
        if "locked" in str(error):
            return Unavailable(
                f"the outbox {self._path} is in use: another client has it open; close that one,"
                " or give each its own file"
            )
        return Unavailable(
            f"the outbox {self._path} cannot be read ({error}): move it away to start anew"
        )


def fenced(row: Row, client: str) -> Row:
    """Return a row as a new client goes on with it, behind a fence around the old one.

    A fence that was not answered yet stands for the client that sent something.
    """
    state = row["state"]
    if state is None:
        return row
    return {**row, "state": {**state, "client": client, "fence": state["fence"] or state["client"]}}


def _encode(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def _many(db: sqlite3.Connection, statement: str, rows: Iterable[tuple[str, ...]]) -> None:
    for row in rows:
        db.execute(statement, row)


async def _run(thread: ThreadPoolExecutor, work: Callable[[], Any]) -> Any:
    """Run on the thread; cancelled, the work is still done before what comes after it."""
    return await asyncio.get_running_loop().run_in_executor(thread, work)
