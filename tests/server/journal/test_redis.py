from collections.abc import AsyncIterator, Iterator

import pytest

from stretto_server.journal.interface import Journal
from stretto_server.journal.redis import RedisJournal
from tests.contracts.journal_clients import Reopen
from tests.contracts.journal_samples import opened
from tests.contracts.journal_suite import JournalSuite
from tests.services.processes import running
from tests.services.redis_server import RedisCluster, RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), appendfsync="no")
    with running(server):
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    with running(cluster):
        yield cluster


class TestRedisJournal(JournalSuite):
    @pytest.fixture
    async def journal(self, server: RedisServer) -> AsyncIterator[Journal]:
        server.say("FLUSHALL")
        async with opened(RedisJournal(server.url)) as journal:
            yield journal

    @pytest.fixture
    async def reopen(self, journal: Journal, server: RedisServer) -> AsyncIterator[Reopen]:
        reopened = RedisJournal(server.url)

        async def close_and_start() -> Journal:
            await journal.close()
            await reopened.start()
            return reopened

        yield close_and_start
        await reopened.close()


class TestRedisJournalOnACluster(JournalSuite):
    @pytest.fixture
    async def journal(self, cluster: RedisCluster) -> AsyncIterator[Journal]:
        cluster.flush()
        async with opened(RedisJournal(cluster.url)) as journal:
            yield journal

    @pytest.fixture
    async def reopen(self, journal: Journal, cluster: RedisCluster) -> AsyncIterator[Reopen]:
        reopened = RedisJournal(cluster.url)

        async def close_and_start() -> Journal:
            await journal.close()
            await reopened.start()
            return reopened

        yield close_and_start
        await reopened.close()
