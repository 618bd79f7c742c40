"""Packets, frames and bodies that are none."""

import asyncio
import random
from base64 import b64encode
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from tests.core.eio.fuzz.mutation import inputs
from tests.core.eio.fuzz.targets import TARGETS
from tests.server.engine.conformance.exchange import Exchange
from tests.server.engine.conformance.frames import Frame, message
from tests.server.engine.conformance.test_engineio_violations import (
    BODIES,
    COMPRESSED,
    FRAMES,
    PACKETS,
)
from tests.server.engine.conformance.test_socketio_violations import BINARY, FORMAT, JSON
from tests.server.engine.hostile.arena import Arena
from tests.server.engine.hostile.lines import DEFLATE, ended, joined, opened, shake_hands, text
from tests.server.engine.hostile.victim import LIMIT

Row = TypeVar("Row")

AT_ONCE: Final = 50
OTHERWISE: Final = ("continuation of a whole message", "too long inflated")
"""Rows that mean something else to Socket.IO, or where the limit is another."""

DEEP: Final = 5_000
"""Levels at which other servers die."""

OWN: Final[Sequence[tuple[str, Sequence[str | bytes]]]] = [
    # What crashed, deafened or poisoned one of the other servers.
    ("too_deep", ['2["echo",' + "[" * DEEP + "]" * DEEP + "]"]),
    ("too_deep", ['21["echo",' + '{"a":' * DEEP + "1" + "}" * DEEP + "]"]),
    ("too_deep", ['51-["echo",' + "[" * 100 + '{"_placeholder":true,"num":0}' + "]" * 100 + "]"]),
    ("too_many_attachments", ['59999999999-["echo"]']),
    ("too_many_attachments", ['511-["echo"]']),
    ("invalid_placeholder", ['51-["echo",{"_placeholder":true,"num":9}]', b"\x01"]),
    ("invalid_placeholder", ['51-["echo",{"_placeholder":true,"num":"splice"}]', b"\x01"]),
    ("invalid_attachments", ['50-["echo"]']),
    ("unexpected_type", ["4true"]),
    ("invalid_payload", ["1{}"]),
    ("not_finite", ['2["echo",1e999]']),
    ("not_finite", ['2["echo",NaN]']),
    ("not_finite", ['2["echo",' + "9" * 100_000 + "]"]),
    ("invalid_id", ["2" + "9" * 100_000 + '["echo"]']),
    ("reserved_event", ['2["error"]', '2["disconnect"]']),
]

LARGE: Final = ("too_large", ['2["echo","' + "é" * (LIMIT // 2) + '"]'])


async def malformed_messages(arena: Arena) -> None:
    """Each row of the tables ends its connection, over a WebSocket and over polling."""
    others = {"too_large"} if arena.victim.reserved else {"too_large", "reserved_event"}
    rows = [row for row in (*FORMAT, *JSON, *BINARY, *OWN) if row[0] not in others] + [LARGE]
    for batch in _batches(rows):
        await asyncio.gather(*(_over_websocket(arena, *row) for row in batch))
        await asyncio.gather(*(_over_polling(arena, *row) for row in batch))


async def malformed_frames(arena: Arena) -> None:
    """So does each Engine.IO packet and each frame that is none."""
    for batch in _batches(row for row in PACKETS + FRAMES if row[0] not in OTHERWISE):
        await asyncio.gather(*(_frames(arena, row[1], row[2]) for row in batch))
    rows = [row for row in COMPRESSED if row[0] not in OTHERWISE]
    await asyncio.gather(*(_frames(arena, row[1], row[2], DEFLATE) for row in rows))


async def malformed_bodies(arena: Arena) -> None:
    """So does each body of a POST."""
    for batch in _batches([row for row in BODIES if row[1] != "too_large"]):
        await asyncio.gather(*(_body(arena, reason, body) for _, reason, body in batch))


async def garbage(arena: Arena) -> None:
    """Whatever mutations make of messages, streams and bodies, somebody sends it."""
    chance = random.Random(arena.scale)
    sources = {target.name: inputs(target, chance) for target in TARGETS}
    for _ in range(arena.many(8)):
        streams = [next(sources["stream"]) for _ in range(10)]
        frames = [text(b"4" + next(sources["conversation"])) for _ in range(10)]
        bodies = [next(sources["body"]) for _ in range(10)]
        await asyncio.gather(
            *(_say(arena, data) for data in streams + frames),
            *(_post(arena, body) for body in bodies),
        )


async def _say(arena: Arena, data: bytes) -> None:
    line = await joined(arena.host)
    await _send(line, data)
    line.abort()


async def _over_websocket(arena: Arena, reason: str, messages: Sequence[str | bytes]) -> None:
    arena.expected[reason] += 1
    line = await joined(arena.host)
    await _send(
        line, *(text("4" + one) if isinstance(one, str) else message(one).wire for one in messages)
    )
    await ended(line)


async def _over_polling(arena: Arena, reason: str, messages: Sequence[str | bytes]) -> None:
    arena.expected[reason] += 1
    sid = await opened(arena.host)
    target = arena.host.target(sid=sid)
    # Joining takes a moment, which the others must not overtake.
    assert (await arena.host.request("POST", target, arena.host.hello())).status == 200
    response = await arena.host.request("POST", target, "\x1e".join(map(_record, messages)))
    assert response.status in (200, 400)
    assert (await arena.host.request("GET", target)).status == 400


def _record(one: str | bytes) -> str:
    return "4" + one if isinstance(one, str) else "b" + b64encode(one).decode()


async def _frames(
    arena: Arena, reason: str, frames: Sequence[Frame | bytes], *headers: tuple[str, str]
) -> None:
    arena.expected[reason] += 1
    line = await shake_hands(arena.host, headers=headers)
    await _send(line, *(one.wire if isinstance(one, Frame) else one for one in frames))
    await ended(line)


async def _body(arena: Arena, reason: str, body: bytes) -> None:
    # A packet of Engine.IO before the bad one is refused by Socket.IO first.
    arena.expected[reason] += not body.startswith(b"4a")
    sid = await opened(arena.host)
    response = await arena.host.request("POST", arena.host.target(sid=sid), body)
    assert response.status == 400


async def _post(arena: Arena, body: bytes) -> None:
    sid = await opened(arena.host)
    with suppress(ConnectionError, EOFError):
        await arena.host.request("POST", arena.host.target(sid=sid), body)


async def _send(line: Exchange, *pieces: bytes) -> None:
    with suppress(ConnectionError):
        await line.write(b"".join(pieces))


def _batches(rows: Iterable[Row]) -> Iterable[list[Row]]:
    all_ = list(rows)
    return [all_[start : start + AT_ONCE] for start in range(0, len(all_), AT_ONCE)]
