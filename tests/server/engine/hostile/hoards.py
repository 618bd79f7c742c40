"""Peers that make the server keep something for them."""

import asyncio
from functools import cache
from typing import Final

from tests.server.engine.conformance.exchange import Exchange
from tests.server.engine.hostile.arena import Arena
from tests.server.engine.hostile.lines import (
    DEFLATE,
    binary,
    deflated,
    ended,
    joined,
    pour,
    shake_hands,
    text,
)
from tests.server.engine.hostile.victim import LIMIT

MEGABYTE: Final = 1024 * 1024
HOLES: Final = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(10))
ANNOUNCED: Final = text(f'4510-["echo",{HOLES}]')


async def hoards_of_strangers(arena: Arena) -> None:
    """Attachments for a namespace that was not joined are not kept."""
    before = await arena.begin_peak()
    count = arena.many(20)
    arena.expected["unexpected_binary"] += count
    for _ in range(count):
        line = await shake_hands(arena.host)
        await pour(line, ANNOUNCED + binary(bytes(LIMIT // 20)) * 9)
        await ended(line)
    assert await arena.grown(before) < 20 * MEGABYTE


async def hoards_of_members(arena: Arena) -> None:
    """Members may keep one packet's bytes waiting, and no more."""
    before = await arena.begin_peak()
    lines = [await joined(arena.host) for _ in range(arena.many(20))]
    for line in lines:
        await pour(line, ANNOUNCED + binary(bytes(LIMIT // 10 - 100)) * 9)
    assert await _alive(lines)
    arena.expected["too_large"] += len(lines)
    for line in lines:
        await pour(line, binary(bytes(LIMIT // 2)))
    await asyncio.gather(*(ended(line) for line in lines))
    assert await arena.grown(before) < 20 * MEGABYTE + len(lines) * 2 * LIMIT


async def endless_messages(arena: Arena) -> None:
    """A message of fragments that never ends: tiny ones, empty ones, large ones, byte by byte."""
    before = await arena.begin_peak()
    count = arena.many(5)
    arena.expected["too_large"] += 3 * count
    for fragment, times in ((b"x", 5_000), (b"", 5_000), (b"x" * 60_000, 20)):
        stream = text(b"4", 0x01) + text(fragment, 0x00) * times
        for _ in range(count):
            line = await joined(arena.host)
            await pour(line, stream)
            await ended(line)
    assert await arena.grown(before) < 20 * MEGABYTE + count * 2 * LIMIT


async def byte_by_byte(arena: Arena) -> None:
    """A frame in a segment for each of its bytes, and a long one that never comes whole."""
    lines = [await joined(arena.host) for _ in range(arena.many(5))]
    for byte in text('420["hello"]'):
        for line in lines:
            await line.write(bytes([byte]))
    for line in lines:
        await line.reader.readuntil(b'430["hello"]')
        await line.write(text(b"4" * LIMIT)[: LIMIT // 2])
    await asyncio.sleep(0.2)
    for line in lines:
        line.abort()


async def deflate_bombs(arena: Arena) -> None:
    """A hundred kilobytes that would become a hundred megabytes."""
    before = await arena.begin_peak()
    bomb = await asyncio.to_thread(_bomb)
    count = arena.many(20)
    arena.expected["too_large"] += count
    lines = [await joined(arena.host, headers=[DEFLATE]) for _ in range(count)]
    await asyncio.gather(*(pour(line, bomb) for line in lines))
    await asyncio.gather(*(ended(line) for line in lines))
    assert await arena.grown(before) < 20 * MEGABYTE + count * 2 * LIMIT


@cache
def _bomb() -> bytes:
    return text(deflated(b"4" * 100 * MEGABYTE), 0xC1)


async def _alive(lines: list[Exchange]) -> bool:
    await asyncio.sleep(0.1)
    return not any(line.reader.at_eof() for line in lines)
