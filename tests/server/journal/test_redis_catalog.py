"""Listing and expiring over many documents; the rest is in the contract suite."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stretto_server.journal import redis_catalog
from stretto_server.journal.redis import RedisJournal
from stretto_server.journal.redis_records import keys_of
from tests.contracts.journal_samples import EPOCH, append, entry, opened
from tests.services.processes import running
from tests.services.redis_server import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, appendfsync="no")
    with running(server):
        yield server


@pytest.fixture
async def journal(server: RedisServer) -> AsyncIterator[RedisJournal]:
    async with opened(RedisJournal(server.url)) as journal:
        assert isinstance(journal, RedisJournal)
        yield journal


async def test_pages_of_a_listing_follow_each_other(journal: RedisJournal) -> None:
    docs = sorted(f"doc-{number}" for number in range(50))
    for doc in docs:
        await journal.create(doc, EPOCH, 1)
    found: list[str] = []
    while page := await journal.documents("doc-", found[-1] if found else "", 7):
        found += [info.doc for info in page]
    assert found == docs


async def test_what_is_listed_but_gone_is_passed_over(
    server: RedisServer, journal: RedisJournal
) -> None:
    for doc in ("a", "b", "c"):
        await journal.create(doc, EPOCH, 1)
    server.say("DEL", keys_of("a")[0])
    assert [info.doc for info in await journal.documents(limit=2)] == ["b", "c"]


async def test_clients_expire_in_pieces(
    journal: RedisJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_catalog, "PIECE", 10)
    for doc in map(str, range(12)):
        await journal.create(doc, EPOCH, 1)
    batch = [entry(f"client-{number:016}", at_ms=number) for number in range(1000)]
    await append(journal, *batch, doc="7")
    assert await journal.expire_clients(600) == 600
    assert await journal.client("7", "client-0000000000000599") is None
    assert await journal.client("7", "client-0000000000000600") is not None
    assert await journal.expire_clients(600) == 0
