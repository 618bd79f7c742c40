"""What nodes tell Redis of their users' spending, and what they learn from it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest

from stretto_core.errors import RateLimited, Unavailable
from stretto_core.protocol import BURST_S, Budget, Limits
from stretto_server.app import NODE
from stretto_server.limits import EVERYWHERE, HERE, Allowance, Rates
from stretto_server.presence.redis_session import RedisSession
from stretto_server.redis_client.resp import Argument
from stretto_server.redis_client.scripts import Script
from stretto_server.server import RealtimeServer
from stretto_server.shared_limits import SPEND, SharedLimits, key_of
from tests.server.conftest import Serve
from tests.server.wire import Wire
from tests.services.redis_server import RedisServer

RATE = 20


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), appendfsync="no")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def session(redis: RedisServer) -> AsyncIterator[RedisSession]:
    redis.say("FLUSHALL")
    session = RedisSession(redis.url)
    await session.start()
    yield session
    await session.close()


class Answers:
    """A Redis that answers what the test says; ``asked`` has what it was told."""

    def __init__(self, *waits: int, error: Unavailable | None = None) -> None:
        self.asked: list[tuple[Sequence[str], tuple[Argument, ...]]] = []
        self.waits = list(waits)
        self.error = error

    async def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        assert script is SPEND
        self.asked.append((keys, arguments))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return self.waits[: len(arguments) // 4]


def spender(shared: SharedLimits, user: str = "ann") -> tuple[Rates, list[str]]:
    refused: list[str] = []
    rates = Rates(Limits(ops_per_s=RATE, reads_per_s=RATE))
    limits = Limits(ops_per_s=RATE, reads_per_s=RATE)
    rates.share(Allowance(user, limits, shared.report, refused.append))
    return rates, refused


def spend(rates: Rates, count: int, *budgets: Budget) -> None:
    for _ in range(count):
        for budget in budgets or (Budget.OPS,):
            rates.spend(budget)


async def settle(done: Callable[[], bool] = lambda: True) -> None:
    async with asyncio.timeout(5):
        for _ in range(10):
            await asyncio.sleep(0)
        while not done():
            await asyncio.sleep(0.01)


async def test_a_light_user_is_never_told_of() -> None:
    redis = Answers(0)
    shared = SharedLimits(redis)
    rates, _ = spender(shared)
    spend(rates, 2 * RATE - 1)  # the first second's worth may have taken any time
    await settle()
    assert redis.asked == []


async def test_every_second_s_worth_is_told_and_budgets_go_together() -> None:
    redis = Answers(0, 0)
    shared = SharedLimits(redis)
    rates, _ = spender(shared)
    spend(rates, 2 * RATE, Budget.OPS, Budget.READS)
    spend(rates, RATE, Budget.OPS)
    await settle()
    ((keys, arguments),) = redis.asked
    assert keys == [key_of("ann")]
    assert arguments == (
        *("ops_per_s", "20", "80", repr(2.0 * RATE)),
        *("reads_per_s", "20", "80", repr(1.0 * RATE)),
    )


async def test_users_are_told_of_at_the_same_time() -> None:
    redis = Answers(0)
    shared = SharedLimits(redis)
    for user in ("ann", "bob"):
        spend(spender(shared, user)[0], 2 * RATE)
    await settle()
    assert [keys for keys, _ in redis.asked] == [[key_of("ann")], [key_of("bob")]]
    spend(spender(shared)[0], 2 * RATE)
    await settle()
    assert len(redis.asked) == 3


async def test_what_others_spent_too_much_is_waited_for() -> None:
    shared = SharedLimits(Answers(3000))
    rates, refused = spender(shared)
    spend(rates, 2 * RATE)
    await settle()
    with pytest.raises(RateLimited) as refusal:
        rates.spend(Budget.OPS)
    assert refusal.value.retry_after_ms is not None
    assert 2900 < refusal.value.retry_after_ms < 3100
    assert refused == [EVERYWHERE]
    spend(rates, BURST_S * RATE, Budget.READS)
    with pytest.raises(RateLimited):
        rates.spend(Budget.READS)
    assert refused == [EVERYWHERE, HERE]
    await shared.stop()


async def test_without_redis_a_node_is_alone(caplog: pytest.LogCaptureFixture) -> None:
    redis = Answers(error=Unavailable("cannot reach it"))
    shared = SharedLimits(redis)
    rates, refused = spender(shared)
    spend(rates, BURST_S * RATE)
    await settle()
    with pytest.raises(RateLimited):
        rates.spend(Budget.OPS)
    assert refused == [HERE]
    assert len(redis.asked) == 1
    assert len(caplog.records) == 1
    await shared.stop()
    await shared.stop()


async def test_the_script_counts_what_nodes_spend(session: RedisSession) -> None:
    async def take(spent: float, budget: str = "ops_per_s") -> int:
        (wait,) = await session.run(SPEND, [key_of("ann")], budget, 10, 40, repr(spent))
        return int(wait)

    assert await take(40) == 0
    assert 900 < await take(10) <= 1000
    assert 1800 < await take(10) <= 2000
    assert await take(40, "reads_per_s") == 0
    assert 59_000 < await take(10_000) <= 60_000  # owes a minute's worth at most


async def test_redis_forgets_who_spends_nothing(session: RedisSession, redis: RedisServer) -> None:
    await session.run(SPEND, [key_of("ann")], "ops_per_s", 10, 40, 60, "reads_per_s", 10, 40, 1)
    assert 5_000 < redis.say("PTTL", key_of("ann")) <= 6_000
    await session.run(SPEND, [key_of("ann")], "reads_per_s", 10, 40, 1)
    assert 5_000 < redis.say("PTTL", key_of("ann")) <= 6_000
    await session.run(SPEND, [key_of("bob")], "ops_per_s", 1000, 4000, 10)
    await settle(lambda: not redis.say("EXISTS", key_of("bob")))


async def spent(wire: Wire, until: float) -> int:
    """Ask as fast as it goes until then; return how often that was allowed."""
    allowed = 0
    while time.monotonic() < until:
        code = await wire.code("nothing of ours", {})
        if code == "rate_limited":
            await asyncio.sleep(0.02)
        else:
            allowed += 1
    return allowed


async def test_two_nodes_give_a_user_about_as_much_as_one(serve: Serve, redis: RedisServer) -> None:
    redis.say("FLUSHALL")
    limits = Limits(reads_per_s=RATE)
    nodes = [await serve(journal=redis.url, redis=redis.url, limits=limits) for _ in range(2)]
    heavy = [await Wire.connect(node, "heavy") for node in nodes]
    light = [await Wire.connect(node, "light") for node in nodes]
    begun = time.monotonic()
    await asyncio.gather(*(spent(wire, begun + 1) for wire in heavy))  # the bursts
    begun = time.monotonic()
    allowed = sum(await asyncio.gather(*(spent(wire, begun + 5) for wire in heavy)))
    # Each node alone would give 2 × RATE; what was not told yet is on top.
    assert RATE < allowed < RATE * (time.monotonic() - begun) + 3 * RATE
    for node, wire in zip(nodes, light, strict=True):
        await wire.code("nothing of ours", {})
        assert refusals(node, EVERYWHERE) > 0
    assert redis.say("EXISTS", key_of("heavy")) == 1
    assert redis.say("EXISTS", key_of("light")) == 0
    for wire in (*heavy, *light):
        await wire.close()


def refusals(server: RealtimeServer, scope: str) -> float:
    name = "stretto_rate_limited_total"
    registry = server._app[NODE].metrics.registry
    return registry.get_sample_value(name, {"scope": scope}) or 0.0
