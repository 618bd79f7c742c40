import pytest

from stretto_core.ratelimit import TokenBucket


def test_a_full_bucket_gives_its_burst_and_then_says_how_long_to_wait() -> None:
    bucket = TokenBucket.full(rate=8, burst=4, now=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [0.0] * 4
    assert bucket.take(100.0) == 0.125
    assert bucket.take(100.0625) == 0.0625
    assert bucket.take(100.125) == 0.0


def test_waiting_takes_no_tokens() -> None:
    bucket = TokenBucket.full(rate=1, burst=2, now=0.0)
    bucket.take(0.0, 2)
    for _ in range(5):
        assert bucket.take(0.5) == pytest.approx(0.5)
    assert bucket.take(1.0) == 0.0


def test_a_bucket_holds_no_more_than_its_burst() -> None:
    bucket = TokenBucket.full(rate=10, burst=3, now=0.0)
    assert bucket.take(1_000.0, 3) == 0.0
    assert bucket.take(1_000.0) > 0


def test_costs_differ() -> None:
    bucket = TokenBucket.full(rate=2, burst=10, now=0.0)
    assert bucket.take(0.0, 7) == 0.0
    assert bucket.take(0.0, 5) == pytest.approx(1.0)


def test_a_clock_that_steps_back_earns_nothing_twice() -> None:
    bucket = TokenBucket.full(rate=1, burst=5, now=10.0)
    assert bucket.take(10.0, 5) == 0.0
    assert bucket.take(5.0) == pytest.approx(1.0)
    assert bucket.take(10.0) == pytest.approx(1.0)
    assert bucket.take(11.0) == 0.0
