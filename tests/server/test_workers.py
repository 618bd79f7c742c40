"""When workers are started, replaced and ended: decisions only, at times that the test chooses."""

import signal
import socket

import pytest

from stretto_core.errors import Unavailable
from stretto_server.settings import Settings
from stretto_server.workers import (
    FIRST_PAUSE_S,
    GIVE_UP_S,
    GRACE_S,
    LONGEST_PAUSE_S,
    STARTING_S,
    STEADY_S,
    Announce,
    Crew,
    End,
    Launch,
    Signal,
    supervise,
)
from tests.server.wire import SECRET

TERM, KILL = signal.SIGTERM, signal.SIGKILL


def crew(size: int = 2, jitter: float = 1.0) -> Crew:
    return Crew(size, drain_s=20.0, jitter=lambda: jitter)


def serving(size: int = 2, now: float = 0.0) -> Crew:
    """Return a crew whose workers all listen."""
    made = crew(size)
    made.begin(now)
    for place in range(size):
        made.listens(place, now)
    return made


def test_the_first_worker_starts_alone_and_all_are_announced_once() -> None:
    made = crew(3)
    assert made.begin(0) == [Launch(0)]
    assert made.listens(0, 1) == [Launch(1), Launch(2)]
    assert made.listens(2, 2) == []
    assert made.listens(1, 3) == [Announce()]
    assert made.due_at() is None


def test_a_worker_that_cannot_start_ends_everything_with_its_code() -> None:
    alone = crew()
    alone.begin(0)
    assert alone.ended(0, 2, 1) == [End(2)]
    second = crew(3)
    second.begin(0)
    second.listens(0, 1)
    assert second.ended(1, 1, 2) == [Signal(0, TERM), Signal(2, TERM)]
    assert second.ended(0, 0, 3) == []
    assert second.ended(2, -15, 3) == [End(1)]


def test_a_worker_that_ends_at_its_start_without_a_reason_is_a_failure_too() -> None:
    made = crew()
    made.begin(0)
    assert made.ended(0, 0, 1) == [End(1)]


def test_one_that_dies_is_replaced_after_a_pause() -> None:
    made = serving()
    assert made.ended(1, -9, 10) == []
    assert made.due_at() == 10 + FIRST_PAUSE_S
    assert made.pause(1, 10) == FIRST_PAUSE_S
    assert made.tick(10 + FIRST_PAUSE_S / 2) == []
    assert made.tick(10 + FIRST_PAUSE_S) == [Launch(1)]
    assert made.listens(1, 11) == []
    assert made.pause(1, 11) == 0


def test_pauses_double_up_to_a_limit_and_come_apart() -> None:
    made = serving()
    now, pauses = 0.0, []
    for _ in range(8):
        made.ended(1, 1, now)
        pauses.append(made.pause(1, now))
        now += pauses[-1]
        assert made.tick(now) == [Launch(1)]
    assert pauses == [0.5, 1, 2, 4, 8, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    jittered = crew(jitter=0.0)
    for place in (0, 1):
        jittered.listens(place, 0)
    jittered.ended(0, 1, 1)
    assert jittered.pause(0, 1) == FIRST_PAUSE_S / 2


def test_one_that_served_for_long_is_replaced_as_quickly_as_at_first() -> None:
    made = serving()
    for _ in range(4):
        made.ended(1, 1, 0)
    made.tick(100)
    made.listens(1, 100)
    made.ended(1, -11, 100 + STEADY_S)
    assert made.pause(1, 100 + STEADY_S) == FIRST_PAUSE_S


def test_one_that_never_listens_is_killed_and_replaced() -> None:
    made = serving()
    made.ended(1, 1, 0)
    made.tick(1)
    assert made.due_at() == 1 + STARTING_S
    assert made.tick(1 + STARTING_S) == [Signal(1, KILL)]
    assert made.ended(1, -9, 100) == []
    assert made.tick(200) == [Launch(1)]


def test_it_gives_up_when_no_worker_listens_for_long() -> None:
    made = serving()
    made.ended(0, 1, 0)
    made.ended(1, 1, 5)
    made.tick(50)
    assert made.ended(0, 1, 50) == []
    assert made.tick(5 + GIVE_UP_S) == [Signal(1, TERM)]
    assert made.ended(1, -15, 100) == [End(1)]


def test_it_does_not_give_up_while_one_listens() -> None:
    made = serving()
    made.ended(0, 1, 0)
    made.ended(1, 1, 5)
    made.tick(20)
    made.listens(1, 30)
    assert not any(isinstance(one, End) for one in made.tick(1000))
    assert Signal(1, TERM) not in made.tick(1000)


def test_all_drain_and_the_exit_is_clean() -> None:
    made = serving()
    assert made.stop(100) == [Signal(0, TERM), Signal(1, TERM)]
    assert made.due_at() == 100 + 20 + GRACE_S
    assert made.ended(0, 0, 101) == []
    assert made.tick(102) == []
    assert made.ended(1, 0, 103) == [End(0)]


def test_what_is_left_after_the_drain_is_killed() -> None:
    made = serving()
    made.stop(0)
    made.ended(0, 0, 1)
    assert made.tick(20 + GRACE_S) == [Signal(1, KILL)]
    assert made.due_at() is None
    assert made.ended(1, -9, 25) == [End(1)]


def test_a_second_signal_is_passed_on() -> None:
    made = serving()
    made.stop(0)
    assert made.stop(1) == [Signal(0, TERM), Signal(1, TERM)]
    made.ended(0, 1, 1)
    assert made.ended(1, 1, 1) == [End(1)]


def test_stopping_waits_for_no_replacement() -> None:
    made = serving()
    made.ended(0, 1, 0)
    assert made.stop(0) == [Signal(1, TERM)]
    assert made.tick(10) == []
    assert made.ended(1, 0, 11) == [End(0)]
    nobody = serving()
    nobody.ended(0, 1, 0)
    nobody.ended(1, 1, 0)
    assert nobody.stop(0) == [End(0)]


def test_stopping_while_they_start_is_clean() -> None:
    made = crew()
    made.begin(0)
    assert made.stop(1) == [Signal(0, TERM)]
    assert made.listens(0, 2) == []
    assert made.ended(0, 0, 3) == [End(0)]


async def test_a_port_in_use_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = Settings(
            host="127.0.0.1",
            port=other.getsockname()[1],
            secret=SECRET,
            journal="redis://127.0.0.1",
            redis_url="redis://127.0.0.1",
            workers=2,
        )
        with pytest.raises(Unavailable, match="cannot listen"):
            await supervise(settings, {})
