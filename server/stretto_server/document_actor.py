"""One open document on this node: a queue that is committed in batches.

What decides is :class:`stretto_core.authority.Authority`; the actor feeds it from a FIFO,
appends what it staged to the journal, and only then changes the text, sends the frame and
answers. There is no timer on the way: the next batch is whatever arrived while the last
one was being written.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from stretto_core.authority import Authority, Staged, Submission
from stretto_core.entries import ClientRecord, Entry
from stretto_core.errors import (
    Busy,
    Forbidden,
    InternalError,
    StrettoError,
    Unavailable,
    VersionGone,
)
from stretto_core.protocol import (
    DOCS,
    PAGE_BYTES,
    PAGE_ENTRIES,
    Limits,
    ServerEvent,
)
from stretto_server.bus.interface import Bus
from stretto_server.journal.interface import (
    Conflict,
    Journal,
    Loaded,
    OutcomeUnknown,
    Snapshot,
    StaleClient,
)

logger = logging.getLogger(__name__)

MAX_QUEUED: Final = 1_000
MAX_QUEUED_CHARS: Final = 1024 * 1024
"""Beyond either, a document answers ``busy``."""

MAX_BATCH: Final = 512
FANOUT_PER_S: Final = 20_000
"""Frames times members that one document may send a second before it starts to gather."""
GATHER_S: Final = 0.02
GATHER_OPS: Final = 64

BATCH_BUDGET_S: Final = 2.0
RACES_BEFORE_PAUSE: Final = 3

SNAPSHOT_OPS: Final = 500
SNAPSHOT_CHARS: Final = 256 * 1024
MEMORY_VERSIONS: Final = 2_000
"""Older entries are read from the journal when somebody needs them."""


class Answer(Protocol):
    """What waits for the version of an operation: a future, or what answers in place."""

    def done(self) -> bool:
        """Tell whether nobody waits anymore."""

    def set_result(self, result: int, /) -> None:
        """Take the version: the operation is durable. Never raises."""

    def set_exception(self, exception: StrettoError, /) -> None:
        """Take what went wrong. Never raises."""


@dataclass(eq=False, slots=True)
class _Submitted:
    submission: Submission
    answer: Answer
    weight: int


@dataclass(eq=False, slots=True)
class _Admission:
    client: str
    user: str
    fence: str | None
    answer: "asyncio.Future[Admitted]"


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a replica learns when it opens: its own ``last_seq``, and that of the fenced one."""

    last_seq: int
    fenced_last_seq: int | None


@dataclass(slots=True)
class _SinceSnapshot:
    version: int
    ops: int = 0
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


