"""Socket.IO 5: "Disconnection from a namespace", and the end of what is below."""

import asyncio
from typing import Any

import pytest

from stretto_server.engine import SocketServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.frames import Opcode
from tests.server.engine.conformance.host import Host, eventually
from tests.server.engine.conformance.peer import KINDS, PollingPeer, WebSocketPeer, join
from tests.server.engine.conformance.websocket import Ended

Ends = list[tuple[str, str, str]]


async def told(serve: Serve, **options: Any) -> tuple[Host, Ends]:
    """Serve two namespaces; the list gets who left which of them, and why."""
    sio = SocketServer(**options)
    ends: Ends = []
    for namespace in ("/", "/custom"):

        def left(sid: str, reason: str, space: str = namespace) -> None:
            ends.append((space, sid, reason))

        sio.on("disconnect", left, namespace=namespace)
        sio.on("ask", lambda sid, *data: data, namespace=namespace)
    return await serve(sio), ends


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_leaves(serve: Serve, kind: str) -> None:
    """Disconnection: no response is expected, and the client may come back."""
    host, ends = await told(serve)
    peer = await join(host, kind)
    sid = await peer.enter()
    await peer.send("1")
    await eventually(lambda: ends == [("/", sid, "client disconnect")])
    again = await peer.enter()
    assert again != sid


async def test_a_client_without_namespaces_is_pinged(serve: Serve) -> None:
    """Disconnection: the low-level connection MAY be kept alive."""
    host, _ = await told(serve, ping_interval=0.1, ping_timeout=0.2)
    peer = await WebSocketPeer.open(host)
    await peer.enter()
    await peer.send("1")
    before = peer.websocket.pings
    await eventually(lambda: peer.websocket.pings >= before + 2)
    await peer.enter()


@pytest.mark.parametrize("text", ["1/custom", "1/custom,"])
async def test_a_client_leaves_one_of_two(serve: Serve, text: str) -> None:
    """Disconnection: the other namespaces are not concerned."""
    host, ends = await told(serve)
    peer = await WebSocketPeer.open(host)
    await peer.enter()
    sid = await peer.enter("/custom")
    await peer.send(text, '21["ask"]')
    assert await peer.receive() == "31[]"
    await eventually(lambda: ends == [("/custom", sid, "client disconnect")])


async def test_what_is_on_its_way_is_passed_over(serve: Serve) -> None:
    """Disconnection: events, acks and a DISCONNECT that cross it are no offence."""
    host, ends = await told(serve)
    peer = await WebSocketPeer.open(host)
    await peer.enter()
    sid = await peer.enter("/custom")
    await host.server.disconnect(sid, namespace="/custom")
    await peer.send('2/custom,1["ask"]', "3/custom,1[]", "1/custom,", '22["ask"]')
    assert await peer.take(2) == ["1/custom,", "32[]"]
    assert ends == [("/custom", sid, "server disconnect")]


@pytest.mark.parametrize("kind", KINDS)
async def test_leaving_and_coming_back_in_one_segment(serve: Serve, kind: str) -> None:
    """Disconnection, then connection, both in one tick of the client: neither is lost."""
    host, ends = await told(serve)
    peer = await join(host, kind)
    sids = [await peer.enter()]
    await peer.enter("/custom")
    for _ in range(3):
        await peer.send("1", "0")
        answer = str(await peer.receive())
        assert answer.startswith('0{"sid":"')
        sids.append(answer[9:-2])
        await peer.send('21["ask",1]')
        assert await peer.receive() == "31[1]"
    assert len(set(sids)) == 4
    assert ends == [("/", sid, "client disconnect") for sid in sids[:3]]


