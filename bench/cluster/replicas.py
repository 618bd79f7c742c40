"""Replicas of one document with the SDK, in a process of their own, which type as well.

Started with one JSON argument (:class:`Company`); says ``joined`` when all have the document
open. They type from the first edit of somebody else's on until a line comes in, then wait for
each other and print what each of them has, as JSON.
"""

import asyncio
import json
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import uvloop

from stretto_client import LiveDocument, RealtimeClient

FIRST_LETTER: Final = 0x6000
"""What the first replica types; nobody else types any of theirs."""
JOINED: Final = "joined"
SETTLE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Company:
    """Who they are; each types once in ``every_s``."""

    urls: Sequence[str]
    tokens: Sequence[str]
    doc: str
    every_s: float

    def to_argument(self) -> str:
        """Return it as the argument of the process."""
        return json.dumps(asdict(self))


def without_letters(text: str, count: int) -> str:
    """Return a text without what ``count`` replicas typed."""
    return text.translate({FIRST_LETTER + number: None for number in range(count)})


def differences(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return in what replicas differ, empty when they are one."""
    kept = list(found)
    return [key for key in ("version", "hash", "text") if len({one[key] for one in kept}) != 1]


async def run(company: Company) -> list[dict[str, Any]]:
    """Join, type until a line comes in, settle; return what each replica has."""
    urls = company.urls
    clients = [
        RealtimeClient(urls[number % len(urls)], token)
        for number, token in enumerate(company.tokens)
    ]
    for client in clients:
        await client.connect()
    documents = [await client.open(company.doc) for client in clients]
    print(JOINED, flush=True)
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.readline)
    pauses = [number / len(documents) * company.every_s for number in range(len(documents))]
    typists = [
        asyncio.create_task(_type(document, number, pauses[number], company.every_s))
        for number, document in enumerate(documents)
    ]
    await ended
    for typist in typists:
        typist.cancel()
    await asyncio.gather(*typists, return_exceptions=True)
    await _settled(documents)
    found = [
        {"version": one.version, "hash": one.replica.hash, "text": one.text} for one in documents
    ]
    for client in clients:
        await client.close()
    return found


async def _type(document: LiveDocument, number: int, pause_s: float, every_s: float) -> None:
    await _reached(document, 2)  # the first entry is the initial text
    await asyncio.sleep(pause_s)
    places = random.Random(number)
    while True:
        await document.insert(places.randrange(len(document.text)), chr(FIRST_LETTER + number))
        await asyncio.sleep(every_s)


async def _settled(documents: Sequence[LiveDocument]) -> None:
    """Wait until all edits are in the journal, and every replica has them."""
    async with asyncio.timeout(SETTLE_S):
        await asyncio.gather(*(one.saved() for one in documents))
        last = max(one.version for one in documents)
        await asyncio.gather(*(_reached(one, last) for one in documents))


async def _reached(document: LiveDocument, version: int) -> None:
    """Wait until a replica has a version."""
    there = asyncio.Event()

    def look(_change: object) -> None:
        if document.version >= version:
            there.set()

    document.on("change", look)
    document.on("confirmed", look)
    look(None)
    await there.wait()


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(Company(**json.loads(sys.argv[1]))))))
