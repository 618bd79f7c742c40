import pytest

from stretto_core.ratelimit import LIGHT_S, SharedBucket, TokenBucket


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


def shared() -> SharedBucket:
    return SharedBucket.full(rate=10, burst=40, now=0.0)


def take(bucket: SharedBucket, now: float, count: int = 10) -> None:
    for _ in range(count):
        assert bucket.take(now) == 0.0


def test_what_was_taken_is_counted_and_refusals_are_not() -> None:
    bucket = TokenBucket.full(rate=1, burst=2, now=0.0)
    assert [bucket.take(0.0) > 0 for _ in range(4)] == [False, False, True, True]
    assert bucket.taken == 2


def test_seconds_worth_that_follow_each_other_are_told() -> None:
    bucket = shared()
    take(bucket, 0.0)
    assert not bucket.claim(0.0)  # who knows since when
    take(bucket, 1.0)
    assert bucket.claim(1.0)
    take(bucket, 2.0)
    assert bucket.claim(2.0)
    assert bucket.pay() == 20
    assert bucket.pay() == 0


def test_who_takes_little_is_not_told_of() -> None:
    bucket = shared()
    for second in range(0, 1000, int(LIGHT_S)):
        take(bucket, second)
        assert not bucket.claim(second)
    assert bucket.pay() == 0


def test_what_cannot_be_told_does_not_pile_up() -> None:
    bucket = shared()
    for second in range(100):
        take(bucket, second)
        bucket.claim(second)
    assert bucket.pay() == bucket.burst


def test_a_held_bucket_gives_nothing_for_so_long_and_has_no_burst_then() -> None:
    bucket = shared()
    bucket.hold(5.0, 2.0)
    assert bucket.take(5.0) == pytest.approx(2.1)
    assert bucket.take(7.0) == pytest.approx(0.1)
    assert bucket.take(7.125) == 0.0
    assert bucket.take(7.125) > 0


def test_holding_never_shortens_a_wait() -> None:
    bucket = shared()
    bucket.hold(0.0, 10.0)
    bucket.hold(1.0, 2.0)
    assert bucket.take(1.0) == pytest.approx(9.1)
