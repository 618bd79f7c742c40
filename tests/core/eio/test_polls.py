import pytest

from stretto_core.eio.actions import Respond
from stretto_core.eio.packets import Packet, PacketType
from stretto_core.eio.polls import Polls

A = Packet(PacketType.MESSAGE, "a")
NOOP = Packet(PacketType.NOOP)


def test_an_answer_is_kept_until_it_arrives() -> None:
    polls = Polls(1)
    assert polls.ready
    assert polls.answer(A) == Respond(1, b"4a")
    assert not polls.settled
    polls.waiting = 2
    assert not polls.ready
    assert polls.sent(1)
    assert polls.ready
    assert not polls.sent(1)
    assert polls.aborted(1) is None


def test_an_answer_that_broke_comes_back() -> None:
    polls = Polls(1)
    polls.answer(NOOP, A)
    assert polls.aborted(1) == (A,)
    assert polls.settled


def test_a_waiting_poll_that_broke_held_nothing() -> None:
    polls = Polls(1)
    assert polls.aborted(1) is None
    assert polls.waiting is None


def test_an_answer_needs_a_poll() -> None:
    with pytest.raises(AssertionError):
        Polls().answer(A)
