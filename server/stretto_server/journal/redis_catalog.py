"""Which documents there are in Redis: listing them, and forgetting old clients in all."""

import asyncio
import heapq
from collections.abc import AsyncIterator
from typing import Final

from stretto_server.journal.interface import DocumentInfo
from stretto_server.journal.redis_records import (
    HEAD_FIELDS,
    INDEXES,
    keys_of,
    last_used,
    read_head,
)
from stretto_server.journal.redis_session import RedisSession

PIECE: Final = 500
"""So many documents or clients are looked at in one step."""
_INFO: Final = (*HEAD_FIELDS, "created_ms", "updated_ms")


async def documents(
    session: RedisSession, prefix: str, after: str, limit: int
) -> list[DocumentInfo]:
    """Return documents by id, those after ``after`` whose id starts with ``prefix``."""
    found: list[DocumentInfo] = []
    while len(found) < limit:
        ids = await _ids(session, prefix, after, limit - len(found))
        if not ids:
            break
        infos = await asyncio.gather(*(_info(session, doc) for doc in ids))
        found += [info for info in infos if info is not None]
        after = ids[-1]
    return found


async def expire_clients(session: RedisSession, before_ms: int) -> int:
    """Forget client records last used before ``before_ms``; return how many."""
    forgotten = 0
    async for docs in _pages(session):
        forgotten += sum(await asyncio.gather(*(_expire(session, doc, before_ms) for doc in docs)))
    return forgotten


async def _pages(session: RedisSession) -> AsyncIterator[list[str]]:
    after = ""
    while ids := await _ids(session, "", after, PIECE):
        yield ids
        after = ids[-1]


async def _ids(session: RedisSession, prefix: str, after: str, limit: int) -> list[str]:
    """Return the first ids of all indexes together."""
    start = f"({after}" if after >= prefix else f"[{prefix}"
    if not after and not prefix:
        start = "-"
    # No UTF-8 has the byte 255: it is behind everything that starts with the prefix.
    end = b"(" + prefix.encode() + b"\xff"
    pieces = await asyncio.gather(
        *(session.read(key, "ZRANGEBYLEX", start, end, "LIMIT", 0, limit) for key in INDEXES)
    )
    merged = heapq.merge(*pieces)
    return [doc.decode() for doc, _ in zip(merged, range(limit), strict=False)]


async def _info(session: RedisSession, doc: str) -> DocumentInfo | None:
    """Return a row of the listing; None when the document was deleted meanwhile."""
    fields = await session.read(keys_of(doc)[0], "HMGET", *_INFO)
    if fields[0] is None:
        return None
    with session.intact(doc):
        return DocumentInfo(doc, read_head(fields), int(fields[4]), int(fields[5]))


async def _expire(session: RedisSession, doc: str, before_ms: int) -> int:
    key = keys_of(doc)[2]
    forgotten, cursor = 0, b"0"
    while True:
        cursor, pairs = await session.read(key, "HSCAN", cursor, "COUNT", PIECE)
        with session.intact(doc):
            old = [
                client
                for client, record in zip(pairs[::2], pairs[1::2], strict=True)
                if last_used(record) < before_ms
            ]
        if old:  # the script looks again: some may have been used in between
            _, count = await session.run("expire", doc, before_ms, *old)
            forgotten += count
        if cursor == b"0":
            return forgotten
