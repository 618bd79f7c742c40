"""The order of a client's events, and what it may cost: beyond what the protocol says."""

import asyncio
from typing import Any

import pytest

from stretto_server.engine import SocketServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.host import Host, eventually
from tests.server.engine.conformance.peer import KINDS, WebSocketPeer, join


class Gates:
    """A handler ``work(number)`` that waits to be let through, and remembers what happened."""

    def __init__(self, sio: Any, namespace: str = "/") -> None:
        self.started: list[int] = []
        self.ended: list[int] = []
        self._gates: dict[int, asyncio.Event] = {}
        sio.on("work", self.work, namespace=namespace)

    def gate(self, number: int) -> asyncio.Event:
        return self._gates.setdefault(number, asyncio.Event())

    async def work(self, sid: str, number: int) -> int:
        self.started.append(number)
        await self.gate(number).wait()
        self.ended.append(number)
        return number

    def open_all(self, numbers: range) -> None:
        for number in numbers:
            self.gate(number).set()


def work(*numbers: int) -> list[str]:
    return [f'2{number}["work",{number}]' for number in numbers]


async def busy(serve: Serve, **options: Any) -> tuple[Host, Gates, WebSocketPeer, str]:
    sio = SocketServer(**options)
    gates = Gates(sio)
    host = await serve(sio)
    peer = await WebSocketPeer.open(host)
    return host, gates, peer, await peer.enter()


@pytest.mark.parametrize("kind", KINDS)
async def test_events_start_in_order(serve: Serve, kind: str) -> None:
    """``async_handlers=True``: they start in the order of arrival and run side by side."""
    sio = SocketServer()
    gates = Gates(sio)
    peer = await join(await serve(sio), kind)
    await peer.enter()
    await peer.send(*work(*range(5)))
    await eventually(lambda: gates.started == [0, 1, 2, 3, 4])
    gates.gate(3).set()
    assert await peer.receive() == "33[3]"
    gates.gate(0).set()
    assert await peer.receive() == "30[0]"
    gates.open_all(range(5))
    assert await peer.take(3) == ["31[1]", "32[2]", "34[4]"]


@pytest.mark.parametrize("kind", KINDS)
async def test_events_one_after_the_other(serve: Serve, kind: str) -> None:
    """``async_handlers=False``: each starts when the one before has ended, whatever it awaits."""
    sio = SocketServer(async_handlers=False)
    gates = Gates(sio)
    peer = await join(await serve(sio), kind)
    await peer.enter()
    await peer.send(*work(*range(4)))
    for number in range(4):
        await eventually(lambda: gates.started == list(range(number + 1)))  # noqa: B023
        gates.gate(number).set()
        assert await peer.receive() == f"3{number}[{number}]"
    assert gates.ended == [0, 1, 2, 3]


async def test_plain_handlers_keep_their_place(serve: Serve) -> None:
    """``async_handlers=False``: a plain ``def`` does not overtake a coroutine that waits."""
    host, gates, peer, _ = await busy(serve, async_handlers=False)
    host.server.on("plain", lambda sid, number: number)
    await peer.send(*work(1), '22["plain",2]', *work(3), '24["plain",4]')
    await eventually(lambda: gates.started == [1])
    gates.open_all(range(5))
    assert await peer.take(4) == ["31[1]", "32[2]", "33[3]", "34[4]"]


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_pongs_are_read_meanwhile(serve: Serve, one_by_one: bool) -> None:
    """Heartbeat: a handler that takes longer than a ping may take ends nobody."""
    _, gates, peer, _ = await busy(
        serve, async_handlers=not one_by_one, ping_interval=0.1, ping_timeout=0.2
    )
    await peer.send(*work(0, 1))
    await eventually(lambda: peer.websocket.pings >= 6)
    gates.open_all(range(2))
    assert await peer.take(2) == ["30[0]", "31[1]"]


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_acks_are_read_meanwhile(serve: Serve, one_by_one: bool) -> None:
    """Acknowledgement: a handler may ask its own client and wait for the answer."""
    host, _, peer, _ = await busy(serve, async_handlers=not one_by_one)

    async def ask(sid: str) -> Any:
        return await host.server.call("question", b"?", to=sid, timeout=5)

    host.server.on("ask", ask)
    await peer.send('27["ask"]')
    assert await peer.take(2) == ['51-1["question",{"_placeholder":true,"num":0}]', b"?"]
    await peer.send('31["answer"]')
    assert await peer.receive() == '37["answer"]'


