"""Whoever waits for a piece of work is answered: done, failed, or stopped before it began."""

import asyncio
from collections.abc import Sequence

import pytest

from stretto_core.errors import Busy, Unavailable
from stretto_server.document_queue import Admission, Waiting, refuse
from stretto_server.document_worker import Worker


class Desk:
    def __init__(self) -> None:
        self.ended = 0
        self.failures: list[Exception] = []
        self.worker = Worker(self._failed, self._ended)
        answer = asyncio.get_running_loop().create_future()
        self.admission = Admission("client-of-ann-0001", "ann", None, answer)
        self.gate = asyncio.Event()

    def _failed(self, waiting: Sequence[Waiting], error: Exception) -> None:
        self.failures.append(error)
        refuse(waiting, Busy())

    def _ended(self) -> None:
        self.ended += 1

    async def work(self, error: Exception | None = None) -> None:
        await self.gate.wait()
        if error is not None:
            raise error


@pytest.fixture
async def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize("error", [None, ZeroDivisionError()])
async def test_it_tells_of_its_end_and_of_failures(desk: Desk, error: Exception | None) -> None:
    desk.worker.begin((desk.admission,), desk.work(error))
    assert desk.worker.busy
    desk.gate.set()
    async with asyncio.timeout(5):
        while desk.worker.busy:
            await asyncio.sleep(0)
    assert desk.ended == 1
    assert desk.failures == ([] if error is None else [error])
    if error is not None:
        with pytest.raises(Busy):
            await desk.admission.answer


@pytest.mark.parametrize("turns", [0, 3])
async def test_stopping_answers_who_waits_begun_or_not(desk: Desk, turns: int) -> None:
    desk.worker.begin((desk.admission,), desk.work())
    for _ in range(turns):
        await asyncio.sleep(0)
    await desk.worker.stop()
    await desk.worker.stop()
    assert not desk.worker.busy
    assert desk.ended == 0
    with pytest.raises(Unavailable):
        await desk.admission.answer
