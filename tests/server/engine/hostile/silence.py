"""Peers that begin and then say nothing."""

import asyncio
from contextlib import suppress
from typing import Final

from tests.server.engine.conformance.exchange import PATIENCE
from tests.server.engine.hostile.arena import Arena
from tests.server.engine.hostile.lines import (
    ended,
    heartbeats,
    hung_up,
    joined,
    opened,
    shake_hands,
)

MEGABYTE: Final = 1024 * 1024


async def silent_sockets(arena: Arena) -> None:
    """WebSockets that never join: those that answer pings end as well as those that do not."""
    answering = [await shake_hands(arena.host) for _ in range(arena.many(50))]
    hearts = [asyncio.create_task(heartbeats(line)) for line in answering]
    silent = [await shake_hands(arena.host) for _ in range(arena.many(50))]
    await asyncio.gather(*(ended(line) for line in (*answering, *silent)))
    await asyncio.gather(*hearts)


async def members_that_vanish(arena: Arena) -> None:
    """Members whose machine is gone: no packet comes, not even the end of the connection."""
    lines = [await joined(arena.host) for _ in range(arena.many(50))]
    for line in lines:
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.gather(*map(hung_up, lines))


async def abandoned_sessions(arena: Arena) -> None:
    """3,000 polling sessions that nobody asks for again."""
    before = await arena.begin_peak()
    count = max(3_000, arena.many(3_000))
    request = f"GET {arena.host.target()} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    lines = [await arena.host.dial() for _ in range(10)]
    for line in lines:
        line.writer.write(request * (count // len(lines)))
    for line in lines:
        async with asyncio.timeout(12 * PATIENCE):
            for _ in range(count // len(lines)):
                await line.reader.readuntil(b'"maxPayload":')
        line.abort()
    # Headers and all, a session of a short handshake is a few kilobytes.
    assert await arena.grown(before) < 30 * MEGABYTE + count * 10_000


async def silent_polls(arena: Arena) -> None:
    """Sessions with a poll that waits; the ping answers it, and no pong comes."""
    polls = []
    for _ in range(arena.many(100)):
        sid = await opened(arena.host)
        line = await arena.host.dial()
        await line.start("GET", arena.host.target(sid=sid))
        polls.append(line)
    for line in polls:
        assert (await line.response()).text == "2"


async def half_a_request(arena: Arena) -> None:
    """Connections that stop within a request, at its head or in its body."""
    sid = await opened(arena.host)
    heads = [
        "",
        "GET ",
        f"GET {arena.host.target()} HTTP/1.1\r\nHost: a\r\n",
        f"GET {arena.host.target()} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n",
        f"POST {arena.host.target(sid=sid)} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n4",
    ]
    lines = []
    for head in heads * arena.many(10):
        line = await arena.host.dial()
        with suppress(ConnectionError):
            await line.write(head.encode())
        lines.append(line)
    await asyncio.sleep(0.5)
    for line in lines:
        line.abort()
