"""What waits for the answers of clients."""

import asyncio

import pytest

from stretto_server.engine.answers import Answer, RoomAnswers, unwrap


async def test_an_answer_is_taken_once() -> None:
    answer = Answer()
    assert not answer.future.done()
    answer(1, "a")
    answer(2)
    answer.gone()
    assert await answer.future == [1, "a"]


async def test_whoever_is_gone_gives_none() -> None:
    answer = Answer()
    answer.gone()
    answer.gone()
    answer(1)
    assert await answer.future is None


async def test_an_answer_that_nobody_awaits_any_more_is_passed_over() -> None:
    answer = Answer()
    answer.future.cancel()
    answer(1)
    answer.gone()
    with pytest.raises(asyncio.CancelledError):
        await answer.future


def test_answers_look_as_in_python_socketio() -> None:
    assert unwrap([]) is None
    assert unwrap([{"a": 1}]) == {"a": 1}
    assert unwrap([[]]) == []
    assert unwrap([1, 2]) == (1, 2)


def test_what_a_room_answered_is_a_value() -> None:
    answers = RoomAnswers({"a": 1}, frozenset({"b"}))
    assert answers == RoomAnswers({"a": 1}, frozenset({"b"}))
    assert answers.answers["a"] == 1
    assert answers.missing == {"b"}
