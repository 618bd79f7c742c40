"""Rates of one connection, and the counts of users and addresses."""

import pytest

from stretto_core.errors import RateLimited
from stretto_core.protocol import BURST_S, Budget, Limits
from stretto_server import limits as module
from stretto_server.limits import (
    ABUSE_FORGIVEN_PER_S,
    ABUSE_REFUSALS,
    FORGET_S,
    HERE,
    Allowance,
    Allowances,
    Census,
    Rates,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.mark.parametrize("budget", list(Budget))
def test_a_burst_fits_and_the_next_one_waits(clock: Clock, budget: Budget) -> None:
    rates = Rates(Limits(**{budget.value: 10}))
    for _ in range(10 * BURST_S):
        rates.spend(budget)
    with pytest.raises(RateLimited) as refusal:
        rates.spend(budget)
    assert refusal.value.retry_after_ms is not None
    assert 100 <= refusal.value.retry_after_ms <= 101
    clock.now += refusal.value.retry_after_ms / 1000
    rates.spend(budget)


def test_a_bucket_refills_to_its_burst_and_no_further(clock: Clock) -> None:
    rates = Rates(Limits(ops_per_s=1))
    clock.now += 3600
    for _ in range(BURST_S):
        rates.spend(Budget.OPS)
    with pytest.raises(RateLimited):
        rates.spend(Budget.OPS)


def test_budgets_are_separate(clock: Clock) -> None:
    rates = Rates(Limits(ops_per_s=1, reads_per_s=1))
    for _ in range(BURST_S):
        rates.spend(Budget.OPS)
    rates.spend(Budget.READS)


def test_without_limits_everything_passes(clock: Clock) -> None:
    rates = Rates(None)
    for _ in range(10_000):
        rates.spend(Budget.OPS)


def test_connections_of_a_user_share_what_it_may_do(clock: Clock) -> None:
    allowances = Allowances(Limits(ops_per_s=10))
    refused: list[str] = []
    allowances.on_refused = refused.append
    one, other = (Rates(Limits(ops_per_s=10)) for _ in range(2))
    for rates in (one, other):
        rates.share(allowances.enter("ann"))
    for _ in range(5 * BURST_S):
        one.spend(Budget.OPS)
        other.spend(Budget.OPS)
    for rates in (one, other):
        with pytest.raises(RateLimited):
            rates.spend(Budget.OPS)
    assert refused == [HERE, HERE]
    stranger = Rates(Limits(ops_per_s=10))
    stranger.share(allowances.enter("bob"))
    stranger.spend(Budget.OPS)


def test_a_second_s_worth_is_told_once(clock: Clock) -> None:
    allowances = Allowances(Limits(ops_per_s=10))
    told: list[Allowance] = []
    allowances.on_worth = told.append
    rates = Rates(Limits(ops_per_s=10))
    rates.share(allowances.enter("ann"))
    for _ in range(39):
        rates.spend(Budget.OPS)
    assert [one.user for one in told] == ["ann", "ann"]
    assert told[0].buckets[Budget.OPS].pay() == 20


def test_coming_back_fills_no_bucket_and_who_stays_away_is_forgotten(clock: Clock) -> None:
    allowances = Allowances(Limits(ops_per_s=10))
    first = allowances.enter("ann")
    allowances.leave("ann")
    clock.now += FORGET_S - 1
    assert allowances.enter("ann") is first
    clock.now += 2
    allowances.enter("bob")
    assert len(allowances) == 2
    allowances.leave("ann")
    allowances.leave("bob")
    clock.now += FORGET_S
    assert allowances.enter("ann") is not first
    assert len(allowances) == 1


def test_many_refusals_in_a_row_are_abuse(clock: Clock) -> None:
    rates = Rates(Limits())
    assert [rates.is_abusive() for _ in range(ABUSE_REFUSALS + 1)].index(True) == ABUSE_REFUSALS


def test_slow_refusals_are_forgiven(clock: Clock) -> None:
    rates = Rates(Limits())
    for _ in range(3 * ABUSE_REFUSALS):
        clock.now += 1 / ABUSE_FORGIVEN_PER_S
        assert not rates.is_abusive()


def test_a_census_counts_by_key() -> None:
    census = Census()
    assert [census.enter("a", 2) for _ in range(3)] == [True, True, False]
    assert census.enter("b", 2)
    census.leave("a")
    assert census.enter("a", 2)


def test_a_census_forgets_keys_that_nobody_is_under() -> None:
    census = Census()
    assert not census.enter("never", 0)
    census.enter("a", 1)
    census.leave("a")
    assert not census._counts
