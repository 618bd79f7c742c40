"""When to try again."""

import random

import pytest

from stretto_client.backoff import (
    CAP_S,
    REPEAT_CAP_S,
    Backoff,
    asked_delay,
    repeat_delay,
)


def test_the_first_attempt_comes_within_three_seconds() -> None:
    assert Backoff(lambda: 0.0).next_delay() == pytest.approx(0.2)
    assert Backoff(lambda: 1.0).next_delay() == pytest.approx(3.0)


def test_bounds_double_up_to_a_cap() -> None:
    backoff = Backoff(lambda: 1.0)
    delays = [backoff.next_delay() for _ in range(40)]
    assert delays[:5] == pytest.approx([3.0, 6.0, 12.0, 24.0, 30.0])
    assert set(delays[4:]) == {CAP_S}


def test_no_attempt_comes_at_once() -> None:
    backoff = Backoff(lambda: 0.0)
    assert [backoff.next_delay() for _ in range(3)] == pytest.approx([0.2, 0.2, 0.2])


def test_success_starts_over() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(5):
        backoff.next_delay()
    backoff.reset()
    assert backoff.next_delay() == pytest.approx(3.0)


def test_nobody_comes_back_earlier_than_asked() -> None:
    backoff = Backoff(random.Random(1).random, scale=0.0)
    assert backoff.next_delay(2_500) == 2.5
    assert backoff.next_delay(0) == 0.0
    assert backoff.next_delay() == 0.0


@pytest.mark.parametrize(("asked", "delay"), [(None, 0.0), (0, 0.0), (-5, 0.0), (1_500, 1.5)])
def test_what_the_server_asked_for(asked: int | None, delay: float) -> None:
    assert asked_delay(asked) == delay


def test_repeats_are_spread_over_a_growing_time() -> None:
    assert repeat_delay(0, lambda: 0.0, 700) == 0.7
    assert repeat_delay(0, lambda: 1.0, 700) == pytest.approx(0.8)
    assert repeat_delay(3, lambda: 1.0) == pytest.approx(0.8)
    assert repeat_delay(99, lambda: 1.0) == REPEAT_CAP_S < CAP_S
