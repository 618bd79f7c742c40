"""The load generator in C: running it, and checking what it could not check."""

import json
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bench.engine.compiling import compiled
from bench.engine.process import Server, generate
from bench.engine.rounds import Figures

LIMIT_S: Final = 120.0
FRAME: Final = struct.Struct("=III")
"""A watched frame: the client's number, whether it is compressed, its length."""


def build() -> Path:
    """Return the program; it is compiled when its source changed.

    Raises RuntimeError when there is no compiler.
    """
    return compiled("load", ["load.c"])


def load(server: Server, mode: str, options: Mapping[str, float | str]) -> Figures:
    """Drive a server in one of the generator's modes; return what it measured.

    Raises RuntimeError when a message was wrong, lost or late.
    """
    keys = {"port": server.port, "pid": server.pid, **options}
    arguments = [f"{key}={value}" for key, value in keys.items()]
    return generate([str(build()), mode, *arguments], LIMIT_S)


def load_compressed(server: Server, mode: str, options: Mapping[str, float | str]) -> Figures:
    """Do the same with clients that negotiate compression, and read what two of them got.

    Raises RuntimeError when that is not every message, in order and whole.
    """
    with tempfile.NamedTemporaryFile() as watched:
        figures = load(server, mode, {**options, "deflate": 1, "watch": watched.name})
        check_watched(Path(watched.name).read_bytes(), int(options["bytes"]))
    return figures


def check_watched(content: bytes, size: int) -> None:
    """Raise RuntimeError unless each watched client got messages 0, 1, 2 … of ``size`` bytes."""
    events: dict[int, int] = {}
    for number, compressed, payload in _frames(content):
        text = _inflated(payload) if compressed else payload
        if not text.startswith(b'42["event",'):
            continue
        body = text[len(b'42["event",') : -1]
        if len(body) != size or json.loads(body)["n"] != events.get(number, 0) or not compressed:
            raise RuntimeError(f"client {number} got a wrong event: {text[:80]!r}")
        events[number] = events.get(number, 0) + 1
    if len(events) != 2 or len(set(events.values())) != 1:
        raise RuntimeError(f"the watched clients got {events} events")


def _frames(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(content):
        number, compressed, length = FRAME.unpack_from(content, at)
        at += FRAME.size + length
        yield number, compressed, content[at - length : at]


def _inflated(payload: bytes) -> bytes:
    """Return a message that was compressed on its own (RFC 7692 §7.2.2)."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(payload + b"\0\0\xff\xff")
