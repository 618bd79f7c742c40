"""A TCP proxy that writes down what a WebSocket client and its server say to each other."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

TEXT, BINARY = 1, 2
END_OF_MESSAGE = b"\x00\x00\xff\xff"
"""What a sender takes off the end of a compressed message: RFC 7692, section 7.2.1."""


@dataclass
class Frame:
    """One WebSocket frame, its payload unmasked and inflated."""

    is_compressed: bool
    opcode: int
    payload: bytes
    size: int
    """How many bytes of payload were sent."""


@dataclass
class Recording:
    """What one side said: the head of its HTTP message, then frames."""

    data: bytearray = field(default_factory=bytearray)

    @property
    def head(self) -> dict[str, str]:
        """Return the headers; their names in lower case."""
        lines = bytes(self.data).partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines)
        return {name.lower(): value.strip() for name, _, value in pairs}

    def frames(self) -> list[Frame]:
        """Return the messages that came whole so far, each one frame; no control frames."""
        rest = memoryview(bytes(self.data).partition(b"\r\n\r\n")[2])
        inflater = zlib.decompressobj(wbits=-15)
        frames = []
        while (header := _header(rest)) is not None:
            start, mask, size = header
            payload = bytes(rest[start : start + size])
            if mask:
                payload = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
            opcode, is_compressed = rest[0] & 0x0F, bool(rest[0] & 0x40)
            if is_compressed:  # RSV1
                payload = inflater.decompress(payload + END_OF_MESSAGE)
            if opcode in (TEXT, BINARY):
                frames.append(Frame(is_compressed, opcode, payload, size))
            rest = rest[start + size :]
        return frames


def _header(data: memoryview) -> tuple[int, bytes, int] | None:
    """Return where the payload starts, the mask and the payload's size; RFC 6455, 5.2."""
    if len(data) < 2:
        return None
    size, at = data[1] & 0x7F, 2
    if size >= 126:
        width = 2 if size == 126 else 8
        size, at = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
    mask = bytes(data[at : at + 4]) if data[1] & 0x80 else b""
    start = at + len(mask)
    return (start, mask, size) if len(data) >= start + size else None


@dataclass
class Recorder:
    """Where the proxy listens, and both sides of its latest connection."""

    url: str = ""
    client: Recording = field(default_factory=Recording)
    server: Recording = field(default_factory=Recording)


@asynccontextmanager
async def recording(upstream: str) -> AsyncIterator[Recorder]:
    """Stand in front of the server at ``upstream``, a URL with a port."""
    recorder = Recorder()
    serving: set[asyncio.Task[None]] = set()
    port = int(upstream.rpartition(":")[2])

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recorder.client, recorder.server = Recording(), Recording()
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(
                _pump(reader, back, recorder.client), _pump(there, writer, recorder.server)
            )
        finally:
            for end in (back, writer):
                end.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.ensure_future(forward(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listener:
        recorder.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        try:
            yield recorder
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)


async def _pump(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, record: Recording
) -> None:
    while data := await source.read(65_536):
        record.data += data
        target.write(data)
        await target.drain()
    target.close()
