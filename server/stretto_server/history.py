"""Histories as a whole: making one from a text, and forgetting the oldest part of one."""

import asyncio
import logging
import secrets
from typing import Final

from stretto_core.entries import Entry, next_hash
from stretto_core.errors import StrettoError
from stretto_core.ot import check, normalize
from stretto_core.protocol import NO_HASH
from stretto_server.document_log import now_ms
from stretto_server.journal.interface import Journal, OutcomeUnknown

logger = logging.getLogger(__name__)

KEPT_VERSIONS: Final = 1_000
"""So many versions before the head are never forgotten."""
CLIENT_LIFE_MS: Final = 30 * 24 * 3_600_000
"""So long after its last use a client's record is kept."""
EXPIRE_EVERY_S: Final = 24 * 3600.0


def new_history(
    text: str, user: str, at_ms: int, most_inserted: int
) -> tuple[list[Entry], list[str]]:
    """Return the entries, and the hashes after each, that write ``text`` from nothing.

    No entry inserts more than ``most_inserted`` code points. Raises InvalidOperation for
    text with a lone surrogate.
    """
    client = f"import-{secrets.token_urlsafe(12)}"
    entries: list[Entry] = []
    hashes: list[str] = []
    reached = NO_HASH
    # An empty text is written too, by an operation that does nothing: a document at
    # version 0 counts as one that nobody wrote to, and is dropped when idle.
    for start in range(0, max(1, len(text)), most_inserted):
        piece = text[start : start + most_inserted]
        check((piece,))
        op = normalize((start, piece))
        entries.append(Entry(client, len(entries) + 1, op, user, at_ms))
        reached = next_hash(reached, entries[-1])
        hashes.append(reached)
    return entries, hashes


async def compact(journal: Journal, doc: str, epoch: str, kept_ms: int) -> int:
    """Forget what is below the snapshot, the last versions and ``kept_ms``; return the floor.

    Entries are in the order of their commit, so the youngest one old enough is found by
    bisection. Raises what the journal raises.
    """
    loaded = await journal.load(doc)
    if loaded is None:
        return 0
    head = loaded.head
    low, high = head.floor, min(loaded.snapshot.version, head.version - KEPT_VERSIONS)
    cutoff = now_ms() - kept_ms
    while low < high:
        middle = (low + high + 1) // 2
        page = await journal.read(doc, epoch, middle, 1)
        if page.entries and page.entries[0].at_ms <= cutoff:
            low = middle
        else:
            high = middle - 1
    if low > head.floor:
        head = await journal.compact(doc, epoch, low)
    return head.floor


async def expire_clients(journal: Journal) -> None:
    """Forget clients that were not used for long, now and every day, until cancelled."""
    while True:
        try:
            await journal.expire_clients(now_ms() - CLIENT_LIFE_MS)
        except (StrettoError, OutcomeUnknown) as error:
            logger.warning("client records were not expired: %r", error)
        await asyncio.sleep(EXPIRE_EVERY_S)
