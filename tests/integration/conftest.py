"""The servers and raw clients of the server's own tests, and clients rawer than those."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from stretto_core.protocol import NAMESPACES
from stretto_server.server import RealtimeServer
from tests.integration.packets import Packets
from tests.server.conftest import connect, serve, server
from tests.server.wire import EDITOR

__all__ = ["connect", "dial", "serve", "server"]

Dial = Callable[..., Awaitable[Packets]]


@pytest.fixture
async def dial(server: RealtimeServer) -> AsyncIterator[Dial]:
    """Connect clients that write their packets themselves; all they hear must be described."""
    dialed: list[Packets] = []
    async with ClientSession() as session:

        async def start(
            *namespaces: str, to: RealtimeServer | None = None, **claims: Any
        ) -> Packets:
            claims.setdefault("grants", EDITOR)
            names = namespaces or NAMESPACES
            one = await Packets.connect(session, to or server, *names, **claims)
            dialed.append(one)
            return one

        yield start
        for one in dialed:
            await one.close()
            assert one.problems == []
            assert set(one.acks.values()) <= {1}
