"""Engine.IO servers without a network."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from stretto_server.engine.engine_server import EngineServer
from tests.server.engine.engines import Serve


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Make servers that leave no timer behind."""
    servers: list[EngineServer] = []

    def make(**options: Any) -> EngineServer:
        servers.append(EngineServer(**options))
        return servers[-1]

    yield make
    for server in servers:
        server.sockets.clear()
        await server.shutdown()
