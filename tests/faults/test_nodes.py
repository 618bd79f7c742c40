"""Several nodes on one store: some die, hang, are cut off, deaf, or hear what was never so."""

import asyncio
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.evidence import Death
from tests.faults.points import COMMIT_POINTS, Order
from tests.faults.stage import DOC, SLACK, Stage, staged
from tests.faults.striking import kill_one
from tests.faults.writers import Writer

PINGS = {"STRETTO_PING_INTERVAL": "1", "STRETTO_PING_TIMEOUT": "1"}
PRESENCE_TTL_S = 15.0
NOTICED_S = 10.0
"""So soon a node must find out that it is deaf."""


@pytest.mark.parametrize(
    ("journal", "nodes"), [("redis", 3), pytest.param("postgres", 2, marks=pytest.mark.soak)]
)
async def test_one_of_several_nodes_kills_itself(tmp_path: Path, journal: str, nodes: int) -> None:
    dice = random.Random(1)
    async with staged(tmp_path, journal, nodes=nodes, seed=1) as stage:
        stage.add_writers(6)
        await stage.begin()
        for point in COMMIT_POINTS:
            await kill_one(stage, Order(point, dice.randint(1, 5)))
            await stage.crowd.committed(2)
        stage.healed()
        await stage.recover()
        await stage.finish(
            f"1 one of {nodes} nodes killed at {len(COMMIT_POINTS)} points, {journal}"
        )


@pytest.mark.soak
async def test_all_of_several_nodes_are_killed(tmp_path: Path) -> None:
    async with staged(tmp_path, nodes=2, seed=2) as stage:
        stage.add_writers(6)
        await stage.begin()
        for node in stage.nodes:
            node.kill()
        await asyncio.gather(*(node.restart() for node in stage.nodes))
        stage.healed()
        await stage.recover()
        await stage.finish("2 both nodes killed")


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.soak)])
async def test_nodes_are_restarted_one_after_the_other(tmp_path: Path, rounds: int) -> None:
    async with staged(tmp_path, nodes=2, seed=4) as stage:
        stage.add_writers(6)
        await stage.begin()
        for _ in range(rounds):
            for node in stage.nodes:
                node.signal(signal.SIGTERM)
                assert await node.died(8 * SLACK)
                await node.restart()
                await stage.crowd.committed(1)
        stage.healed()
        await stage.recover()
        await stage.finish(f"4 rolling restart, {rounds} rounds of 2 nodes")


@pytest.mark.parametrize("seconds", [5.0, pytest.param(20.0, marks=pytest.mark.soak)])
async def test_a_node_hangs_and_wakes_with_an_old_head(tmp_path: Path, seconds: float) -> None:
    async with staged(tmp_path, nodes=2, seed=5, settings=PINGS) as stage:
        stage.add_writers(6)
        await stage.begin()
        stage.nodes[0].hang()
        stage.front.targets = [stage.nodes[1].port]
        await stage.within(seconds)
        stage.nodes[0].wake()
        stage.front.targets = [node.port for node in stage.nodes]
        stage.healed()
        await stage.recover()
        await stage.finish(f"5 node hung {seconds:g} s")


def listeners(stage: Stage) -> set[int]:
    """Return the ports of the connections on which nodes hear each other."""
    assert stage.redis is not None
    rows = stage.redis.say("CLIENT", "LIST", "TYPE", "pubsub").splitlines()
    fields = [dict(part.partition("=")[::2] for part in row.split()) for row in rows]
    return {int(one["addr"].rpartition(":")[2]) for one in fields}


def apart(stage: Stage) -> Writer:
    """Have all write through the first node and one only look, through the second."""
    for _ in range(4):
        stage.crowd.add(stage.nodes[0].url, DOC)
    return stage.crowd.add(stage.nodes[1].url, DOC, role="viewer")


async def seen_since(stage: Stage, viewer: Writer, within_s: float) -> float:
    """Wait until the viewer has what is committed from now on; return how long it took."""
    began = time.monotonic()
    await stage.crowd.committed(1)
    head = max(ack.version for one in stage.crowd.writers for ack in one.log.acknowledged)
    document = viewer.document
    assert document is not None
    await stage.crowd.until(lambda: document.version >= head, within_s, f"version {head}")
    return time.monotonic() - began


