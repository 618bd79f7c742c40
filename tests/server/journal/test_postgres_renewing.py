"""Histories that PostgreSQL lost a piece of go on under another epoch, whatever happens."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from stretto_core.errors import EpochChanged, Unavailable
from stretto_server.journal.interface import (
    Appended,
    Conflict,
    Head,
    Journal,
    OutcomeUnknown,
    Snapshot,
)
from stretto_server.journal.postgres import PostgresJournal
from stretto_server.journal.postgres_session import migrate_database
from tests.contracts.journal_samples import (
    DOC,
    EPOCH,
    A,
    B,
    append,
    chain,
    entry,
    opened,
    typed,
    whole_log,
    written,
)
from tests.services.postgres_server import PostgresServer, running_postgres

PATIENT_S = 10.0
TIMEOUT_S = 0.6
RECOVERY_S = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres(fsync="off") as server:
        yield server


@pytest.fixture
async def database(server: PostgresServer) -> "AsyncIterator[asyncpg.Connection]":
    """A connection of somebody else's to the database, which is migrated and empty."""
    await migrate_database(server.url)
    connection = await asyncpg.connect(server.url)
    await connection.execute(
        "TRUNCATE stretto_documents, stretto_entries, stretto_clients, stretto_snapshots"
    )
    yield connection
    await connection.close()


@pytest.fixture
async def journal(
    server: PostgresServer, database: "asyncpg.Connection"
) -> AsyncIterator[PostgresJournal]:
    async with opened(PostgresJournal(server.url, timeout_s=PATIENT_S)) as journal:
        assert isinstance(journal, PostgresJournal)
        yield journal


@pytest.fixture
async def other(
    server: PostgresServer, database: "asyncpg.Connection"
) -> AsyncIterator[PostgresJournal]:
    async with opened(PostgresJournal(server.url, timeout_s=PATIENT_S)) as journal:
        assert isinstance(journal, PostgresJournal)
        yield journal


async def test_two_nodes_renew_at_once_and_one_is_first(
    journal: PostgresJournal, other: PostgresJournal
) -> None:
    hashes = await written(journal, typed(2))
    epoch = EPOCH
    for number in range(20):
        rivals = [f"here-{number}", f"there-{number}"]
        heads = await asyncio.gather(
            journal.renew(DOC, epoch, rivals[0]), other.renew(DOC, epoch, rivals[1])
        )
        assert heads[0] == heads[1] == Head(heads[0].epoch, 2, hashes[1], 0)
        epoch = heads[0].epoch
        assert epoch in rivals


async def test_all_who_waited_for_the_document_return_what_the_first_one_gave(
    database: "asyncpg.Connection", journal: PostgresJournal, other: PostgresJournal
) -> None:
    hashes = await written(journal, typed(2))
    async with database.transaction():
        await database.execute("SELECT * FROM stretto_documents WHERE doc = $1 FOR UPDATE", DOC)
        renewing = [
            asyncio.ensure_future(node.renew(DOC, EPOCH, name))
            for node, name in ((journal, "here"), (other, "there"), (journal, "here too"))
        ]
        appending = asyncio.ensure_future(append(other, entry(A, 3), base=2))
        keeping = asyncio.ensure_future(
            journal.snapshot(DOC, EPOCH, Snapshot(2, hashes[1], "stale"))
        )
        await _waiting(database, 5)
        # Whoever holds the lock renewed it: all that wait must look again.
        await database.execute("UPDATE stretto_documents SET epoch = 'first' WHERE doc = $1", DOC)
    heads = await asyncio.gather(*renewing)
    assert set(heads) == {Head("first", 2, hashes[1], 0)}
    with pytest.raises(EpochChanged) as changed:
        await appending
    assert changed.value.details == {"epoch": "first"}
    await keeping
    loaded = await other.load(DOC)
    assert loaded is not None
    assert (loaded.head, loaded.snapshot.version) == (heads[0], 0)


