"""One open document on this node: a queue that is committed in batches.

The actor feeds :class:`~stretto_server.document_log.DocumentLog` from a FIFO: what was
staged is appended to the journal, and only then the text changes, the frame is sent and
everybody answered. There is no timer on the way: the next batch is whatever arrived while
the last one was being written.

A batch for which all goes well takes two callbacks of the event loop, one that appends it
and one when it is durable. What has to wait for something else (openings, lost races, a
journal that does not answer, bases that left memory) is done by a task, during which the
queue stands still. So does what is heard of other nodes' commits: it is taken in between
two batches, and whatever does not continue the history is read from the journal.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from stretto_core.authority import Staged, Submission
from stretto_core.errors import (
    Busy,
    EpochChanged,
    Forbidden,
    InternalError,
    NotFound,
    StrettoError,
    Unavailable,
    VersionGone,
)
from stretto_core.following import Frame
from stretto_core.protocol import Limits
from stretto_server.bus.interface import Bus
from stretto_server.document_hearing import ANEW_MS, Hearing
from stretto_server.document_log import DocumentLog, HistoryLost, now_ms
from stretto_server.document_pace import FEW, Pace
from stretto_server.document_queue import (
    Admission,
    Admitted,
    Answer,
    DocumentQueue,
    Submitted,
    Waiting,
    refuse,
    resolve,
)
from stretto_server.document_worker import Worker
from stretto_server.journal.interface import (
    Appended,
    AppendResult,
    Conflict,
    Journal,
    Loaded,
    OutcomeUnknown,
    StaleClient,
)
from stretto_server.metrics import Metrics

logger = logging.getLogger(__name__)

BATCH_BUDGET_S: Final = 2.0


def _nothing(_problem: Exception) -> None:
    """Let nobody know."""


@dataclass(slots=True)
class _Appending:
    """A batch on its way into the journal."""

    batch: list[Submitted]
    staged: Staged
    result: "asyncio.Future[AppendResult]"


class DocumentActor:
    """Serialises everything that touches one document's history. Made inside an event loop."""

    def __init__(
        self,
        doc: str,
        loaded: Loaded,
        journal: Journal,
        bus: Bus,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self.doc = doc
        self.log = DocumentLog(doc, loaded, journal, bus, limits)
        self.room = self.log.room
        self.authority = self.log.authority
        self.audience = 0
        """How many connections of this node a frame goes to."""
        self.lost = False
        """Whether the journal no longer continues what is known: nothing commits here."""
        self.on_lost: Callable[[Exception], None] = _nothing
        """Called once then, with why; the document has to be loaded anew."""
        self._metrics = metrics
        self._shared = bus.shared
        self._hearing = Hearing(self.log, metrics)
        self._pace = Pace(self.authority.version)
        self._loop = asyncio.get_running_loop()
        self._queue = DocumentQueue()
        self._busy = False
        """Whether the queue is being worked on: by a callback to come, an append or a task."""
        self._timer: asyncio.TimerHandle | None = None
        self._appending: _Appending | None = None
        self._worker = Worker(self._failed, self._go_on)
        self._idle: list[asyncio.Future[None]] = []

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or being written."""
        return not self._busy

    async def flush(self) -> None:
        """Wait until everything queued so far was answered. Cancelling is safe."""
        while self._busy:
            idle = self._loop.create_future()
            self._idle.append(idle)
            await idle
        await self.log.snapshot_written()

    async def stop(self) -> None:
        """End at once; what is not answered yet stays unknown to its client."""
        if self._timer is not None:
            self._timer.cancel()
        appending, self._appending = self._appending, None
        if appending is not None:
            appending.result.cancel()
            refuse(appending.batch, Unavailable("the server stopped"))
            await asyncio.wait([appending.result])
        await self._worker.stop()
        await self.log.stop()
        self._queue = DocumentQueue()
        self._rest()

    def submit(self, submission: Submission) -> "asyncio.Future[int]":
        """Queue an operation; the future gives its version once it is durable.

        Raises Busy when too much is waiting; the future raises what the contract names.
        Cancelling the future does not take the operation back.
        """
        answer: asyncio.Future[int] = self._loop.create_future()
        self.submit_for(submission, answer)
        return answer

    def submit_for(self, submission: Submission, answer: Answer) -> None:
        """Queue an operation as :meth:`submit` does; ``answer`` is told before anything else runs.

        So the acknowledgement and the frame of a batch leave together. Raises Busy,
        Unavailable while the document is loaded anew.
        """
        self._refuse_if_lost()
        self._queue.submit(submission, answer)
        self._wake()

    def admit(self, client: str, user: str, fence: str | None = None) -> "asyncio.Future[Admitted]":
        """Queue a replica's opening, behind every operation that arrived before it.

        So whatever a fenced client committed is in the text by the time this is answered.
        Raises Unavailable while the document is loaded anew.
        """
        self._refuse_if_lost()
        answer: asyncio.Future[Admitted] = self._loop.create_future()
        self._queue.admit(Admission(client, user, fence, answer))
        self._wake()
        return answer

    # What other nodes do.

    def hear(self, frame: Frame) -> None:
        """Take in a frame of another node, now or when the append under way has ended."""
        if self.lost:
            return
        if self._appending is not None or self._worker.busy:
            self._hearing.keep(frame)
            return
        version = self.authority.version
        try:
            self._hearing.take_in(frame)
        except Exception as error:
            self._confused(error)
        if self.authority.version > version:
            self._pace.heard(time.monotonic())
        if self._hearing.must_look:
            self._wake()
        if self._timer is not None:  # others had the turn that was left to them
            self._timer.cancel()
            self._go_on()

    def hear_waiting(self) -> None:
        """Note that a node lost a race here."""
        self._pace.somebody_waits(self.authority.version)

    def look(self) -> "asyncio.Future[None]":
        """Read from the journal what is not known here yet, behind what is under way.

        The future raises Unavailable. Cancelling it is safe.
        """
        self._refuse_if_lost()
        looked = self._hearing.want_look()
        self._wake()
        return looked

    def look_later(self) -> None:
        """Do as :meth:`look` for nobody in particular."""
        if not self.lost:
            self._hearing.must_look = True
            self._wake()

    def _catch_up(self) -> bool:
        """Take in what was heard; tell whether the journal is being read as well."""
        try:
            self._hearing.take_in_kept()
        except Exception as error:
            self._confused(error)
        if self._hearing.must_look:
            self._worker.begin((), self._hearing.look())
            return True
        return False

    def _confused(self, error: Exception) -> None:
        """Leave a text that something may have been half done to."""
        logger.error("document %s: a frame was not taken in", self.doc, exc_info=error)
        self.lose(error)

    def _refuse_if_lost(self) -> None:
        if self.lost:
            raise Unavailable("the document is being loaded anew", retry_after_ms=ANEW_MS)

    def lose(self, problem: Exception) -> None:
        """Answer everything queued: only with the journal's history can it be told more.

        The document has to be loaded anew: see :attr:`on_lost`.
        """
        if self.lost:
            return
        self.lost = True
        error = Unavailable("the document is being loaded anew", retry_after_ms=ANEW_MS)
        self._hearing.close(error)
        refuse(self._queue.take_all(), error)
        self.on_lost(problem)

    # The queue.

    def _wake(self) -> None:
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._go_on)  # behind what else arrived in this turn

    def _go_on(self) -> None:
        """Take from the queue until something has to be waited for, or nothing is left."""
        if self._appending is not None or self._worker.busy:
            return None  # a call that :meth:`stop` has overtaken
        self._timer = None
        if self._hearing.is_pending and self._catch_up():
            return None
        while (head := self._queue.head) is not None:
            if isinstance(head, Admission):
                self._queue.take_admission()
                return self._worker.begin((head,), self._admit(head))
            wait = self._pause()
            if wait > 0:
                self._timer = self._loop.call_later(wait, self._go_on)
                return None
            if self._begin(self._queue.take_batch()):
                return None
        return self._rest()

    def _rest(self) -> None:
        self._busy = False
        idle, self._idle = self._idle, []
        for one in idle:
            if not one.done():
                one.set_result(None)

    def _pause(self) -> float:
        """Return how long to wait before the next batch."""
        if self.audience <= FEW and not self._shared:
            return 0.0
        return self._pace.wait(
            self.authority.version,
            time.monotonic(),
            audience=self.audience,
            queued=len(self._queue),
            last_frame_at=self.log.last_frame_at,
        )

    def _begin(self, batch: list[Submitted]) -> bool:
        """Stage and append a batch; tell whether there is something to wait for."""
        submissions = [item.submission for item in batch]
        if (
            self.log.unsure
            or self.authority.oldest_base(submissions) is not None
            or (self._shared and self._is_behind(submissions))
        ):
            self._worker.begin(batch, self._commit(batch))
            return True
        try:
            staged = self.authority.stage(submissions, now_ms())
            if staged.entries:
                if self._shared:
                    self._pace.began(time.monotonic())
                result = asyncio.ensure_future(self.log.append(staged))
                self._appending = _Appending(batch, staged, result)
                result.add_done_callback(self._appended)
                return True
            resolve(batch, staged.outcomes)
        except Exception as error:
            self._failed(batch, error)
        return False

    def _is_behind(self, submissions: Sequence[Submission]) -> bool:
        """Tell whether somebody has seen more of this history elsewhere than is known here."""
        authority = self.authority
        version, epoch = authority.version, authority.epoch
        return any(one.base > version and one.epoch == epoch for one in submissions)

    def _appended(self, result: "asyncio.Future[AppendResult]") -> None:
        """Go on with the batch that was being appended, in place if all went well."""
        appending, self._appending = self._appending, None
        if appending is None:
            return  # stopped
        batch, staged = appending.batch, appending.staged
        if not _went_well(result):
            self._worker.begin(batch, self._commit(batch, appending))
            return
        try:
            self._take_in(staged)
            resolve(batch, staged.outcomes)
        except Exception as error:
            self._failed(batch, error)
        self._go_on()

    def _take_in(self, staged: Staged) -> None:
        """Change the text and send it on: what was staged is durable."""
        self.log.take_in(staged)
        if self._shared:
            self._pace.committed(staged.base, self.authority.version, time.monotonic())
        self.log.send(staged.base + 1, staged.entries)

    def _failed(self, waiting: Sequence[Waiting], error: Exception) -> None:
        if isinstance(error, HistoryLost | VersionGone):
            refuse(waiting, Unavailable(retry_after_ms=ANEW_MS))
            self.lose(error)
        elif isinstance(error, EpochChanged | NotFound):
            # Who opens is told what there is then; so is who has a deleted one open.
            opening = [one for one in waiting if isinstance(one, Admission)]
            submitted = [one for one in waiting if not isinstance(one, Admission)]
            again = Unavailable(retry_after_ms=ANEW_MS)
            refuse(opening, again)
            refuse(submitted, again if isinstance(error, NotFound) else error)
            self.lose(error)
        elif isinstance(error, StrettoError):
            refuse(waiting, error)
        elif isinstance(error, OutcomeUnknown):
            self.log.unsure = True
            refuse(waiting, Unavailable("the journal did not answer"))
        else:
            logger.error("document %s: a batch failed", self.doc, exc_info=error)
            self.log.unsure = True
            refuse(waiting, InternalError())

    # Work that takes time.

    async def _admit(self, admission: Admission) -> None:
        log = self.log
        await log.settle()
        fenced = None
        if admission.fence is not None:
            fenced = await log.fence(admission.fence, admission.user)
            if self._shared:  # what the replica has seen elsewhere, it does not say with a fence
                await log.catch_up()
        record = await log.enroll(admission.client)
        if record.user not in (None, admission.user):
            raise Forbidden("this client id belongs to another user")
        if not admission.answer.done():
            admission.answer.set_result(Admitted(record.last_seq, fenced))

    async def _commit(
        self, batch: Sequence[Submitted], appending: _Appending | None = None
    ) -> None:
        """Commit a batch; ``appending`` is a first attempt that is under way."""
        if appending is None:
            await self.log.settle()
            if self._shared and self._is_behind([item.submission for item in batch]):
                await self.log.catch_up()
        deadline = time.monotonic() + BATCH_BUDGET_S
        while not await self._try_commit(batch, appending):
            # At once: whoever lost knows as much as the winner does, but not for long.
            appending = None
            if time.monotonic() > deadline:
                raise Busy("too many races were lost")

    async def _try_commit(self, batch: Sequence[Submitted], appending: _Appending | None) -> bool:
        """Stage and append once; False when others were faster and it must be staged anew."""
        result: AppendResult | None = None
        if appending is not None:
            staged = appending.staged
            result = await appending.result
        else:
            submissions = [item.submission for item in batch]
            await self.log.reach_back(submissions)
            staged = self.authority.stage(submissions, now_ms())
            if staged.entries:
                self._pace.began(time.monotonic())
                result = await self.log.append(staged)
        if isinstance(result, Conflict):
            self._metrics.journal_conflicts.inc()
            self.log.learn_missed(result)
            self._pace.heard(time.monotonic())
            return False
        if isinstance(result, StaleClient):
            self.authority.enroll(result.client, result.record)
            return False
        self._take_in(staged)
        resolve(batch, staged.outcomes)
        return True


def _went_well(result: "asyncio.Future[AppendResult]") -> bool:
    if result.cancelled() or result.exception() is not None:
        return False
    return isinstance(result.result(), Appended)
