"""Engine.IO 4: "Handshake", "Request path" and "Query parameters"."""

import json
from typing import Any

import pytest

from stretto_server.engine import EngineServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.exchange import Response
from tests.server.engine.conformance.host import Host
from tests.server.engine.conformance.polling import Polling
from tests.server.engine.conformance.websocket import Refused, WebSocket

KEYS = {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}


async def opening_of_websocket(host: Host) -> dict[str, Any]:
    received = await (await WebSocket.open(host)).receive()
    assert isinstance(received, str)
    assert received.startswith("0")
    opening: dict[str, Any] = json.loads(received[1:])
    return opening


async def refused(host: Host, target: str) -> Response:
    """Ask for a WebSocket that must be refused."""
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    return await host.request("GET", target, headers=headers)


async def test_a_session_over_polling(serve: Serve) -> None:
    """Handshake: the server MUST respond with an open packet of five keys."""
    host = await serve(EngineServer(ping_interval=0.3, ping_timeout=0.2))
    session = await Polling.open(host)
    assert set(session.opening) == KEYS
    assert isinstance(session.sid, str)
    assert session.opening["upgrades"] == ["websocket"]
    assert session.opening["pingInterval"] == 300
    assert session.opening["pingTimeout"] == 200
    assert session.opening["maxPayload"] == 1_000_000
    assert session.response.header("Content-Type") == "text/plain; charset=UTF-8"


async def test_a_session_over_a_websocket(serve: Serve) -> None:
    """Handshake, "WebSocket-only session": HTTP 101, then the open packet; no upgrades."""
    host = await serve(EngineServer(ping_interval=0.3, ping_timeout=0.2))
    opening = await opening_of_websocket(host)
    assert set(opening) == KEYS
    assert isinstance(opening["sid"], str)
    assert opening["upgrades"] == []
    assert opening["pingInterval"] == 300
    assert opening["pingTimeout"] == 200
    assert opening["maxPayload"] == 1_000_000


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [
        (25, 25_000),
        (0.3, 300),
        (1.1, 1_100),
        (0.57, 570),
        (1.005, 1_005),
        (2.675, 2_675),
        (0.001, 1),
        (8.29, 8_290),
        (1234.567, 1_234_567),
    ],
)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_times_are_exact_to_the_millisecond(
    serve: Serve, seconds: float, milliseconds: int, transport: str
) -> None:
    """Handshake: ``pingInterval`` and ``pingTimeout`` are in milliseconds."""
    host = await serve(EngineServer(ping_interval=seconds, ping_timeout=seconds))
    if transport == "polling":
        opening = (await Polling.open(host)).opening
    else:
        opening = await opening_of_websocket(host)
    assert (opening["pingInterval"], opening["pingTimeout"]) == (milliseconds, milliseconds)
    assert type(opening["pingInterval"]) is type(opening["pingTimeout"]) is int


async def test_the_announced_limit_is_the_configured_one(serve: Serve) -> None:
    """Handshake: ``maxPayload`` is the maximum number of bytes per chunk."""
    host = await serve(EngineServer(max_http_buffer_size=12_345))
    assert (await Polling.open(host)).opening["maxPayload"] == 12_345
    assert (await opening_of_websocket(host))["maxPayload"] == 12_345


async def test_sids_are_unique_and_need_no_escape(serve: Serve) -> None:
    """Handshake: the sid goes into the query of all subsequent requests."""
    host = await serve(EngineServer())
    sids = {(await Polling.open(host)).sid for _ in range(50)}
    assert len(sids) == 50
    assert all(len(sid) >= 20 for sid in sids)
    assert all(sid.replace("-", "").replace("_", "").isalnum() for sid in sids)


REFUSED = [
    ("EIO missing", "transport={}", 5),
    ("EIO empty", "EIO=&transport={}", 5),
    ("EIO of another revision", "EIO=3&transport={}", 5),
    ("EIO that is no number", "EIO=abc&transport={}", 5),
    ("transport missing", "EIO=4", 0),
    ("transport empty", "EIO=4&transport=", 0),
    ("transport unknown", "EIO=4&transport=abc", 0),
    ("transport in capitals", "EIO=4&transport=POLLING", 0),
    ("transport of objects", "EIO=4&transport=__proto__", 0),
    ("nothing", "", 0),
    ("sid unknown", "EIO=4&transport={}&sid=AAAAAAAAAAAAAAAAAAAA", 1),
]


@pytest.mark.parametrize(("query", "code"), [row[1:] for row in REFUSED], ids=lambda value: value)
async def test_refusals_over_polling(serve: Serve, query: str, code: int) -> None:
    """Query parameters: without a mandatory one the server MUST respond with HTTP 400."""
    host = await serve(EngineServer())
    response = await host.request("GET", f"{host.path}?{query.format('polling')}")
    assert response.status == 400
    assert response.json["code"] == code
    assert response.json["message"]
    assert (response.header("Content-Type") or "").startswith("application/json")
    assert not host.engine.sockets


