"""What HTTP adds to long-polling: origins, cookies and compression."""

import gzip
import zlib
from typing import Any

import pytest

from stretto_server.engine import EngineServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.exchange import Response
from tests.server.engine.conformance.host import Host
from tests.server.engine.conformance.polling import Polling
from tests.server.engine.conformance.websocket import Refused, WebSocket

ORIGIN = ("Origin", "https://example.org")
ALLOW = "Access-Control-Allow-"


async def answer(host: Host, transport: str, *headers: tuple[str, str]) -> Response:
    """Return the answer to a handshake."""
    if transport == "polling":
        return await host.request("GET", host.target(), headers=headers)
    try:
        return (await WebSocket.open(host, headers=headers)).response
    except Refused as refused:
        return refused.response


ACCEPTED: list[Any] = [
    "*",
    ["*"],
    "https://example.org",
    ["https://other.example", "https://example.org"],
    lambda origin: origin == "https://example.org",
    lambda origin, environ: origin == environ["HTTP_ORIGIN"] == "https://example.org",
]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("origins", ACCEPTED)
async def test_an_origin_that_is_allowed(serve: Serve, origins: Any, transport: str) -> None:
    """Fetch Standard, "CORS protocol": the answer names the origin and allows credentials."""
    host = await serve(EngineServer(cors_allowed_origins=origins))
    response = await answer(host, transport, ORIGIN)
    assert response.status in (200, 101)
    if transport == "polling":
        assert response.header(ALLOW + "Origin") == "https://example.org"
        assert response.header(ALLOW + "Credentials") == "true"


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("origins", [None, "https://other.example", lambda origin: False])
async def test_an_origin_that_is_not(serve: Serve, origins: Any, transport: str) -> None:
    """RFC 6455, 10.2: browsers tell where a page is from, and the server refuses strangers."""
    host = await serve(EngineServer(cors_allowed_origins=origins))
    response = await answer(host, transport, ORIGIN)
    assert response.status in (400, 403)
    assert response.header(ALLOW + "Origin") is None
    assert not host.engine.sockets


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_the_same_origin(serve: Serve, transport: str) -> None:
    """By default pages of this server alone are allowed."""
    host = await serve(EngineServer())
    response = await answer(host, transport, ("Origin", "http://127.0.0.1"))
    assert response.status in (200, 101)
    proxied = (("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "example.org"))
    response = await answer(host, transport, ORIGIN, *proxied)
    assert response.status in (200, 101)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_without_an_origin(serve: Serve, transport: str) -> None:
    """What is no browser tells no origin, and needs none."""
    host = await serve(EngineServer(cors_allowed_origins="https://other.example"))
    response = await answer(host, transport)
    assert response.status in (200, 101)
    assert response.header(ALLOW + "Origin") is None


async def test_origins_can_be_left_to_others(serve: Serve) -> None:
    """``[]`` switches all of it off."""
    host = await serve(EngineServer(cors_allowed_origins=[]))
    response = await answer(host, "polling", ORIGIN)
    assert response.status == 200
    assert not [name for name, _ in response.headers if name.startswith(ALLOW)]


async def test_without_credentials(serve: Serve) -> None:
    """``cors_credentials=False`` allows none."""
    host = await serve(EngineServer(cors_allowed_origins="*", cors_credentials=False))
    response = await answer(host, "polling", ORIGIN)
    assert response.header(ALLOW + "Origin") == "https://example.org"
    assert response.header(ALLOW + "Credentials") is None


async def test_every_answer_names_the_origin(serve: Serve) -> None:
    """Fetch Standard: a page may not even read an error without it."""
    host = await serve(EngineServer(cors_allowed_origins="*"))
    session = await Polling.open(host, headers=[ORIGIN])
    bad = await host.request("GET", host.target("none"), headers=[ORIGIN])
    posted = await session.post("4a", headers=[ORIGIN])
    await host.server.send(session.sid, "hello")
    polled = await session.poll(headers=[ORIGIN])
    unknown = await host.request("GET", host.target(sid="unknown"), headers=[ORIGIN])
    statuses = [response.status for response in (bad, posted, polled, unknown)]
    assert statuses == [400, 200, 200, 400]
    for response in (bad, posted, polled, unknown):
        assert response.header(ALLOW + "Origin") == "https://example.org"
        assert response.header(ALLOW + "Credentials") == "true"


async def test_a_preflight(serve: Serve) -> None:
    """Fetch Standard, "CORS-preflight fetch": OPTIONS tells methods and headers, and is all."""
    host = await serve(EngineServer(cors_allowed_origins="*"))
    asked = [
        ORIGIN,
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type,x-token"),
    ]
    response = await host.request("OPTIONS", host.target(), headers=asked)
    assert response.status in (200, 204)
    assert response.header(ALLOW + "Origin") == "https://example.org"
    assert response.header(ALLOW + "Credentials") == "true"
    assert response.header(ALLOW + "Headers") == "content-type,x-token"
    methods = (response.header(ALLOW + "Methods") or "").replace(" ", "").split(",")
    assert {"GET", "POST"} <= set(methods)
    assert not host.engine.sockets


@pytest.mark.parametrize(
    ("cookie", "parts"),
    [
        ("io", {"path=/", "samesite=lax"}),
        ({"name": "io", "Path": "/a", "Secure": True, "HttpOnly": True}, None),
        ({"name": "io", "Max-Age": lambda: "60"}, {"max-age=60"}),
    ],
)
async def test_a_cookie(serve: Serve, cookie: Any, parts: set[str] | None) -> None:
    """RFC 6265: the sid as a cookie, for the balancers that stick to it; in the handshake only."""
    host = await serve(EngineServer(cookie=cookie))
    session = await Polling.open(host)
    value = session.response.header("Set-Cookie")
    assert value is not None
    pair, *attributes = value.split("; ")
    assert pair == f"io={session.sid}"
    expected = {"path=/a", "secure", "httponly"} if parts is None else parts
    assert expected <= {attribute.lower() for attribute in attributes}
    assert (await session.post("4a")).header("Set-Cookie") is None


async def test_no_cookie(serve: Serve) -> None:
    """By default there is none."""
    host = await serve(EngineServer())
    assert (await Polling.open(host)).response.header("Set-Cookie") is None


LONG = "hello " * 1_000


async def polled(serve: Serve, text: str, accept: str | None, **options: Any) -> Response:
    """Return the answer to a poll."""
    host = await serve(EngineServer(**options))
    session = await Polling.open(host)
    await host.server.send(session.sid, text)
    response = await session.poll(headers=[("Accept-Encoding", accept)] if accept else [])
    assert response.status == 200
    return response


@pytest.mark.parametrize("accept", ["gzip", "gzip, deflate, br", "br;q=1.0, gzip;q=0.8", "x, gzip"])
async def test_a_long_answer_is_compressed(serve: Serve, accept: str) -> None:
    """RFC 9110, 8.4: with a coding that the client accepts."""
    response = await polled(serve, LONG, accept)
    coding = response.header("Content-Encoding")
    assert coding in ("gzip", "deflate")
    assert coding in accept
    decompress = gzip.decompress if coding == "gzip" else zlib.decompress
    assert decompress(response.body).decode() == "4" + LONG
    assert len(response.body) < 500


async def test_deflate(serve: Serve) -> None:
    """RFC 9110, 8.4.1.2: ``deflate`` is the zlib format."""
    response = await polled(serve, LONG, "deflate")
    assert response.header("Content-Encoding") == "deflate"
    assert zlib.decompress(response.body).decode() == "4" + LONG


@pytest.mark.parametrize("accept", [None, "identity", "br", "gzip;q=0"])
async def test_nothing_is_compressed_for_who_does_not_accept_it(
    serve: Serve, accept: str | None
) -> None:
    """RFC 9110, 12.5.3: no coding that the client does not name."""
    response = await polled(serve, LONG, accept)
    assert response.header("Content-Encoding") is None
    assert response.text == "4" + LONG


@pytest.mark.parametrize(
    ("options", "size", "coding"),
    [
        ({}, 1_022, None),
        ({}, 1_023, "gzip"),
        ({"compression_threshold": 10}, 8, None),
        ({"compression_threshold": 10}, 9, "gzip"),
        ({"http_compression": False}, 6_000, None),
    ],
)
async def test_when_answers_are_compressed(
    serve: Serve, options: dict[str, Any], size: int, coding: str | None
) -> None:
    """``http_compression`` and ``compression_threshold``: the bytes of the whole payload."""
    response = await polled(serve, "a" * size, "gzip", **options)
    assert response.header("Content-Encoding") == coding
