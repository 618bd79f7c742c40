"""Callbacks that wait for other nodes: they are called, or they expire."""

import asyncio
from typing import Any

import pytest

from stretto_server.bus.callbacks import Callbacks


def callback(*_answer: Any) -> None:
    pass


def another(*_answer: Any) -> None:
    pass


async def test_a_callback_is_taken_once() -> None:
    forgotten: list[Any] = []
    callbacks = Callbacks(forgotten.append)
    number = callbacks.add(callback, once=True)
    assert callbacks.take(number) is callback
    assert callbacks.take(number) is None
    assert callbacks.take(999) is None
    callbacks.close()
    assert forgotten == []


async def test_that_of_a_room_is_taken_again() -> None:
    forgotten: list[Any] = []
    callbacks = Callbacks(forgotten.append)
    number = callbacks.add(callback, once=False)
    assert callbacks.take(number) is callback
    assert callbacks.take(number) is callback
    callbacks.drop(number)
    callbacks.drop(number)
    assert forgotten == [callback]
    assert callbacks.take(number) is None
    callbacks.close()


async def test_the_oldest_goes_when_there_are_too_many() -> None:
    forgotten: list[Any] = []
    callbacks = Callbacks(forgotten.append, most=2)
    first = callbacks.add(callback, once=True)
    rest = [callbacks.add(another, once=True) for _ in range(2)]
    assert forgotten == [callback]
    assert callbacks.take(first) is None
    assert [callbacks.take(number) for number in rest] == [another, another]
    assert len(callbacks) == 0
    callbacks.close()


async def test_nobody_waits_forever() -> None:
    forgotten: list[Any] = []
    callbacks = Callbacks(forgotten.append, seconds=0.1)
    numbers = [callbacks.add(callback, once=True)]
    await asyncio.sleep(0.06)
    numbers.append(callbacks.add(another, once=True))
    async with asyncio.timeout(5):
        while len(callbacks):
            await asyncio.sleep(0.005)
    assert forgotten == [callback, another]
    assert [callbacks.take(number) for number in numbers] == [None, None]
    numbers.append(callbacks.add(callback, once=True))
    callbacks.close()
    assert forgotten == [callback, another, callback]


@pytest.mark.parametrize("count", [1, 3])
async def test_closing_forgets_all(count: int) -> None:
    forgotten: list[Any] = []
    callbacks = Callbacks(forgotten.append)
    for _ in range(count):
        callbacks.add(callback, once=True)
    callbacks.close()
    callbacks.close()
    assert forgotten == [callback] * count