async def test_clients_do_not_wait_for_each_other(serve: Serve) -> None:
    """``async_handlers=False`` orders the events of one client, not those of all."""
    host, gates, peer, _ = await busy(serve, async_handlers=False)
    other = await WebSocketPeer.open(host)
    await other.enter()
    await peer.send(*work(1))
    await other.send(*work(2))
    await eventually(lambda: gates.started == [1, 2])
    gates.gate(2).set()
    assert await other.receive() == "32[2]"
    gates.gate(1).set()
    assert await peer.receive() == "31[1]"


async def test_leaving_does_not_wait_for_events(serve: Serve) -> None:
    """Disconnection: told while handlers of the client still run."""
    host, gates, peer, sid = await busy(serve, async_handlers=False)
    left: list[str] = []
    host.server.on("disconnect", lambda sid, reason: left.append(sid))
    await peer.send(*work(1, 2))
    await eventually(lambda: gates.started == [1])
    await peer.close()
    await eventually(lambda: left == [sid])
    gates.open_all(range(3))


async def test_a_flood_waits_in_the_network(serve: Serve) -> None:
    """``max_inflight_events``: beyond it the server does not read, so that TCP makes them wait."""
    host, gates, peer, _ = await busy(serve, max_inflight_events=10)
    filler = '2["work",{0},"' + "x" * 20_000 + '"]'

    async def padded(sid: str, number: int, _: str) -> None:
        await gates.work(sid, number)

    host.server.on("work", padded)
    sending = asyncio.create_task(flood(peer, filler, 2_000))
    await eventually(lambda: len(gates.started) == 10)
    for _ in range(50):
        await asyncio.sleep(0.002)
    # Forty megabytes do not fit into the buffers of two sockets.
    assert not sending.done()
    assert gates.started == list(range(10))
    other = await WebSocketPeer.open(host)
    await other.enter()
    gates.open_all(range(2_000))
    await eventually(lambda: len(gates.ended) == 2_000)
    assert gates.ended == list(range(2_000))
    await sending


async def flood(peer: WebSocketPeer, filler: str, count: int) -> None:
    for number in range(count):
        await peer.send(filler.replace("{0}", str(number)))


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_a_full_client_is_not_taken_for_dead(serve: Serve, one_by_one: bool) -> None:
    """Heartbeat: while the server itself does not read, missing pongs are not held against it."""
    host, gates, peer, _ = await busy(
        serve,
        async_handlers=not one_by_one,
        max_inflight_events=3,
        ping_interval=0.1,
        ping_timeout=0.1,
    )
    reasons: list[str] = []
    host.server.on("disconnect", lambda sid, reason: reasons.append(reason))
    await peer.send(*work(*range(20)))
    await eventually(lambda: len(gates.started) == (1 if one_by_one else 3))
    for _ in range(10):
        await asyncio.sleep(0.1)
    assert reasons == []
    assert len(gates.started) == (1 if one_by_one else 3)
    gates.open_all(range(20))
    assert await peer.take(20) == [f"3{number}[{number}]" for number in range(20)]
    before = peer.websocket.pings
    await eventually(lambda: peer.websocket.pings >= before + 2)


