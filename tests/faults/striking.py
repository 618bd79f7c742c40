"""Carries strikes out: each hurts what there is, lasts its time, and heals."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from tests.faults.points import COMMIT_POINTS, Order
from tests.faults.proxy import Way
from tests.faults.schedule import Fault, Strike
from tests.faults.stage import SLACK, Stage
from tests.services.postgres_server import PostgresServer

DELAY_S: Final = 0.1
SLOW_BYTES_PER_S: Final = 50_000.0
DEATH_S: Final = 20.0
"""So long a point may take to be passed, and a node to drain."""


async def strike(stage: Stage, what: Strike) -> None:
    """Do it, and return once it has healed."""
    await _ACTIONS[what.fault](stage, what)


async def kill_one(stage: Stage, order: Order) -> None:
    """Have the first node that comes there kill itself, and start it again."""
    for node in stage.nodes:
        node.trigger.arm(order)

    def someone_died() -> bool:
        return not all(node.runs() for node in stage.nodes)

    await stage.crowd.until(someone_died, DEATH_S * SLACK, order.point, pause_s=0.002)
    for node in stage.nodes:
        node.trigger.disarm()
    await start_dead(stage)


async def start_dead(stage: Stage) -> None:
    """Start every node that does not run."""
    await asyncio.gather(*(node.restart() for node in stage.nodes if not node.runs()))


def hang_store(stage: Stage) -> None:
    store = stage.store
    if isinstance(store, PostgresServer):
        store.hang()
    else:
        store.signal(signal.SIGSTOP)


def wake_store(stage: Stage) -> None:
    store = stage.store
    if isinstance(store, PostgresServer):
        store.wake()
    else:
        store.signal(signal.SIGCONT)


async def hang_store_at(stage: Stage, point: str, passage: int, seconds: float) -> None:
    """Have the store hang the moment that some node passes ``point``."""
    order = Order(point, passage, int(signal.SIGSTOP), stage.store.pid)
    for node in stage.nodes:
        node.trigger.arm(order)

    def reached() -> bool:
        return not all(node.trigger.armed for node in stage.nodes)

    await stage.crowd.until(reached, DEATH_S * SLACK, point, pause_s=0.002)
    for node in stage.nodes:
        node.trigger.disarm()
    await asyncio.sleep(seconds)
    wake_store(stage)


async def _kill_node(stage: Stage, what: Strike) -> None:
    stage.nodes[what.victim % len(stage.nodes)].kill()
    await asyncio.sleep(what.lasts_s)
    await start_dead(stage)


async def _kill_at_point(stage: Stage, what: Strike) -> None:
    await kill_one(stage, Order(COMMIT_POINTS[what.point % len(COMMIT_POINTS)], what.passage))


async def _kill_all(stage: Stage, what: Strike) -> None:
    for node in stage.nodes:
        node.kill()
    await asyncio.sleep(what.lasts_s)
    await start_dead(stage)


async def _drain_node(stage: Stage, what: Strike) -> None:
    node = stage.nodes[what.victim % len(stage.nodes)]
    node.signal(signal.SIGTERM)
    assert await node.died(DEATH_S * SLACK), f"{node.name} does not end"
    await asyncio.sleep(what.lasts_s)
    await start_dead(stage)


async def _hang_node(stage: Stage, what: Strike) -> None:
    node = stage.nodes[what.victim % len(stage.nodes)]
    node.hang()
    await asyncio.sleep(what.lasts_s)
    node.wake()


async def _kill_store(stage: Stage, what: Strike) -> None:
    stage.store.kill()
    await asyncio.sleep(what.lasts_s)
    await asyncio.to_thread(stage.store.start)


async def _hang_store(stage: Stage, what: Strike) -> None:
    hang_store(stage)
    await asyncio.sleep(what.lasts_s)
    wake_store(stage)


async def _hang_store_at_point(stage: Stage, what: Strike) -> None:
    point = COMMIT_POINTS[what.point % len(COMMIT_POINTS)]
    await hang_store_at(stage, point, what.passage, what.lasts_s)


async def _slow_store(stage: Stage, what: Strike) -> None:
    for line in stage.lines:
        line.delay(DELAY_S)
    await asyncio.sleep(what.lasts_s)
    for line in stage.lines:
        line.heal()


async def _full_store(stage: Stage, what: Strike) -> None:
    assert stage.redis is not None
    await asyncio.to_thread(stage.redis.say, "CONFIG", "SET", "maxmemory", "1mb")
    await asyncio.sleep(what.lasts_s)
    await asyncio.to_thread(stage.redis.say, "CONFIG", "SET", "maxmemory", "0")


async def _cut_store(stage: Stage, what: Strike) -> None:
    line = stage.lines[what.victim % len(stage.lines)]
    line.swallow()
    await asyncio.sleep(what.lasts_s)
    line.heal()


async def _cut_store_one_way(stage: Stage, what: Strike) -> None:
    line = stage.lines[what.victim % len(stage.lines)]
    line.swallow((Way.UP, Way.DOWN)[what.point % 2])
    await asyncio.sleep(what.lasts_s)
    line.heal()


async def _cut_bus(stage: Stage, _what: Strike) -> None:
    assert stage.redis is not None
    await asyncio.to_thread(stage.redis.say, "CLIENT", "KILL", "TYPE", "pubsub")


async def _cut_clients(stage: Stage, what: Strike) -> None:
    stage.front.swallow()
    await asyncio.sleep(what.lasts_s)
    stage.front.heal()


async def _half_open_clients(stage: Stage, what: Strike) -> None:
    stage.front.half_close()
    await asyncio.sleep(what.lasts_s)
    stage.front.heal()
    stage.front.reset()


async def _reset_clients(stage: Stage, _what: Strike) -> None:
    stage.front.reset()


async def _slow_clients(stage: Stage, what: Strike) -> None:
    stage.front.throttle(SLOW_BYTES_PER_S, Way.DOWN)
    await asyncio.sleep(what.lasts_s)
    stage.front.heal()


_ACTIONS: Final[Mapping[Fault, Callable[[Stage, Strike], Awaitable[None]]]] = {
    Fault.KILL_NODE: _kill_node,
    Fault.KILL_AT_POINT: _kill_at_point,
    Fault.KILL_ALL: _kill_all,
    Fault.DRAIN_NODE: _drain_node,
    Fault.HANG_NODE: _hang_node,
    Fault.KILL_STORE: _kill_store,
    Fault.HANG_STORE: _hang_store,
    Fault.HANG_STORE_AT_POINT: _hang_store_at_point,
    Fault.SLOW_STORE: _slow_store,
    Fault.FULL_STORE: _full_store,
    Fault.CUT_STORE: _cut_store,
    Fault.CUT_STORE_ONE_WAY: _cut_store_one_way,
    Fault.CUT_BUS: _cut_bus,
    Fault.CUT_CLIENTS: _cut_clients,
    Fault.HALF_OPEN_CLIENTS: _half_open_clients,
    Fault.RESET_CLIENTS: _reset_clients,
    Fault.SLOW_CLIENTS: _slow_clients,
}
