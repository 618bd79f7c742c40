"""Raw HTTP over asyncio streams: requests in any pieces, on connections that a test may break."""

import asyncio
import json
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self

PATIENCE: Final = 5.0
"""Seconds until a test gives up; several times what anything here takes."""

Headers = Sequence[tuple[str, str]]
Body = bytes | str | Iterable[bytes]
"""An iterable is written piece by piece: each in a TCP segment (or a chunk) of its own."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, its body as it came, without any decoding but that of chunks."""

    status: int
    headers: Headers
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """Return the one value of a header."""
        values = self.all(name)
        assert len(values) < 2, f"{name} twice: {values}"
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Exchange:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.socket: socket.socket = writer.get_extra_info("socket")

    @classmethod
    async def open(cls, port: int, *, receive_buffer: int | None = None) -> Self:
        """Connect; a small ``receive_buffer`` soon makes the sender wait."""
        raw = socket.socket()
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setblocking(False)
        limit = receive_buffer or 2**16
        try:
            await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
            return cls(*await asyncio.open_connection(sock=raw, limit=limit))
        except BaseException:
            raw.close()
            raise

    async def write(self, data: bytes) -> None:
        """Write what the server, in this loop too, has read before this returns."""
        self.writer.write(data)
        await self.writer.drain()
        for _ in range(3):
            await asyncio.sleep(0)

    async def start(
        self,
        method: str,
        target: str,
        body: Body = b"",
        *,
        headers: Headers = (),
        chunked: bool = False,
        length: int | None = None,
    ) -> None:
        """Send a request; ``length`` is what its head says, if not the truth."""
        data = body.encode() if isinstance(body, str) else body
        pieces = ([data] if data else []) if isinstance(data, bytes) else list(data)
        lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in headers]
        if chunked:
            lines.append("Transfer-Encoding: chunked")
        elif pieces or length is not None or method in ("POST", "PUT"):
            total = sum(map(len, pieces)) if length is None else length
            lines.append(f"Content-Length: {total}")
        await self.write("\r\n".join([*lines, "", ""]).encode())
        for piece in pieces:
            await self.write(_chunk(piece) if chunked else piece)
        if chunked:
            await self.write(b"0\r\n\r\n")

    async def response(self, *, bodiless: bool = False) -> Response:
        """Read an answer. Raises ConnectionError or EOFError when there is none."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.strip().split("\r\n")
            pairs = (line.partition(":") for line in lines)
            answer = Response(
                int(status.split()[1]), [(name, value.strip()) for name, _, value in pairs], b""
            )
            body = b"" if bodiless or answer.status in (101, 204) else await self._body(answer)
            return Response(answer.status, answer.headers, body)

    async def request(self, method: str, target: str, body: Body = b"", **more: Any) -> Response:
        """Send a request and read its answer."""
        await self.start(method, target, body, **more)
        return await self.response(bodiless=method == "HEAD")

    async def ended(self) -> None:
        """Wait until the server closed the connection; what it still sends is read."""
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                while await self.reader.read(2**16):
                    pass

    def abort(self) -> None:
        """Break the connection: the server sees a reset."""
        if not self.writer.transport.is_closing():
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        """Close the connection: the server sees its end."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    async def _body(self, answer: Response) -> bytes:
        if answer.header("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(await self.reader.readline(), 16):
                pieces.append(await self.reader.readexactly(size))
                await self.reader.readline()
            await self.reader.readline()
            return b"".join(pieces)
        length = answer.header("Content-Length")
        if length is None:
            return await self.reader.read()
        return await self.reader.readexactly(int(length))


def _chunk(piece: bytes) -> bytes:
    return f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
