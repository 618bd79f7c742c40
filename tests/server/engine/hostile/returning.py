"""Peers that come back for what they were, or for what they never were."""

import asyncio
import json
import re
from typing import Any, Final

from tests.server.engine.conformance.exchange import PATIENCE, Exchange
from tests.server.engine.hostile.arena import Arena
from tests.server.engine.hostile.lines import pour, shake_hands, text

MEGABYTE: Final = 1024 * 1024


async def twins(arena: Arena) -> None:
    """The same client comes back on several connections at the same time."""
    for _ in range(arena.many(5)):
        first = await shake_hands(arena.host)
        pid, _ = await _enter(first, None)
        first.abort()
        lines = [await shake_hands(arena.host) for _ in range(5)]
        entered = await asyncio.gather(*(_enter(line, {"pid": pid}) for line in lines))
        sids = [sid for _, sid in entered]
        assert len(set(sids)) == len(sids), "two members have one sid"
        for line in lines:
            line.abort()


async def thieves(arena: Arena) -> None:
    """A client comes back while it is still there, again and again."""
    line = await shake_hands(arena.host)
    pid, _ = await _enter(line, None)
    for _ in range(arena.many(10)):
        line = await shake_hands(arena.host)
        pid, _ = await _enter(line, {"pid": pid})
    line.abort()


async def strangers_that_return(arena: Arena) -> None:
    """Ids and offsets of every kind that were never given."""
    pids: list[Any] = [None, 1, "", [], {}, "x" * 100_000, "x" * 20]
    offsets: list[Any] = [1, [], "", "-", "-1", "a-9", "9" * 9_000]
    for auth in (
        *({"pid": pid} for pid in pids),
        *({"pid": "x" * 20, "offset": offset} for offset in offsets),
    ):
        line = await shake_hands(arena.host)
        await _enter(line, auth)
        line.abort()


async def offsets_of_others(arena: Arena) -> None:
    """A client that was there comes back with offsets that it cannot know."""
    line = await shake_hands(arena.host)
    pid, _ = await _enter(line, None)
    await line.write(text('42/back,["tell",10]'))
    async with asyncio.timeout(PATIENCE):
        await line.reader.readuntil(b'42/back,["told","xxxxxxxxxx","')
        offset = (await line.reader.readuntil(b'"'))[:-1].decode()
    epoch = offset.rpartition("-")[0]
    for number in ("0", "-1", "99999999", "٣", "1e3", "1" * 5_000, " 1", ""):
        line.abort()
        line = await shake_hands(arena.host)
        pid, _ = await _enter(line, {"pid": pid, "offset": f"{epoch}-{number}"})
    line.abort()


async def departures(arena: Arena) -> None:
    """Very many come, and are lost, while much is told."""
    before = await arena.begin_peak()
    speaker = await shake_hands(arena.host)
    await _enter(speaker, None)
    for _ in range(arena.many(10)):
        lines = [await shake_hands(arena.host) for _ in range(20)]
        await asyncio.gather(*(_enter(line, None) for line in lines))
        await pour(speaker, text('42/back,["tell",10000]'))
        for line in lines:
            line.abort()
    speaker.abort()
    assert await arena.grown(before) < 20 * MEGABYTE


async def _enter(line: Exchange, auth: Any) -> tuple[str, str]:
    """Return the private id and the sid that a client gets."""
    await line.write(text("40/back," + ("" if auth is None else json.dumps(auth))))
    async with asyncio.timeout(PATIENCE):
        await line.reader.readuntil(b"40/back,{")
        told = (await line.reader.readuntil(b"}")).decode()
    found = dict(re.findall(r'"(\w+)":"([^"]*)"', told))
    return found["pid"], found["sid"]
