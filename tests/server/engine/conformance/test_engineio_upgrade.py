"""Engine.IO 4: "Upgrade", the good ones and those that come to nothing."""

import asyncio
from time import monotonic
from typing import Any

import pytest

from stretto_server.engine import EngineServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.frames import Frame, Opcode, close, message
from tests.server.engine.conformance.host import Host, eventually
from tests.server.engine.conformance.polling import SEPARATOR, Polling
from tests.server.engine.conformance.websocket import WebSocket


async def echo(serve: Serve, **options: Any) -> tuple[Host, Polling]:
    """Serve an engine that sends back whatever it gets, with one client that polls."""
    host = await serve(EngineServer(**options))
    host.server.on("message", host.server.send)
    return host, await Polling.open(host)


async def works(websocket: WebSocket) -> None:
    await websocket.send("4hello", b"\x01")
    assert await websocket.receive() == "4hello"
    assert await websocket.receive() == b"\x01"


async def test_an_upgrade(serve: Serve) -> None:
    """Upgrade: probe, noop to the pending GET, upgrade; the session goes on with its sid."""
    host, session = await echo(serve)
    assert host.engine.transport(session.sid) == "polling"
    poll = await session.start_poll()
    websocket = await session.attach()
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    answer = await poll.response()
    assert (answer.status, answer.text) == (200, "6")
    await websocket.send("5")
    await works(websocket)
    assert host.engine.transport(session.sid) == "websocket"


async def test_a_poll_after_the_probe(serve: Serve) -> None:
    """Upgrade: a GET that comes during the probe is answered with noop too."""
    _, session = await echo(serve)
    websocket = await session.attach()
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    assert await session.packets() == ["6"]
    await websocket.send("5")
    await works(websocket)


