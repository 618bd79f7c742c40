"""A Redis that fails over to a replica that lags, and two that both take writes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.faults.proxy import FaultProxy, proxied
from tests.faults.stage import SLACK, Stage, staged
from tests.services.processes import running
from tests.services.redis_server import RedisServer


@asynccontextmanager
async def replicated(stage: Stage) -> AsyncIterator[tuple[RedisServer, FaultProxy]]:
    """Give a replica of the stage's Redis, and the line between the two."""
    assert stage.redis is not None
    async with proxied(stage.redis.port) as line:
        replica = RedisServer(stage.folder / "replica", replicaof=f"127.0.0.1 {line.port}")
        with running(replica):
            deadline = time.monotonic() + 10 * SLACK
            while "master_link_status:up" not in await info(replica):
                assert time.monotonic() < deadline, "the replica does not follow"
                await asyncio.sleep(0.05)
            yield replica, line


async def info(server: RedisServer) -> str:
    reply = await asyncio.to_thread(server.say, "INFO", "replication")
    return "\n".join(f"{key}:{value}" for key, value in reply.items())


async def promote(stage: Stage, replica: RedisServer, *nodes: int) -> None:
    """Make the replica a primary, and lead nodes to it."""
    await asyncio.to_thread(replica.say, "REPLICAOF", "NO", "ONE")
    for node in nodes:
        stage.lines[node].targets = [replica.port]
        stage.lines[node].reset()


async def test_redis_fails_over_to_a_replica_that_lags(tmp_path: Path) -> None:
    async with staged(tmp_path, nodes=2, seed=13) as stage, replicated(stage) as (replica, line):
        assert stage.redis is not None
        stage.may_lose = True
        stage.add_writers(6)
        await stage.begin()
        line.hold()
        await stage.crowd.committed(10)
        stage.redis.kill()
        await promote(stage, replica, 0, 1)
        stage.redis = replica
        stage.healed()
        await stage.recover()
        verdict = await stage.finish("13 failover to a replica that lags")
        assert verdict.figures["given_back"], "nobody was given anything back"
        epochs = [w.log.end.epoch for w in stage.crowd.writers if w.log.end is not None]
        firsts = [w.log.trail[0] for w in stage.crowd.writers]
        assert {getattr(first, "epoch", "") for first in firsts}.isdisjoint(epochs)


async def test_two_primaries_take_writes(tmp_path: Path) -> None:
    async with staged(tmp_path, nodes=2, seed=14) as stage, replicated(stage) as (replica, line):
        assert stage.redis is not None
        stage.may_lose = True
        for node in stage.nodes:
            for _ in range(3):
                stage.crowd.add(node.url, "notes")
        await stage.begin()
        line.hold()
        await promote(stage, replica, 1)
        await stage.crowd.committed(10)
        old, stage.redis = stage.redis, replica
        await asyncio.to_thread(old.say, "REPLICAOF", "127.0.0.1", str(replica.port))
        await promote(stage, replica, 0)
        stage.healed()
        await stage.recover()
        verdict = await stage.finish("14 split brain")
        assert verdict.figures["given_back"], "nobody was given anything back"
        old.kill()  # asked nicely it would wait for whoever follows it
