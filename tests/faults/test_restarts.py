"""Nodes that are killed and nodes that drain."""

import asyncio
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.points import COMMIT_POINTS, Order
from tests.faults.stage import SLACK, staged
from tests.faults.striking import kill_one

SPREAD_BINS = 8
UNLIKELY = 44.0
"""Chi-squared with seven degrees of freedom passes this once in five million runs."""


@pytest.mark.soak
@pytest.mark.parametrize("journal", ["redis", "postgres", "sqlite"])
async def test_a_node_kills_itself_at_every_point_of_a_commit(tmp_path: Path, journal: str) -> None:
    dice = random.Random(1)
    async with staged(tmp_path, journal, seed=1) as stage:
        stage.add_writers(4)
        await stage.begin()
        for point in COMMIT_POINTS:
            await kill_one(stage, Order(point, dice.randint(1, 8)))
            await stage.crowd.committed(2)
        stage.healed()
        await stage.recover()
        await stage.finish(f"1 node killed at {len(COMMIT_POINTS)} points, {journal}")


@pytest.mark.soak
async def test_all_nodes_are_killed_at_once(tmp_path: Path) -> None:
    async with staged(tmp_path, seed=2) as stage:
        stage.add_writers(5)
        await stage.begin()
        for node in stage.nodes:
            node.kill()
        await asyncio.gather(*(node.restart() for node in stage.nodes))
        stage.healed()
        await stage.recover()
        await stage.finish("2 all nodes killed")


async def test_a_node_drains(tmp_path: Path) -> None:
    """Nothing is refused for good, and its clients are asked to come back one by one."""
    asked: list[int] = []
    async with staged(tmp_path, seed=3, lines=False) as stage:
        stage.add_writers(200, *(f"notes-{n}" for n in range(50)), per_s=1.0)
        for writer in stage.crowd.writers:
            writer.client.on(
                "server.shutdown", lambda told: asked.append(told["reconnect_after_ms"])
            )
        await stage.begin(each=0)
        await stage.within(1.0)
        node, began = stage.nodes[0], time.monotonic()
        node.signal(signal.SIGTERM)
        assert await node.died(8 * SLACK)
        stage.figures["drain_s"] = time.monotonic() - began
        await node.restart()
        stage.healed()
        await stage.recover(each=1)
        await stage.finish("3 drain with 200 clients")
    assert len(asked) == 200
    assert even(asked, max(asked)) < UNLIKELY, sorted(asked)
    assert max(asked) <= 2_000


def even(values: Sequence[int], most: int) -> float:
    """Return chi-squared of ``values`` against an even spread from 0 to ``most``."""
    counts = [0] * SPREAD_BINS
    for value in values:
        counts[min(SPREAD_BINS - 1, value * SPREAD_BINS // max(most, 1))] += 1
    expected = len(values) / SPREAD_BINS
    return sum((count - expected) ** 2 / expected for count in counts)
