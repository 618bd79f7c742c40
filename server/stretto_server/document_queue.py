"""What waits at an open document, in the order of arrival."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from stretto_core.authority import Submission
from stretto_core.errors import Busy, StrettoError
from stretto_core.protocol import PAGE_BYTES

logger = logging.getLogger(__name__)

MAX_QUEUED: Final = 1_000
MAX_QUEUED_CHARS: Final = 1024 * 1024
"""Beyond either, a document answers ``busy``."""

MAX_BATCH: Final = 512


class Answer(Protocol):
    """What waits for the version of an operation: a future, or what answers in place."""

    def done(self) -> bool:
        """Tell whether nobody waits anymore."""

    def set_result(self, result: int, /) -> None:
        """Take the version: the operation is durable. Never raises."""

    def set_exception(self, exception: StrettoError, /) -> None:
        """Take what went wrong. Never raises."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a replica learns when it opens: its own ``last_seq``, and that of the fenced one."""

    last_seq: int
    fenced_last_seq: int | None


@dataclass(eq=False, slots=True)
class Submitted:
    """An operation, and who waits for it."""

    submission: Submission
    answer: Answer
    weight: int


@dataclass(eq=False, slots=True)
class Admission:
    """A replica that opens."""

    client: str
    user: str
    fence: str | None
    answer: "asyncio.Future[Admitted]"


Waiting: TypeAlias = Submitted | Admission


class DocumentQueue:
    """A bounded FIFO, from which operations are taken in batches."""

    __slots__ = ("_chars", "_items")

    def __init__(self) -> None:
        self._items: deque[Waiting] = deque()
        self._chars = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def head(self) -> Waiting | None:
        """What waits longest."""
        return self._items[0] if self._items else None

    def submit(self, submission: Submission, answer: Answer) -> None:
        """Queue an operation. Raises Busy when too much is waiting."""
        if len(self._items) >= MAX_QUEUED or self._chars > MAX_QUEUED_CHARS:
            raise Busy
        weight = 0
        for part in submission.op:
            if isinstance(part, str):
                weight += len(part)
        self._chars += weight
        self._items.append(Submitted(submission, answer, weight))

    def admit(self, admission: Admission) -> None:
        """Queue an opening."""
        self._items.append(admission)

    def take_admission(self) -> None:
        """Take the opening at the head."""
        self._items.popleft()

    def take_all(self) -> list[Waiting]:
        """Take everything."""
        items = list(self._items)
        self._items.clear()
        self._chars = 0
        return items

    def take_batch(self) -> list[Submitted]:
        """Take operations up to the next opening, as many as make one batch."""
        items = self._items
        batch: list[Submitted] = []
        chars = 0
        while items and len(batch) < MAX_BATCH:
            item = items[0]
            if isinstance(item, Admission) or (batch and chars + item.weight > PAGE_BYTES // 4):
                break
            items.popleft()
            chars += item.weight
            batch.append(item)
        self._chars -= chars
        return batch


def resolve(batch: Sequence[Submitted], outcomes: Sequence[int | StrettoError]) -> None:
    """Tell everyone in a batch what became of it."""
    for item, outcome in zip(batch, outcomes, strict=True):
        if not isinstance(outcome, int):
            refuse((item,), outcome)
        elif not item.answer.done():
            item.answer.set_result(outcome)


def refuse(waiting: Sequence[Waiting], error: StrettoError) -> None:
    """Tell everyone the same error."""
    for item in waiting:
        answer = item.answer
        if not answer.done():
            answer.set_exception(error)
            if isinstance(answer, asyncio.Future):
                # Whoever submitted may be gone; an answer that nobody awaits is not a bug.
                answer.exception()
