"""The interface of python-engineio's AsyncServer, for an application that moves over."""

import asyncio
from typing import Any

import pytest
from engineio import AsyncServer

from stretto_server.engine import EngineServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.host import eventually
from tests.server.engine.conformance.peer import KINDS, PollingPeer, WebSocketPeer, join

NAMES = [
    *("attach", "create_event", "create_queue", "disconnect", "generate_id", "get_session"),
    *("handle_request", "on", "save_session", "send", "send_packet", "session", "shutdown"),
    *("sleep", "start_background_task", "transport"),
]


@pytest.mark.parametrize("name", NAMES)
def test_the_interface_is_there(name: str) -> None:
    """Every public method of the original exists."""
    assert callable(getattr(EngineServer, name))
    assert name in dir(AsyncServer)


async def test_handlers_of_every_kind(serve: Serve) -> None:
    """``on`` takes functions and coroutine functions, as an argument or by decoration."""
    host = await serve(EngineServer())
    heard: list[Any] = []
    decorate = host.server.on("connect")
    decorate(lambda sid, environ: heard.append(("connect", sid)))

    async def message(sid: str, data: Any) -> None:
        heard.append(("message", sid, data))

    host.server.on("message", message)

    async def disconnect(sid: str) -> None:
        heard.append(("disconnect", sid))

    host.server.on("disconnect", disconnect)
    peer = await WebSocketPeer.open(host)
    await peer.send("text", b"binary")
    await peer.close()
    await eventually(lambda: len(heard) == 4)
    assert heard == [
        ("connect", peer.sid),
        ("message", peer.sid, "text"),
        ("message", peer.sid, b"binary"),
        ("disconnect", peer.sid),
    ]


@pytest.mark.parametrize("handler", [lambda sid: True, lambda sid, reason: True])
async def test_disconnect_handlers_of_one_and_two_arguments(serve: Serve, handler: Any) -> None:
    """Handlers from before the reason existed take one argument."""
    host = await serve(EngineServer())
    heard: list[bool] = []
    if handler.__code__.co_argcount == 1:
        host.server.on("disconnect", lambda sid: heard.append(handler(sid)))
    else:
        host.server.on("disconnect", lambda sid, reason: heard.append(handler(sid, reason)))
    peer = await WebSocketPeer.open(host)
    await peer.close()
    await eventually(lambda: heard == [True])


def test_an_event_that_does_not_exist() -> None:
    """``on`` raises ValueError for what is no event."""
    with pytest.raises(ValueError):
        EngineServer().on("nonsense", print)


@pytest.mark.parametrize("kind", KINDS)
async def test_sessions(serve: Serve, kind: str) -> None:
    """``get_session``, ``save_session`` and ``session`` keep a dictionary per client."""
    host = await serve(EngineServer())
    peer, other = await join(host, kind), await join(host, "polling")
    assert await host.server.get_session(peer.sid) == {}
    await host.server.save_session(peer.sid, {"name": "ann"})
    async with host.server.session(peer.sid) as session:
        session["age"] = 7
    assert await host.server.get_session(peer.sid) == {"name": "ann", "age": 7}
    assert await host.server.get_session(other.sid) == {}
    with pytest.raises(KeyError):
        await host.server.get_session("unknown")


async def test_background_tasks_and_what_they_need(serve: Serve) -> None:
    """``start_background_task``, ``sleep``, ``create_queue`` and ``create_event``."""
    host = await serve(EngineServer())
    queue, event = host.server.create_queue(), host.server.create_event()

    async def work(number: int, *, more: int) -> int:
        await host.server.sleep(0)
        await queue.put(number + more)
        event.set()
        return number

    task = host.server.start_background_task(work, 1, more=2)
    await asyncio.wait_for(event.wait(), 5)
    assert await queue.get() == 3
    assert await task == 1


@pytest.mark.parametrize("plain", [False, True], ids=["async def", "def"])
async def test_a_handler_that_raises(serve: Serve, expected_errors: list[str], plain: bool) -> None:
    """A mistake of the application is logged, and its client goes on."""
    host = await serve(EngineServer())
    expected_errors.append("a mistake")

    def mistake(sid: str, data: str) -> None:
        if data == "bad":
            raise RuntimeError("a mistake")
        host.server.start_background_task(host.server.send, sid, data)

    async def slow_mistake(sid: str, data: str) -> None:
        mistake(sid, data)

    host.server.on("message", mistake if plain else slow_mistake)
    peer = await PollingPeer.open(host)
    await peer.send("bad", "good")
    assert await peer.receive() == "good"


async def test_a_slow_handler_delays_nobody(serve: Serve) -> None:
    """A handler that waits holds up neither the pongs of its client nor other clients."""
    host = await serve(EngineServer(ping_interval=0.1, ping_timeout=0.2))
    gate = asyncio.Event()

    async def wait(sid: str, data: str) -> None:
        if data == "wait":
            await gate.wait()
        await host.server.send(sid, data)

    host.server.on("message", wait)
    slow, other = await WebSocketPeer.open(host), await WebSocketPeer.open(host)
    await slow.send("wait")
    await other.send("hello")
    assert await other.receive() == "hello"
    await eventually(lambda: slow.websocket.pings >= 5)
    gate.set()
    assert await slow.receive() == "wait"


async def test_what_can_be_sent(serve: Serve) -> None:
    """``send`` takes text and bytes; other data is encoded as JSON, as the original does."""
    host = await serve(EngineServer())
    peer = await WebSocketPeer.open(host)
    for data in ("text", b"bytes", bytearray(b"array"), {"a": [1]}, [1, "b"]):
        await host.server.send(peer.sid, data)
    assert await peer.take(5) == ["text", b"bytes", b"array", '{"a":[1]}', '[1,"b"]']
    await host.server.send("unknown", "nobody")


async def test_allow_request(serve: Serve) -> None:
    """``allow_request`` decides on each handshake before anything is kept of it."""

    host = await serve(
        EngineServer(allow_request=lambda request: request.query.get("token") == "good")
    )
    response = await host.request("GET", host.target(token="bad"))
    assert response.status == 403
    assert response.json["code"] == 4
    assert (await host.request("GET", host.target(token="good"))).status == 200
    assert len(host.engine.sockets) == 1
