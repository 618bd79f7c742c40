"""Engine.IO 4, "Receiving data": GETs that break lose nothing and double nothing.

The protocol leaves it open; its reference server closes such a session, python-engineio
loses the next message. A poll's answer counts as received once it was written.
"""

import asyncio
from typing import Any

import pytest

from stretto_server.engine import EngineServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.exchange import Exchange
from tests.server.engine.conformance.polling import Polling


async def leave(poll: Exchange, how: str) -> None:
    if how == "close":
        await poll.close()
    else:
        poll.abort()
    # The loop that serves too sees the end before anything that follows.
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_the_message_comes_with_the_next_poll(serve: Serve, how: str) -> None:
    """Receiving data: a poll that is gone takes no message with it."""
    host = await serve(EngineServer())
    session = await Polling.open(host)
    await leave(await session.start_poll(), how)
    await host.server.send(session.sid, "kept")
    await host.server.send(session.sid, b"too")
    assert await session.packets() == ["4kept", "bdG9v"]


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_every_second_poll_breaks(serve: Serve, how: str) -> None:
    """Receiving data: however often polls break, each message arrives once and in order."""
    host = await serve(EngineServer())
    session = await Polling.open(host)
    received: list[str] = []
    for number in range(20):
        await leave(await session.start_poll(), how)
        await host.server.send(session.sid, str(number))
        received += await session.packets()
    assert received == [f"4{number}" for number in range(20)]


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_the_next_poll_comes_at_once(serve: Serve, how: str) -> None:
    """Receiving data: a client that breaks its poll and polls again has one active GET."""
    host = await serve(EngineServer())
    session = await Polling.open(host)
    for number in range(20):
        spare = await host.dial()
        await spare.request("GET", host.target("none"))
        first = await session.start_poll()
        first.abort() if how == "abort" else first.writer.close()
        # The socket is closed in this turn, before the request is written.
        await asyncio.sleep(0)
        spare.writer.write(f"GET {session.target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        for _ in range(5):
            await asyncio.sleep(0)
        await host.server.send(session.sid, str(number))
        answer = await spare.response()
        assert (answer.status, answer.text) == (200, f"4{number}")


async def test_an_answer_that_breaks_is_repeated(serve: Serve) -> None:
    """Receiving data: what was only half written comes again, before what followed it."""
    host = await serve(EngineServer(max_send_buffer=32 * 2**20, http_compression=False))
    session = await Polling.open(host)
    poll = await session.start_poll(receive_buffer=4096)
    poll.writer.transport.pause_reading()  # type: ignore[attr-defined]
    large = "x" * (12 * 2**20)
    await host.server.send(session.sid, large)
    await host.server.send(session.sid, "after")
    await leave(poll, "abort")
    received: list[str] = []
    while len(received) < 2:
        received += await session.packets()
    assert received == ["4" + large, "4after"]


async def test_a_client_that_never_got_its_open_packet(serve: Serve) -> None:
    """Handshake: without its sid nobody can come back, so nothing of the session remains."""
    host = await serve(EngineServer(ping_interval=0.2, ping_timeout=0.2))
    reasons: list[Any] = []
    host.server.on("disconnect", lambda sid, reason: reasons.append(reason))
    exchange = await host.dial()
    exchange.writer.write(f"GET {host.target()} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    await leave(exchange, "abort")
    async with asyncio.timeout(3 * 0.4):
        while host.engine.sockets:
            await asyncio.sleep(0.01)
    assert len(reasons) <= 1