async def test_a_node_that_did_not_notice_writes_nothing(
    database: "asyncpg.Connection", journal: PostgresJournal, other: PostgresJournal
) -> None:
    hashes = await written(journal, typed(4))
    await _lose_tail(database, 2, hashes)
    # `other` came first and went on from what is left; `journal` has the lost versions.
    late = [entry(B, seq, (f"b{seq}",)) for seq in (1, 2)]
    ours = chain(late, hashes[1])
    assert await other.append(DOC, EPOCH, 2, late, ours, base_hash=hashes[1]) == Appended()
    more = entry(A, 5)
    theirs = chain([more], hashes[3])
    result = await journal.append(DOC, EPOCH, 4, [more], theirs, base_hash=hashes[3])
    assert result == Conflict(Head(EPOCH, 4, ours[1], 0), ())
    await journal.snapshot(DOC, EPOCH, Snapshot(4, hashes[3], "lost"))
    await journal.snapshot(DOC, EPOCH, Snapshot(3, hashes[2], "lost"))
    assert await journal.renew(DOC, EPOCH, "epoch-two") == Head("epoch-two", 4, ours[1], 0)
    for node in (journal, other):
        with pytest.raises(EpochChanged):
            await append(node, entry(B, 3), base=4)
        await node.snapshot(DOC, EPOCH, Snapshot(4, ours[1], "stale"))
    loaded = await other.load(DOC)
    assert loaded is not None
    assert loaded.snapshot.version == 0
    assert loaded.entries == (*typed(2), *late)


async def test_a_renewal_that_nobody_answered_is_repeated_safely(
    server: PostgresServer, journal: PostgresJournal
) -> None:
    hashes = await written(journal, typed(2))
    async with opened(PostgresJournal(server.url, timeout_s=TIMEOUT_S)) as hurried:
        server.hang()
        started = time.monotonic()
        try:
            with pytest.raises(OutcomeUnknown):
                await hurried.renew(DOC, EPOCH, "epoch-two")
            with pytest.raises(Unavailable):
                await hurried.heads([DOC])
            assert time.monotonic() - started < 3 * (2 * TIMEOUT_S)
        finally:
            server.wake()
        head = await _renewed(hurried, "epoch-three")
    assert head.epoch in ("epoch-two", "epoch-three")
    assert head == Head(head.epoch, 2, hashes[1], 0)
    assert await journal.heads([DOC]) == [head]


async def test_reading_alone_renews_nothing(
    server: PostgresServer, journal: PostgresJournal
) -> None:
    await written(journal, typed(1))
    async with opened(PostgresJournal(server.url, read_only=True)) as reader:
        with pytest.raises(Unavailable, match="for reading alone"):
            await reader.renew(DOC, EPOCH, "epoch-two")
        assert await reader.heads([DOC]) == await journal.heads([DOC])
    assert (await whole_log(journal)).head.version == 1


async def _renewed(journal: Journal, epoch: str) -> Head:
    """Renew as soon as that is possible, as often as its outcome is unknown."""
    async with asyncio.timeout(RECOVERY_S):
        while True:
            try:
                return await journal.renew(DOC, EPOCH, epoch)
            except (Unavailable, OutcomeUnknown):
                await asyncio.sleep(0.02)


async def _waiting(database: "asyncpg.Connection", count: int) -> None:
    """Wait until so many sessions wait for a lock."""
    async with asyncio.timeout(RECOVERY_S):
        while (
            await database.fetchval("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
            < count
        ):
            await asyncio.sleep(0.005)


async def _lose_tail(database: "asyncpg.Connection", version: int, hashes: list[str]) -> None:
    """Make the document what it was at ``version``, as a failover to an old standby does."""
    await database.execute("DELETE FROM stretto_entries WHERE version > $1", version)
    await database.execute(
        "UPDATE stretto_documents SET version = $1, hash = $2",
        version,
        bytes.fromhex(hashes[version - 1]),
    )
    await database.execute("UPDATE stretto_clients SET last_seq = $1, last_version = $1", version)