async def test_coming_back_waits_for_a_slow_goodbye(serve: Serve) -> None:
    """Disconnection: the new connection begins when the handlers of the old one are done."""
    host, _ = await told(serve)
    gate = asyncio.Event()
    order: list[str] = []

    async def connect(sid: str, environ: Any) -> None:
        order.append("connect")

    async def disconnect(sid: str, reason: str) -> None:
        await gate.wait()
        order.append("disconnect")

    host.server.on("connect", connect)
    host.server.on("disconnect", disconnect)
    peer = await WebSocketPeer.open(host)
    await peer.enter()
    await peer.enter("/custom")
    await peer.send("1", "0", '2/custom,1["ask"]')
    assert await peer.receive() == "3/custom,1[]"
    gate.set()
    assert str(await peer.receive()).startswith('0{"sid":"')
    assert order == ["connect", "disconnect", "connect"]


async def test_leaving_while_connect_is_slow(serve: Serve) -> None:
    """Disconnection "at any time": also before the connection was accepted."""
    host, ends = await told(serve)
    gate = asyncio.Event()

    async def connect(sid: str, environ: Any) -> None:
        await gate.wait()

    host.server.on("connect", connect)
    peer = await WebSocketPeer.open(host)
    await peer.enter("/custom")
    await peer.send("0", "1", '2/custom,1["ask"]')
    assert await peer.receive() == "3/custom,1[]"
    gate.set()
    # Accepted and gone, or never accepted: in any case it can connect and is alone.
    await peer.send('2/custom,2["ask"]')
    while await peer.receive() != "3/custom,2[]":
        pass
    await eventually(lambda: len(list(host.server.manager.get_participants("/", None))) == 0)
    assert [reason for _, _, reason in ends] in ([], ["client disconnect"])


@pytest.mark.parametrize("kind", KINDS)
async def test_the_server_takes_a_client_out(serve: Serve, kind: str) -> None:
    """Disconnection: a DISCONNECT packet, after what was sent before; the rest goes on."""
    host, ends = await told(serve)
    peer = await join(host, kind)
    sid = await peer.enter()
    await peer.enter("/custom")
    await host.server.emit("bye", to=sid)
    await host.server.disconnect(sid)
    await host.server.emit("too late", to=sid)
    await host.server.disconnect(sid)
    assert await peer.take(2) == ['2["bye"]', "1"]
    assert ends == [("/", sid, "server disconnect")]
    await peer.send('2/custom,1["ask"]')
    assert await peer.receive() == "3/custom,1[]"


@pytest.mark.parametrize("kind", KINDS)
async def test_the_server_ends_a_connection(serve: Serve, kind: str) -> None:
    """``disconnect(close=True)``: all namespaces are left and the transport is closed."""
    host, ends = await told(serve)
    peer = await join(host, kind)
    sid = await peer.enter()
    other = await peer.enter("/custom")
    await host.server.emit("bye", to=sid)
    await host.server.disconnect(sid, close=True)
    assert await peer.take(2) == ['2["bye"]', "1"]
    with pytest.raises(Ended):
        await peer.receive()
    await eventually(lambda: len(ends) == 2)
    assert sorted(ends) == [
        ("/", sid, "server disconnect"),
        ("/custom", other, "server disconnect"),
    ]
    if isinstance(peer, WebSocketPeer):
        assert peer.websocket.frames[-1].opcode == Opcode.CLOSE
        await peer.websocket.ended()


async def test_an_unknown_client_is_gone_already(serve: Serve) -> None:
    """``disconnect`` of who is not there does nothing."""
    host, ends = await told(serve)
    await host.server.disconnect("unknown")
    await host.server.disconnect("unknown", namespace="/custom", close=True)
    assert ends == []


@pytest.mark.parametrize(
    ("how", "reason"),
    [("close", "client disconnect"), ("socket", "transport close"), ("pings", "ping timeout")],
)
async def test_the_end_below_ends_all_above(serve: Serve, how: str, reason: str) -> None:
    """Disconnection: with the connection end its namespaces, for the reason it ended."""
    fast = {"ping_interval": 0.1, "ping_timeout": 0.1} if how == "pings" else {}
    host, ends = await told(serve, **fast)
    peer = await WebSocketPeer.open(host, answers=how != "pings")
    sids = [await peer.enter(), await peer.enter("/custom")]
    if how == "close":
        await peer.websocket.send("1")
    elif how == "socket":
        await peer.close()
    await eventually(lambda: len(ends) == 2)
    assert sorted(ends) == [("/", sids[0], reason), ("/custom", sids[1], reason)]


