"""TCP connections of attackers: they read only when they are told to, and then what they like."""

import asyncio
import json
import select
import zlib
from contextlib import suppress
from typing import Final

from tests.server.engine.conformance.exchange import PATIENCE, Exchange, Headers
from tests.server.engine.conformance.host import Host
from tests.server.engine.hostile.arena import Remote

LONG: Final = 3 * PATIENCE
"""Servers under attack may be slow, if they only do what they have to in the end."""
KEY: Final = "AAAAAAAAAAAAAAAAAAAAAA=="
DEFLATE: Final = ("Sec-WebSocket-Extensions", "permessage-deflate")


def text(data: str | bytes, first: int = 0x81) -> bytes:
    """Return a client's frame whose mask is all zeros; ``first`` is its first byte."""
    payload = data.encode() if isinstance(data, str) else data
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65_536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes([first]) + length + bytes(4) + payload


def binary(data: bytes) -> bytes:
    return text(data, 0x82)


def deflated(data: bytes) -> bytes:
    """Return the payload of a compressed message."""
    compressor = zlib.compressobj(9, wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def upgrade(host: Host, *, headers: Headers = (), **query: str) -> bytes:
    """Return the request of a WebSocket handshake."""
    lines = [
        f"GET {host.target('websocket', **query)} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def shake_hands(
    host: Host, *, headers: Headers = (), receive_buffer: int | None = None, **query: str
) -> Exchange:
    """Return a connection whose WebSocket handshake is done; nothing is read beyond it."""
    line = await host.dial(receive_buffer=receive_buffer)
    await line.write(upgrade(host, headers=headers, **query))
    response = await line.response()
    assert response.status == 101, response
    return line


async def joined(
    host: Remote, *, headers: Headers = (), receive_buffer: int | None = None
) -> Exchange:
    """Return a connection that is in the default namespace, and was told so."""
    line = await shake_hands(host, headers=headers, receive_buffer=receive_buffer)
    await line.write(text(host.hello()))
    async with asyncio.timeout(PATIENCE):
        await line.reader.readuntil(b"40{")
    return line


async def opened(host: Host) -> str:
    """Return the sid of a polling session."""
    response = await host.request("GET", host.target())
    assert response.status == 200, response
    sid: str = json.loads(response.text[1:])["sid"]
    return sid


async def ended(line: Exchange, patience: float = LONG) -> None:
    """Read until the server ends the connection."""
    async with asyncio.timeout(patience):
        with suppress(ConnectionError):
            while await line.reader.read(65_536):
                pass


async def hung_up(line: Exchange, patience: float = LONG) -> None:
    """Wait until the connection is over for the kernel too, without reading from it."""
    if line.writer.transport.is_closing():
        return
    poll = select.poll()
    # A reset is told whatever is asked for; the end of the stream only to who asks.
    poll.register(line.socket.fileno(), getattr(select, "POLLRDHUP", 0))
    async with asyncio.timeout(patience):
        while not line.writer.transport.is_closing() and not poll.poll(0):
            await asyncio.sleep(0.02)


async def pour(line: Exchange, data: bytes, *, pieces: int = 64 * 1024) -> bool:
    """Send everything, or as much as the server takes before it ends the connection."""
    try:
        for start in range(0, len(data), pieces):
            line.writer.write(data[start : start + pieces])
            async with asyncio.timeout(PATIENCE):
                await line.writer.drain()
    except ConnectionError:
        return False
    return True


async def heartbeats(line: Exchange) -> None:
    """Answer pings that nobody waits to see, for as long as the connection lasts."""
    while not line.writer.transport.is_closing():
        line.writer.write(text("3"))
        await asyncio.sleep(0.1)
