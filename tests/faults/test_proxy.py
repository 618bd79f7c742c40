"""The fault proxy does what its tests are built on."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.faults.proxy import FaultProxy, Way, proxied

PATIENCE_S = 10.0


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[int, list[asyncio.StreamWriter]]]:
    """Give the port of a server that sends back what it gets, and its connections."""
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], writers
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def line() -> AsyncIterator[tuple[FaultProxy, asyncio.StreamReader, asyncio.StreamWriter]]:
    """Give a proxy before an echo, and a connection through it that works."""
    async with echo() as (port, _), proxied(port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await said(reader, writer, b"hello")
        try:
            yield proxy, reader, writer
        finally:
            writer.close()


async def said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> float:
    """Send ``text`` and wait for it; return how long it took."""
    began = time.monotonic()
    writer.write(text)
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.readexactly(len(text)) == text
    return time.monotonic() - began


async def nothing(reader: asyncio.StreamReader, seconds: float = 0.2) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await reader.read(1)


async def test_it_carries_and_delays_without_holding_up_what_follows() -> None:
    async with line() as (proxy, reader, writer):
        proxy.delay(0.1)
        began = time.monotonic()
        for _ in range(20):
            writer.write(b"x" * 10)
            await asyncio.sleep(0.01)
        async with asyncio.timeout(PATIENCE_S):
            await reader.readexactly(200)
        assert time.monotonic() - began > 0.2
        proxy.heal()
        await said(reader, writer, b"quick again")


async def test_what_is_held_arrives_later() -> None:
    async with line() as (proxy, reader, writer):
        proxy.hold(Way.DOWN)
        writer.write(b"late")
        await nothing(reader)
        proxy.heal()
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readexactly(4) == b"late"


async def test_what_is_swallowed_never_arrives_and_ends_the_connection_when_healed() -> None:
    async with line() as (proxy, reader, writer):
        proxy.swallow(Way.UP)
        writer.write(b"lost")
        await nothing(reader)
        proxy.heal()
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                await reader.read(1)


async def test_one_side_of_a_half_open_connection_hears_nothing() -> None:
    async with line() as (proxy, reader, writer):
        proxy.half_close()
        writer.write(b"is anybody there")
        await nothing(reader)
        assert proxy.open == 1


async def test_resets_are_errors_and_refusals_too() -> None:
    async with line() as (proxy, reader, _):
        proxy.reset()
        with pytest.raises(ConnectionError):
            await reader.read(1)
        proxy.refuses = True
        second, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionError):
            await second.read(1)
        writer.close()
        assert proxy.accepted == 2


async def test_a_throttled_line_takes_its_time() -> None:
    async with line() as (proxy, reader, writer):
        proxy.throttle(2_000.0, Way.UP)
        assert await said(reader, writer, b"x" * 800) > 0.3


async def test_the_next_target_is_taken_where_one_is_down() -> None:
    async with echo() as (port, _), echo() as (other, there), proxied(1, port, other) as proxy:
        for _ in range(6):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            await said(reader, writer, b"hello")
            writer.close()
        assert there
        proxy.targets = [1]
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionError):
            await reader.read(1)
        writer.close()
