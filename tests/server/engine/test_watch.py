"""What is noticed of a client while its request waits: over fake and over real transports."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from stretto_server.engine.watch import Watch
from tests.server.engine.conformance.exchange import Exchange
from tests.server.engine.fakes import FakeTransport

PATIENCE_S = 3.0


class Watched(asyncio.Protocol):
    """Stands for aiohttp's protocol."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append(error)

    def pause_writing(self) -> None:
        self.told.append("slow")

    def resume_writing(self) -> None:
        self.told.append("fast")


class FullTransport(FakeTransport):
    """Pauses as asyncio's does when its limit is lowered below what it holds."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        before = self.high
        super().set_write_buffer_limits(high, low)
        if self.high < self.held <= before:
            self.protocol.pause_writing()


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def transport(watched: Watched) -> FullTransport:
    transport = FullTransport()
    transport.set_write_buffer_limits()
    transport.set_protocol(watched)
    return transport


async def test_it_stands_between_for_its_time_only(
    transport: FullTransport, watched: Watched
) -> None:
    with Watch(transport) as watch:
        between = transport.protocol
        assert between is watch
        assert not watch.lost.done()
    assert transport.protocol is watched


async def test_everything_is_passed_on(transport: FullTransport, watched: Watched) -> None:
    with Watch(transport) as watch:
        watch.data_received(b"next request")
        assert watch.eof_received() is True
        watch.pause_writing()
        watch.resume_writing()
        watch.resume_writing()
    assert watched.told == [b"next request", "eof", "slow", "fast", "fast"]


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
async def test_a_client_that_hangs_up(
    transport: FullTransport, watched: Watched, error: Exception | None
) -> None:
    with Watch(transport) as watch:
        transport.lose(error)
        assert watch.lost.done()
        assert transport.protocol is watched
        watch.expect_everything()
        assert transport.high == 65_536
        assert await watch.written(PATIENCE_S) is False
    assert watched.told == [error]
    assert transport.protocol is watched


async def test_a_client_that_took_all_at_once(transport: FullTransport) -> None:
    with Watch(transport) as watch:
        watch.expect_everything()
        assert transport.high == 0
        transport.write(b"answer")
        assert await watch.written(PATIENCE_S) is True
    assert transport.high == 65_536


async def test_a_client_that_takes_its_time(transport: FullTransport, watched: Watched) -> None:
    transport.full = True
    with Watch(transport) as watch:
        watch.expect_everything()
        transport.write(b"an answer")
        written = asyncio.ensure_future(watch.written(PATIENCE_S))
        await asyncio.sleep(0)
        transport.drain(3)
        await asyncio.sleep(0)
        assert not written.done()
        transport.drain()
        assert await written is True
    assert watched.told == ["slow", "fast"]
    assert not transport.aborted


async def test_what_is_written_already_is_waited_for_too(transport: FullTransport) -> None:
    transport.full = True
    with Watch(transport) as watch:
        transport.write(b"headers")
        watch.expect_everything()
        written = asyncio.ensure_future(watch.written(PATIENCE_S))
        await asyncio.sleep(0)
        assert not written.done()
        transport.drain()
        assert await written is True


async def test_a_client_that_hangs_up_under_its_answer(transport: FullTransport) -> None:
    transport.full = True
    with Watch(transport) as watch:
        watch.expect_everything()
        transport.write(b"an answer")
        written = asyncio.ensure_future(watch.written(PATIENCE_S))
        await asyncio.sleep(0)
        transport.lose()
        assert await written is False
    assert not transport.aborted


async def test_a_client_that_takes_nothing_is_cut_off(transport: FullTransport) -> None:
    transport.full = True
    with Watch(transport) as watch:
        watch.expect_everything()
        transport.write(b"an answer")
        assert await watch.written(0.01) is False
        assert transport.aborted


async def test_an_error_within_ends_it_as_well(transport: FullTransport, watched: Watched) -> None:
    with pytest.raises(KeyError), Watch(transport):
        raise KeyError
    assert transport.protocol is watched


# Over a real connection.

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Start = Callable[[Handler], Awaitable[int]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Serve one handler; returns the port."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> int:
        app = web.Application()
        app.router.add_get("/", handler)
        runner = web.AppRunner(app, access_log=None)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])

    yield start
    for runner in runners:
        await runner.cleanup()


def answering(size: int, outcomes: list[bool]) -> Handler:
    """Return a handler that says what became of its answer."""

    async def handle(request: web.Request) -> web.StreamResponse:
        transport: Any = request.transport
        with Watch(transport) as watch:
            response = web.Response(body=bytes(size))
            watch.expect_everything()
            await response.prepare(request)
            await response.write_eof()
            outcomes.append(await watch.written(PATIENCE_S))
        return response

    return handle


async def test_requests_follow_each_other_on_one_connection(start: Start) -> None:
    outcomes: list[bool] = []
    port = await start(answering(1_000, outcomes))
    exchange = await Exchange.open(port)
    for _ in range(3):
        assert (await exchange.request("GET", "/")).body == bytes(1_000)
    # And one behind the other, before the first is answered.
    await exchange.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    for _ in range(2):
        assert (await exchange.response()).status == 200
    await exchange.close()
    assert outcomes == [True] * 5


async def test_an_answer_has_left_when_the_client_has_read_it(start: Start) -> None:
    outcomes: list[bool] = []
    size = 8_000_000
    port = await start(answering(size, outcomes))
    exchange = await Exchange.open(port, receive_buffer=4_096)
    await exchange.start("GET", "/")
    async with asyncio.timeout(PATIENCE_S):
        await exchange.reader.readuntil(b"\r\n\r\n")
        assert outcomes == []
        await exchange.reader.readexactly(size)
        while not outcomes:
            await asyncio.sleep(0.005)
    assert outcomes == [True]
    await exchange.close()


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_real_client_hangs_up(start: Start, how: str) -> None:
    waiting, noticed = asyncio.Event(), asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        transport: Any = request.transport
        with Watch(transport) as watch:
            waiting.set()
            await watch.lost
            noticed.set()
        return web.Response()

    exchange = await Exchange.open(await start(wait))
    await exchange.start("GET", "/")
    async with asyncio.timeout(PATIENCE_S):
        await waiting.wait()
        if how == "abort":
            exchange.abort()
        else:
            await exchange.close()
        await noticed.wait()