async def test_a_violation_ends_all_above(serve: Serve) -> None:
    """Disconnection: what ends for a violation ends for the application too."""
    host, ends = await told(serve)
    peer = await PollingPeer.open(host)
    sid = await peer.enter()
    await peer.send("2{}")
    await eventually(lambda: len(ends) == 1)
    assert ends == [("/", sid, "parse error")]


async def test_handlers_of_one_argument(serve: Serve) -> None:
    """Handlers from before the reason existed take the sid alone, of both kinds."""
    host, _ = await told(serve)
    seen: list[str] = []
    host.server.on("disconnect", lambda sid: seen.append(sid))

    async def slow(sid: str) -> None:
        seen.append(sid)

    host.server.on("disconnect", slow, namespace="/custom")
    peer = await WebSocketPeer.open(host)
    sids = {await peer.enter(), await peer.enter("/custom")}
    await peer.close()
    await eventually(lambda: set(seen) == sids)


async def test_a_disconnect_handler_that_raises(serve: Serve, expected_errors: list[str]) -> None:
    """A mistake of the application leaves no half of a client behind."""
    host, ends = await told(serve)
    expected_errors.append("a mistake")

    async def mistake(sid: str, reason: str) -> None:
        raise RuntimeError("a mistake")

    host.server.on("disconnect", mistake)
    peer = await WebSocketPeer.open(host)
    await peer.enter()
    other = await peer.enter("/custom")
    await peer.send("1")
    await peer.enter()
    await peer.close()
    await eventually(lambda: ends == [("/custom", other, "transport close")])
    await eventually(lambda: not list(host.server.manager.get_participants("/", None)))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_handler_takes_its_own_client_out(serve: Serve, kind: str) -> None:
    """``disconnect`` from within the client's own handler waits for nothing that waits for it."""
    host, ends = await told(serve, async_handlers=False)

    async def leave(sid: str) -> None:
        await host.server.disconnect(sid, close=True)

    host.server.on("leave", leave)
    peer = await join(host, kind)
    sid = await peer.enter()
    await peer.send('2["leave"]')
    assert await peer.receive() == "1"
    await peer.ended()
    await eventually(lambda: ends == [("/", sid, "server disconnect")])


async def test_shutdown_takes_everybody_out(serve: Serve) -> None:
    """``shutdown()``: every client is closed, and the application hears of each."""
    host, ends = await told(serve)
    peers = [await join(host, kind) for kind in KINDS]
    sids = [await peer.enter() for peer in peers]
    await host.server.shutdown()
    for peer in peers:
        await peer.ended()
    assert sorted(ends) == sorted(("/", sid, "server disconnect") for sid in sids)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_known_of_a_client_that_is_gone(serve: Serve, kind: str) -> None:
    """A ``disconnect`` handler may ask for the session, the environ and the rooms of its client."""
    host, _ = await told(serve)
    known: list[Any] = []

    async def gone(sid: str, reason: str) -> None:
        sio = host.server
        session = await sio.get_session(sid)
        known.extend([session, sio.get_environ(sid)["REQUEST_METHOD"], sorted(sio.rooms(sid))])

    host.server.on("disconnect", gone)
    peer = await join(host, kind)
    sid = await peer.enter()
    await host.server.save_session(sid, {"name": "ann"})
    await host.server.enter_room(sid, "lobby")
    await peer.close()
    await eventually(lambda: len(known) == 3)
    assert known == [{"name": "ann"}, "GET", sorted([sid, "lobby"])]
    with pytest.raises(KeyError):
        await host.server.get_session(sid)
