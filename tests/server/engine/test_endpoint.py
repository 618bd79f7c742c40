"""The route between aiohttp and sessions: nothing is left behind, and nobody is asked twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from stretto_server.engine import EngineServer
from stretto_server.engine.endpoint import _accepted_coding, _query
from stretto_server.engine.engine_socket import Pause
from tests.server.engine.conformance.exchange import Exchange
from tests.server.engine.conformance.frames import message
from tests.server.engine.conformance.host import Host, eventually
from tests.server.engine.conformance.polling import Polling
from tests.server.engine.conformance.websocket import Ended, Refused, WebSocket

Serve = Callable[..., Awaitable[Host]]
UPGRADE = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]


@pytest.fixture
async def serve(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Serve]:
    """Serve engines that forget every request, and log nothing."""
    hosts: list[Host] = []

    async def start(**options: Any) -> Host:
        hosts.append(await Host.start(EngineServer(**options)))
        return hosts[-1]

    yield start
    for host in hosts:
        await host.stop()
        assert host.engine._endpoint._answers == {}
        assert host.engine.sockets == {}
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


async def test_every_request_is_forgotten(serve: Serve) -> None:
    host = await serve()
    session = await Polling.open(host)
    waiting = await session.start_poll()
    assert (await session.poll()).status == 400
    assert (await waiting.response()).text == "1"
    other = await Polling.open(host)
    await other.send("4a", "4b")
    abandoned = await other.start_poll()
    abandoned.abort()
    begun = await host.dial()
    await begun.start("POST", other.target, b"4x", length=50)
    begun.abort()
    await eventually(lambda: not host.engine._endpoint._answers)


async def test_an_application_is_asked_about_handshakes_only(serve: Serve) -> None:
    asked: list[str] = []

    def allow(request: web.BaseRequest) -> bool:
        asked.append(request.query["transport"])
        return True

    host = await serve(allow_request=allow)
    session = await Polling.open(host)
    await session.send("4a")
    websocket = await session.upgrade()
    await websocket.close()
    await WebSocket.open(host)
    assert asked == ["polling", "websocket"]


async def test_an_environ_is_made_once_for_those_who_want_it(serve: Serve) -> None:
    environs: list[Any] = []

    def allow(origin: str, environ: dict[str, Any]) -> bool:
        environs.append(environ)
        return bool(environ["HTTP_X_PASS"] == "yes")

    host = await serve(cors_allowed_origins=allow)
    headers = [("Origin", "https://a.example"), ("X-Pass", "yes")]
    session = await Polling.open(host, headers=headers)
    assert session.response.header("Access-Control-Allow-Origin") == "https://a.example"
    refused = await host.request("GET", host.target(), headers=[headers[0], ("X-Pass", "no")])
    assert refused.status == 403
    assert len(environs) == 2


async def test_frames_in_the_segment_of_the_handshake(serve: Serve) -> None:
    host = await serve()
    received: list[Any] = []
    host.engine.on("message", lambda sid, data: received.append(data))
    exchange = await host.dial()
    head = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE)
    request = f"GET {host.target('websocket')} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode()
    await exchange.write(request + message("4early").wire + message(b"bird").wire[:3])
    await exchange.write(message(b"bird").wire[3:])
    await eventually(lambda: received == ["early", b"bird"])


async def test_frames_in_the_segment_of_an_upgrade(serve: Serve) -> None:
    host = await serve()
    session = await Polling.open(host)
    exchange = await host.dial()
    head = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE)
    target = host.target("websocket", sid=session.sid)
    request = f"GET {target} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode()
    await exchange.write(request + message("2probe").wire + message("5").wire)
    await eventually(lambda: host.engine.transport(session.sid) == "websocket")


async def test_a_bad_handshake_with_a_sid_leaves_its_session_alone(serve: Serve) -> None:
    host = await serve()
    session = await Polling.open(host)
    for wrong in ([UPGRADE[1]], [*UPGRADE[:3], ("Sec-WebSocket-Key", "short")]):
        target = host.target("websocket", sid=session.sid)
        assert (await host.request("GET", target, headers=wrong)).status == 400
        target = host.target("websocket")
        assert (await host.request("GET", target, headers=wrong)).status == 400
    await host.engine.send(session.sid, "a")
    assert await session.packets() == ["4a"]


async def test_a_second_websocket_is_closed_at_once(serve: Serve) -> None:
    host = await serve()
    session = await Polling.open(host)
    first = await session.attach()
    second = await session.attach()
    with pytest.raises(Ended) as ended:
        await second.receive()
    assert ended.value.code == 1000
    await first.send("2probe")
    assert await first.receive() == "3probe"


# Clients that leave while somebody thinks about them.


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_client_that_hangs_up_during_connect(serve: Serve, transport: str) -> None:
    host = await serve()
    connecting, decide = asyncio.Event(), asyncio.Event()
    ends: list[Any] = []

    async def connect(sid: str, environ: Any) -> None:
        connecting.set()
        await decide.wait()
        await host.engine.send(sid, "welcome")

    host.engine.on("connect", connect)
    host.engine.on("disconnect", lambda sid, reason: ends.append(reason))
    exchange = await host.dial()
    headers = UPGRADE if transport == "websocket" else []
    await exchange.start("GET", host.target(transport), headers=headers)
    async with asyncio.timeout(3):
        await connecting.wait()
    assert len(host.engine.sockets) == 1
    exchange.abort()
    await asyncio.sleep(0.01)
    decide.set()
    await eventually(lambda: ends == ["transport close"])
    assert host.engine.sockets == {}


async def test_a_refused_client_is_forgotten(serve: Serve) -> None:
    host = await serve()
    host.engine.on("connect", lambda sid, environ: "not today")
    answer = await host.request("GET", host.target())
    assert (answer.status, answer.json) == (401, "not today")
    with pytest.raises(Refused) as refused:
        await WebSocket.open(host)
    assert refused.value.response.status == 401
    assert host.engine.sockets == {}


async def test_a_client_that_takes_no_answer_is_cut_off_and_loses_nothing(serve: Serve) -> None:
    host = await serve(write_timeout=0.05, max_send_buffer=100_000_000)
    session = await Polling.open(host)
    poll = await session.start_poll(receive_buffer=4_096)
    large = "x" * 8_000_000
    await host.engine.send(session.sid, large)
    await host.engine.send(session.sid, "next")
    await eventually(lambda: not host.engine._endpoint._answers)
    await poll.ended()
    assert await session.packets() == ["4" + large, "4next"]


async def test_a_body_waits_while_its_client_is_not_read_from(serve: Serve) -> None:
    host = await serve()
    received: list[Any] = []
    host.engine.on("message", lambda sid, data: received.append(data))
    session = await Polling.open(host)
    socket = host.engine.sockets[session.sid]
    socket.pause_reading(Pause.EVENTS)
    post = await host.dial()
    await post.start("POST", session.target, "4a")
    await asyncio.sleep(0.02)
    assert received == []
    socket.resume_reading(Pause.EVENTS)
    assert (await post.response()).text == "ok"
    assert received == ["a"]


async def test_a_body_that_waits_is_refused_with_its_session(serve: Serve) -> None:
    host = await serve()
    session = await Polling.open(host)
    socket = host.engine.sockets[session.sid]
    socket.pause_reading(Pause.EVENTS)
    post = await host.dial()
    await post.start("POST", session.target, "4a")
    socket.abort()
    assert (await post.response()).status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\nContent-Encoding: gzip\r\n\r\nnogzi",
        b"Transfer-Encoding: chunked\r\n\r\n|not a chunk\r\n",
        b"Content-Length: 50\r\n\r\nonly a part",
    ],
)
async def test_a_body_that_breaks_off_ends_its_session(serve: Serve, body: bytes) -> None:
    host = await serve()
    ends: list[Any] = []
    host.engine.on("disconnect", lambda sid, reason: ends.append(reason))
    session = await Polling.open(host)
    post = await host.dial()
    head, _, rest = body.partition(b"|")
    await post.write(f"POST {session.target} HTTP/1.1\r\nHost: x\r\n".encode() + head)
    await eventually(lambda: len(host.engine._endpoint._answers) == bool(rest))
    await post.write(rest)
    post.writer.write_eof()
    await post.ended()
    await eventually(lambda: ends == ["transport error"])


async def test_a_body_that_announces_too_much_is_not_read(serve: Serve) -> None:
    host = await serve(max_http_buffer_size=1_000)
    session = await Polling.open(host)
    post = await host.dial()
    await post.start("POST", session.target, b"", length=1_001)
    assert (await post.response()).status == 400
    await post.ended()
    assert host.violations == {"too_large": 1}


def mocked(path: str, **headers: str) -> Any:
    return make_mocked_request(
        "GET", path, {name.replace("_", "-"): value for name, value in headers.items()}
    )


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/", {}),
        ("/?", {}),
        ("/?EIO=4&transport=polling", {"EIO": "4", "transport": "polling"}),
        ("/?a=1&a=2", {"a": "1"}),
        ("/?sid", {"sid": ""}),
        ("/?a=b=c", {"a": "b=c"}),
        ("/?a=%C3%A9&b=c+d", {"a": "é", "b": "c d"}),
    ],
)
def test_the_short_way_to_a_query(path: str, query: dict[str, str]) -> None:
    read = _query(mocked(path))
    assert {name: read[name] for name in read if name} == query


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (None, None),
        ("", None),
        ("br", None),
        ("gzip", "gzip"),
        ("br, deflate;q=0.5, gzip", "deflate"),
        ("GZIP ; q=0", None),
        ("gzip;q=0.000, deflate;q=0.001", "deflate"),
        ("*", None),
    ],
)
def test_how_an_answer_may_be_compressed(accepted: str | None, coding: str | None) -> None:
    headers = {} if accepted is None else {"Accept_Encoding": accepted}
    found = _accepted_coding(mocked("/", **headers))
    assert (found and found.value) == coding


async def test_handlers_that_aiohttp_cancels_lose_nothing() -> None:
    server = EngineServer()
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        exchange = await Exchange.open(port)
        opened = await exchange.request("GET", "/engine.io/?EIO=4&transport=polling")
        (sid,) = server.sockets
        target = f"/engine.io/?EIO=4&transport=polling&sid={sid}"
        assert opened.status == 200
        await exchange.start("GET", target)
        await eventually(lambda: server._endpoint._answers)
        exchange.abort()
        await eventually(lambda: not server._endpoint._answers)
        await server.send(sid, "a")
        exchange = await Exchange.open(port)
        assert (await exchange.request("GET", target)).text == "4a"
        await exchange.close()
    finally:
        await server.shutdown()
        await runner.cleanup()
