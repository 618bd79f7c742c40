"""Bodies of POSTs that are too long, never end, or are not what they say."""

import asyncio
import gzip
from contextlib import suppress
from functools import cache
from typing import Final

from tests.server.engine.conformance.exchange import Exchange
from tests.server.engine.hostile.arena import Arena
from tests.server.engine.hostile.lines import ended, opened
from tests.server.engine.hostile.victim import LIMIT

MEGABYTE: Final = 1024 * 1024


async def oversize_bodies(arena: Arena) -> None:
    """Two gigabytes are announced, or simply come: refused when the limit is reached."""
    before = await arena.begin_peak()
    count = arena.many(5)
    arena.expected["too_large"] += 2 * count
    for _ in range(count):
        for head in ("Content-Length: 2000000000", "Transfer-Encoding: chunked"):
            line = await _post(arena, await opened(arena.host), head)
            chunk = b"10000\r\n" + b"4" * 65_536 + b"\r\n"
            await _until_refused(line, chunk if "chunked" in head else b"4" * 65_536)
    assert await arena.grown(before) < 20 * MEGABYTE + 5 * LIMIT


async def bodies_for_nobody(arena: Arena) -> None:
    """Endless bodies to sids that do not exist, of methods that are not served."""
    before = await arena.begin_peak()
    for head in ("Content-Length: 2000000000", "Transfer-Encoding: chunked"):
        for sid in ("nobody", ""):
            line = await _post(arena, sid, head)
            await _until_refused(line, b"10000\r\n" + b"4" * 65_536 + b"\r\n")
    assert await arena.grown(before) < 20 * MEGABYTE


async def lying_bodies(arena: Arena) -> None:
    """Shorter than announced, with the end of the connection behind it."""
    for reset in (False, True):
        for length in ("100", "2000000000"):
            for _ in range(arena.many(5)):
                sid = await opened(arena.host)
                line = await _post(arena, sid, f"Content-Length: {length}", b"4hello")
                await (_abort(line) if reset else line.close())


async def slow_bodies(arena: Arena) -> None:
    """A byte now and then, for longer than the session lasts."""
    lines = []
    for head in ["Content-Length: 100000", "Transfer-Encoding: chunked"] * arena.many(5):
        lines.append(await _post(arena, await opened(arena.host), head))
    over = [asyncio.create_task(ended(line)) for line in lines]
    while not all(each.done() for each in over):
        for number, line in enumerate(lines):
            with suppress(ConnectionError):
                await line.write(b"1\r\n3\r\n" if number % 2 else b"3")
        await asyncio.sleep(0.05)
    await asyncio.gather(*over)


async def bodies_without_end(arena: Arena) -> None:
    """Nothing of the body ever comes."""
    lines = [
        await _post(arena, await opened(arena.host), "Content-Length: 10")
        for _ in range(arena.many(20))
    ]
    await asyncio.gather(*(ended(line) for line in lines))


async def compressed_bodies(arena: Arena) -> None:
    """A hundred kilobytes of gzip that would become a hundred megabytes."""
    before = await arena.begin_peak()
    bomb = await asyncio.to_thread(_bomb)
    for _ in range(arena.many(5)):
        sid = await opened(arena.host)
        head = f"Content-Length: {len(bomb)}\r\nContent-Encoding: gzip"
        line = await _post(arena, sid, head, bomb)
        await ended(line)
    assert await arena.grown(before) < 80 * MEGABYTE


async def overlapping_posts(arena: Arena) -> None:
    """A second POST while the first one is still coming ends the session."""
    for _ in range(arena.many(10)):
        sid = await opened(arena.host)
        first = await _post(arena, sid, "Content-Length: 100")
        second = await _post(arena, sid, "Content-Length: 100")
        await asyncio.gather(ended(first), ended(second))


@cache
def _bomb() -> bytes:
    return gzip.compress(b"4" * 100 * MEGABYTE)


async def _post(arena: Arena, sid: str, head: str, body: bytes = b"") -> Exchange:
    line = await arena.host.dial()
    target = arena.host.target(sid=sid)
    with suppress(ConnectionError):
        await line.write(f"POST {target} HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n".encode() + body)
    return line


async def _until_refused(line: Exchange, piece: bytes) -> None:
    """Send without end until the connection ends for it."""
    over = asyncio.create_task(ended(line))
    with suppress(ConnectionError):
        while not over.done():
            await line.write(piece)
    await over
    line.abort()


async def _abort(line: Exchange) -> None:
    line.abort()
