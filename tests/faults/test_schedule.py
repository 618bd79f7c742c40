"""Schedules are the same for the same seed, and fit their time."""

import pytest

from tests.faults.schedule import LONGEST_S, Fault, possible, schedule


def test_a_seed_gives_one_schedule() -> None:
    faults = possible("redis", 2)
    assert schedule(1, 300, faults) == schedule(1, 300, faults)
    assert schedule(1, 300, faults) != schedule(2, 300, faults)


@pytest.mark.parametrize("seed", range(20))
def test_strikes_fit_and_leave_room_to_recover(seed: int) -> None:
    strikes = schedule(seed, 300, possible("redis", 2), calm_s=3)
    ends = 0.0
    for strike in strikes:
        assert strike.at_s >= ends + 2.99
        assert 0 < strike.lasts_s <= LONGEST_S[strike.fault]
        ends = strike.at_s + strike.lasts_s
    assert ends + 3 <= 300.001


def test_every_fault_comes_before_any_comes_twice() -> None:
    faults = possible("redis", 2)
    assert len(faults) == len(Fault)
    first = [strike.fault for strike in schedule(3, 10_000, faults)][: len(faults)]
    assert sorted(first) == sorted(faults)


@pytest.mark.parametrize(
    ("journal", "nodes", "absent"),
    [
        ("sqlite", 1, Fault.KILL_STORE),
        ("sqlite", 1, Fault.CUT_BUS),
        ("postgres", 1, Fault.FULL_STORE),
        ("redis", 1, Fault.CUT_BUS),
        ("postgres", 2, Fault.HANG_STORE_AT_POINT),
        ("postgres", 2, Fault.FULL_STORE),
    ],
)
def test_faults_that_cannot_be_are_left_out(journal: str, nodes: int, absent: Fault) -> None:
    faults = possible(journal, nodes)
    assert absent not in faults
    assert Fault.KILL_NODE in faults


def test_no_time_means_no_faults() -> None:
    assert schedule(1, 1, possible("redis", 1)) == []
