"""Taking a transport over from aiohttp: the WebSocket handshake (RFC 6455, "4.2.2.").

aiohttp parses the request and routes it; afterwards its connection object, its task and
its keep-alive timer go, and only the transport stays.
"""

import asyncio
import binascii
import hashlib
from typing import Any, Final, NamedTuple, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from stretto_core.eio.websocket import DEFLATE_ANSWER, DEFLATE_OFFER, Unmask, unmask

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCH: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)


class HandedOver(web.StreamResponse):
    """What a handler returns after :func:`take_over`: aiohttp writes nothing of it."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write nothing."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing."""

    @property
    def keep_alive(self) -> bool | None:
        """Let aiohttp end its own part."""
        return False


HANDED_OVER: Final = HandedOver()
"""The same for everybody: it says nothing."""


def wants_websocket(request: web.BaseRequest) -> bool:
    """Tell whether the headers ask for a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


def offers_deflate(request: web.BaseRequest) -> bool:
    """Tell whether the client can do permessage-deflate as it is answered here.

    A client that wants a smaller window of us would have to be refused it (RFC 7692,
    "7.1.2.1."): Python's zlib makes windows of any size, but a broadcast is compressed once.
    """
    for value in request.headers.getall("Sec-WebSocket-Extensions", ()):
        for offer in value.split(","):
            name, *parameters = (part.strip() for part in offer.split(";"))
            if name == DEFLATE_OFFER and not any(
                one.startswith("server_max_window_bits") for one in parameters
            ):
                return True
    return False


def accept_key(request: web.BaseRequest) -> bytes | None:
    """Return what proves that this is a WebSocket server; None for a bad handshake."""
    key = request.headers.get("Sec-WebSocket-Key", "")
    version = request.headers.get("Sec-WebSocket-Version", "")
    tokens = request.headers.get("Connection", "").lower()
    if version != "13" or "upgrade" not in [one.strip() for one in tokens.split(",")]:
        return None
    try:
        raw = key.encode("ascii")
        if len(binascii.a2b_base64(raw, strict_mode=True)) != 16:
            return None
    except ValueError:
        return None
    proof = hashlib.sha1(raw + _GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(proof, newline=False)


class Taken(NamedTuple):
    """A transport, the answer that is to be written to it, and what was read behind the request."""

    transport: asyncio.Transport
    answer: bytes
    tail: bytes


def take_over(
    request: web.BaseRequest, key: bytes, headers: dict[str, str], *, deflate: bool
) -> Taken | None:
    """Take the transport of a handshake; None when the client is gone already.

    Its protocol is to be set next, before anything else is awaited.
    """
    protocol = cast(Any, request.protocol)
    transport: asyncio.Transport | None = request.transport
    if transport is None or transport.is_closing():
        return None
    if deflate:
        headers = {**headers, "Sec-WebSocket-Extensions": DEFLATE_ANSWER}
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    answer = _SWITCH + key + b"\r\n" + more.encode() + b"\r\n"
    tail = bytes(protocol._message_tail)
    # Without its transport aiohttp cannot close it; told that the connection is lost, it
    # cleans up after itself.
    protocol.transport = None
    protocol.connection_lost(None)
    return Taken(transport, answer, tail)


def fast_unmask() -> Unmask:
    """Return aiohttp's compiled function where there is one, else our own."""
    try:
        from aiohttp._websocket.helpers import websocket_mask
    except ImportError:
        return unmask
    return websocket_mask


def check_aiohttp() -> None:
    """Raise RuntimeError where aiohttp is not built as :func:`take_over` needs it."""
    slots = {name for kind in web.RequestHandler.__mro__ for name in getattr(kind, "__slots__", ())}
    if not {"_message_tail", "transport"} <= slots:
        raise RuntimeError("this version of aiohttp is not known to Stretto: install aiohttp<4")
