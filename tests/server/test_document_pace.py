"""When the next batch begins: at once, unless members or other nodes need a moment."""

import pytest

from stretto_server.document_pace import (
    FANOUT_PER_S,
    GATHER_OPS,
    GATHER_S,
    LONGEST_TURN_S,
    SLOW_TURN_S,
    TURN_APPENDS,
    Pace,
)

TOOK = 0.001


def wait(
    pace: Pace,
    version: int,
    now: float,
    *,
    audience: int = 2,
    queued: int = 1,
    last_frame_at: float = 0.0,
) -> float:
    return pace.wait(version, now, audience=audience, queued=queued, last_frame_at=last_frame_at)


def commit(pace: Pace, base: int, version: int, now: float, took: float = TOOK) -> None:
    pace.began(now - took)
    pace.committed(base, version, now)


def test_a_node_alone_waits_for_nothing() -> None:
    pace = Pace(7)
    assert wait(pace, 7, 0.0) <= 0
    commit(pace, 7, 9, 1.0)
    commit(pace, 9, 10, 1.01)
    assert wait(pace, 10, 1.01) <= 0


def test_others_who_committed_get_the_next_turn() -> None:
    pace = Pace(7)
    commit(pace, 8, 9, 1.0)
    assert wait(pace, 9, 1.0) == pytest.approx(TURN_APPENDS * TOOK)
    assert wait(pace, 9, 1.0 + TURN_APPENDS * TOOK) <= 0  # they had nothing to say
    assert wait(pace, 10, 1.0) <= 0  # they were heard
    commit(pace, 10, 11, 1.1)
    assert wait(pace, 11, 1.1) > 0
    commit(pace, 11, 12, 1.2)
    assert wait(pace, 12, 1.2) <= 0


def test_a_turn_is_short_however_slow_the_journal_is() -> None:
    pace = Pace(0)
    commit(pace, 1, 2, 10.0, took=2.0)
    assert wait(pace, 2, 10.0) == pytest.approx(GATHER_S)


def test_who_waits_gets_turns_that_grow_until_they_suffice() -> None:
    pace, now = Pace(0), 1.0
    lengths = []
    for version in range(1, 11):
        commit(pace, version - 1, version, now)
        lengths.append(wait(pace, version, now))
        pace.somebody_waits(version)
        now += 1.0
    assert lengths[0] <= 0
    assert lengths[1] == pytest.approx(SLOW_TURN_S)
    assert lengths[2] == pytest.approx(2 * SLOW_TURN_S)
    assert lengths[-1] == pytest.approx(LONGEST_TURN_S)
    commit(pace, 10, 11, now)
    pace.heard(now + 0.04)
    commit(pace, 12, 13, now + 0.05)
    assert wait(pace, 13, now + 0.05) == pytest.approx(0.08)  # twice what was needed
    commit(pace, 13, 14, now + 1)
    assert wait(pace, 14, now + 1) <= 0  # nobody waits any more
    commit(pace, 15, 16, now + 2)
    assert wait(pace, 16, now + 2) == pytest.approx(0.04)  # nobody took the last turn


def test_who_got_along_without_a_turn_needs_none() -> None:
    pace = Pace(0)
    commit(pace, 0, 1, 1.0)
    for _ in range(10):
        pace.somebody_waits(1)
    pace.heard(1.002)  # it lost, tried again at once and won
    commit(pace, 2, 3, 1.02)
    assert wait(pace, 3, 1.02) == pytest.approx(TURN_APPENDS * TOOK)
    commit(pace, 3, 4, 1.04)
    assert wait(pace, 4, 1.04) <= 0


def test_races_that_others_won_are_theirs() -> None:
    pace = Pace(3)
    pace.somebody_waits(4)
    commit(pace, 3, 5, 1.0)
    assert wait(pace, 5, 1.0) <= 0


def test_frames_to_many_members_are_gathered() -> None:
    pace = Pace(0)
    few, many = FANOUT_PER_S // 1000, FANOUT_PER_S
    assert wait(pace, 0, 5.0, audience=few, last_frame_at=5.0) <= 0
    assert wait(pace, 0, 5.0, audience=few * 5, last_frame_at=5.0) == pytest.approx(0.005)
    assert wait(pace, 0, 5.0, audience=many, last_frame_at=5.0) == pytest.approx(GATHER_S)
    assert wait(pace, 0, 5.0, audience=many, last_frame_at=4.0) <= 0
    assert wait(pace, 0, 5.0, audience=many, last_frame_at=5.0, queued=GATHER_OPS) <= 0
