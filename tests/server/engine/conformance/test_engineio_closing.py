"""Engine.IO 4: the ``close`` packet, and how sessions end on either side."""

import asyncio
from typing import Any

import pytest

from stretto_server.engine import EngineServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.frames import Opcode
from tests.server.engine.conformance.host import Host, eventually
from tests.server.engine.conformance.peer import KINDS, WebSocketPeer, join
from tests.server.engine.conformance.polling import SEPARATOR, Polling
from tests.server.engine.conformance.websocket import WebSocket


async def told(serve: Serve, **options: Any) -> tuple[Host, list[tuple[str, str]]]:
    """Serve an engine; the list gets whose sessions ended, and why."""
    host = await serve(EngineServer(**options))
    ends: list[tuple[str, str]] = []
    host.server.on("disconnect", lambda sid, reason: ends.append((sid, reason)))
    return host, ends


async def test_a_client_closes_while_it_polls(serve: Serve) -> None:
    """Packet types, ``close``: the GET under way is answered with noop, the POST with ok."""
    host, ends = await told(serve)
    session = await Polling.open(host)
    poll = await session.start_poll()
    await session.send("1")
    answer = await poll.response()
    assert (answer.status, answer.text) == (200, "6")
    assert (await session.poll()).status == 400
    assert (await session.post("4a")).status == 400
    assert ends == [(session.sid, "client disconnect")]


async def test_a_client_closes_its_websocket(serve: Serve) -> None:
    """Packet types, ``close``: the transport can be closed."""
    host, ends = await told(serve)
    websocket = await WebSocket.open(host)
    await websocket.send("1")
    await websocket.ended()
    await eventually(lambda: [reason for _, reason in ends] == ["client disconnect"])


async def test_a_client_closes_after_its_last_words(serve: Serve) -> None:
    """Packet types, ``close``: packets before it count, those behind do not."""
    host, ends = await told(serve)
    heard: list[str] = []
    host.server.on("message", lambda sid, data: heard.append(data))
    session = await Polling.open(host)
    await session.send("4last words", "1", "4behind")
    websocket = await WebSocket.open(host)
    await websocket.send("4last words", "1", "4behind")
    await eventually(lambda: len(ends) == 2)
    assert heard == ["last words"] * 2


async def test_a_websocket_is_lost(serve: Serve) -> None:
    """WebSocket: its end is that of the session, whether said or not."""
    host, ends = await told(serve)
    said, cut, broken = [await WebSocketPeer.open(host) for _ in range(3)]
    await said.close()
    cut.websocket.exchange.writer.write_eof()
    broken.websocket.abort()
    await eventually(lambda: len(ends) == 3)
    reasons = dict(ends)
    assert reasons[said.sid] == "transport close"
    assert reasons[cut.sid] in ("transport close", "transport error")
    assert reasons[broken.sid] in ("transport close", "transport error")
    assert not host.engine.sockets


async def test_the_server_closes_a_polling_client(serve: Serve) -> None:
    """Packet types, ``close``: the GET under way tells the client."""
    host, ends = await told(serve)
    session = await Polling.open(host)
    poll = await session.start_poll()
    await host.server.disconnect(session.sid)
    assert (await poll.response()).text == "1"
    await session.gone()
    assert ends == [(session.sid, "server disconnect")]


async def test_the_server_closes_after_its_last_words(serve: Serve) -> None:
    """Packet types, ``close``: what was sent before arrives before, in the next poll."""
    host, ends = await told(serve)
    session = await Polling.open(host)
    await host.server.send(session.sid, "last words")
    await host.server.disconnect(session.sid)
    await eventually(lambda: ends == [(session.sid, "server disconnect")])
    assert (await session.poll()).text == SEPARATOR.join(["4last words", "1"])
    await session.gone()


async def test_the_server_closes_a_websocket(serve: Serve) -> None:
    """WebSocket: closed by its closing handshake, after what was sent before."""
    host, ends = await told(serve)
    peer = await WebSocketPeer.open(host)
    await host.server.send(peer.sid, "last words")
    await host.server.disconnect(peer.sid)
    assert await peer.receive() == "last words"
    assert await peer.websocket.ended() in (1000, 1005)
    assert peer.websocket.frames[-1].opcode == Opcode.CLOSE
    assert ends == [(peer.sid, "server disconnect")]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_end_is_told_once(serve: Serve, kind: str) -> None:
    """The application hears of each end once, whoever ends it and how often."""
    host, ends = await told(serve)
    peer = await join(host, kind)
    for _ in range(3):
        await host.server.disconnect(peer.sid)
    await peer.ended()
    await host.server.disconnect(peer.sid)
    await host.server.send(peer.sid, "to nobody")
    assert ends == [(peer.sid, "server disconnect")]


async def test_the_server_closes_everybody(serve: Serve) -> None:
    """``disconnect()`` without a sid closes all clients."""
    host, ends = await told(serve)
    peers = [await join(host, kind) for kind in KINDS * 2]
    await host.server.disconnect()
    for peer in peers:
        await peer.ended()
    assert sorted(ends) == sorted((peer.sid, "server disconnect") for peer in peers)
    await eventually(lambda: not host.engine.sockets)
    await host.server.disconnect()


async def test_shutdown_closes_everybody(serve: Serve) -> None:
    """``shutdown()`` leaves no client behind, nor one that is about to upgrade."""
    host, ends = await told(serve)
    peers = [await join(host, kind) for kind in KINDS * 2]
    upgrading = await Polling.open(host)
    trial = await upgrading.attach()
    poll = await upgrading.start_poll()
    await host.server.shutdown()
    for peer in peers:
        await peer.ended()
    await trial.ended()
    # Not by a close packet, after which python-engineio's client would not come back.
    assert (await poll.response()).status == 400
    sids = [peer.sid for peer in peers] + [upgrading.sid]
    assert sorted(ends) == sorted((sid, "server disconnect") for sid in sids)


async def test_nobody_enters_a_server_that_shuts_down(serve: Serve) -> None:
    """After ``shutdown()`` a handshake does not open a session that nobody would end."""
    host, _ = await told(serve)
    await host.server.shutdown()
    response = await host.request("GET", host.target())
    assert response.status != 200 or not host.engine.sockets


async def test_a_handler_may_close_its_own_client(serve: Serve) -> None:
    """``disconnect`` from within a handler waits for nothing that waits for it."""
    host, ends = await told(serve)

    async def leave(sid: str, data: str) -> None:
        await host.server.send(sid, "bye")
        await host.server.disconnect(sid)

    host.server.on("message", leave)
    for kind in KINDS:
        peer = await join(host, kind)
        await peer.send("let me go")
        assert await peer.receive() == "bye"
        await peer.ended()
    assert [reason for _, reason in ends] == ["server disconnect"] * 3


async def test_a_session_is_gone_when_its_end_is_told(serve: Serve) -> None:
    """A message sent while the end is told goes nowhere and raises nothing."""
    host = await serve(EngineServer())
    done = asyncio.Event()

    async def farewell(sid: str, reason: str) -> None:
        await host.server.send(sid, "too late")
        done.set()

    host.server.on("disconnect", farewell)
    peer = await WebSocketPeer.open(host)
    await peer.close()
    await asyncio.wait_for(done.wait(), 5)
