"""Entries, histories and shorthands for the contract suite of the journals."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from stretto_core.entries import Entry, next_hash
from stretto_core.ot import Operation, apply
from stretto_core.protocol import NO_HASH
from stretto_server.journal.interface import AppendResult, Journal, Page

DOC = "notes/today"
EPOCH = "epoch-one"
ALICE = "alice"
BOB = "bob"
A = "client-of-alice-000"
B = "client-of-bob-00000"
ALL = 1_000_000


def entry(
    client: str = A, seq: int = 1, op: Operation = ("x",), user: str = ALICE, at_ms: int = 1_000
) -> Entry:
    return Entry(client, seq, op, user, at_ms)


def chain(entries: Iterable[Entry], start: str = NO_HASH) -> list[str]:
    """Return the history hash after each of ``entries``."""
    hashes = []
    for item in entries:
        start = next_hash(start, item)
        hashes.append(start)
    return hashes


def typed(count: int, client: str = A, first_seq: int = 1) -> list[Entry]:
    """Return ``count`` entries of one client, each with a text of its own."""
    return [
        entry(client, seq, (f"{seq},",), at_ms=1_000 + seq)
        for seq in range(first_seq, first_seq + count)
    ]


def replay(entries: Iterable[Entry]) -> str:
    text = ""
    for item in entries:
        text = apply(text, item.op)
    return text


async def append(
    journal: Journal, *entries: Entry, base: int = 0, doc: str = DOC, epoch: str = EPOCH
) -> AppendResult:
    """Append ``entries`` with the hashes that follow the head's."""
    loaded = await journal.load(doc)
    start = NO_HASH if loaded is None else loaded.head.hash
    return await journal.append(doc, epoch, base, entries, chain(entries, start))


async def whole_log(journal: Journal, doc: str = DOC, epoch: str = EPOCH) -> Page:
    """Return all entries that are kept from version 1 on."""
    return await journal.read(doc, epoch, 1, ALL)


async def written(journal: Journal, entries: Sequence[Entry], doc: str = DOC) -> list[str]:
    """Create ``doc`` with ``entries`` and return their hashes."""
    await journal.create(doc, EPOCH, 500)
    hashes = chain(entries)
    await journal.append(doc, EPOCH, 0, entries, hashes)
    return hashes


@asynccontextmanager
async def opened(journal: Journal) -> AsyncIterator[Journal]:
    """Start ``journal``, and close it whatever happens."""
    await journal.start()
    try:
        yield journal
    finally:
        await journal.close()
