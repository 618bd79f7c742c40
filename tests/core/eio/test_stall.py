from stretto_core.eio.stall import Stall


def test_a_peer_that_takes_nothing() -> None:
    stall = Stall(100, size=5_000, by=1_100)
    assert not stall.is_over(5_000, 1_099)
    assert stall.is_over(5_000, 1_100)


def test_any_progress_starts_it_anew() -> None:
    stall = Stall(100, size=5_000, by=1_100)
    assert not stall.is_over(4_999, 1_100)
    assert stall.by == 1_200
    assert stall.is_over(4_999, 1_200)


def test_what_is_added_meanwhile_is_no_progress() -> None:
    stall = Stall(100, size=5_000, by=1_100)
    assert not stall.is_over(6_000, 1_050)
    assert stall.is_over(6_000, 1_100)
    assert stall.is_over(5_500, 1_100)
