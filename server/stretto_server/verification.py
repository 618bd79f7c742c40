"""Replays a document's log and tells what is wrong with it."""

import asyncio
from collections.abc import AsyncIterator

from stretto_core.entries import Entry, next_hash
from stretto_core.errors import StrettoError
from stretto_core.ot import Rope
from stretto_core.protocol import NO_HASH, PAGE_ENTRIES
from stretto_server.journal.interface import Head, Journal, Loaded, Snapshot


async def read_log(
    journal: Journal, doc: str, head: Head, first: int
) -> AsyncIterator[tuple[int, Entry, str]]:
    """Give ``(version, entry, stored hash)`` from ``first`` on, as far as the log goes.

    Each entry is asked for by its own version, so that each stored hash is seen and a
    missing entry is not papered over; asked for together, a page costs one transaction.
    """
    for start in range(first, head.version + 1, PAGE_ENTRIES):
        versions = range(start, min(start + PAGE_ENTRIES, head.version + 1))
        reads = (journal.read(doc, head.epoch, version, 1) for version in versions)
        pages = await asyncio.gather(*reads, return_exceptions=True)
        for version, page in zip(versions, pages, strict=True):
            if isinstance(page, BaseException):  # nothing before it is missing
                raise page
            if not page.entries:
                return
            yield version, page.entries[0], page.hash


async def find_problems(journal: Journal, doc: str, loaded: Loaded) -> list[str]:
    """Return what is wrong with a log, from its floor to its head; nothing when it is clean.

    Raises ValueError for an entry that cannot be read at all, and what the journal raises.
    """
    head = loaded.head
    start = (await journal.read(doc, head.epoch, head.floor + 1, 0)).hash
    replay = _Replay(head, loaded.snapshot, start)
    async for version, entry, stored in read_log(journal, doc, head, head.floor + 1):
        replay.take(version, entry, stored)
    replay.finish()
    for client, last in replay.last_seqs.items():
        record = await journal.client(doc, client)
        if record is not None and record.last_seq < last:
            replay.problems.append(
                f"the record of {client} ends with seq {record.last_seq}, its log with {last}"
            )
    return replay.problems


class _Replay:
    """One pass over a log; ``text`` is None while it is not known."""

    def __init__(self, head: Head, snapshot: Snapshot, start: str) -> None:
        self.problems: list[str] = []
        self.last_seqs: dict[str, int] = {}
        self._head = head
        self._snapshot = snapshot
        self._version = head.floor
        self._hash = start
        self._text = Rope("") if head.floor == 0 else None
        if head.floor == 0 and start != NO_HASH:
            self.problems.append(f"the hash at version 0 is {start}")
        self._meet_snapshot()

    def take(self, version: int, entry: Entry, stored: str) -> None:
        self._version = version
        computed = next_hash(self._hash, entry)
        if computed != stored:
            self._say(f"hash {stored}, but its history gives {computed}")
        self._hash = stored
        last = self.last_seqs.get(entry.client, entry.seq - 1 if self._head.floor else 0)
        if entry.seq != last + 1:
            self._say(f"seq {entry.seq} of {entry.client} after {last}")
        self.last_seqs[entry.client] = entry.seq
        self._apply(entry)
        self._meet_snapshot()

    def finish(self) -> None:
        if self._version != self._head.version:
            self.problems.append(
                f"the log ends at version {self._version}, the head is {self._head.version}"
            )
        elif self._hash != self._head.hash:
            self.problems.append(f"the head's hash is {self._head.hash}, the log's {self._hash}")

    def _say(self, problem: str) -> None:
        self.problems.append(f"version {self._version}: {problem}")

    def _apply(self, entry: Entry) -> None:
        if self._text is None:
            return
        try:
            self._text.apply(entry.op)
        except StrettoError as error:
            self._say(f"does not apply: {error.message}")
            self._text = None

    def _meet_snapshot(self) -> None:
        snapshot = self._snapshot
        if self._version != snapshot.version:
            return
        if self._text is not None and str(self._text) != snapshot.text:
            self.problems.append(
                f"the snapshot at version {snapshot.version} is not the replayed text"
            )
        if snapshot.hash != self._hash:
            self.problems.append(f"the snapshot at version {snapshot.version} has another hash")
        self._text = Rope(snapshot.text)
