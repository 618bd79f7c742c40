"""A Redis that is killed, hangs, is slow, is full or is emptied, under load."""

import asyncio
import random
import signal
import time
from pathlib import Path

import pytest

from stretto_server.journal.redis_records import keys_of
from tests.faults.points import AFTER_SCRIPT, BEFORE_SCRIPT, UNDER_WAY, Order
from tests.faults.stage import DOC, SLACK, Stage, operate, staged
from tests.services.redis_server import RedisServer

META = keys_of(DOC)[0]
BACK_S = 6.0
"""So soon after Redis the service must be back; two seconds are aimed at."""
REFUSED_S = 2.0
"""So long an operation waits at most for a Redis that does not answer."""


async def restart(redis: RedisServer, dice: random.Random) -> None:
    redis.kill()
    await asyncio.sleep(dice.uniform(0.0, 0.3))
    await asyncio.to_thread(redis.start)


@pytest.mark.parametrize("fsync", ["always", pytest.param("everysec", marks=pytest.mark.soak)])
async def test_redis_is_killed(tmp_path: Path, fsync: str) -> None:
    """It loses nothing: what the system took from Redis outlives the process in both classes."""
    dice = random.Random(7)
    async with staged(tmp_path, seed=7, store={"appendfsync": fsync}) as stage:
        assert stage.redis is not None
        stage.add_writers(5)
        await stage.begin()
        backs = []
        for _ in range(3):
            await restart(stage.redis, dice)
            began = time.monotonic()
            await stage.crowd.committed(1)
            backs.append(time.monotonic() - began)
        stage.healed()
        await stage.recover()
        stage.figures["back_s"] = max(backs)
        await stage.finish(f"7 Redis killed three times, appendfsync {fsync}")
    assert max(backs) < BACK_S


def longest_refusal(stage: Stage) -> float:
    """Return how long the slowest answer took of those that said ``unavailable``."""
    return max(
        one.at - one.sent_at
        for writer in stage.crowd.writers
        for one in writer.log.refused
        if one.code == "unavailable"
    )


@pytest.mark.parametrize(
    "seconds", [4.0, *(pytest.param(long, marks=pytest.mark.soak) for long in (1.0, 30.0))]
)
async def test_redis_hangs(tmp_path: Path, seconds: float) -> None:
    async with staged(tmp_path, seed=8) as stage:
        assert stage.redis is not None
        stage.add_writers(5)
        await stage.begin()
        stage.redis.signal(signal.SIGSTOP)
        await stage.within(seconds)
        stage.redis.signal(signal.SIGCONT)
        stage.healed()
        await stage.recover()
        if seconds > REFUSED_S:
            stage.figures["refused_s"] = longest_refusal(stage)
            assert longest_refusal(stage) < REFUSED_S * SLACK
        await stage.finish(f"8 Redis hung {seconds:g} s")


@pytest.mark.soak
@pytest.mark.parametrize("point", [BEFORE_SCRIPT, UNDER_WAY, AFTER_SCRIPT])
async def test_redis_hangs_at_a_point_of_a_commit(tmp_path: Path, point: str) -> None:
    async with staged(tmp_path, seed=8) as stage:
        assert stage.redis is not None
        stage.add_writers(4)
        await stage.begin()
        trigger = stage.nodes[0].trigger
        trigger.arm(Order(point, 3, int(signal.SIGSTOP), stage.redis.pid))
        await stage.crowd.until(lambda: not trigger.armed, 20 * SLACK, point)
        await stage.within(2.5)
        stage.redis.signal(signal.SIGCONT)
        stage.healed()
        await stage.recover()
        await stage.finish(f"8 Redis hung {point}")


@pytest.mark.soak
@pytest.mark.parametrize("delay_ms", [50, 500])
async def test_redis_is_slow(tmp_path: Path, delay_ms: int) -> None:
    async with staged(tmp_path, seed=9, store={"enable-debug-command": "yes"}) as stage:
        assert stage.redis is not None
        stage.add_writers(5)
        await stage.begin()
        stage.store_proxy.delay(delay_ms / 2000)
        before = sum(len(one.log.acknowledged) for one in stage.crowd.writers)
        await stage.within(2.0)
        await asyncio.to_thread(stage.redis.say, "DEBUG", "SLEEP", "0.5")
        slow = [ack for one in stage.crowd.writers for ack in one.log.acknowledged]
        assert len(slow) > before, "nothing was committed"
        stage.figures["slow_p50_ms"] = (
            1000 * sorted(ack.took_s for ack in slow[before:])[(len(slow) - before) // 2]
        )
        stage.store_proxy.heal()
        stage.healed()
        await stage.recover()
        await stage.finish(f"9 Redis slower by {delay_ms} ms")


async def test_redis_is_full(tmp_path: Path) -> None:
    async with staged(tmp_path, seed=11) as stage:
        assert stage.redis is not None
        stage.add_writers(4)
        await stage.begin()
        stage.redis.say("CONFIG", "SET", "maxmemory", "1mb")
        await stage.within(2.0)
        assert all(one.log.refused[-1].code == "unavailable" for one in stage.crowd.writers)
        stage.redis.say("CONFIG", "SET", "maxmemory", "0")
        stage.healed()
        await stage.recover()
        await stage.finish("11 Redis full")


async def test_redis_is_emptied(tmp_path: Path) -> None:
    """What was acknowledged is gone with it: everybody learns so, and has the text."""
    async with staged(tmp_path, seed=10) as stage:
        assert stage.redis is not None
        stage.may_lose = True
        stage.add_writers(4, reopens=True)
        await stage.begin()
        stage.redis.say("FLUSHALL")
        stage.healed()
        await stage.recover()
        await stage.finish("10 Redis emptied")


@pytest.mark.soak
async def test_redis_loses_the_head_of_a_document(tmp_path: Path) -> None:
    """Nobody can go on with half a document, until an operator restores or deletes it."""
    async with staged(tmp_path, seed=10) as stage:
        assert stage.redis is not None
        stage.may_lose = True
        stage.add_writers(4, reopens=True)
        await stage.begin()
        stage.redis.say("DEL", META)
        await stage.crowd.until(stage.crowd.nobody_open, 5.0 * SLACK, "the end of the document")
        await stage.within(1.0)
        assert stage.crowd.nobody_open()
        assert "damaged" in stage.nodes[0].log
        await operate("docs", "delete", DOC, "--yes", "--journal", stage.journal_url)
        stage.healed()
        await stage.recover()
        await stage.finish("10 Redis lost the head of a document")
