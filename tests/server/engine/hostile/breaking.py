"""Connections that break off, at every stage there is."""

import asyncio
from contextlib import suppress
from typing import Final

from tests.server.engine.conformance.exchange import PATIENCE, Exchange
from tests.server.engine.hostile.arena import Arena
from tests.server.engine.hostile.lines import ended, heartbeats, opened, shake_hands, text, upgrade

NOOPS_PER_S: Final = 15
"""Empty answers to polls during an upgrade are ten a second."""


async def aborted_polls(arena: Arena) -> None:
    """Polls that break while they wait, or while their answer is on its way."""
    for number in range(arena.many(60)):
        sid = await opened(arena.host)
        target = arena.host.target(sid=sid)
        if number % 2:
            await arena.host.request("POST", target, '40\x1e420["give",100000]')
        for _ in range(3):
            line = await arena.host.dial(receive_buffer=4_096)
            await line.start("GET", target)
            await _break(line, reset=number % 3 > 0)


async def aborted_handshakes(arena: Arena) -> None:
    """A handshake that ends after each of its bytes, as the end of a stream and as a reset."""
    for request in (
        upgrade(arena.host) + text("40"),
        f"GET {arena.host.target()} HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    ):
        steps = max(1, len(request) // arena.many(40))
        for reset in (False, True):
            for start in range(0, len(request) + 1, steps):
                line = await arena.host.dial()
                with suppress(ConnectionError):
                    await line.write(request[:start])
                await _break(line, reset=reset)


async def broken_upgrades(arena: Arena) -> None:
    """An upgrade that ends at each of its stages, on the side of either connection."""
    for stage in range(7):
        for reset in (False, True):
            for polling in (False, True):
                await _upgrade_until(arena, stage, reset, polling)


async def unfinished_upgrades(arena: Arena) -> None:
    """Upgrades without a probe or without an end: polling goes on, and not too fast."""
    sessions = range(2 * arena.many(5))
    await asyncio.gather(*(_unfinished(arena, bool(number % 2)) for number in sessions))


async def second_websockets(arena: Arena) -> None:
    """More WebSockets for a session that has one, or is about to."""
    sid = await opened(arena.host)
    await arena.host.request("POST", arena.host.target(sid=sid), "40")
    first = await shake_hands(arena.host, sid=sid)
    await first.write(text("2probe"))
    await first.reader.readuntil(b"3probe")
    others = [await shake_hands(arena.host, sid=sid) for _ in range(5)]
    await first.write(text("5") + text('420["hello"]'))
    await first.reader.readuntil(b'430["hello"]')
    heart = asyncio.create_task(heartbeats(first))
    others += [await shake_hands(arena.host, sid=sid) for _ in range(arena.many(20))]
    await asyncio.gather(*(ended(line) for line in others))
    first.abort()
    await heart


async def half_closed(arena: Arena) -> None:
    """Peers that send the end of their stream and keep listening."""
    lines = [await shake_hands(arena.host) for _ in range(arena.many(20))]
    for number, line in enumerate(lines):
        if number % 2:
            await line.write(text(b"\x03\xe8", 0x88))
        line.writer.write_eof()
    await asyncio.gather(*(ended(line) for line in lines))


async def _upgrade_until(arena: Arena, stage: int, reset: bool, polling: bool) -> None:
    sid = await opened(arena.host)
    target = arena.host.target(sid=sid)
    poll = await arena.host.dial()
    if polling:
        await poll.start("GET", target)
    websocket = await arena.host.dial()
    request = upgrade(arena.host, sid=sid)
    steps = [request[:50], request[50:], text("2pro"), text("be")[6:], text("5"), text("40")]
    steps[2] = text("2probe")[:8]
    steps[3] = text("2probe")[8:]
    with suppress(ConnectionError):
        for step in steps[:stage]:
            await websocket.write(step)
            await asyncio.sleep(0.001)
    first, second = (poll, websocket) if reset else (websocket, poll)
    await _break(first, reset=reset)
    await _break(second, reset=not reset)


async def _unfinished(arena: Arena, probes: bool) -> None:
    sid = await opened(arena.host)
    target = arena.host.target(sid=sid)
    await arena.host.request("POST", target, "40")
    websocket = await shake_hands(arena.host, sid=sid)
    if probes:
        await websocket.write(text("2probe"))
    poll = await arena.host.dial()
    over = asyncio.create_task(ended(websocket))
    polls = 0
    began = asyncio.get_running_loop().time()
    while not over.done():
        answer = await poll.request("GET", target)
        assert answer.status == 200
        polls += 1
        if "2" in answer.text.split("\x1e"):
            await arena.host.request("POST", target, "3")
    seconds = asyncio.get_running_loop().time() - began
    assert polls <= NOOPS_PER_S * (seconds + 1)
    # The session is alive and well, and leaves when it likes.
    await arena.host.request("POST", target, "1")
    poll.abort()


async def _break(line: Exchange, *, reset: bool) -> None:
    if reset:
        line.abort()
        return
    async with asyncio.timeout(PATIENCE):
        await line.close()
