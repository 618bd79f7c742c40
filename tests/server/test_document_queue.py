"""The queue keeps order, makes batches, and knows when enough waits."""

import asyncio

import pytest

from stretto_core.authority import Submission
from stretto_core.errors import Busy, NotFound, StrettoError
from stretto_core.protocol import PAGE_BYTES
from stretto_server import document_queue
from stretto_server.document_queue import (
    Admission,
    DocumentQueue,
    Submitted,
    refuse,
    resolve,
)

CLIENT = "client-of-ann-0001"


class Answer:
    def __init__(self) -> None:
        self.told: list[int | StrettoError] = []
        self.gone = False

    def done(self) -> bool:
        return self.gone

    def set_result(self, result: int) -> None:
        self.told.append(result)

    def set_exception(self, exception: StrettoError) -> None:
        self.told.append(exception)


def submission(seq: int = 1, text: str = "x") -> Submission:
    return Submission("epoch", CLIENT, seq, 0, [1, text, -1], "ann")


def queue_of(*texts: str) -> DocumentQueue:
    queue = DocumentQueue()
    for seq, text in enumerate(texts, 1):
        queue.submit(submission(seq, text), Answer())
    return queue


def seqs(batch: list[Submitted]) -> list[int]:
    return [item.submission.seq for item in batch]


def test_a_batch_ends_at_an_opening() -> None:
    queue = queue_of("a", "b")
    opening = Admission(CLIENT, "ann", None, asyncio.Future(loop=asyncio.new_event_loop()))
    queue.admit(opening)
    queue.submit(submission(3), Answer())
    assert len(queue) == 4
    assert seqs(queue.take_batch()) == [1, 2]
    assert queue.head is opening
    assert queue.take_batch() == []
    queue.take_admission()
    assert seqs(queue.take_batch()) == [3]
    assert queue.head is None
    opening.answer.get_loop().close()


def test_a_batch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    half = "x" * (PAGE_BYTES // 8)
    queue = queue_of(half, half, half, half * 3, "y")
    assert [seqs(queue.take_batch()) for _ in range(4)] == [[1, 2], [3], [4], [5]]
    monkeypatch.setattr(document_queue, "MAX_BATCH", 2)
    assert [len(queue_of("a", "b", "c").take_batch())] == [2]


def test_too_much_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_queue, "MAX_QUEUED", 2)
    monkeypatch.setattr(document_queue, "MAX_QUEUED_CHARS", 3)
    queue = queue_of("a", "b")
    with pytest.raises(Busy):
        queue.submit(submission(), Answer())
    queue.take_batch()
    queue.submit(submission(text="long"), Answer())
    with pytest.raises(Busy):
        queue.submit(submission(), Answer())
    queue.take_batch()
    queue.submit(submission(), Answer())


def test_everybody_is_told_once() -> None:
    answers = [Answer(), Answer(), Answer()]
    answers[2].gone = True
    batch = [Submitted(submission(), answer, 1) for answer in answers]
    error = NotFound()
    resolve(batch, [5, error, 6])
    assert [answer.told for answer in answers] == [[5], [error], []]
    refuse(batch, error)
    assert [answer.told for answer in answers] == [[5, error], [error, error], []]


async def test_an_error_that_nobody_waits_for_is_no_bug() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    refuse([Submitted(submission(), future, 1)], NotFound())
    assert isinstance(future.exception(), NotFound)
