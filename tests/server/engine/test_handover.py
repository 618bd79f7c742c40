"""The WebSocket handshake, and what aiohttp keeps of a connection afterwards: nothing."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from stretto_core.eio.websocket import DEFLATE_ANSWER, unmask
from stretto_server.engine.handover import (
    HandedOver,
    Taken,
    accept_key,
    check_aiohttp,
    fast_unmask,
    offers_deflate,
    take_over,
    wants_websocket,
)
from tests.server.engine.conformance.exchange import Exchange

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def request(**changes: str | None) -> Any:
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    headers = {name: value for name, value in {**HANDSHAKE, **changed}.items() if value is not None}
    return make_mocked_request("GET", "/", headers)


def test_the_example_of_the_rfc() -> None:
    assert accept_key(request()) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "changes",
    [
        {"Connection": "upgrade"},
        {"Connection": "UPGRADE ,close"},
        {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA=="},
    ],
)
def test_handshakes_that_are_good(changes: dict[str, str]) -> None:
    assert accept_key(request(**changes)) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"Connection": "keep-alive"},
        {"Connection": "notupgrade"},
        {"Connection": None},
        {"Sec_WebSocket_Version": "8"},
        {"Sec_WebSocket_Version": None},
        {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Key": ""},
        {"Sec_WebSocket_Key": "c2hvcnQ="},
        {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAAAA"},
        {"Sec_WebSocket_Key": "not base64 at all!!!!!!!"},
        {"Sec_WebSocket_Key": "é" * 12},
    ],
)
def test_handshakes_that_are_not(changes: dict[str, str | None]) -> None:
    assert accept_key(request(**changes)) is None


def test_who_wants_a_websocket() -> None:
    assert wants_websocket(request())
    assert wants_websocket(request(Upgrade="WebSocket"))
    assert not wants_websocket(request(Upgrade="h2c"))
    assert not wants_websocket(request(Upgrade=None))


@pytest.mark.parametrize(
    ("offer", "offered"),
    [
        (None, False),
        ("permessage-deflate", True),
        ("permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate;server_no_context_takeover", True),
        ("x-webkit-deflate-frame", False),
        ("permessage-deflate; server_max_window_bits=10", False),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", True),
        ("foo, permessage-deflate", True),
        ("permessage-deflated", False),
        (";,;", False),
    ],
)
def test_who_can_do_deflate(offer: str | None, offered: bool) -> None:
    assert offers_deflate(request(Sec_WebSocket_Extensions=offer)) is offered


async def test_what_is_handed_over_is_no_response() -> None:
    response = HandedOver()
    assert await response.prepare(request()) is None
    await response.write_eof(b"ignored")
    assert response.keep_alive is False


def test_unmasking_needs_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (fast_unmask(), unmask):
        data = bytearray(b"\x00\x01\x02\x03\x04")
        function(b"\x01\x01\x00\x00", data)
        assert data == b"\x01\x00\x02\x03\x05"
    monkeypatch.setitem(sys.modules, "aiohttp._websocket.helpers", None)
    assert fast_unmask() is unmask


def test_another_aiohttp_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    check_aiohttp()

    class Newer:
        __slots__ = ("transport",)

    monkeypatch.setattr(web, "RequestHandler", Newer)
    with pytest.raises(RuntimeError, match="aiohttp<4"):
        check_aiohttp()


# Over a real connection.


class Remembering(asyncio.Protocol):
    """What owns the transport afterwards."""

    def __init__(self) -> None:
        self.received = b""
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()


class Site:
    """A server whose every request is taken over as the test wants it."""

    def __init__(self) -> None:
        self.deflate = False
        self.before: Callable[[web.Request], Awaitable[None]] | None = None
        self.taken: list[Taken | None] = []
        self.protocols: list[Remembering] = []
        app = web.Application()
        app.router.add_get("/", self._handle)
        self.runner = web.AppRunner(app, access_log=None)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.before is not None:
            await self.before(request)
        taken = take_over(request, b"key", {"X-More": "é"}, deflate=self.deflate)
        self.taken.append(taken)
        if taken is not None:
            self.protocols.append(Remembering())
            taken.transport.set_protocol(self.protocols[-1])
            taken.transport.write(taken.answer)
        return HandedOver()

    @property
    def connections(self) -> int:
        assert self.runner.server is not None
        return len(self.runner.server.connections)

    async def dial(self) -> Exchange:
        return await Exchange.open(self.runner.addresses[0][1])


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.runner.setup()
    await web.TCPSite(site.runner, "127.0.0.1", 0).start()
    yield site
    await site.runner.cleanup()


async def head(exchange: Exchange) -> list[str]:
    async with asyncio.timeout(3):
        whole = (await exchange.reader.readuntil(b"\r\n\r\n")).decode()
    return whole.removesuffix("\r\n\r\n").split("\r\n")


async def test_a_transport_is_taken_with_what_was_read_behind_the_request(site: Site) -> None:
    exchange = await site.dial()
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    await exchange.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\nfirst")
    assert await head(exchange) == [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Accept: key",
        "X-More: é",
    ]
    (taken,), (protocol,) = site.taken, site.protocols
    assert taken is not None
    assert taken.tail == b"first"
    assert site.connections == 0
    await exchange.write(b"second")
    async with asyncio.timeout(3):
        while protocol.received != b"second":
            await asyncio.sleep(0.005)
        await exchange.close()
        await protocol.lost.wait()


async def test_deflate_is_answered(site: Site) -> None:
    site.deflate = True
    exchange = await site.dial()
    await exchange.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert f"Sec-WebSocket-Extensions: {DEFLATE_ANSWER}" in await head(exchange)
    await exchange.close()


async def test_a_server_that_stops_leaves_a_taken_transport_alone(site: Site) -> None:
    exchange = await site.dial()
    await exchange.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await head(exchange)
    await site.runner.shutdown()
    (protocol,) = site.protocols
    assert not protocol.lost.is_set()
    await exchange.write(b"still here")
    async with asyncio.timeout(3):
        while protocol.received != b"still here":
            await asyncio.sleep(0.005)
    await exchange.close()


async def test_a_client_that_is_gone_has_nothing_to_take(site: Site) -> None:
    gone = asyncio.Event()

    async def wait(request: web.Request) -> None:
        while request.transport is not None:
            await asyncio.sleep(0.005)
        gone.set()

    site.before = wait
    exchange = await site.dial()
    await exchange.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await exchange.close()
    async with asyncio.timeout(3):
        await gone.wait()
        while not site.taken:
            await asyncio.sleep(0.005)
    assert site.taken == [None]


async def test_a_transport_that_closes_is_not_taken(site: Site) -> None:
    async def close(request: web.Request) -> None:
        assert request.transport is not None
        request.transport.close()

    site.before = close
    exchange = await site.dial()
    await exchange.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await exchange.ended()
    await exchange.close()
    assert site.taken == [None]
