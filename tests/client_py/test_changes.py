"""The changes of a document as an iterator."""

import asyncio

import pytest

from stretto_client.changes import Changes
from stretto_core.effects import Changed, Origin
from stretto_core.errors import Busy


def change(text: str) -> Changed:
    return Changed((text,), Origin.LOCAL)


async def test_changes_come_in_order_until_the_end() -> None:
    changes = Changes()
    changes.put(change("a"))
    changes.put(change("b"))
    changes.end()
    assert [one.op async for one in changes] == [("a",), ("b",)]


async def test_a_reader_waits_and_cancelling_loses_nothing() -> None:
    changes = Changes()
    reader = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    reader = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    changes.put(change("a"))
    assert (await reader).op == ("a",)


async def test_the_end_wakes_a_reader() -> None:
    changes = Changes()
    reader = asyncio.ensure_future(anext(changes, None))
    await asyncio.sleep(0)
    changes.end()
    assert await reader is None


async def test_a_slow_reader_is_told_instead_of_skipping() -> None:
    changes = Changes(most=2)
    for text in "abcd":
        changes.put(change(text))
    changes.end()
    for _ in range(2):
        with pytest.raises(Busy, match="too slowly"):
            await anext(changes)
