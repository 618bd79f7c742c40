"""A raw WebSocket client: it answers both kinds of pings, and writes whatever it is told to."""

import asyncio
import base64
import hashlib
import os
from typing import Self

from tests.server.engine.conformance.exchange import PATIENCE, Exchange, Headers, Response
from tests.server.engine.conformance.frames import Frame, Opcode, close, message, read_frame
from tests.server.engine.conformance.host import Host

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Refused(Exception):
    """The server answered the handshake with something else than 101."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.status} {response.body!r}")
        self.response = response


class Ended(Exception):
    """The connection is gone; ``code`` is that of the server's close frame, if it sent one."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class WebSocket:
    """``frames`` has every frame received, but those of pings that were answered."""

    def __init__(self, exchange: Exchange, response: Response, answers: bool) -> None:
        self.exchange, self.response = exchange, response
        self.frames: list[Frame] = []
        self.pings = 0
        """Engine.IO pings answered."""
        self.code: int | None = None
        self._answers = answers
        self._inbox: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls,
        host: Host,
        *,
        answers: bool = True,
        headers: Headers = (),
        receive_buffer: int | None = None,
        **query: str,
    ) -> Self:
        """Shake hands (RFC 6455, 4); raises Refused. ``answers`` pings, or shows them."""
        exchange = await host.dial(receive_buffer=receive_buffer)
        key = base64.b64encode(os.urandom(16))
        asked = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", key.decode()),
        ]
        target = host.target("websocket", **query)
        response = await exchange.request("GET", target, headers=[*asked, *headers])
        if response.status != 101:
            raise Refused(response)
        accepted = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
        assert response.header("Sec-WebSocket-Accept") == accepted
        websocket = cls(exchange, response, answers)
        host.clients.append(websocket)
        return websocket

    async def send(self, *messages: str | bytes) -> None:
        """Send messages, all in one TCP segment."""
        await self.write(*map(message, messages))

    async def write(self, *frames: Frame | bytes) -> None:
        """Write frames, or raw bytes, in one TCP segment."""
        wire = [frame.wire if isinstance(frame, Frame) else frame for frame in frames]
        try:
            await self.exchange.write(b"".join(wire))
        except ConnectionError:
            await self.ended()

    async def receive(self) -> str | bytes:
        """Return the next message; raises Ended when there is none and will be none."""
        async with asyncio.timeout(PATIENCE):
            received = await self._inbox.get()
        if received is None:
            self._inbox.put_nowait(None)
            raise Ended(self.code)
        return received

    async def receive_frame(self) -> Frame:
        """Return the frame of the next message, as it came."""
        await self.receive()
        return self.frames[-1]

    async def ended(self) -> int | None:
        """Wait until the TCP connection is gone, not only silent; return the close code."""
        await asyncio.wait_for(asyncio.shield(self._reading), PATIENCE)
        return self.code

    @property
    def alive(self) -> bool:
        """Whether the TCP connection is there."""
        return not self._reading.done()

    def pause(self) -> None:
        """Read nothing more from the kernel."""
        self.exchange.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        self.exchange.writer.transport.resume_reading()  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Break the connection: the server sees a reset."""
        self.exchange.abort()

    async def close(self, code: int = 1000) -> None:
        """Say goodbye and wait for the end."""
        if not self._reading.done():
            self.resume()
            await self.write(close(code))
            await self.ended()
        await self.exchange.close()

    async def _read(self) -> None:
        whole: list[Frame] = []
        try:
            while True:
                frame = await read_frame(self.exchange.reader)
                if frame.opcode == Opcode.PING:
                    await self.exchange.write(Frame(Opcode.PONG, frame.payload).wire)
                elif frame.opcode == Opcode.CLOSE:
                    self._farewell(frame)
                else:
                    self.frames.append(frame)
                if frame.opcode in (Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY):
                    whole.append(frame)
                    if frame.fin:
                        await self._take(whole)
                        whole = []
        except (EOFError, ConnectionError):
            self.exchange.writer.close()
            self._inbox.put_nowait(None)

    def _farewell(self, frame: Frame) -> None:
        """Answer a close frame (RFC 6455, 5.5.1)."""
        self.frames.append(frame)
        self.code = int.from_bytes(frame.payload[:2], "big") if frame.payload else 1005
        if not self.exchange.writer.is_closing():
            self.exchange.writer.write(Frame(Opcode.CLOSE, frame.payload).wire)

    async def _take(self, whole: list[Frame]) -> None:
        data = b"".join(frame.payload for frame in whole)
        if whole[0].opcode == Opcode.TEXT and data == b"2" and self._answers:
            self.pings += 1
            await self.exchange.write(message("3").wire)
        else:
            plain = whole[0].opcode == Opcode.TEXT and not whole[0].rsv
            self._inbox.put_nowait(data.decode() if plain else data)
