"""Messages that wait for a reader."""

import asyncio
from contextlib import suppress

from stretto_client.messages import WAITING_MESSAGES, Message, Messages


def message(number: int) -> Message:
    return Message("lobby", "x", number, "m1", {"id": "ann"}, 0)


async def test_readers_keep_the_newest_messages() -> None:
    reader = Messages()
    for number in range(WAITING_MESSAGES + 2):
        reader.put(message(number))
    reader.end()
    numbers = [one.data async for one in reader]
    assert numbers == list(range(2, WAITING_MESSAGES + 2))


async def test_a_cancelled_reader_loses_nothing() -> None:
    reader = Messages()
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    reader.put(message(1))
    assert (await anext(reader)).data == 1
