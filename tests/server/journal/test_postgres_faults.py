"""The PostgreSQL journal when the server is killed, hangs, is locked, full, or another one."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from stretto_core.entries import ClientRecord
from stretto_core.errors import EpochChanged, Unavailable
from stretto_server.journal.interface import (
    Appended,
    Conflict,
    OutcomeUnknown,
    Snapshot,
    StaleClient,
)
from stretto_server.journal.postgres import PostgresJournal
from stretto_server.journal.postgres_session import migrate_database
from tests.contracts.journal_samples import (
    ALL,
    DOC,
    EPOCH,
    A,
    append,
    chain,
    entry,
    opened,
    typed,
    whole_log,
    written,
)
from tests.services.postgres_server import PostgresServer, running_postgres
from tests.services.writer import Writer, check_log

TIMEOUT_S = 0.6
RECOVERY_S = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
async def url(server: PostgresServer) -> str:
    await migrate_database(server.url)
    await say(server, "TRUNCATE stretto_documents, stretto_entries, stretto_clients CASCADE")
    return server.url


@pytest.fixture
async def journal(url: str) -> AsyncIterator[PostgresJournal]:
    async with opened(PostgresJournal(url, timeout_s=TIMEOUT_S)) as journal:
        assert isinstance(journal, PostgresJournal)
        yield journal


async def say(server: PostgresServer, statement: str) -> None:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(server.url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def until_reachable(journal: PostgresJournal) -> None:
    async with asyncio.timeout(RECOVERY_S):
        while True:
            try:
                await journal.load(DOC)
            except Unavailable:
                await asyncio.sleep(0.02)
            else:
                return


async def test_a_killed_server_loses_nothing_that_was_acknowledged(
    server: PostgresServer, journal: PostgresJournal
) -> None:
    async with opened(PostgresJournal(server.url, timeout_s=TIMEOUT_S)) as other:
        await journal.create(DOC, EPOCH, 1)
        writers = [Writer(journal, DOC, f"client-{n:016}") for n in range(2)]
        writers += [Writer(other, DOC, f"other-{n:016}") for n in range(2)]
        writing = asyncio.gather(*(writer.write(60) for writer in writers))
        dice = random.Random(7)
        for _ in range(2):
            await asyncio.sleep(dice.uniform(0.05, 0.2))
            server.kill()
            await asyncio.to_thread(server.start)
        async with asyncio.timeout(90):
            await writing
        await check_log(journal, DOC, writers)


async def test_a_hung_server_is_told_in_time_and_appends_once_when_it_wakes(
    server: PostgresServer, journal: PostgresJournal
) -> None:
    await written(journal, typed(1))
    loaded = await journal.load(DOC)
    assert loaded is not None
    late = entry(A, 2)
    hashes = chain([late], loaded.head.hash)
    server.hang()
    try:
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            await journal.append(DOC, EPOCH, 1, [late], hashes)
        assert time.monotonic() - started < 3 * TIMEOUT_S
        for _ in range(3):
            with pytest.raises(Unavailable):
                await journal.append(DOC, EPOCH, 1, [late], hashes)
        with pytest.raises(Unavailable):
            await journal.load(DOC)
    finally:
        server.wake()
    await until_reachable(journal)
    result = await journal.append(DOC, EPOCH, 1, [late], hashes)
    head = (await whole_log(journal)).head
    assert result in (Appended(), Conflict(head, (late,)))
    assert await append(journal, late, base=2) == StaleClient(A, ClientRecord(2, 2, late.user))
    assert (await whole_log(journal)).entries == (*typed(1), late)


async def test_connections_that_were_ended_come_back(
    server: PostgresServer, journal: PostgresJournal
) -> None:
    await journal.create(DOC, EPOCH, 1)
    writer = Writer(journal, DOC, "client-0000000000000000")
    writing = asyncio.create_task(writer.write(50))
    for _ in range(5):
        await asyncio.sleep(0.03)
        await say(
            server,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND application_name = 'stretto'",
        )
    async with asyncio.timeout(RECOVERY_S):
        await writing
    await check_log(journal, DOC, [writer])


async def test_a_locked_row_holds_up_its_document_alone(
    server: PostgresServer, journal: PostgresJournal
) -> None:
    await written(journal, typed(1))
    await journal.create("other", EPOCH, 1)
    connection = await asyncpg.connect(server.url)
    async with connection.transaction():
        await connection.execute("SELECT * FROM stretto_documents WHERE doc = $1 FOR UPDATE", DOC)
        # The server gives up first, so that it is known that nothing was written.
        with pytest.raises(Unavailable):
            await append(journal, entry(A, 2), base=1)
        assert await append(journal, entry(A, 1), doc="other") == Appended()
    await connection.close()
    assert await append(journal, entry(A, 2), base=1) == Appended()


async def test_two_nodes_race_and_every_entry_takes_one_version(
    server: PostgresServer, journal: PostgresJournal
) -> None:
    async with opened(PostgresJournal(server.url)) as other:
        await journal.create(DOC, EPOCH, 1)
        writers = [
            Writer(node, DOC, f"{name}-{number:012}")
            for name, node in (("here", journal), ("there", other))
            for number in range(3)
        ]
        await asyncio.gather(*(writer.write(25) for writer in writers))
        await check_log(journal, DOC, writers)


async def test_whoever_waits_for_a_replaced_history_finds_the_new_epoch(
    journal: PostgresJournal,
) -> None:
    hashes = await written(journal, typed(2))
    for number in range(10):
        epoch = f"epoch-{number}"
        results = await asyncio.gather(
            journal.replace(DOC, epoch, typed(2), hashes, 1),
            append(journal, entry(A, 3), base=2),
            journal.snapshot(DOC, EPOCH, Snapshot(2, hashes[1], "old")),
            return_exceptions=True,
        )
        assert isinstance(results[1], EpochChanged | Appended)
        loaded = await journal.load(DOC)
        assert loaded is not None
        assert (loaded.head.epoch, loaded.snapshot.version) == (epoch, 0)
        await journal.replace(DOC, EPOCH, typed(2), hashes, 1)


async def test_more_calls_than_connections_wait_for_each_other(journal: PostgresJournal) -> None:
    docs = [f"doc-{number}" for number in range(40)]
    await asyncio.gather(*(journal.create(doc, EPOCH, 1) for doc in docs))
    writers = [Writer(journal, doc, "client-0000000000000000") for doc in docs]
    await asyncio.gather(*(writer.write(3) for writer in writers))
    for writer in writers:
        await check_log(journal, writer.doc, [writer])


async def test_what_was_cancelled_disturbs_no_other_call(journal: PostgresJournal) -> None:
    await written(journal, typed(3))
    for _ in range(20):
        reading = asyncio.create_task(journal.read(DOC, EPOCH, 1, ALL))
        await asyncio.sleep(0.001)
        reading.cancel()
        assert (await whole_log(journal)).entries == tuple(typed(3))


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM stretto_entries WHERE version = 2",
        "DELETE FROM stretto_entries WHERE version = 4",
        "UPDATE stretto_documents SET version = 9",
        "UPDATE stretto_entries SET op = '{' WHERE version = 3",
        "UPDATE stretto_entries SET author = '\\xff' WHERE version = 3",
    ],
)
async def test_damage_is_told_when_a_document_is_loaded(
    server: PostgresServer, journal: PostgresJournal, damage: str
) -> None:
    await written(journal, typed(4))
    await say(server, damage)
    with pytest.raises(Unavailable, match=f"document {DOC} is damaged.*restore a backup"):
        await journal.load(DOC)


async def test_damage_is_told_when_a_log_is_read_or_compacted(
    server: PostgresServer, journal: PostgresJournal
) -> None:
    hashes = await written(journal, typed(6))
    await say(server, "DELETE FROM stretto_entries WHERE version = 3")
    for first, limit in ((1, ALL), (2, 2), (3, 1), (4, 0)):
        with pytest.raises(Unavailable, match="damaged"):
            await journal.read(DOC, EPOCH, first, limit)
    # A snapshot is compared with the log, so one of a version that is missing is not kept.
    await journal.snapshot(DOC, EPOCH, Snapshot(3, hashes[2], ""))
    assert (await journal.compact(DOC, EPOCH, 3)).floor == 0
    await journal.snapshot(DOC, EPOCH, Snapshot(5, hashes[4], ""))
    with pytest.raises(Unavailable, match="damaged"):
        await journal.compact(DOC, EPOCH, 3)
    await say(server, "DELETE FROM stretto_entries WHERE version > 1")
    with pytest.raises(Unavailable, match="damaged"):
        await journal.read(DOC, EPOCH, 2, 5)


async def test_reading_alone_writes_nothing(url: str) -> None:
    async with opened(PostgresJournal(url, read_only=True)) as journal:
        assert await journal.documents() == []
        with pytest.raises(Unavailable, match="for reading alone"):
            await journal.create(DOC, EPOCH, 1)
        with pytest.raises(Unavailable, match="for reading alone"):
            await journal.expire_clients(1)


async def test_a_database_without_our_schema_asks_for_migration(server: PostgresServer) -> None:
    await say(server, "CREATE DATABASE empty")
    url = server.url_of("empty")
    journal = PostgresJournal(url)
    with pytest.raises(Unavailable, match="run `stretto migrate`"):
        await journal.start()
    assert await migrate_database(url) == [1]
    assert await migrate_database(url) == []
    async with opened(PostgresJournal(url)) as migrated:
        await written(migrated, typed(1))


async def test_nodes_migrate_one_after_the_other(server: PostgresServer) -> None:
    await say(server, "CREATE DATABASE crowd")
    url = server.url_of("crowd")
    done = await asyncio.gather(*(migrate_database(url) for _ in range(5)))
    assert sorted(done) == [[], [], [], [], [1]]


async def test_a_schema_from_the_future_is_left_alone(server: PostgresServer) -> None:
    await say(server, "CREATE DATABASE future")
    url = server.url_of("future")
    await migrate_database(url)
    connection = await asyncpg.connect(url)
    await connection.execute("INSERT INTO stretto_migrations (version, serves) VALUES (2, 1)")
    async with opened(PostgresJournal(url)) as journal:  # it says that it still serves us
        assert await journal.documents() == []
    await connection.execute("UPDATE stretto_migrations SET serves = 2 WHERE version = 2")
    await connection.close()
    with pytest.raises(Unavailable, match="install the newer version"):
        await PostgresJournal(url).start()


async def test_nobody_there_is_told_at_the_start(server: PostgresServer) -> None:
    for url in (
        "postgresql://user:hunter2@127.0.0.1:1/notes",
        f"postgresql://user:hunter2@127.0.0.1:{server.port}/nowhere",
    ):
        with pytest.raises(Unavailable, match="cannot reach the journal postgresql://127") as told:
            await PostgresJournal(url, timeout_s=TIMEOUT_S).start()
        assert "hunter2" not in str(told.value)
        with pytest.raises(Unavailable, match="cannot migrate"):
            await migrate_database(url)


async def test_what_it_would_lose_is_said_at_the_start(
    url: str, server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    await say(server, "ALTER ROLE postgres SET synchronous_commit = off")
    try:
        async with opened(PostgresJournal(url)):
            pass
    finally:
        await say(server, "ALTER ROLE postgres RESET synchronous_commit")
    said = [row.message for row in caplog.records if row.levelno == logging.WARNING]
    assert any("synchronous_commit is off" in text for text in said)


async def test_a_replica_is_refused(
    server: PostgresServer, url: str, journal: PostgresJournal
) -> None:
    await written(journal, typed(1))
    await say(server, "ALTER ROLE postgres SET default_transaction_read_only = on")
    try:
        async with opened(PostgresJournal(url)) as stranger:
            with pytest.raises(Unavailable, match="it is a replica"):
                await append(stranger, entry(A, 2), base=1)
    finally:
        await say(
            server,
            "BEGIN READ WRITE; ALTER ROLE postgres RESET default_transaction_read_only; COMMIT",
        )
    assert await append(journal, entry(A, 2), base=1) == Appended()
