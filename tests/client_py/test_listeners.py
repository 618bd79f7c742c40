"""Handlers, and what happens when one of them fails."""

import asyncio
import logging
from typing import Any

import pytest

from stretto_client.listeners import Listeners


async def test_handlers_are_called_in_order() -> None:
    listeners, heard = Listeners(), list[Any]()
    listeners.add("change", lambda payload: heard.append((1, payload)))
    listeners.add("change", lambda payload: heard.append((2, payload)))
    listeners.emit("change", "x")
    listeners.emit("other", "y")
    assert heard == [(1, "x"), (2, "x")]


async def test_a_handler_is_removed_once_and_may_be_unknown() -> None:
    listeners, heard = Listeners(), list[Any]()
    assert not listeners.has("change")
    handler = listeners.add("change", heard.append)
    assert listeners.has("change")
    listeners.remove("change", handler)
    listeners.remove("change", handler)
    listeners.emit("change", "x")
    assert heard == []
    assert not listeners.has("change")


async def test_a_handler_may_remove_itself_while_it_is_called() -> None:
    listeners, heard = Listeners(), list[Any]()

    def once(payload: Any) -> None:
        heard.append(payload)
        listeners.remove("change", once)

    listeners.add("change", once)
    listeners.add("change", heard.append)
    listeners.emit("change", 1)
    listeners.emit("change", 2)
    assert heard == [1, 1, 2]


async def test_a_failing_handler_harms_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    listeners, heard = Listeners(), list[Any]()

    def fail(_: Any) -> None:
        raise ZeroDivisionError

    async def fail_later(_: Any) -> None:
        raise ZeroDivisionError

    listeners.add("change", fail)
    listeners.add("change", fail_later)
    listeners.add("change", heard.append)
    with caplog.at_level(logging.CRITICAL + 1, "stretto_client"):
        listeners.emit("change", 1)
        await asyncio.sleep(0)
    await listeners.stop()
    assert heard == [1]


async def test_stopping_cancels_coroutines_that_still_run() -> None:
    listeners, cancelled = Listeners(), asyncio.Event()

    async def wait(_: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    listeners.add("change", wait)
    listeners.emit("change", 1)
    await asyncio.sleep(0)
    await listeners.stop()
    assert cancelled.is_set()


async def test_a_handler_may_stop_everything_but_itself() -> None:
    listeners, done = Listeners(), asyncio.Event()

    async def stop(_: Any) -> None:
        await listeners.stop()
        done.set()

    listeners.add("change", stop)
    listeners.emit("change", 1)
    async with asyncio.timeout(1):
        await done.wait()


async def test_all_hear_of_one_event_before_any_hears_of_the_next() -> None:
    listeners, heard = Listeners(), list[Any]()

    def cause(payload: int) -> None:
        heard.append(("first", payload))
        if payload < 3:
            listeners.emit("change", payload + 10)

    listeners.add("change", cause)
    listeners.add("change", lambda payload: heard.append(("second", payload)))
    listeners.put("change", 1)
    listeners.put("change", 2)
    assert heard == []
    listeners.flush()
    assert heard == [(who, number) for number in (1, 2, 11, 12) for who in ("first", "second")]
