"""A Redis for the tests of one module."""

from collections.abc import Iterator

import pytest

from tests.services.processes import running
from tests.services.redis_server import RedisServer


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One that nobody breaks."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), appendonly="no")
    with running(server):
        yield server
