"""Peers that ask for much and read little."""

import asyncio
from typing import Final

from tests.server.engine.conformance.exchange import PATIENCE, Exchange
from tests.server.engine.hostile.arena import Arena
from tests.server.engine.hostile.lines import heartbeats, hung_up, joined, pour, text

MEGABYTE: Final = 1024 * 1024
SMALL: Final = 4_096
"""A receive buffer that soon makes the server wait."""

HELD: Final = 3 * MEGABYTE // 2
"""What the server may hold for one reader: its buffer, the transport's, and one answer."""


async def stopped_readers(arena: Arena) -> None:
    """They take nothing at all, while more is sent to them than the kernel holds.

    Their TCP connection ends, not only their session: the kernel forgets what it held.
    """
    lines = [await joined(arena.host, receive_buffer=SMALL) for _ in range(arena.many(5))]
    hearts = [asyncio.create_task(heartbeats(line)) for line in lines]
    for line in lines:
        await pour(line, text('420["give",12000000]'))
    await asyncio.gather(*map(hung_up, lines), *hearts)


async def slow_readers(arena: Arena) -> None:
    """They answer pings and read a little, while the room that they are in is shouted at."""
    before = await arena.begin_peak()
    lines = [await joined(arena.host, receive_buffer=SMALL) for _ in range(arena.many(10))]
    hearts = [asyncio.create_task(heartbeats(line)) for line in lines]
    for line in lines:
        await pour(line, text('42["enter","crowd"]'))
    readers = [asyncio.create_task(_sip(line)) for line in lines]
    speaker = await joined(arena.host)
    await speaker.write(text('42["shout",600,50000,"crowd"]'))
    await asyncio.gather(*map(hung_up, lines), *hearts, *readers)
    speaker.abort()
    assert await arena.grown(before) < 20 * MEGABYTE + len(lines) * HELD


async def greedy_requests(arena: Arena) -> None:
    """They ask for a hundred large answers and read none of them."""
    before = await arena.begin_peak()
    lines = [await joined(arena.host, receive_buffer=SMALL) for _ in range(arena.many(5))]
    for line in lines:
        await pour(line, b"".join(text(f'42{number}["give",900000]') for number in range(100)))
    await asyncio.gather(*map(hung_up, lines))
    assert await arena.grown(before) < 20 * MEGABYTE + len(lines) * 2 * HELD


async def ping_flood(arena: Arena) -> None:
    """They send WebSocket pings without end and read no pong."""
    before = await arena.begin_peak()
    flood = text(b"p" * 125, 0x89) * 80_000
    lines = [await joined(arena.host, receive_buffer=SMALL) for _ in range(arena.many(3))]
    await asyncio.gather(*(pour(line, flood) for line in lines))
    for line in lines:
        line.abort()
    assert await arena.grown(before) < 20 * MEGABYTE + len(lines) * HELD


async def stopped_polls(arena: Arena) -> None:
    """They poll for a large answer and do not read it."""
    lines = []
    for _ in range(arena.many(5)):
        response = await arena.host.request("GET", arena.host.target())
        sid = response.text.split('"')[3]
        target = arena.host.target(sid=sid)
        await arena.host.request("POST", target, "40")
        await arena.host.request("POST", target, '420["give",12000000]')
        line = await arena.host.dial(receive_buffer=SMALL)
        await line.start("GET", target)
        lines.append(line)
    await asyncio.gather(*map(hung_up, lines))


async def _sip(line: Exchange) -> None:
    """Read a little now and then, until the connection ends."""
    try:
        async with asyncio.timeout(12 * PATIENCE):
            while await line.reader.read(1_000):
                await asyncio.sleep(0.01)
    except ConnectionError:
        pass
