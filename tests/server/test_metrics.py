"""What a node counts, and who is told."""

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import make_mocked_request

from stretto_server.metrics import FORWARDED, Metrics
from stretto_server.server import RealtimeServer
from tests.server.conftest import Connect


def test_two_nodes_of_a_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.limited("node")
    one.limited("cluster")
    one.limited("cluster")
    counted = "stretto_rate_limited_total"
    assert one.registry.get_sample_value(counted, {"scope": "cluster"}) == 2
    assert one.registry.get_sample_value(counted, {"scope": "node"}) == 1
    assert other.registry.get_sample_value(counted, {"scope": "node"}) is None


def test_what_others_count_is_read_when_somebody_asks() -> None:
    metrics, held, counts = Metrics(), [1], {"b": 1}
    metrics.watch("things", "Things.", lambda: len(held))
    metrics.watch_counts("faults", "Faults.", "reason", lambda: counts)
    held.append(2)
    counts["c"] = 5
    assert metrics.registry.get_sample_value("stretto_things") == 2
    assert metrics.registry.get_sample_value("stretto_faults_total", {"reason": "c"}) == 5


async def test_a_server_tells_what_it_counts(server: RealtimeServer, connect: Connect) -> None:
    wires = [await connect(name) for name in ("ann", "bob")]
    await wires[0].open("one")
    async with ClientSession() as session:
        async with session.get(server.url + "/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            lines = (await answer.text()).splitlines()
        assert "stretto_connections 2.0" in lines
        assert "stretto_open_documents 1.0" in lines
        assert "stretto_bus_publish_failures_total 0.0" in lines
        assert any(line.startswith("process_cpu_seconds_total ") for line in lines)
        assert not any("ann" in line or "notes" in line for line in lines)
        for header in FORWARDED:
            async with session.get(server.url + "/metrics", headers={header: "::1"}) as answer:
                assert answer.status == 404


@pytest.mark.parametrize("peer", ["10.0.0.1", "2001:db8::1", ""])
async def test_other_machines_are_told_nothing(peer: str) -> None:
    app = web.Application()
    Metrics().add_route(app)
    request = make_mocked_request("GET", "/metrics").clone(remote=peer)
    match = await app.router.resolve(request)
    with pytest.raises(web.HTTPNotFound):
        await match.handler(request)
