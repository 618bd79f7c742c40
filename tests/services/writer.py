"""A writer that goes on through every failure of a journal, and knows what was acknowledged."""

import asyncio
from dataclasses import dataclass, field

from stretto_core.entries import Entry, next_hash
from stretto_core.errors import Unavailable
from stretto_core.protocol import NO_HASH
from stretto_server.journal.interface import (
    Appended,
    Conflict,
    Journal,
    OutcomeUnknown,
    StaleClient,
)

PAUSE_S = 0.02


@dataclass
class Writer:
    """Appends entries of one client to one document, each with a text of its own.

    After an unknown outcome it reads, as a document's actor does, and goes on from there.
    """

    journal: Journal
    doc: str
    client: str
    epoch: str = "epoch-one"
    version: int = 0
    hash: str = NO_HASH
    seq: int = 0
    acknowledged: list[int] = field(default_factory=list)
    unknown: int = 0

    async def write(self, count: int) -> None:
        """Append ``count`` entries, one after the other."""
        wanted = self.seq + count
        while self.seq < wanted:
            try:
                await self._append()
            except OutcomeUnknown:
                self.unknown += 1
                await self._settle()
            except Unavailable:
                await asyncio.sleep(PAUSE_S)

    async def _append(self) -> None:
        entry = Entry(self.client, self.seq + 1, (f"{self.client}:{self.seq + 1}",), "user", 1)
        digest = next_hash(self.hash, entry)
        result = await self.journal.append(self.doc, self.epoch, self.version, [entry], [digest])
        if isinstance(result, Conflict):
            self._learn(result.missed)
            assert result.head.hash == self.hash
        elif isinstance(result, StaleClient):
            raise AssertionError(f"{result} although {self.seq} was the last")
        else:
            assert result == Appended()
            self.acknowledged.append(entry.seq)
            self._learn([entry])

    def _learn(self, entries: "list[Entry] | tuple[Entry, ...]") -> None:
        for entry in entries:
            self.version += 1
            self.hash = next_hash(self.hash, entry)
            if entry.client == self.client:
                assert entry.seq == self.seq + 1, "an entry was appended twice, or out of order"
                self.seq = entry.seq

    async def _settle(self) -> None:
        """Read until the journal answers what it has."""
        while True:
            try:
                page = await self.journal.read(self.doc, self.epoch, self.version + 1, 10_000)
            except Unavailable:
                await asyncio.sleep(PAUSE_S)
                continue
            self._learn(page.entries)
            assert page.hash == self.hash
            return


async def check_log(journal: Journal, doc: str, writers: "list[Writer]") -> None:
    """Check that every entry of ``writers`` is there once, and the log is dense and sound."""
    page = await journal.read(doc, "epoch-one", 1, 1_000_000)
    assert page.head.version == len(page.entries)
    digest = NO_HASH
    for entry in page.entries:
        digest = next_hash(digest, entry)
    assert digest == page.head.hash
    for writer in writers:
        seqs = [entry.seq for entry in page.entries if entry.client == writer.client]
        assert seqs == list(range(1, len(seqs) + 1))
        assert set(writer.acknowledged) <= set(seqs)
    assert len(page.entries) == sum(writer.seq for writer in writers)