async def test_no_noop_on_the_websocket(serve: Serve) -> None:
    """Upgrade: the noop is for the pending GET; a WebSocket carries none."""
    _, session = await echo(serve)
    poll = await session.start_poll()
    websocket = await session.attach()
    await websocket.send("2probe", "5", "4hello")
    assert await websocket.receive() == "3probe"
    assert await websocket.receive() == "4hello"
    assert (await poll.response()).text == "6"
    assert [frame.payload for frame in websocket.frames] == [b"3probe", b"4hello"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_requests_after_the_upgrade(serve: Serve, method: str) -> None:
    """Upgrade: HTTP requests with this sid are refused and change nothing."""
    host, session = await echo(serve)
    websocket = await session.upgrade()
    await works(websocket)
    response = await host.request(method, session.target, "4no" if method == "POST" else "")
    assert response.status == 400
    await works(websocket)


async def test_a_second_websocket_after_the_upgrade(serve: Serve) -> None:
    """WebSocket: no more than one per session; another one is accepted, then closed."""
    _, session = await echo(serve)
    websocket = await session.upgrade()
    other = await session.attach()
    await other.send("2probe")
    await other.ended()
    assert other.frames == [] or other.frames[0].opcode == Opcode.CLOSE
    await works(websocket)


async def test_a_second_websocket_during_the_upgrade(serve: Serve) -> None:
    """WebSocket: no more than one per session, not even on trial."""
    _, session = await echo(serve)
    websocket = await session.attach()
    other = await session.attach()
    await other.ended()
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    await websocket.send("5")
    await works(websocket)


async def test_nothing_is_lost_or_doubled(serve: Serve) -> None:
    """Upgrade: "to ensure that no packet gets lost", all through it and in order."""
    host, session = await echo(serve)
    numbers = iter(range(1_000))
    received: list[str] = []

    async def send(count: int) -> None:
        for _ in range(count):
            await host.server.send(session.sid, str(next(numbers)))

    await send(3)
    received += await session.packets()
    poll = await session.start_poll()
    websocket = await session.attach()
    await send(3)
    received += (await poll.response()).text.split(SEPARATOR)
    await send(2)
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    await send(2)
    received += await session.packets()
    await send(5)
    await websocket.send("5")
    await send(5)
    while len(received) < 20:
        received.append(str(await websocket.receive()))
    assert [packet for packet in received if packet != "6"] == [f"4{n}" for n in range(20)]


async def test_posts_go_on_until_the_upgrade(serve: Serve) -> None:
    """Upgrade: a POST that is under way when the probe comes is taken."""
    host, session = await echo(serve)
    post = await host.dial()
    await post.start("POST", session.target, b"4und", length=10)
    websocket = await session.attach()
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    await post.write(b"er way")
    assert (await post.response()).text == "ok"
    assert await session.packets() == ["4under way"]
    await websocket.send("5")
    await works(websocket)


BROKEN: list[tuple[str, list[Frame | bytes]]] = [
    ("closed", [close(1000)]),
    ("closed without a code", [Frame(Opcode.CLOSE)]),
    ("no packet", [message("abc")]),
    ("empty", [message("")]),
    ("binary", [message(b"\x01\x02")]),
    ("a message", [message("4hello")]),
    ("an upgrade without a probe", [message("5")]),
    ("a ping without probe", [message("2")]),
    ("another probe", [message("2other")]),
    ("a pong", [message("3probe")]),
    ("close", [message("1")]),
    ("two probes", [message("2probe"), message("2probe")]),
    ("a message after the probe", [message("2probe"), message("4hello")]),
    ("closed after the probe", [message("2probe"), close(1000)]),
    ("unmasked", [Frame(Opcode.TEXT, b"2probe", masked=False)]),
    ("no UTF-8", [Frame(Opcode.TEXT, b"2pr\xff")]),
    ("an opcode that is none", [Frame(3, b"2probe")]),
    ("a continuation of nothing", [Frame(Opcode.CONTINUATION, b"2probe")]),
    ("no frame", [b"GET / HTTP/1.1\r\n\r\n" * 10]),
]


@pytest.mark.parametrize("frames", [row[1] for row in BROKEN], ids=[row[0] for row in BROKEN])
async def test_an_upgrade_that_breaks(serve: Serve, frames: list[Frame | bytes]) -> None:
    """Upgrade: until the upgrade packet it is the polling that counts, and it goes on."""
    host, session = await echo(serve)
    websocket = await session.attach()
    await websocket.write(*frames)
    await websocket.ended()
    await recovered(host, session)


@pytest.mark.parametrize("frames", [[], [message("2probe")]], ids=["before", "after the probe"])
@pytest.mark.parametrize("polls", [False, True], ids=["no poll", "poll"])
async def test_an_upgrade_whose_connection_breaks(
    serve: Serve, frames: list[Frame], polls: bool
) -> None:
    """Upgrade: a lost WebSocket on trial is no lost session."""
    host, session = await echo(serve)
    poll = await session.start_poll() if polls else None
    websocket = await session.attach()
    await websocket.write(*frames)
    websocket.abort()
    if poll is not None:
        if not frames:
            await host.server.send(session.sid, "meanwhile")
        assert (await poll.response()).text in ("6", "4meanwhile")
    await recovered(host, session)


@pytest.mark.parametrize("frames", [[], [message("2probe")]], ids=["silent", "after the probe"])
async def test_an_upgrade_that_takes_too_long(serve: Serve, frames: list[Frame]) -> None:
    """Upgrade: a WebSocket that does not come to its end is closed, and polling goes on."""
    host, session = await echo(serve, upgrade_timeout=0.2)
    since = monotonic()
    websocket = await session.attach()
    await websocket.write(*frames)
    async with asyncio.timeout(3 * 0.2):
        await websocket.ended()
    assert monotonic() - since >= 0.195
    await recovered(host, session)


async def test_polls_during_an_upgrade_do_not_spin(serve: Serve) -> None:
    """Upgrade: noop cleanly closes a pending GET; it is no invitation to poll ever faster."""
    host, session = await echo(serve, upgrade_timeout=0.6)
    websocket = await session.attach()
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    end = asyncio.create_task(websocket.ended())
    polls = 0
    while not end.done():
        poll = asyncio.create_task(session.poll())
        await asyncio.wait([poll, end], return_when=asyncio.FIRST_COMPLETED)
        if not poll.done():
            await host.server.send(session.sid, "wake up")
        assert (await poll).status == 200
        polls += 1
    assert 1 < polls <= 20


async def recovered(host: Host, session: Polling) -> None:
    """Check that the session lives: a poll waits, messages come, and it can still upgrade."""
    sid = session.sid
    poll = await session.start_poll()
    waiting = asyncio.create_task(poll.response())
    await session.send("4echo")
    assert (await waiting).text == "4echo"
    await host.server.send(sid, "news")
    assert await session.packets() == ["4news"]
    assert host.engine.transport(sid) == "polling"
    await works(await session.upgrade())
    assert host.engine.transport(sid) == "websocket"


async def test_a_client_that_closes_during_its_upgrade(serve: Serve) -> None:
    """Upgrade: the end of the session is that of the WebSocket on trial."""
    host, session = await echo(serve)
    websocket = await session.attach()
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    await session.send("1")
    await websocket.ended()
    await eventually(lambda: not host.engine.sockets)


async def test_an_upgrade_of_an_unknown_session(serve: Serve) -> None:
    """Upgrade: "with the same session ID", which must be known."""
    host, session = await echo(serve)
    await session.send("1")
    response = await host.request("GET", host.target("websocket", sid=session.sid))
    assert response.status == 400


async def test_an_upgrade_that_is_not_allowed(serve: Serve) -> None:
    """Upgrade: a client that tries nevertheless is closed, and its polling goes on."""
    host, session = await echo(serve, allow_upgrades=False)
    websocket = await session.attach()
    await websocket.send("2probe")
    await websocket.ended()
    await session.send("4on")
    assert await session.packets() == ["4on"]
    assert host.engine.transport(session.sid) == "polling"
