"""Handlers of one client: in order, bounded, and the client waits while too many do."""

import asyncio
from collections import deque
from typing import Any

import pytest

from stretto_server.engine.engine_socket import Pause
from stretto_server.engine.event_queue import EventQueue


class Client:
    """What a queue needs of a client, and whether it is read from."""

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[Any] | None = None
        self.socket = self
        self.reading: list[bool] = []

    def pause_reading(self, why: Pause) -> None:
        assert why is Pause.EVENTS
        self.reading.append(False)

    def resume_reading(self, why: Pause) -> None:
        assert why is Pause.EVENTS
        self.reading.append(True)


class Stage:
    """Events that begin when they may and end when the test says so."""

    def __init__(self, most: int, *, one_by_one: bool = False) -> None:
        self.queue = EventQueue(most, one_by_one=one_by_one)
        self.client: Any = Client()
        self.begun: list[int] = []
        self.gates: dict[int, asyncio.Event] = {}

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.gates[number] = asyncio.Event()
            self.queue.put(self.client, self._handle(number))

    async def _handle(self, number: int) -> None:
        self.begun.append(number)
        await self.gates[number].wait()

    async def end(self, *numbers: int) -> None:
        for number in numbers:
            self.gates[number].set()
        for _ in range(4):
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.queue.drop(self.client)
        for gate in self.gates.values():
            gate.set()
        await self.queue.finish()


async def test_events_begin_in_order_and_run_side_by_side() -> None:
    stage = Stage(3)
    stage.put(1, 2, 3)
    await stage.end(2)
    assert stage.begun == [1, 2, 3]
    assert (stage.client.running, stage.client.waiting) == (2, None)
    await stage.close()
    assert stage.client.reading == []


async def test_a_task_begins_as_soon_as_the_loop_turns() -> None:
    stage = Stage(3)
    stage.put(1)
    assert stage.begun == []
    await asyncio.sleep(0)
    assert stage.begun == [1]
    await stage.close()


async def test_beyond_the_limit_events_wait_and_the_client_is_not_read_from() -> None:
    stage = Stage(2)
    stage.put(1, 2)
    assert stage.client.reading == []
    stage.put(3)
    assert stage.client.reading == [False]
    stage.put(4, 5)
    assert stage.client.reading == [False]
    await stage.end(2)
    assert stage.begun == [1, 2, 3]
    assert stage.client.reading == [False]
    await stage.end(1)
    assert stage.client.reading == [False]
    await stage.end(3)
    assert stage.begun == [1, 2, 3, 4, 5]
    assert stage.client.reading == [False, True]
    await stage.end(4, 5)
    assert (stage.client.running, stage.client.waiting) == (0, None)
    stage.put(6, 7, 8)
    assert stage.client.reading == [False, True, False]
    await stage.close()


async def test_one_by_one() -> None:
    stage = Stage(3, one_by_one=True)
    stage.put(1, 2, 3)
    await stage.end()
    assert stage.begun == [1]
    assert stage.client.reading == []
    stage.put(4)
    assert stage.client.reading == [False]
    await stage.end(2, 1)
    assert stage.begun == [1, 2, 3]
    assert stage.client.reading == [False, True]
    await stage.end(3, 4)
    assert stage.begun == [1, 2, 3, 4]
    await stage.close()


async def test_one_by_one_with_patience_for_one() -> None:
    stage = Stage(1, one_by_one=True)
    stage.put(1)
    assert stage.client.reading == []
    stage.put(2)
    assert stage.client.reading == [False]
    await stage.end(1)
    assert stage.client.reading == [False, True]
    await stage.close()


async def test_whether_a_handler_in_place_would_overtake() -> None:
    stage = Stage(2)
    assert stage.queue.idle(stage.client)
    stage.put(1)
    assert stage.queue.idle(stage.client)
    stage.put(2, 3)
    assert not stage.queue.idle(stage.client)
    await stage.end(1, 2)
    assert stage.queue.idle(stage.client)
    await stage.close()
    ordered = Stage(2, one_by_one=True)
    assert ordered.queue.idle(ordered.client)
    ordered.put(1)
    assert not ordered.queue.idle(ordered.client)
    await ordered.end(1)
    assert ordered.queue.idle(ordered.client)
    await ordered.close()


async def test_what_waits_is_dropped_when_the_client_is_gone() -> None:
    stage = Stage(1)
    stage.put(1, 2, 3)
    await stage.end()
    stage.queue.drop(stage.client)
    stage.queue.drop(stage.client)
    assert stage.client.waiting is None
    await stage.end(1, 2, 3)
    assert stage.begun == [1]
    assert stage.client.running == 0


async def test_a_handler_that_fails_is_logged_and_the_next_one_begins(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage(1)

    async def fail() -> None:
        raise RuntimeError("the handler failed")

    stage.queue.put(stage.client, fail())
    stage.put(1)
    await stage.end(1)
    assert stage.begun == [1]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "the handler failed"
    await stage.close()


async def test_a_handler_that_is_cancelled_makes_room() -> None:
    stage = Stage(1)
    stage.put(1, 2)
    await stage.end()
    (task,) = stage.queue._tasks
    task.cancel()
    await stage.end()
    assert stage.begun == [1, 2]
    await stage.close()


async def test_finish_waits_for_those_that_come_meanwhile() -> None:
    stage = Stage(1)
    stage.put(1, 2)
    finished = asyncio.ensure_future(stage.queue.finish())
    await stage.end(1)
    assert stage.begun == [1, 2]
    assert not finished.done()
    await stage.end(2)
    async with asyncio.timeout(3):
        await finished
