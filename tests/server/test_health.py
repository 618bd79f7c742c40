"""The two probes."""

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from stretto_server.health import Health, NodeState


@pytest.mark.parametrize(
    ("state", "status"),
    [(NodeState.STARTING, 503), (NodeState.READY, 200), (NodeState.DRAINING, 503)],
)
async def test_only_a_ready_node_says_so(
    aiohttp_client: AiohttpClient, state: NodeState, status: int
) -> None:
    health, app = Health(), web.Application()
    health.add_routes(app)
    client = await aiohttp_client(app)
    health.state = state
    for path, expected in (("/livez", 200), ("/readyz", status)):
        answer = await client.get(path)
        assert answer.status == expected
        assert (await client.head(path)).status == expected
    assert await answer.json() == {"status": str(state)}


def test_a_node_begins_by_starting() -> None:
    assert Health().state is NodeState.STARTING