async def silence(stage: Stage, way: str) -> None:
    """Cut what nodes hear of each other."""
    assert stage.redis is not None
    if way == "killed":
        assert stage.redis.say("CLIENT", "KILL", "TYPE", "pubsub") >= 2
    elif way == "deaf":
        assert stage.lines[1].deafen(listeners(stage))
        await stage.within(0.3)
    else:
        stage.redis.say("CONFIG", "SET", "client-output-buffer-limit", "pubsub 20000 20000 1")
        before, document = listeners(stage), stage.crowd.writers[0].document
        assert document is not None
        await document.commit([0, "z" * 50_000])
        assert not before & listeners(stage), "nobody was cut off"
        stage.redis.say("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0")


@pytest.mark.parametrize(
    "way", ["killed", *(pytest.param(one, marks=pytest.mark.soak) for one in ("deaf", "overflown"))]
)
async def test_nodes_stop_hearing_each_other(tmp_path: Path, way: str) -> None:
    async with staged(tmp_path, nodes=2, seed=12) as stage:
        viewer = apart(stage)
        await stage.begin()
        await seen_since(stage, viewer, 5.0 * SLACK)
        noticed = []
        for _ in range(1 if way == "deaf" else 3):
            await stage.crowd.until(
                lambda: len(listeners(stage)) >= 2, NOTICED_S * SLACK, "both nodes", 0.1
            )
            await silence(stage, way)
            noticed.append(await seen_since(stage, viewer, NOTICED_S * SLACK))
        stage.figures["noticed_s"] = max(noticed)
        stage.healed()
        await stage.recover()
        await stage.finish(f"12 subscriptions {way}")


async def test_a_node_is_cut_off_from_the_store_and_the_others_go_on(tmp_path: Path) -> None:
    async with staged(tmp_path, nodes=2, seed=15) as stage:
        here = [stage.crowd.add(stage.nodes[0].url, DOC) for _ in range(3)]
        there = [stage.crowd.add(stage.nodes[1].url, DOC) for _ in range(3)]
        await stage.begin()
        stage.lines[1].swallow()
        began = [len(one.log.acknowledged) for one in here]
        await stage.within(4.0)
        assert all(one.client.is_connected for one in there)
        assert all(
            len(one.log.acknowledged) > known + 10 for one, known in zip(here, began, strict=True)
        )
        stage.lines[1].heal()
        stage.healed()
        await stage.recover()
        await stage.finish("15 one node of two cut off for 4 s")


async def test_messages_between_nodes_are_lost_doubled_and_late(tmp_path: Path) -> None:
    async with staged(tmp_path, nodes=2, seed=21) as stage:
        stage.add_writers(6)
        viewer = stage.crowd.add(stage.nodes[1].url, DOC, role="viewer")
        await stage.begin()
        for number, node in enumerate(stage.nodes):
            node.mischief.begin(21 + number, 0.2)
        await stage.within(4.0)
        for node in stage.nodes:
            node.mischief.end()
        stage.healed()
        await stage.recover()
        assert viewer.log.trail
        await stage.finish("21 messages between nodes lost, doubled and late")


@pytest.mark.soak
async def test_the_members_of_a_dead_node_are_gone_in_time(tmp_path: Path) -> None:
    async with staged(tmp_path, nodes=2, seed=1) as stage:
        here = [stage.crowd.add(stage.nodes[0].url, DOC) for _ in range(2)]
        there = [stage.crowd.add(stage.nodes[1].url, DOC) for _ in range(3)]
        await stage.begin()
        names = {one.log.name for one in there}
        await stage.crowd.until(
            lambda: all(names <= one.log.members[-1][1] for one in here), 5.0 * SLACK, "a roster"
        )
        for one in there:
            await one.pause()
            assert one.document is not None
            await one.document.saved()
        stage.nodes[1].kill()
        stage.deaths += [Death(name, time.monotonic(), PRESENCE_TTL_S + 2.0) for name in names]
        for one in there:
            await one.leave()
        stage.figures["absent_s"] = await stage.crowd.until(
            lambda: not any(names & one.log.members[-1][1] for one in here),
            PRESENCE_TTL_S * SLACK,
            "absence",
        )
        await stage.within(3.0)
        stage.healed()
        await stage.recover()
        await stage.finish("1 the members of a dead node")
