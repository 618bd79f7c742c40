from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from stretto_server.journal.interface import Journal
from stretto_server.journal.postgres import PostgresJournal
from stretto_server.journal.postgres_session import migrate_database
from tests.contracts.journal_clients import Reopen
from tests.contracts.journal_samples import opened
from tests.contracts.journal_suite import JournalSuite
from tests.services.postgres_server import PostgresServer, running_postgres


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres(fsync="off") as server:
        yield server


@pytest.fixture
async def url(server: PostgresServer) -> str:
    """The URL of the database, migrated and empty."""
    await migrate_database(server.url)
    connection = await asyncpg.connect(server.url)
    await connection.execute(
        "TRUNCATE stretto_documents, stretto_entries, stretto_clients, stretto_snapshots"
    )
    await connection.close()
    return server.url


class TestPostgresJournal(JournalSuite):
    @pytest.fixture
    async def journal(self, url: str) -> AsyncIterator[Journal]:
        async with opened(PostgresJournal(url)) as journal:
            yield journal

    @pytest.fixture
    async def reopen(self, journal: Journal, url: str) -> AsyncIterator[Reopen]:
        reopened = PostgresJournal(url)

        async def close_and_start() -> Journal:
            await journal.close()
            await reopened.start()
            return reopened

        yield close_and_start
        await reopened.close()
