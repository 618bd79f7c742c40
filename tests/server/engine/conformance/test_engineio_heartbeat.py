"""Engine.IO 4: "Heartbeat". Lower bounds are exact, upper ones three times as long."""

import asyncio
from time import monotonic
from typing import Any

import pytest

from stretto_server.engine import EngineServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.host import Host, eventually
from tests.server.engine.conformance.peer import KINDS, WebSocketPeer, join
from tests.server.engine.conformance.polling import Polling
from tests.server.engine.conformance.websocket import WebSocket

INTERVAL, TIMEOUT = 0.12, 0.1
GRANULARITY = 0.005
"""Clocks and timers are not better than that; the intervals hold to the millisecond."""


async def beating(serve: Serve) -> tuple[Host, list[str]]:
    """Serve an engine with a fast heart; the list gets the reasons of its disconnects."""
    host = await serve(EngineServer(ping_interval=INTERVAL, ping_timeout=TIMEOUT))
    reasons: list[str] = []
    host.server.on("disconnect", lambda sid, reason: reasons.append(reason))
    host.server.on("message", host.server.send)
    return host, reasons


async def test_pings_over_polling(serve: Serve) -> None:
    """Heartbeat: at the given interval a ping, which the client answers with a pong."""
    host, reasons = await beating(serve)
    since = monotonic()
    session = await Polling.open(host)
    for _ in range(4):
        assert await session.packets() == ["2"]
        assert monotonic() - since >= INTERVAL - GRANULARITY
        since = monotonic()
        await session.send("3")
    assert reasons == []


async def test_pings_over_a_websocket(serve: Serve) -> None:
    """Heartbeat: at the given interval a ping, which the client answers with a pong."""
    host, reasons = await beating(serve)
    since = monotonic()
    websocket = await WebSocket.open(host, answers=False)
    assert str(await websocket.receive()).startswith("0")
    for _ in range(4):
        assert await websocket.receive() == "2"
        assert monotonic() - since >= INTERVAL - GRANULARITY
        since = monotonic()
        await websocket.send("3")
    assert reasons == []


async def test_a_polling_client_that_went_away(serve: Serve) -> None:
    """Heartbeat: without a pong the server SHOULD consider the connection closed."""
    host, reasons = await beating(serve)
    since = monotonic()
    session = await Polling.open(host)
    async with asyncio.timeout(3 * (INTERVAL + TIMEOUT)):
        while not reasons:
            await asyncio.sleep(0.005)
    assert monotonic() - since >= INTERVAL + TIMEOUT - GRANULARITY
    assert reasons == ["ping timeout"]
    await session.gone()


async def test_a_poll_under_way_learns_of_the_timeout(serve: Serve) -> None:
    """Heartbeat: a client that polls and never pongs is told, and unknown from then on."""
    host, reasons = await beating(serve)
    session = await Polling.open(host)
    assert await session.packets() == ["2"]
    async with asyncio.timeout(3 * TIMEOUT):
        assert (await session.poll()).text == "1"
    assert reasons == ["ping timeout"]
    await session.gone()


async def test_a_silent_websocket(serve: Serve) -> None:
    """Heartbeat: without a pong the connection is closed, TCP and all."""
    host, reasons = await beating(serve)
    since = monotonic()
    websocket = await WebSocket.open(host, answers=False)
    async with asyncio.timeout(3 * (INTERVAL + TIMEOUT)):
        await websocket.ended()
    assert monotonic() - since >= INTERVAL + TIMEOUT - GRANULARITY
    assert reasons == ["ping timeout"]
    assert not host.engine.sockets


async def test_messages_are_no_pongs(serve: Serve) -> None:
    """Heartbeat: it is the pong that the server waits for."""
    host, reasons = await beating(serve)
    websocket = await WebSocket.open(host, answers=False)
    async with asyncio.timeout(3 * (INTERVAL + TIMEOUT)):
        while not reasons:
            await websocket.send("4hello")
            await asyncio.sleep(0.01)
    assert reasons == ["ping timeout"]
    await websocket.ended()


async def test_a_reader_that_stopped_reading_is_let_go(serve: Serve) -> None:
    """Heartbeat: pings that nobody reads get no pong."""
    host, reasons = await beating(serve)
    websocket = await WebSocket.open(host, receive_buffer=4096)
    websocket.pause()
    await host.engine.send(next(iter(host.engine.sockets)), "x" * 500_000)
    async with asyncio.timeout(3 * (INTERVAL + TIMEOUT)):
        while not reasons:
            await asyncio.sleep(0.005)
    websocket.resume()
    await websocket.ended()
    assert reasons == ["ping timeout"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_that_answers_stays(serve: Serve, kind: str) -> None:
    """Heartbeat: pongs keep a connection, over every transport."""
    host, reasons = await beating(serve)
    peer = await join(host, kind)
    until = monotonic() + 4 * (INTERVAL + TIMEOUT)
    while monotonic() < until:
        await peer.send("still")
        assert await peer.receive() == "still"
        await asyncio.sleep(INTERVAL / 2)
    assert reasons == []


async def test_a_pong_that_nobody_asked_for(serve: Serve) -> None:
    """Heartbeat: an early pong is no offence, and no substitute for the next one."""
    host, reasons = await beating(serve)
    websocket = await WebSocket.open(host, answers=False)
    assert str(await websocket.receive()).startswith("0")
    await websocket.send("3", "3", "4on")
    assert await websocket.receive() == "4on"
    assert await websocket.receive() == "2"
    async with asyncio.timeout(3 * TIMEOUT):
        await websocket.ended()
    assert reasons == ["ping timeout"]


async def test_a_heart_beats_on_after_an_upgrade(serve: Serve) -> None:
    """Heartbeat: pings go over whichever transport is in use."""
    host, reasons = await beating(serve)
    peer = await WebSocketPeer.upgrade(host)
    await eventually(lambda: peer.websocket.pings >= 3)
    assert reasons == []


async def test_a_ping_during_an_upgrade(serve: Serve) -> None:
    """Heartbeat: a ping that falls into an upgrade comes by either transport, once."""
    host, reasons = await beating(serve)
    session = await Polling.open(host)
    poll = await session.start_poll()
    websocket = await session.attach(answers=False)
    assert (await poll.response()).text == "2"
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    await session.send("3")
    await websocket.send("5")
    assert await websocket.receive() == "2"
    await websocket.send("3", "4on")
    assert await websocket.receive() == "4on"
    assert reasons == []


async def test_every_client_has_its_own_clock(serve: Serve) -> None:
    """Heartbeat: the silence of many does not disturb the others, nor is it noticed late."""
    host, reasons = await beating(serve)
    peer = await WebSocketPeer.open(host)
    silent: list[Any] = [await WebSocket.open(host, answers=False) for _ in range(30)]
    async with asyncio.timeout(3 * (INTERVAL + TIMEOUT) + 1):
        for websocket in silent:
            await websocket.ended()
    assert reasons == ["ping timeout"] * 30
    await peer.send("on")
    assert await peer.receive() == "on"
