"""Deadlines on a clock that the test turns."""

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto_server.engine.timers import FEW, NEVER, Timers
from tests.server.engine.fakes import Clock


class Owner:
    """Remembers its ticks; ``then`` happens in each."""

    def __init__(self, timers: Timers, then: Callable[[int], None] = lambda now: None) -> None:
        self.due = self.watched = NEVER
        self.ticks: list[int] = []
        self._timers, self._then = timers, then

    def tick(self, now: int) -> None:
        self.ticks.append(now)
        self._then(now)


def test_now_is_the_loops_clock_in_milliseconds() -> None:
    clock = Clock()
    timers = clock.timers()
    assert timers.now() == 5_000
    clock.advance(7)
    assert timers.now() == 5_007


async def test_the_running_loop_is_used() -> None:
    timers = Timers()
    owner = Owner(timers)
    timers.set(owner, timers.now() + 100_000)
    assert owner.watched < NEVER
    timers.stop()


def test_an_owner_ticks_when_it_is_due_and_once() -> None:
    clock = Clock()
    timers = clock.timers()
    owner = Owner(timers)
    timers.set(owner, 5_100)
    clock.advance(99)
    assert owner.ticks == []
    clock.advance(2)
    assert owner.ticks == [5_101]
    assert (owner.due, owner.watched) == (NEVER, NEVER)
    clock.advance(10_000)
    assert len(owner.ticks) == 1
    assert clock.waiting == []


def test_an_owner_may_ask_for_the_next_deadline_in_its_tick() -> None:
    clock = Clock()
    timers = clock.timers()
    owner = Owner(timers, lambda now: timers.set(owner, now + 100))
    timers.set(owner, 5_100)
    clock.advance(350)
    assert owner.ticks == [5_101, 5_202, 5_303]


def test_a_deadline_that_moves_away_costs_nothing() -> None:
    clock = Clock()
    timers = clock.timers()
    owner = Owner(timers)
    for at in range(5_100, 6_000, 10):
        timers.set(owner, at)
    assert len(timers._heap) == len(clock.alarms) == 1
    clock.advance(500)
    assert owner.ticks == []
    assert len(timers._heap) == 1
    clock.advance(500)
    assert owner.ticks == [5_991]


def test_a_deadline_may_come_closer() -> None:
    clock = Clock()
    timers = clock.timers()
    owner = Owner(timers)
    timers.set(owner, 6_000)
    timers.set(owner, 5_100)
    assert clock.waiting == [101.0]
    clock.advance(2_000)
    assert owner.ticks == [5_101]


def test_a_deadline_may_be_taken_back() -> None:
    clock = Clock()
    timers = clock.timers()
    owner, other = Owner(timers), Owner(timers)
    timers.set(owner, 5_100)
    timers.set(other, 5_200)
    timers.set(owner, None)
    clock.advance(1_000)
    assert (owner.ticks, other.ticks) == ([], [5_201])
    assert timers._heap == []


def test_those_due_together_tick_in_the_order_in_which_they_asked() -> None:
    clock = Clock()
    timers = clock.timers()
    order: list[int] = []
    for number in range(5):
        timers.set(Owner(timers, partial(lambda number, _now: order.append(number), number)), 5_100)
    clock.advance(101)
    assert order == [0, 1, 2, 3, 4]


def test_one_alarm_serves_all() -> None:
    clock = Clock()
    timers = clock.timers()
    for at in (5_300, 5_200, 5_100, 5_400):
        timers.set(Owner(timers), at)
    assert clock.waiting == [101.0]
    clock.advance(150)
    assert clock.waiting == [51.0]


def test_an_owner_that_fails_stops_nobody_else() -> None:
    clock = Clock()
    timers = clock.timers()

    def fail(_now: int) -> None:
        raise RuntimeError("a tick failed")

    other = Owner(timers)
    timers.set(Owner(timers, fail), 5_100)
    timers.set(other, 5_100)
    with pytest.raises(RuntimeError, match="a tick failed"):
        clock.advance(200)
    clock.advance(100)
    assert len(other.ticks) == 1


def test_stop() -> None:
    clock = Clock()
    timers = clock.timers()
    owner = Owner(timers)
    timers.set(owner, 5_100)
    timers.stop()
    clock.advance(1_000)
    assert owner.ticks == []
    assert clock.waiting == []


moves = st.tuples(st.integers(0, 3), st.integers(1, 50) | st.none(), st.integers(0, 30))


@settings(deadline=None)
@given(st.lists(moves, max_size=40))
def test_every_deadline_is_kept_to_the_millisecond(
    steps: list[tuple[int, int | None, int]],
) -> None:
    clock = Clock()
    timers = clock.timers()
    owners = [Owner(timers) for _ in range(4)]
    wanted: list[int | None] = [None] * 4
    for at, delay, wait in steps:
        wanted[at] = None if delay is None else clock.ms + delay
        timers.set(owners[at], wanted[at])
        clock.advance(wait)
        for each, owner in enumerate(owners):
            due = wanted[each]
            if owner.ticks:
                assert due is not None
                assert owner.ticks in ([due], [due + 1])
                owner.ticks.clear()
                wanted[each] = None
            else:
                assert due is None or due >= clock.ms
    assert sum(due is not None for due in wanted) <= len(timers._heap) <= len(steps)


def test_owners_that_gave_up_are_not_kept() -> None:
    clock = Clock()
    timers = clock.timers()
    lasting = [Owner(timers) for _ in range(10)]
    for at, owner in enumerate(lasting):
        timers.set(owner, 6_000 + at)
    most = 0
    for _ in range(10_000):
        owner = Owner(timers)
        timers.set(owner, 50_000)
        timers.set(owner, None)
        most = max(most, len(timers._heap))
    assert most <= 2 * FEW
    assert owner.watched == NEVER or any(one is owner for _, _, one in timers._heap)
    clock.advance(2_000)
    assert all(len(owner.ticks) == 1 and owner.ticks[0] > 6_000 for owner in lasting)


def test_an_owner_may_change_its_mind() -> None:
    clock = Clock()
    timers = clock.timers()
    owners = [Owner(timers) for _ in range(4 * FEW)]
    for owner in owners:
        timers.set(owner, 5_500)
        timers.set(owner, None)
    for owner in owners:
        timers.set(owner, 5_400)
    clock.advance(1_000)
    assert all(owner.ticks == [5_401] for owner in owners)
    assert clock.waiting == []