@pytest.mark.parametrize(("query", "code"), [row[1:] for row in REFUSED], ids=lambda value: value)
async def test_refusals_of_websockets(serve: Serve, query: str, code: int) -> None:
    """WebSocket: without a mandatory parameter the server MUST close the connection."""
    host = await serve(EngineServer())
    response = await refused(host, f"{host.path}?{query.format('websocket')}")
    assert response.status == 400
    assert response.json["code"] == code
    assert not host.engine.sockets


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD"])
async def test_a_handshake_is_a_get(serve: Serve, method: str) -> None:
    """Handshake: the client MUST send an HTTP GET request."""
    host = await serve(EngineServer())
    assert (await host.request(method, host.target())).status == 400
    assert not host.engine.sockets


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
async def test_a_session_knows_get_and_post(serve: Serve, method: str) -> None:
    """HTTP long-polling: GET receives and POST sends; other methods change nothing."""
    host = await serve(EngineServer())
    host.server.on("message", host.server.send)
    session = await Polling.open(host)
    assert (await host.request(method, session.target)).status == 400
    await session.send("4still here")
    assert await session.packets() == ["4still here"]


async def test_the_first_of_two_values_counts(serve: Serve) -> None:
    """Query parameters: a repeated one does not confuse the server."""
    host = await serve(EngineServer())
    response = await host.request("GET", host.target() + "&transport=abc&EIO=3")
    assert response.status == 200


async def test_a_websocket_needs_its_transport(serve: Serve) -> None:
    """Query parameters: ``transport`` names what the request asks for, one way or the other."""
    host = await serve(EngineServer())
    assert (await refused(host, host.target("polling"))).status == 400
    assert (await host.request("GET", host.target("websocket"))).status == 400


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_only_the_served_transports(serve: Serve, transport: str) -> None:
    """Query parameters: a transport that is not served is unknown; nothing upgrades to it."""
    host = await serve(EngineServer(transports=[transport]))
    other = "websocket" if transport == "polling" else "polling"
    if transport == "polling":
        assert (await Polling.open(host)).opening["upgrades"] == []
        response = await refused(host, host.target(other))
    else:
        assert (await opening_of_websocket(host))["upgrades"] == []
        response = await host.request("GET", host.target(other))
    assert response.status == 400
    assert response.json["code"] == 0


async def test_no_upgrades_are_announced_that_are_not_allowed(serve: Serve) -> None:
    """Handshake: ``upgrades`` is the list of available transport upgrades."""
    host = await serve(EngineServer(allow_upgrades=False))
    session = await Polling.open(host)
    assert session.opening["upgrades"] == []
    websocket = await session.attach()
    await websocket.send("2probe")
    await websocket.ended()
    await session.send("4")


async def test_another_path(serve: Serve) -> None:
    """Request path: libraries built on top of the protocol have their own."""
    host = await serve(EngineServer(), "deep/er")
    assert host.path == "/deep/er/"
    await Polling.open(host)
    assert (await opening_of_websocket(host))["sid"]
    assert (await host.request("GET", "/engine.io/?EIO=4&transport=polling")).status == 404


@pytest.mark.parametrize("answer", [False, "not you", {"why": "not you"}])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_an_application_may_refuse(serve: Serve, transport: str, answer: Any) -> None:
    """Handshake: "if the server accepts the connection"; else 401, as python-engineio says it."""
    host = await serve(EngineServer())
    host.server.on("connect", lambda sid, environ: answer)
    if transport == "polling":
        response = await host.request("GET", host.target())
    else:
        with pytest.raises(Refused) as caught:
            await WebSocket.open(host)
        response = caught.value.response
    assert response.status == 401
    assert response.json == (answer or "Unauthorized")
    assert not host.engine.sockets


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_what_is_sent_in_connect_follows_the_open_packet(
    serve: Serve, transport: str
) -> None:
    """Handshake: the open packet comes first."""
    host = await serve(EngineServer())

    async def greet(sid: str, environ: dict[str, Any]) -> None:
        await host.server.send(sid, "one")
        await host.server.send(sid, b"two")

    host.server.on("connect", greet)
    if transport == "polling":
        first, *packets = (await host.request("GET", host.target())).text.split("\x1e")
        sid = json.loads(first[1:])["sid"]
        if not packets:
            packets = (await host.request("GET", host.target(sid=sid))).text.split("\x1e")
        assert packets == ["4one", "bdHdv"]
    else:
        websocket = await WebSocket.open(host)
        opening = await websocket.receive()
        assert str(opening).startswith("0")
        assert await websocket.receive() == "4one"
        assert await websocket.receive() == b"two"


async def test_the_environment_of_a_client(serve: Serve) -> None:
    """Handshake: applications decide by the request, given as a WSGI environment."""
    host = await serve(EngineServer())
    seen: list[dict[str, Any]] = []
    host.server.on("connect", lambda sid, environ: seen.append(environ))
    target = host.target(token="a b")
    await host.request("GET", target, headers=[("X-Real", "yes"), ("Cookie", "a=b")])
    (environ,) = seen
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["PATH_INFO"] == host.path
    assert environ["QUERY_STRING"] == target.partition("?")[2]
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["HTTP_X_REAL"] == "yes"
    assert environ["HTTP_COOKIE"] == "a=b"
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["aiohttp.request"].query["token"] == "a b"