class DocumentActor:
    """Serialises everything that touches one document's history."""

    def __init__(
        self, doc: str, loaded: Loaded, journal: Journal, bus: Bus, limits: Limits
    ) -> None:
        self.doc = doc
        self.room = f"doc:{doc}"
        self.authority = authority_of(loaded, limits)
        self.audience = 0
        """How many connections of this node a frame goes to."""
        self._limits = limits
        self._journal = journal
        self._bus = bus
        self._queue: deque[_Submitted | _Admission] = deque()
        self._queued_chars = 0
        self._worker: asyncio.Task[None] | None = None
        self._last_frame_at = 0.0
        self._unsure = False
        self._since_snapshot = _SinceSnapshot(loaded.snapshot.version, len(loaded.entries))

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or being written."""
        return self._worker is None

    async def flush(self) -> None:
        """Wait until everything queued so far was answered. Cancelling is safe."""
        while self._worker is not None:
            await asyncio.wait([self._worker])

    async def stop(self) -> None:
        """End at once; what is not answered yet stays unknown to its client."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])

    def submit(self, submission: Submission) -> "asyncio.Future[int]":
        """Queue an operation; the future gives its version once it is durable.

        Raises Busy when too much is waiting; the future raises what the contract names.
        Cancelling the future does not take the operation back.
        """
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.submit_for(submission, answer)
        return answer

    def submit_for(self, submission: Submission, answer: Answer) -> None:
        """Queue an operation as :meth:`submit` does; ``answer`` is told before anything else runs.

        So the acknowledgement and the frame of a batch leave together. Raises Busy.
        """
        weight = sum(len(part) for part in submission.op if isinstance(part, str))
        if len(self._queue) >= MAX_QUEUED or self._queued_chars > MAX_QUEUED_CHARS:
            raise Busy
        self._queued_chars += weight
        self._enqueue(_Submitted(submission, answer, weight))

    def admit(self, client: str, user: str, fence: str | None = None) -> "asyncio.Future[Admitted]":
        """Queue a replica's opening, behind every operation that arrived before it.

        So whatever a fenced client committed is in the text by the time this is answered.
        """
        answer: asyncio.Future[Admitted] = asyncio.get_running_loop().create_future()
        self._enqueue(_Admission(client, user, fence, answer))
        return answer

    def _enqueue(self, item: _Submitted | _Admission) -> None:
        self._queue.append(item)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._queue:
                item = self._queue[0]
                if isinstance(item, _Admission):
                    self._queue.popleft()
                    await self._guard([item.answer], self._admit(item))
                else:
                    await self._gather()
                    batch = self._take_batch()
                    await self._guard([one.answer for one in batch], self._commit(batch))
                    await self._maybe_snapshot()
        finally:
            self._worker = None  # in the same step that saw the queue empty

    async def _guard(
        self, answers: "Sequence[Answer | asyncio.Future[Admitted]]", work: Any
    ) -> None:
        """Run one piece of work; whatever goes wrong reaches those who wait, and no one else."""
        try:
            await work
        except StrettoError as error:
            _fail(answers, error)
        except OutcomeUnknown:
            self._unsure = True
            _fail(answers, Unavailable("the journal did not answer"))
        except asyncio.CancelledError:
            _fail(answers, Unavailable("the server stopped"))
            raise
        except Exception:
            logger.exception("document %s: a batch failed", self.doc)
            self._unsure = True
            _fail(answers, InternalError())

    async def _gather(self) -> None:
        """Wait a little where frames to many members would follow each other too fast."""
        interval = min(GATHER_S, self.audience / FANOUT_PER_S)
        wait = self._last_frame_at + interval - time.monotonic()
        if interval > 0.001 and wait > 0 and len(self._queue) < GATHER_OPS:
            await asyncio.sleep(wait)

    def _take_batch(self) -> list[_Submitted]:
        batch: list[_Submitted] = []
        chars = 0
        while self._queue and len(batch) < MAX_BATCH:
            item = self._queue[0]
            if isinstance(item, _Admission) or (batch and chars + item.weight > PAGE_BYTES // 4):
                break
            self._queue.popleft()
            chars += item.weight
            batch.append(item)
        self._queued_chars -= chars
        return batch

    async def _admit(self, admission: _Admission) -> None:
        await self._settle()
        authority = self.authority
        fenced = None
        if admission.fence is not None:
            fenced = await self._journal.fence(
                self.doc, authority.epoch, admission.fence, admission.user, now_ms()
            )
            await self._enroll(admission.fence, known=True)
        record = await self._enroll(admission.client, known=False)
        if record.user not in (None, admission.user):
            raise Forbidden("this client id belongs to another user")
        if not admission.answer.done():
            admission.answer.set_result(Admitted(record.last_seq, fenced))

    async def _enroll(self, client: str, *, known: bool) -> ClientRecord:
        """Make sure that the authority knows a client, and has all that it committed."""
        record = None if known else self.authority.record(client)
        if record is None:
            record = await self._journal.client(self.doc, client) or ClientRecord()
            if record.last_version > self.authority.version:
                await self._catch_up()
            self.authority.enroll(client, record)
        return record

    async def _commit(self, batch: Sequence[_Submitted]) -> None:
        await self._settle()
        submissions = [item.submission for item in batch]
        deadline = time.monotonic() + BATCH_BUDGET_S
        races = 0
        while not await self._try_commit(submissions, batch):
            races += 1
            if time.monotonic() > deadline:
                raise Busy("too many races were lost")
            if races > RACES_BEFORE_PAUSE:
                await asyncio.sleep(random.uniform(0, 0.005))

    async def _try_commit(
        self, submissions: Sequence[Submission], batch: Sequence[_Submitted]
    ) -> bool:
        """Stage and append once; False when others were faster and it must be staged anew."""
        await self._reach_back(submissions)
        staged = self.authority.stage(submissions, now_ms())
        if staged.entries:
            result = await self._journal.append(
                self.doc, self.authority.epoch, staged.base, staged.entries, staged.hashes
            )
            if isinstance(result, Conflict):
                await self._learn(result.missed)
                return False
            if isinstance(result, StaleClient):
                self.authority.enroll(result.client, result.record)
                return False
            await self._committed(staged)
        for item, outcome in zip(batch, staged.outcomes, strict=True):
            if isinstance(outcome, StrettoError):
                _fail([item.answer], outcome)
            elif not item.answer.done():
                item.answer.set_result(outcome)
        return True

    async def _committed(self, staged: Staged) -> None:
        self.authority.commit(staged)
        self._count(staged.entries)
        await self._send(staged.base + 1, staged.entries)

    async def _learn(self, entries: Sequence[Entry]) -> None:
        """Take in what others committed, and send it on: our members have not seen it."""
        first = self.authority.version + 1
        self.authority.learn(entries)
        self._count(entries)
        await self._send(first, entries)

    async def _send(self, first: int, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        self._last_frame_at = time.monotonic()
        # Ids, epochs and hashes need no escapes, and each entry's JSON was made for its hash.
        authority = self.authority
        frame = (
            f'{{"doc":"{self.doc}","epoch":"{authority.epoch}","from":{first},'
            f'"ops":[{",".join([entry.to_json() for entry in entries])}],'
            f'"hash":"{authority.hash}"}}'
        )
        await self._bus.broadcast_json(DOCS, self.room, ServerEvent.OPS, frame)

    async def _settle(self) -> None:
        """After an unknown outcome, read what the journal has before going on."""
        if self._unsure:
            await self._catch_up()
            for client in self.authority.clients():
                record = await self._journal.client(self.doc, client)
                self.authority.enroll(client, record)
            self._unsure = False

    async def _catch_up(self) -> None:
        while True:
            page = await self._journal.read(
                self.doc,
                self.authority.epoch,
                self.authority.version + 1,
                PAGE_ENTRIES,
                PAGE_BYTES,
            )
            await self._learn(page.entries)
            if self.authority.version >= page.head.version:
                return

    async def _reach_back(self, submissions: Sequence[Submission]) -> None:
        oldest = self.authority.oldest_base(submissions)
        if oldest is None:
            return
        try:
            await self.reach_back_to(oldest)
        except VersionGone as gone:
            # Compacted since the document was loaded: only who is based there is refused.
            self.authority.floor = (gone.details or {})["floor"]
            await self._reach_back(submissions)

    async def reach_back_to(self, version: int) -> None:
        """Make sure that the entries after ``version`` are in memory.

        Raises VersionGone when the journal no longer has them.
        """
        authority = self.authority
        while version < authority.horizon:
            horizon = authority.horizon
            first = max(version + 1, horizon - PAGE_ENTRIES + 1)
            page = await self._journal.read(self.doc, authority.epoch, first, horizon - first + 1)
            if authority.horizon == horizon:
                authority.extend_back(page.entries)

    def _count(self, entries: Sequence[Entry]) -> None:
        self._since_snapshot.ops += len(entries)
        self._since_snapshot.chars += sum(
            len(part) for entry in entries for part in entry.op if isinstance(part, str)
        )

    async def _maybe_snapshot(self) -> None:
        since = self._since_snapshot
        if since.ops >= SNAPSHOT_OPS or since.chars >= SNAPSHOT_CHARS:
            await self._guard([], self.snapshot())

    async def snapshot(self) -> None:
        """Write the text as it stands, unless the journal has it already."""
        authority = self.authority
        if authority.version == self._since_snapshot.version:
            return
        snapshot = Snapshot(authority.version, authority.hash, authority.text)
        self._since_snapshot = _SinceSnapshot(snapshot.version)
        await self._journal.snapshot(self.doc, authority.epoch, snapshot)
        if authority.version - authority.horizon > 2 * MEMORY_VERSIONS:
            authority.trim(authority.version - MEMORY_VERSIONS)


def _fail(answers: "Sequence[Answer | asyncio.Future[Admitted]]", error: StrettoError) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)
            if isinstance(answer, asyncio.Future):
                # Whoever submitted may be gone; an answer that nobody awaits is not a bug.
                answer.exception()