async def test_acks_come_through_below_the_limit(serve: Serve) -> None:
    """``max_inflight_events`` handlers at once may all call their client."""
    host, _, peer, _ = await busy(serve, max_inflight_events=5)

    async def ask(sid: str, number: int) -> Any:
        return await host.server.call("question", number, to=sid, timeout=5)

    host.server.on("ask", ask)
    await peer.send(*(f'2{number}["ask",{number}]' for number in range(5)))
    assert await peer.take(5) == [f'2{n + 1}["question",{n}]' for n in range(5)]
    await peer.send(*(f"3{n + 1}[{n}]" for n in range(5)))
    assert await peer.take(5) == [f"3{n}[{n}]" for n in range(5)]


async def test_a_full_client_that_goes_away(serve: Serve) -> None:
    """What waited for its turn is forgotten with its client, and its end is noticed."""
    host, gates, peer, sid = await busy(
        serve, max_inflight_events=3, ping_interval=0.1, ping_timeout=0.1
    )
    left: list[str] = []
    host.server.on("disconnect", lambda sid, reason: left.append(sid))
    await peer.send(*work(*range(20)))
    await eventually(lambda: gates.started == [0, 1, 2])
    peer.websocket.abort()
    gates.open_all(range(20))
    await eventually(lambda: left == [sid])
    assert not host.engine.sockets


@pytest.mark.parametrize("kind", ["polling", "upgraded"])
async def test_a_flood_over_polling(serve: Serve, kind: str) -> None:
    """``max_inflight_events`` holds over polling: what is over it waits, and nothing is lost."""
    sio = SocketServer(max_inflight_events=5, ping_interval=0.2, ping_timeout=0.4)
    gates = Gates(sio)
    peer = await join(await serve(sio), kind)
    await peer.enter()
    await peer.send(*work(*range(30)))
    await eventually(lambda: gates.started == [0, 1, 2, 3, 4])
    for _ in range(5):
        await asyncio.sleep(0.01)
    assert len(gates.started) == 5
    gates.open_all(range(30))
    assert await peer.take(30) == [f"3{number}[{number}]" for number in range(30)]


async def test_volatile_events_are_dropped_for_who_does_not_read(serve: Serve) -> None:
    """``volatile``: what cannot be sent now is not sent; all else is, in order."""
    sio = SocketServer(max_send_buffer=2**26)
    host = await serve(sio)
    slow = await WebSocketPeer.open(host, receive_buffer=4096)
    fast = await WebSocketPeer.open(host)
    await slow.enter()
    await fast.enter()
    slow.websocket.pause()
    for number in range(10):
        await sio.emit("large", f"{number}" + "x" * 2**20)
        await asyncio.sleep(0)
    for number in range(200):
        await sio.emit("volatile", f"{number}" + "y" * 10_000, volatile=True)
        await sio.emit("volatile", b"z" * 10_000, volatile=True)
    await sio.emit("last")
    slow.websocket.resume()
    events = await until(slow, '2["last"]')
    assert [event[:11] for event in events if "large" in event] == [
        f'2["large","{number}'[:11] for number in range(10)
    ]
    assert sum("volatile" in event for event in events) < 400
    assert (await until(fast, '2["last"]'))[:10] != []


async def until(peer: WebSocketPeer, last: str) -> list[str]:
    events: list[str] = []
    while (event := await peer.receive()) != last:
        if isinstance(event, str):
            events.append(event)
        elif event[:1] == b"z":
            assert events[-1].startswith("51-")
    return events


async def test_volatile_events_arrive_at_who_reads(serve: Serve) -> None:
    """``volatile``: whoever can take it gets it."""
    sio = SocketServer()
    host = await serve(sio)
    peer = await WebSocketPeer.open(host)
    await peer.enter()
    await sio.emit("e", 1, volatile=True)
    assert await peer.receive() == '2["e",1]'
    await sio.emit("e", b"2", volatile=True)
    assert await peer.take(2) == ['51-["e",{"_placeholder":true,"num":0}]', b"2"]
