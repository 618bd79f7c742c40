from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto_core.errors import InvalidOperation
from stretto_core.ot import (
    Bias,
    Operation,
    Side,
    apply,
    compose,
    map_position,
    normalize,
    transform,
)
from tests.core.ot import vectors
from tests.core.ot.strategies import Edit, any_operations, concurrent, consecutive

MARK = "⌖"
"""No text of the strategies holds it."""


def test_vectors() -> None:
    for case in vectors.cases():
        x = vectors.operation(case["x"])
        assert [map_position(at, x, -1) for at in range(len(case["pos"]))] == case["pos"]


@pytest.mark.parametrize(
    ("position", "op", "before", "behind"),
    [
        (0, (), 0, 0),
        (5, (), 5, 5),
        (0, ("ab",), 0, 2),
        (2, (2, "ab"), 2, 4),
        (2, (1, "ab"), 4, 4),
        (2, (3, "ab"), 2, 2),
        (2, (-2,), 0, 0),
        (2, (-4,), 0, 0),
        (2, (1, -1), 1, 1),
        (2, (2, -1), 2, 2),
        (2, ("a", -4), 1, 1),
        (2, (-4, "a"), 0, 0),
        (2, (-2, "a"), 0, 1),
        (2, (-1, "a", -3), 1, 1),
        (2, (2, "a", -2), 2, 3),
        (3, ("😀\0", 1, -1, "é"), 5, 5),
    ],
)
def test_by_example(position: int, op: Operation, before: int, behind: int) -> None:
    assert map_position(position, op, -1) == before
    assert map_position(position, op, 1) == behind


@given(concurrent(), st.data())
def test_goes_where_an_insertion_there_goes(edit: Edit, data: st.DataObject) -> None:
    text, op, _ = edit
    position = data.draw(st.integers(0, len(text)))
    pairs: list[tuple[Bias, Side]] = [(-1, "left"), (1, "right")]
    for bias, side in pairs:
        insertion = transform(normalize([position, MARK]), op, side)
        assert apply(apply(text, op), insertion).index(MARK) == map_position(position, op, bias)


@given(concurrent(), st.sampled_from([-1, 1]))
def test_keeps_the_order_and_stays_in_the_text(edit: Edit, bias: Bias) -> None:
    text, op, _ = edit
    mapped = [map_position(at, op, bias) for at in range(len(text) + 1)]
    assert mapped == sorted(mapped)
    assert mapped[0] >= 0
    assert mapped[-1] <= len(apply(text, op))


@given(consecutive(), st.data())
def test_before_insertions_composing_makes_no_difference(edit: Edit, data: st.DataObject) -> None:
    text, a, b = edit
    position = data.draw(st.integers(0, len(text)))
    one_by_one = map_position(map_position(position, a, -1), b, -1)
    assert map_position(position, compose(a, b), -1) == one_by_one


@given(any_operations, st.integers(0, 9), st.sampled_from([-1, 1]))
def test_loose_forms_count_as_what_they_mean(op: Any, position: int, bias: Bias) -> None:
    assert map_position(position, op, bias) == map_position(position, normalize(op), bias)


@pytest.mark.parametrize("position", [-1, True, 1.0, 0.5, "1", None])
def test_refuses_what_is_no_position(position: Any) -> None:
    with pytest.raises(InvalidOperation):
        map_position(position, (), -1)


def test_refuses_a_malformed_operation() -> None:
    with pytest.raises(InvalidOperation):
        map_position(1, [True], -1)
