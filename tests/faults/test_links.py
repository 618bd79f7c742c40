"""Lines between clients, nodes and the store that are cut, half-open, slow or unreliable."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.evidence import Death
from tests.faults.proxy import FaultProxy, Way, proxied
from tests.faults.stage import DOC, SLACK, Stage, staged
from tests.faults.transports import Mischief
from tests.faults.writers import Writer

PING_S = 1.0
PINGS = {"STRETTO_PING_INTERVAL": str(PING_S), "STRETTO_PING_TIMEOUT": str(PING_S)}


@pytest.mark.soak
@pytest.mark.parametrize(
    ("journal", "ways"),
    [
        ("redis", (Way.UP, Way.DOWN)),
        ("redis", (Way.UP,)),
        ("redis", (Way.DOWN,)),
        ("postgres", (Way.DOWN,)),
    ],
)
@pytest.mark.parametrize("seconds", [4.0, 30.0])
async def test_nodes_are_cut_off_from_the_store(
    tmp_path: Path, journal: str, ways: tuple[Way, ...], seconds: float
) -> None:
    """Clients stay connected and edit on; nothing commits, and nothing twice afterwards."""
    async with staged(tmp_path, journal, seed=15) as stage:
        stage.add_writers(4)
        await stage.begin()
        stage.store_proxy.swallow(*ways)
        await stage.within(seconds)
        assert all(one.client.is_connected for one in stage.crowd.writers)
        assert any(one.log.refused for one in stage.crowd.writers)
        told = {error.code for one in stage.crowd.writers for error in one.log.refused}
        assert told == {"unavailable"}
        stage.store_proxy.heal()
        stage.healed()
        await stage.recover()
        await stage.finish(f"15 {journal} cut off {' and '.join(ways)} for {seconds:g} s")


@pytest.mark.soak
async def test_a_cut_that_ends_before_anybody_noticed(tmp_path: Path) -> None:
    async with staged(tmp_path, seed=15) as stage:
        stage.add_writers(4)
        await stage.begin()
        for way in (Way.UP, Way.DOWN):
            stage.store_proxy.hold(way)
            await stage.within(0.8)
            stage.store_proxy.heal()
            await stage.crowd.committed(1)
        stage.healed()
        await stage.recover()
        await stage.finish("15 Redis held up for 0.8 s")


def own_line(stage: Stage, proxy: FaultProxy, **options: Any) -> Writer:
    """Add a writer that has a proxy of its own."""
    return stage.crowd.add(proxy.url, DOC, **options)


async def test_clients_become_half_open(tmp_path: Path) -> None:
    """Whoever is gone without a word is no longer shown, and its socket is closed."""
    async with (
        staged(tmp_path, seed=18, settings=PINGS) as stage,
        proxied(stage.nodes[0].port) as line,
    ):
        stage.add_writers(3)
        gone = [own_line(stage, line) for _ in range(3)]
        await stage.begin()
        files = stage.calm[0].files
        line.hold()
        ends = [Death(one.log.name, time.monotonic(), 2 * PING_S * SLACK) for one in gone]
        for one in gone:
            await one.pause()
        watcher = stage.crowd.writers[0]
        names = {one.log.name for one in gone}
        took = await stage.crowd.until(
            lambda: not names & watcher.log.members[-1][1], 2 * PING_S * SLACK, "absence"
        )
        stage.figures["absent_s"] = took
        await stage.crowd.until(lambda: _files(stage) <= files - 3, 5.0 * SLACK, "closed sockets")
        stage.deaths += ends
        await asyncio.gather(*(one.leave() for one in gone))
        stage.healed()
        await stage.recover()
        await stage.finish("18 half-open clients")


def _files(stage: Stage) -> int:
    sample = stage.nodes[0].sample(0.0)
    assert sample is not None
    return sample.files


@pytest.mark.soak
async def test_a_client_reads_too_slowly(tmp_path: Path) -> None:
    """It is told that it is behind, or loses its place; nobody else waits for it."""
    async with staged(tmp_path, seed=19) as stage, proxied(stage.nodes[0].port) as line:
        line.narrow = True
        stage.add_writers(4, per_s=40.0, filler=12_000)
        slow = own_line(stage, line, per_s=1.0)
        await stage.begin(each=1)
        line.throttle(1_000.0, Way.DOWN)
        await stage.within(5.0)
        quick = [ack for one in stage.crowd.writers[:4] for ack in one.log.acknowledged]
        stage.figures["meanwhile_p99_ms"] = (
            1000 * sorted(ack.took_s for ack in quick)[int(0.99 * len(quick))]
        )
        line.heal()
        stage.healed()
        await stage.recover(each=5)
        stage.figures["behind"] = slow.log.events["behind"]
        assert slow.log.events["behind"] + slow.log.connections > 1
        await stage.finish("19 a client reads 1 kB/s")


@pytest.mark.parametrize("count", [300, pytest.param(800, marks=pytest.mark.soak)])
async def test_everybody_comes_back_at_once(tmp_path: Path, count: int) -> None:
    async with staged(tmp_path, seed=20, lines=False) as stage:
        stage.add_writers(4)
        await stage.begin()
        docs = [f"crowd-{n}" for n in range(count // 20)]
        for number in range(count):
            stage.crowd.add(stage.front.url, docs[number % len(docs)])
        await stage.crowd.open()
        stage.calm = [sample for node in stage.nodes if (sample := node.sample(0.0))]
        before = [one.log.connections for one in stage.crowd.writers]
        stage.front.reset()
        began = time.monotonic()
        await stage.crowd.until(
            lambda: all(
                one.log.connections > known and one.is_quiet
                for one, known in zip(stage.crowd.writers[4:], before[4:], strict=True)
            ),
            60.0 * SLACK,
            "everybody",
        )
        stage.figures["all_back_s"] = time.monotonic() - began
        stage.healed()
        await stage.recover()
        await stage.finish(f"20 herd of {count}")


@pytest.mark.soak
async def test_frames_are_lost_doubled_and_late(tmp_path: Path) -> None:
    async with staged(tmp_path, seed=21) as stage:
        ways = [Mischief(21 + number) for number in range(4)]
        for way in ways:
            stage.crowd.add(stage.front.url, DOC, mischief=way)
        stage.add_writers(2)
        await stage.begin()
        await stage.within(3.0)
        for way in ways:
            way.stop()
        stage.figures["mischief"] = sum(way.done for way in ways)
        stage.healed()
        await stage.recover()
        await stage.finish("21 frames of clients lost, doubled and late")
    assert sum(way.done for way in ways) > 20
