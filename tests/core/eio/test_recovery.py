"""What a namespace can bring back, and what it forgets."""

import pytest

from stretto_core.eio.recovery import Departed, RecoveryLog, RecoverySettings

NOBODY: frozenset[str] = frozenset()


def log(**settings: int) -> RecoveryLog[str]:
    return RecoveryLog(RecoverySettings(**settings), "e")


def departed(since: int = 0, *rooms: str, pid: str = "p", sid: str = "s") -> Departed:
    return Departed(pid, sid, frozenset(rooms), since)


def fill(made: RecoveryLog[str], count: int, *, size: int = 10, now: int = 0) -> None:
    for _ in range(count):
        made.add(f"m{made.position + 1}", size, None, NOBODY, now)


def missed(made: RecoveryLog[str], offset: str | None, *, pid: str = "p", now: int = 0) -> object:
    found = made.find(pid, offset, now)
    return found[1] if found is not None else None


def test_an_offset_is_that_of_the_next_packet() -> None:
    made = log()
    assert made.next_offset == "e-1"
    fill(made, 3)
    assert made.next_offset == "e-4"


def test_who_comes_back_gets_what_came_after_its_offset() -> None:
    made = log()
    fill(made, 3)
    made.depart(departed(), 0)
    assert missed(made, "e-1") == ["m2", "m3"]
    assert missed(made, "e-3") == []
    fill(made, 1)
    assert missed(made, "e-3") == ["m4"]


def test_who_got_nothing_yet_gets_all_since_it_connected() -> None:
    made = log()
    fill(made, 2)
    made.depart(departed(2), 0)
    fill(made, 2)
    assert missed(made, None) == ["m3", "m4"]


@pytest.mark.parametrize(
    "offset", ["", "e", "e-", "e--1", "e-0", "e-9", "x-2", "e-²", "e-" + "1" * 30, "2"]
)
def test_an_offset_of_another_log_brings_nobody_back(offset: str) -> None:
    made = log()
    fill(made, 4)
    made.depart(departed(1), 0)
    assert made.find("p", offset, 0) is None


def test_only_packets_for_it_come() -> None:
    made = log()
    made.depart(departed(0, "a", "b"), 0)
    made.add("to all", 1, None, NOBODY, 0)
    made.add("to a", 1, ["a"], NOBODY, 0)
    made.add("to b and c", 1, ["b", "c"], NOBODY, 0)
    made.add("to c", 1, ["c"], NOBODY, 0)
    made.add("to itself", 1, ["s"], NOBODY, 0)
    made.add("to all but it", 1, None, frozenset({"s"}), 0)
    assert missed(made, None) == ["to all", "to a", "to b and c", "to itself"]


def test_nobody_comes_back_after_the_time() -> None:
    made = log(max_disconnection=100)
    made.depart(departed(), 0)
    assert missed(made, None, now=100) == []
    assert missed(made, None, now=101) is None


def test_packets_older_than_that_are_forgotten() -> None:
    made = log(max_disconnection=100)
    fill(made, 2, now=0)
    fill(made, 1, now=60)
    made.depart(departed(), 60)
    assert missed(made, "e-1", now=150) is None
    assert missed(made, "e-2", now=150) == ["m3"]
    assert (len(made), made.size) == (1, 10)


def test_the_log_is_bounded_in_bytes() -> None:
    made = log(max_bytes=35)
    fill(made, 5)
    made.depart(departed(), 0)
    assert (len(made), made.size) == (3, 30)
    assert missed(made, "e-2") == ["m3", "m4", "m5"]
    assert missed(made, "e-1") is None
    made.add("huge", 1_000, None, NOBODY, 0)
    assert (len(made), made.size) == (0, 0)


def test_the_departed_are_bounded_in_number() -> None:
    made = log(max_sessions=2)
    for number in range(4):
        made.depart(departed(pid=f"p{number}"), 0)
    assert [made.find(f"p{number}", None, 0) is not None for number in range(4)] == [
        *(False, False, True, True)
    ]


def test_who_came_back_is_forgotten() -> None:
    made = log()
    made.depart(departed(), 0)
    made.forget("p")
    made.forget("nobody")
    assert made.find("p", None, 0) is None


def test_who_departs_again_counts_anew() -> None:
    made = log(max_disconnection=100)
    made.depart(departed(), 0)
    made.depart(departed(pid="q"), 50)
    made.depart(departed(), 90)
    assert missed(made, None, now=190) == []
    assert missed(made, None, pid="q", now=190) is None


@pytest.mark.parametrize("wrong", ["max_disconnection", "max_bytes", "max_sessions"])
def test_nothing_may_be_less_than_one(wrong: str) -> None:
    with pytest.raises(ValueError):
        RecoverySettings(**{wrong: 0})
