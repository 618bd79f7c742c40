from collections import deque
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto_core.errors import InvalidOperation
from stretto_core.ot import (
    Component,
    Operation,
    apply,
    check,
    input_length,
    inserted_length,
    length_change,
    normalize,
)
from stretto_core.ot.operation import MAX_NUMBER
from tests.core.ot import vectors
from tests.core.ot.strategies import any_operations, lone_surrogates, raw_operations, texts


class Text(str):
    __slots__ = ()


class Number(int):
    pass


REFUSED_BY_ORACLE_AND_HERE = [
    [{}],
    [None],
    [[1]],
    "abc",
    {"d": 1},
    5,
    None,
    [{"i": "a"}],
]
REFUSED_HERE_ONLY = [[True], [1.5, "a"]]
ACCEPTED: list[tuple[list[Component], Operation]] = [
    ([0], ()),
    ([-1], (-1,)),
    ([""], ()),
    ([0], ()),
    ([0], ()),
    ([1], ()),
    ([-1, 5], (-1,)),
    ([1, 2, "a"], (3, "a")),
    (["a", 3], ("a",)),
    (["a", "b"], ("ab",)),
    ([-1, -2], (-3,)),
]


def test_vectors_hold_these_edges() -> None:
    listed = [*REFUSED_BY_ORACLE_AND_HERE, *REFUSED_HERE_ONLY, *(op for op, _ in ACCEPTED)]
    seen = vectors.edge_checks()
    assert len(seen) == len(listed) == 21
    # By their print, as 1 and True are equal.
    assert sorted(map(repr, seen)) == sorted(map(repr, listed))


@pytest.mark.parametrize("op", [*REFUSED_BY_ORACLE_AND_HERE, *REFUSED_HERE_ONLY], ids=repr)
def test_edges_of_the_vectors_refused(op: Any) -> None:
    with pytest.raises(InvalidOperation):
        check(op)
    with pytest.raises(InvalidOperation):
        normalize(op)


@pytest.mark.parametrize(("op", "canonical"), ACCEPTED, ids=repr)
def test_edges_of_the_vectors_accepted(op: list[Component], canonical: Operation) -> None:
    check(op)
    assert normalize(op) == canonical


@pytest.mark.parametrize(
    "op",
    [
        [False],
        [1, True],
        [0.5],
        [-1.5],
        [float("nan")],
        [float("inf")],
        [float("-inf")],
        [MAX_NUMBER + 1],
        [-MAX_NUMBER - 1],
        [float(2**53)],
        [-float(2**53)],
        [1e300],
        [10**400],
        [1j],
        [b"a"],
        [("a",)],
        [{"d": 1}],
        ["a", None],
        ["\ud83d"],
        [chr(0xDE00)],
        ["a\ud83d\ude00"],
        ["😀\ud83d"],
        [Text("\ud83d")],
        "",
        b"",
        b"\1",
        bytearray(b"\1"),
        memoryview(b"\1"),
        {1: 2},
        {1},
        iter([1]),
    ],
    ids=lambda op: ascii(op)[:40],
)
def test_refused(op: Any) -> None:
    with pytest.raises(InvalidOperation):
        check(op)
    with pytest.raises(InvalidOperation):
        normalize(op)


@given(texts, lone_surrogates, texts)
def test_lone_surrogates_are_refused_wherever_they_stand(
    before: str, surrogate: str, after: str
) -> None:
    with pytest.raises(InvalidOperation):
        check([1, before + surrogate + after])


@pytest.mark.parametrize(
    ("op", "canonical"),
    [
        ([], ()),
        ((), ()),
        ([1.0, "a"], (1, "a")),
        ([-1.0], (-1,)),
        ([0.0, -0.0], ()),
        (["\0"], ("\0",)),
        (["a\0b", 1, "\0"], ("a\0b", 1, "\0")),
        (["\U0010ffff\ufffe"], ("\U0010ffff\ufffe",)),
        ([MAX_NUMBER, "a"], (MAX_NUMBER, "a")),
        ([-MAX_NUMBER], (-MAX_NUMBER,)),
        ([float(MAX_NUMBER), "a"], (MAX_NUMBER, "a")),
        ([-1, "a"], (-1, "a")),
        (["a", -1], ("a", -1)),
        ([-1, 0, "a", "", -1], (-1, "a", -1)),
        ([1, -1, 0, -1, 1, 2, "a", 4], (1, -2, 3, "a")),
        (["a", 0, "b", 1, "", "c", "", 0, "d"], ("ab", 1, "cd")),
        (["a", 1, "", 2], ("a",)),
        (deque([1, "a"]), (1, "a")),
        (range(1, 3), ()),
        ([Number(1), "é"], (1, "é")),
    ],
    ids=repr,
)
def test_accepted(op: Any, canonical: Operation) -> None:
    check(op)
    result = normalize(op)
    assert result == canonical
    assert all(type(part) in (int, str) for part in result)


def test_an_operation_longer_than_any_document_has_no_canonical_form() -> None:
    for op in ([MAX_NUMBER, 1], [MAX_NUMBER, -1], [-MAX_NUMBER, "a", float(MAX_NUMBER)]):
        check(op)
        with pytest.raises(InvalidOperation):
            normalize(op)


@given(any_operations)
def test_normalizing_gives_the_canonical_form(op: list[Component]) -> None:
    canonical = normalize(op)
    assert normalize(canonical) == canonical
    assert all(canonical)
    for part, following in pairwise(canonical):
        assert _kind(part) != _kind(following)
    assert not canonical or _kind(canonical[-1]) != "keep"


def _kind(part: Component) -> str:
    if isinstance(part, str):
        return "insert"
    return "keep" if part > 0 else "delete"


@given(st.data(), texts)
def test_normalizing_keeps_the_effect(data: st.DataObject, text: str) -> None:
    op = data.draw(raw_operations(len(text)))
    pieces, position = [], 0
    for part in op:
        if isinstance(part, str):
            pieces.append(part)
        else:
            pieces.append(text[position : position + part] if part > 0 else "")
            position += abs(part)
    expected = "".join(pieces) + text[position:]
    assert apply(text, op) == apply(text, normalize(op)) == expected


@given(st.data(), texts)
def test_counts_tell_the_effect(data: st.DataObject, text: str) -> None:
    op = data.draw(raw_operations(len(text)))
    assert input_length(op) <= len(text)
    assert length_change(op) == len(apply(text, op)) - len(text)
    assert inserted_length(op) == inserted_length(normalize(op))


def test_counts_are_whole_numbers_of_code_points() -> None:
    op: Any = [2.0, "a😀", -1, 3.0, "\0"]
    for count, value in (
        (input_length(op), 6),
        (inserted_length(op), 3),
        (length_change(op), 2),
        (length_change([-1, 5]), -1),
    ):
        assert type(count) is int
        assert count == value
    assert input_length(()) == inserted_length(()) == length_change(()) == 0


def test_counts_take_a_trailing_keep_in() -> None:
    assert input_length(["a", 5]) == 5
    assert input_length(normalize(["a", 5])) == 0
