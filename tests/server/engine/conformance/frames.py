"""WebSocket frames (RFC 6455, 5.2) written by hand, the impossible ones too."""

import asyncio
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MASK: Final = b"\x1f\x2e\x3d\x4c"


class Opcode(IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame; as a client's it is masked unless ``masked`` says otherwise."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    masked: bool = True

    @property
    def wire(self) -> bytes:
        """What goes over the wire, with the shortest form of the length."""
        size = len(self.payload)
        if size < 126:
            length = bytes([size])
        elif size < 2**16:
            length = bytes([126]) + size.to_bytes(2, "big")
        else:
            length = bytes([127]) + size.to_bytes(8, "big")
        return self.head(length) + (_masked(self.payload) if self.masked else self.payload)

    def head(self, length: bytes) -> bytes:
        """Return the head with a length of the test's own making; the mask is its end."""
        first = self.fin << 7 | self.rsv << 4 | self.opcode
        mask = MASK if self.masked else b""
        return bytes([first, length[0] | self.masked << 7]) + length[1:] + mask


def message(data: str | bytes) -> Frame:
    """Return the one frame of a message."""
    if isinstance(data, bytes):
        return Frame(Opcode.BINARY, data)
    return Frame(Opcode.TEXT, data.encode())


def close(code: int, reason: str = "") -> Frame:
    return Frame(Opcode.CLOSE, code.to_bytes(2, "big") + reason.encode())


async def read_frame(reader: asyncio.StreamReader) -> Frame:
    """Read a server's frame, which must not be masked (RFC 6455, 5.1)."""
    first, second = await reader.readexactly(2)
    assert second < 128, "a server must not mask its frames"
    size = second
    if second == 126:
        size = int.from_bytes(await reader.readexactly(2), "big")
    elif second == 127:
        size = int.from_bytes(await reader.readexactly(8), "big")
    payload = await reader.readexactly(size)
    return Frame(first & 15, payload, bool(first >> 7), first >> 4 & 7, masked=False)


def _masked(payload: bytes) -> bytes:
    mask = (MASK * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return mixed.to_bytes(len(payload), "big")
