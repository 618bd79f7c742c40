"""One document's history on this node: in memory, in the journal, and sent to its members.

What decides is :class:`stretto_core.authority.Authority`. Nothing here is ordered: the
:class:`~stretto_server.document_actor.DocumentActor` does one thing after the other.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Final

from stretto_core.authority import Authority, Staged, Submission
from stretto_core.entries import ClientRecord, Entry, hashes_after
from stretto_core.errors import EpochChanged, NotFound, StrettoError, VersionAhead, VersionGone
from stretto_core.following import Frame, News, judge_with_hashes, news_of
from stretto_core.protocol import DOCS, PAGE_BYTES, PAGE_ENTRIES, Limits, ServerEvent
from stretto_server.bus.interface import Bus
from stretto_server.journal.interface import (
    AppendResult,
    Conflict,
    Journal,
    Loaded,
    OutcomeUnknown,
    Snapshot,
)

logger = logging.getLogger(__name__)

SNAPSHOT_OPS: Final = 500
SNAPSHOT_CHARS: Final = 256 * 1024
MEMORY_VERSIONS: Final = 2_000
"""Older entries are read from the journal when somebody needs them."""
HASH_IN_FRAME: Final = slice(-18, -2)
"""Where a frame of entries, which ends with ``"hash":"…"}``, has it."""


class HistoryLost(Exception):
    """Raised when the journal does not continue what is known here: load the document anew.

    Its history was replaced, deleted, rolled back, or compacted beyond what is known.
    """


@dataclass(slots=True)
class _SinceSnapshot:
    version: int
    chars: int = 0


def now_ms() -> int:
    """Return the wall clock in milliseconds; entries carry it for display only."""
    return time.time_ns() // 1_000_000


def authority_of(loaded: Loaded, limits: Limits) -> Authority:
    """Return the authority of a document as the journal has it."""
    snapshot = loaded.snapshot
    authority = Authority(
        loaded.head.epoch,
        snapshot.version,
        snapshot.hash,
        snapshot.text,
        floor=loaded.head.floor,
        limits=limits,
    )
    authority.learn(loaded.entries)
    return authority


class DocumentLog:
    """Stages with the authority, appends to the journal, sends frames, writes snapshots."""

    def __init__(
        self, doc: str, loaded: Loaded, journal: Journal, bus: Bus, limits: Limits
    ) -> None:
        self.doc = doc
        self.room = f"doc:{doc}"
        self.authority = authority_of(loaded, limits)
        self.last_frame_at = 0.0
        self.unsure = False
        """Whether the journal may have something that is not known here: see :meth:`settle`."""
        self._deliver = bus.deliver_json
        self._journal = journal
        self._frame_head = f'{{"doc":{json.dumps(doc)},"epoch":{json.dumps(loaded.head.epoch)}'
        self._frame_start = self._frame_head.encode()
        self._appended_last = b""
        """The history hash after what was staged last, as it ends a frame."""
        self._since_snapshot = _SinceSnapshot(loaded.snapshot.version)
        self._snapshotting: asyncio.Task[None] | None = None

    def append(self, staged: Staged) -> Awaitable[AppendResult]:
        """Write what was staged to the journal. Raises what the journal raises."""
        authority = self.authority
        self._appended_last = staged.hashes[-1].encode()
        return self._journal.append(
            self.doc,
            authority.epoch,
            staged.base,
            staged.entries,
            staged.hashes,
            base_hash=authority.hash,
        )

    def take_in(self, staged: Staged) -> None:
        """Change the text: what was staged is durable."""
        self.authority.commit(staged)
        self._count(staged)

    def learn(self, entries: Sequence[Entry], digest: str) -> None:
        """Take in what others committed, and send it on: our members have not seen it.

        Raises HistoryLost where that does not lead to the history hash ``digest``.
        """
        hashes = hashes_after(self.authority.hash, entries)
        if [self.authority.hash, *hashes][-1] != digest:
            raise HistoryLost(f"the history after version {self.authority.version} differs")
        first = self.authority.version + 1
        self.authority.learn(entries, hashes)
        self._trim()
        self.send(first, entries)

    def learn_missed(self, lost: Conflict) -> None:
        """Take in what won the race. Raises HistoryLost."""
        self.learn(lost.missed, lost.head.hash)

    def knows(self, message: bytes) -> bool:
        """Tell by its ends whether a frame says nothing new, as this node's own do.

        What is being appended counts as known: of that the journal answers.
        """
        digest = message[HASH_IN_FRAME]
        if digest != self._appended_last and digest != self.authority.hash.encode():
            return False
        return message.startswith(self._frame_start)

    def hear(self, frame: Frame) -> News:
        """Take in what another node says it committed, if that is what comes next."""
        news, hashes = judge_with_hashes(self.authority, frame)
        if news is News.NEXT:
            entries = news_of(self.authority, frame)
            whole = frame.first == self.authority.version + 1
            self.authority.learn(entries, hashes)
            self._trim()
            if whole:  # relayed as it came
                self.last_frame_at = time.monotonic()
                self._deliver(DOCS, self.room, ServerEvent.OPS, frame.text)
            else:
                self.send(self.authority.version - len(entries) + 1, entries)
        return news

    # Frames.

    def send(self, first: int, entries: Sequence[Entry]) -> None:
        """Send entries from version ``first`` on, the last of which is the head's."""
        if entries:
            self._deliver(*self._frame(first, entries))

    def _frame(self, first: int, entries: Sequence[Entry]) -> tuple[str, str, str, str]:
        self.last_frame_at = time.monotonic()
        # Each entry's JSON was made already, for its hash.
        ops = ",".join([entry.to_json() for entry in entries])
        payload = (
            f'{self._frame_head},"from":{first},"ops":[{ops}],"hash":"{self.authority.hash}"}}'
        )
        return DOCS, self.room, ServerEvent.OPS, payload

    # What the journal knows better.

    async def settle(self) -> None:
        """After an unknown outcome, read what the journal has before going on."""
        if self.unsure:
            await self.catch_up()
            for client in self.authority.clients():
                record = await self._journal.client(self.doc, client)
                self.authority.enroll(client, record)
            self.unsure = False

    async def enroll(self, client: str, *, anew: bool = False) -> ClientRecord:
        """Make sure that the authority knows a client, and has all that it committed.

        With ``anew`` the journal is asked in any case.
        """
        record = None if anew else self.authority.record(client)
        if record is None:
            record = await self._journal.client(self.doc, client) or ClientRecord()
            if record.last_version > self.authority.version:
                await self.catch_up()
            self.authority.enroll(client, record)
        return record

    async def fence(self, client: str, user: str) -> int:
        """Stop a client from committing anything more; return its ``last_seq``."""
        last_seq = await self._journal.fence(self.doc, self.authority.epoch, client, user, now_ms())
        await self.enroll(client, anew=True)
        return last_seq

    async def reach_back(self, submissions: Sequence[Submission]) -> None:
        """Have the entries that submissions must be transformed over in memory."""
        oldest = self.authority.oldest_base(submissions)
        if oldest is None:
            return
        try:
            await self.reach_back_to(oldest)
        except VersionGone as gone:
            # Compacted since the document was loaded: only who is based there is refused.
            self.authority.floor = (gone.details or {})["floor"]
            await self.reach_back(submissions)

    async def reach_back_to(self, version: int) -> None:
        """Make sure that the entries after ``version`` are in memory.

        Raises VersionGone when the journal no longer has them, HistoryLost where it has
        others.
        """
        authority = self.authority
        while version < authority.horizon:
            horizon = authority.horizon
            first = max(version + 1, horizon - PAGE_ENTRIES + 1)
            before, page = await asyncio.gather(
                self._journal.read(self.doc, authority.epoch, first, 0),
                self._journal.read(self.doc, authority.epoch, first, horizon - first + 1),
            )
            if authority.horizon != horizon:
                continue
            complete = len(page.entries) == horizon - first + 1
            if not complete or authority.hash_at(horizon) not in (None, page.hash):
                raise HistoryLost(f"the history before version {horizon} differs")
            authority.extend_back(page.entries, before.hash)

    async def catch_up(self) -> None:
        """Read what the journal has beyond what is known here.

        Raises HistoryLost where it does not continue that, Unavailable.
        """
        authority = self.authority
        while True:
            try:
                page = await self._journal.read(
                    self.doc, authority.epoch, authority.version + 1, PAGE_ENTRIES, PAGE_BYTES
                )
            except (EpochChanged, NotFound, VersionAhead, VersionGone) as error:
                raise HistoryLost(error.message) from error
            self.learn(page.entries, page.hash)
            if authority.version >= page.head.version:
                return

    # Snapshots.

    def _count(self, staged: Staged) -> None:
        """Count what was committed here; begin to write a snapshot when it was much.

        Of several nodes the one writes it whose batch reaches the next round version.
        """
        since = self._since_snapshot
        for entry in staged.entries:
            for part in entry.op:
                if isinstance(part, str):
                    since.chars += len(part)
        enough = (
            since.chars >= SNAPSHOT_CHARS
            or staged.base // SNAPSHOT_OPS != self.authority.version // SNAPSHOT_OPS
        )
        if enough and self._snapshotting is None:
            self._snapshotting = asyncio.create_task(self._write_snapshot())

    def _trim(self) -> None:
        authority = self.authority
        if authority.version - authority.horizon > 2 * MEMORY_VERSIONS:
            authority.trim(authority.version - MEMORY_VERSIONS)

    async def _write_snapshot(self) -> None:
        try:
            await self.snapshot()
        except OutcomeUnknown:
            self.unsure = True
        except StrettoError as error:
            logger.warning("document %s: no snapshot was written: %r", self.doc, error)
        except Exception:  # a task's own: the log is whole without a snapshot
            logger.exception("document %s: a snapshot failed", self.doc)
        finally:
            self._snapshotting = None

    async def snapshot(self) -> None:
        """Write the text as it stands, unless the journal has it already."""
        authority = self.authority
        if authority.version == self._since_snapshot.version:
            return
        snapshot = Snapshot(authority.version, authority.hash, authority.text)
        self._since_snapshot = _SinceSnapshot(snapshot.version)
        await self._journal.snapshot(self.doc, authority.epoch, snapshot)
        self._trim()

    async def snapshot_written(self) -> None:
        """Wait for a snapshot that is being written. Cancelling is safe."""
        if self._snapshotting is not None:
            await asyncio.wait([self._snapshotting])

    async def stop(self) -> None:
        """Leave a snapshot that is being written."""
        if self._snapshotting is not None:
            self._snapshotting.cancel()
            await asyncio.wait([self._snapshotting])
