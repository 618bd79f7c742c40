"""The SQLite journal's writing connection: entries go to a log first, then to their documents.

Where many documents are written to at once, each has pages of its own, and a commit that
touches them all costs ten times what its entries do. So a commit only adds rows to the
end of ``log``. When that is long enough it is emptied into ``batches``, document by
document, and what ``documents`` and ``clients`` say is brought up to date; in between,
this connection, the only one that writes, knows that in memory.

A log that a dead process left is emptied when the file is opened.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stretto_core.entries import ClientRecord, Entry
from stretto_core.errors import VersionGone
from stretto_server import wire_json
from stretto_server.journal import sqlite_queries as queries
from stretto_server.journal.interface import Appended, AppendResult, Conflict, Head, StaleClient
from stretto_server.journal.rules import advance_clients, require_history
from stretto_server.journal.sqlite_file import open_writer

LOG_ROWS: Final = 4_096
LOG_CHARS: Final = 1024 * 1024
"""A log longer than either is emptied: whoever reads a document reads through the log."""

KNOWN_CLIENTS: Final = 20_000
"""So many records are kept in memory, and those of one log beyond."""

CHUNK: Final = 32
"""Rows that one statement inserts. Each statement lets another thread have the interpreter."""

_INSERT: Final = "INSERT INTO log (place, hashes, entries) VALUES (?, ?, ?)"
_INSERT_CHUNK: Final = _INSERT + ", (?, ?, ?)" * (CHUNK - 1)
_APPENDED: Final = Appended()


@dataclass(slots=True, eq=False)
class _Live:
    """A document as it stands, the log included. ``used_ms`` are the clients in the log."""

    id: int
    epoch: str
    version: int
    hash: str
    floor: int
    updated_ms: int = 0
    records: dict[str, ClientRecord] = field(default_factory=dict)
    used_ms: dict[str, int] = field(default_factory=dict)

    def head(self) -> Head:
        return Head(self.epoch, self.version, self.hash, self.floor)


class JournalWriter(sqlite3.Connection):
    """A connection with the documents that were appended to, and rows not inserted yet.

    It must be the only one that writes to the file, and be dropped when a transaction fails.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._live: dict[str, _Live] = {}
        self._rows: list[tuple[int, bytes, str]] = []
        self._logged = 0
        self._chars = 0

    def recover(self) -> None:
        """Empty the log that another connection left."""
        self.execute("BEGIN IMMEDIATE")
        heads: dict[int, tuple[int, bytes, int]] = {}
        clients: dict[tuple[int, str], tuple[ClientRecord, int]] = {}
        for place, hashes, text in self.execute(
            "SELECT place, hashes, entries FROM log ORDER BY id"
        ):
            document = place >> queries.VERSION_BITS
            version = place - queries.place_of(document, 0)
            found = wire_json.loads(text)
            for at, item in enumerate(found, version - len(found) + 1):
                record = ClientRecord(item["seq"], at, item["user"])
                clients[document, item["client"]] = record, item["at_ms"]
            heads[document] = version, hashes[-queries.HASH_BYTES :], found[-1]["at_ms"]
        if heads:
            self._empty(
                ((*head, document) for document, head in heads.items()),
                ((*whose, *known) for whose, known in clients.items()),
            )
        self.execute("COMMIT")

    def append(
        self,
        doc: str,
        epoch: str,
        base: int,
        entries: Sequence[Entry],
        hashes: Sequence[str],
        base_hash: str | None = None,
    ) -> AppendResult:
        """Append ``entries`` after version ``base``, or say why not; :meth:`flush` writes them."""
        if len(entries) != len(hashes):
            raise ValueError("one hash is needed for each entry")
        live = self._live.get(doc)
        if live is None or live.epoch != epoch:
            live = self._require(doc, epoch)
        if base != live.version or (base_hash is not None and base_hash != live.hash):
            if base < live.floor:
                raise VersionGone(details={"floor": live.floor})
            self.flush()
            return Conflict(live.head(), queries.entries_after(self, live.id, base))
        for entry in entries:
            if entry.client not in live.records:
                self._recall(live, entry.client)
        advanced = advance_clients(live.records, base, entries)
        if isinstance(advanced, StaleClient):
            return advanced
        if entries:
            self._rows.append(queries.pack(live.id, base, entries, hashes))
            live.version += len(entries)
            live.hash = hashes[-1]
            live.updated_ms = entries[-1].at_ms
            live.records.update(advanced)
            live.used_ms.update(dict.fromkeys(advanced, live.updated_ms))
        return _APPENDED

    def flush(self) -> None:
        """Insert what was appended; empty the log when it became long."""
        rows, self._rows = self._rows, []
        whole = len(rows) - len(rows) % CHUNK
        for start in range(0, whole, CHUNK):
            self.execute(_INSERT_CHUNK, [x for row in rows[start : start + CHUNK] for x in row])
        if whole < len(rows):
            self.executemany(_INSERT, rows[whole:])
        self._logged += len(rows)
        self._chars += sum([len(row[2]) for row in rows])
        if self._logged >= LOG_ROWS or self._chars >= LOG_CHARS:
            self._settle()

    def rest(self, doc: str | None) -> None:
        """Write everything where it belongs, and forget a document (None: all of them).

        So another function may change its history.
        """
        self.flush()
        self._settle()
        if doc is None:
            self._live.clear()
        else:
            self._live.pop(doc, None)

    def _settle(self) -> None:
        if self._logged:
            changed = [live for live in self._live.values() if live.used_ms]
            self._empty(
                (
                    (live.version, bytes.fromhex(live.hash), live.updated_ms, live.id)
                    for live in changed
                ),
                (
                    (live.id, name, live.records[name], used_ms)
                    for live in changed
                    for name, used_ms in live.used_ms.items()
                ),
            )
            for live in changed:
                live.used_ms.clear()
            self._logged = self._chars = 0
        if sum([len(live.records) for live in self._live.values()]) > KNOWN_CLIENTS:
            self._live.clear()

    def _empty(
        self,
        heads: Iterable[tuple[int, bytes, int, int]],
        clients: Iterable[tuple[int, str, ClientRecord, int]],
    ) -> None:
        self.executemany(
            "UPDATE documents SET version = ?, hash = ?, updated_ms = ? WHERE id = ?", heads
        )
        queries.record_clients(self, clients)
        self.execute(
            "INSERT INTO batches (place, hashes, entries)"
            " SELECT place, hashes, entries FROM log ORDER BY place"
        )
        self.execute("DELETE FROM log")

    def _require(self, doc: str, epoch: str) -> _Live:
        """Return a document that is not known yet. Raises NotFound, EpochChanged."""
        live = self._live.get(doc)
        if live is None:
            row = queries.find(self, doc)
            if row is not None:
                head = row.head
                live = _Live(row.id, head.epoch, head.version, head.hash, head.floor)
        require_history(doc, None if live is None else live.head(), epoch)
        assert live is not None
        self._live[doc] = live
        return live

    def _recall(self, live: _Live, client: str) -> None:
        record = queries.recorded_client(self, live.id, client)
        if record is not None:
            live.records[client] = record


def open_journal_writer(path: Path, wait_s: float) -> JournalWriter:
    """Open the file as :func:`~.sqlite_file.open_writer` does, and empty its log."""
    writer = open_writer(path, wait_s, JournalWriter)
    assert isinstance(writer, JournalWriter)
    try:
        writer.recover()
    except BaseException:
        writer.close()
        raise
    return writer
