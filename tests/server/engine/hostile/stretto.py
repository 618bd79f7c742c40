"""Attacks on the whole server: strangers, members of rooms and documents."""

import asyncio
import itertools
import json
from typing import Any, Final

from stretto_server.auth import issue_token
from tests.server.engine.conformance.exchange import PATIENCE, Exchange
from tests.server.engine.hostile import bodies, floods, hoards, malformed, readers
from tests.server.engine.hostile.arena import Arena, Attack, Victim
from tests.server.engine.hostile.lines import (
    ended,
    heartbeats,
    hung_up,
    pour,
    shake_hands,
    text,
    upgrade,
)
from tests.server.engine.hostile.victim import SECRET, STRANGERS

MEGABYTE: Final = 1024 * 1024
GRANTS: Final = {"docs/*": "editor", "rooms/*": "editor"}

_users = itertools.count()


class StrettoVictim(Victim):
    """A whole server."""

    reserved = False
    question = '27["hello?"]'
    answer = '7[{"ok":false'

    def __init__(self, *flags: str) -> None:
        super().__init__("--stretto", *flags)

    def hello(self) -> str:
        """Return the packet of another user each time."""
        return "40" + json.dumps({"token": _token()})


async def stranger_flood(arena: Arena) -> None:
    """More strangers than an address may have: the rest is refused, and all end soon."""
    lines = [await arena.host.dial() for _ in range(2 * STRANGERS)]
    admitted = []
    for line in lines:
        await line.write(upgrade(arena.host))
        status = (await line.response()).status
        assert status in (101, 401)
        admitted += [line] if status == 101 else []
    assert STRANGERS // 2 < len(admitted) <= STRANGERS
    await asyncio.gather(*(ended(line) for line in admitted))


async def bad_tokens(arena: Arena) -> None:
    """Tokens of every kind that are none."""
    tokens: list[Any] = [None, 1, "", "a.b.c", "x" * 100_000, [], {"a": 1}, _token()[:-1] + "é"]
    for auth in ({"token": token} for token in tokens):
        line = await shake_hands(arena.host)
        await line.write(text("40" + json.dumps(auth)) + text("40/docs," + json.dumps(auth)))
        async with asyncio.timeout(PATIENCE):
            await line.reader.readuntil(b"44")
        line.abort()


async def deaf_members(arena: Arena) -> None:
    """Members of a room that read nothing of what is said there."""
    before = await arena.begin_peak()
    lines = [await _member(arena, receive_buffer=readers.SMALL) for _ in range(arena.many(5))]
    hearts = [asyncio.create_task(heartbeats(line)) for line in lines]
    speakers = [await _member(arena) for _ in range(2)]
    message = {"room": "hostile", "event": "e", "data": "x" * 60_000}
    said = text("42/rooms," + json.dumps(["send", message]))
    await asyncio.gather(*(pour(speaker, said * 180) for speaker in speakers))
    await asyncio.gather(*(hung_up(line) for line in lines), *hearts)
    for speaker in speakers:
        speaker.abort()
    assert await arena.grown(before) < 40 * MEGABYTE + len(lines) * readers.HELD


async def request_flood(arena: Arena) -> None:
    """Requests of every name, with and without sense, faster than the rates allow."""
    before = await arena.begin_peak()
    line = await _member(arena)
    requests = [
        text(f'42/rooms,{number}["{name}",{payload}]')
        for number, (name, payload) in enumerate(
            itertools.product(
                ["join", "leave", "send", "find", "set_state", "nothing", "connect", ""],
                ["null", "{}", '{"room":"a"}', '{"room":' + "[" * 50 + "]" * 50 + "}", '"x"'],
            )
        )
    ]
    await pour(line, b"".join(requests) * arena.many(100))
    line.abort()
    assert await arena.grown(before) < 40 * MEGABYTE


async def _member(arena: Arena, *, receive_buffer: int | None = None) -> Exchange:
    auth = json.dumps({"token": _token()})
    line = await shake_hands(arena.host, receive_buffer=receive_buffer)
    await line.write(text("40" + auth) + text("40/rooms," + auth))
    async with asyncio.timeout(PATIENCE):
        await line.reader.readuntil(b"40/rooms,{")
        await line.write(text('42/rooms,0["join",{"room":"hostile"}]'))
        await line.reader.readuntil(b'43/rooms,0[{"ok":true')
    return line


def _token() -> str:
    return issue_token(SECRET, f"user {next(_users)}", grants=GRANTS, ttl_s=300)


ATTACKS: Final[list[Attack]] = [
    stranger_flood,
    bad_tokens,
    deaf_members,
    request_flood,
    malformed.malformed_messages,
    malformed.garbage,
    readers.ping_flood,
    hoards.hoards_of_strangers,
    hoards.hoards_of_members,
    hoards.deflate_bombs,
    floods.namespace_flood,
    bodies.oversize_bodies,
]
