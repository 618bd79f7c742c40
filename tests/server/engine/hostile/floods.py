"""Very many of something that is allowed."""

import asyncio
from contextlib import suppress
from typing import Final

from tests.server.engine.conformance.exchange import PATIENCE, Exchange
from tests.server.engine.hostile.arena import Arena
from tests.server.engine.hostile.lines import (
    ended,
    heartbeats,
    joined,
    opened,
    pour,
    text,
    upgrade,
)
from tests.server.engine.hostile.victim import LIMIT, MOST_INFLIGHT

MEGABYTE: Final = 1024 * 1024
SAFE: Final = 2**53 - 1


async def connect_flood(arena: Arena) -> None:
    """WebSockets that come, join or not, and are gone at once."""
    for _ in range(arena.many(10)):
        await asyncio.gather(*(_come_and_go(arena, number) for number in range(50)))


async def namespace_flood(arena: Arena) -> None:
    """20,000 namespaces that are not served: each is refused, and nothing is kept."""
    before = await arena.begin_peak()
    count = arena.many(20_000)
    line = await joined(arena.host)
    packets = b"".join(text(f"40/n{number},") for number in range(count))
    answers = asyncio.create_task(_count(line, b"Invalid namespace", count))
    assert await pour(line, packets)
    await answers
    line.abort()
    assert await arena.grown(before) < 40 * MEGABYTE


async def deaf_namespace_flood(arena: Arena) -> None:
    """The same from one who does not read: the refusals are bounded too."""
    before = await arena.begin_peak()
    line = await joined(arena.host, receive_buffer=4_096)
    await pour(line, b"".join(text(f"40/n{number},") for number in range(arena.many(60_000))))
    line.abort()
    assert await arena.grown(before) < 40 * MEGABYTE


async def joining_flood(arena: Arena) -> None:
    """20,000 times joining and leaving where the application takes its time."""
    before = await arena.begin_peak()
    for packets in (text("40/slow,") + text("41/slow,"), text("40/slow,"), text("40/closed,")):
        line = await joined(arena.host)
        heart = asyncio.create_task(heartbeats(line))
        pouring = asyncio.create_task(pour(line, packets * arena.many(10_000)))
        await asyncio.sleep(0.3)
        tasks = sum((await arena.report())["tasks"].values())
        assert tasks < 4 * MOST_INFLIGHT or not arena.alone, f"{tasks} tasks for one client"
        await _end(line, heart, pouring)
    assert await arena.grown(before) < 40 * MEGABYTE


async def churn(arena: Arena) -> None:
    """Joining and leaving a namespace, and rooms, as fast as it goes."""
    line = await joined(arena.host)
    reading = asyncio.create_task(_read_on(line))
    rounds = (text(f'42["enter","room {number}"]') for number in range(arena.many(1_000)))
    await pour(line, b"".join(text("41") + text("40") + enter for enter in rounds))
    await pour(line, b"".join(text(f'42["enter","{n}"]') for n in range(arena.many(2_000))))
    await asyncio.sleep(0.2)
    await _end(line, reading)


async def event_flood(arena: Arena) -> None:
    """20,000 events to a slow handler: a few run, and TCP makes the sender wait."""
    before = await arena.begin_peak()
    line = await joined(arena.host)
    heart = asyncio.create_task(heartbeats(line))
    event = text('42["slow","' + "x" * 500 + '"]')
    pouring = asyncio.create_task(pour(line, event * max(20_000, arena.many(20_000))))
    for _ in range(3):
        await asyncio.sleep(0.1)
        # One more is the bystander's.
        assert (await arena.report())["events"] <= MOST_INFLIGHT + 1 or not arena.alone
    assert not pouring.done(), "nothing held the sender back"
    await _end(line, heart, pouring)
    assert await arena.grown(before) < 20 * MEGABYTE


async def event_flood_by_post(arena: Arena) -> None:
    """The same in one POST: its events wait in the bytes that they came in."""
    before = await arena.begin_peak()
    sid = await opened(arena.host)
    target = arena.host.target(sid=sid)
    await arena.host.request("POST", target, "40")
    line = await arena.host.dial()
    body = "\x1e".join(['42["slow"]'] * (LIMIT // 11))
    posting = asyncio.create_task(line.start("POST", target, body))
    for _ in range(3):
        await asyncio.sleep(0.1)
        # One more is the bystander's.
        assert (await arena.report())["events"] <= MOST_INFLIGHT + 1 or not arena.alone
    await _end(line, posting)
    assert await arena.grown(before) < 20 * MEGABYTE + 5 * LIMIT


async def half_a_million_packets(arena: Arena) -> None:
    """As many packets as a POST can hold, of each kind that needs no more bytes."""
    before = await arena.begin_peak()
    for packet in ("4", "3", "b", "40"):
        sid = await opened(arena.host)
        most = LIMIT // (len(packet) + 1)
        body = "\x1e".join([packet] * min(most, arena.many(most)))
        line = await arena.host.dial()
        await pour_request(line, arena, sid, body)
        async with asyncio.timeout(12 * PATIENCE):
            answer = await line.reader.readuntil(b"\r\n\r\n")
        assert answer.split()[1] == (b"200" if packet == "3" else b"400")
        line.abort()
    assert await arena.grown(before) < 30 * MEGABYTE


async def ack_flood(arena: Arena) -> None:
    """Acks that nobody waits for, and ids as large as they may be."""
    line = await joined(arena.host)
    acks = b"".join(text(f"43{number}[]") for number in range(arena.many(20_000)))
    assert await pour(line, acks + text(f'42{SAFE}["hello"]') + text(f"43{SAFE}[]"))
    await line.reader.readuntil(f'43{SAFE}["hello"]'.encode())
    line.abort()


async def questions_without_answers(arena: Arena) -> None:
    """The application asks, and the client leaves instead of answering."""
    lines = [await joined(arena.host) for _ in range(arena.many(20))]
    for line in lines:
        await line.write(text('42["ask"]') * 10)
        await line.reader.readuntil(b'["question"')
        line.abort()


async def pong_flood(arena: Arena) -> None:
    """Pongs of both kinds that nobody asked for, and pings that are not for clients."""
    line = await joined(arena.host)
    await pour(line, (text("3") + text(b"", 0x8A)) * arena.many(20_000))
    await line.write(text('420["hello"]'))
    await line.reader.readuntil(b'430["hello"]')
    arena.expected["unexpected_type"] += 1
    await pour(line, text("2") * 20_000)
    await ended(line)


async def pour_request(line: Exchange, arena: Arena, sid: str, body: str) -> None:
    """Post a body, as much of it as is wanted."""
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await line.start("POST", arena.host.target(sid=sid), body)


async def _come_and_go(arena: Arena, number: int) -> None:
    line = await arena.host.dial()
    stages = [upgrade(arena.host), text("40"), text("40/slow,"), text('42["echo"]')]
    with suppress(ConnectionError):
        await line.write(b"".join(stages[: number % 5]))
    line.abort()


async def _count(line: Exchange, what: bytes, count: int) -> None:
    seen = 0
    async with asyncio.timeout(6 * PATIENCE):
        while seen < count:
            await line.reader.readuntil(what)
            seen += 1


async def _read_on(line: Exchange) -> None:
    with suppress(ConnectionError):
        while await line.reader.read(65_536):
            pass


async def _end(line: Exchange, *others: "asyncio.Task[object]") -> None:
    line.abort()
    for other in others:
        other.cancel()
    await asyncio.wait(others)
