import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto_core.errors import InvalidOperation
from stretto_core.ot import (
    Component,
    Operation,
    Side,
    apply,
    compose,
    invert,
    normalize,
    transform,
)
from tests.core.ot import vectors
from tests.core.ot.strategies import Edit, concurrent, consecutive, operations, sequences, texts

SIDES: list[Side] = ["left", "right"]


def test_vectors_are_complete() -> None:
    assert len(vectors.cases()) == 3000
    assert len(vectors.edge_applications()) == 5


def test_vectors_of_apply() -> None:
    for case in vectors.cases():
        x, y, z = (vectors.operation(case[name]) for name in "xyz")
        assert apply(case["doc"], x) == case["dx"]
        assert apply(case["doc"], y) == case["dy"]
        assert apply(case["dx"], z) == case["dxz"]
        assert apply(case["dx"], vectors.operation(case["yxr"])) == case["dxy"]
        assert apply(case["dx"], vectors.operation(case["yxl"])) == case["dyx"]


def test_vectors_of_transform() -> None:
    for case in vectors.cases():
        x, y = vectors.operation(case["x"]), vectors.operation(case["y"])
        assert transform(x, y, "left") == vectors.operation(case["xyl"])
        assert transform(x, y, "right") == vectors.operation(case["xyr"])
        assert transform(y, x, "left") == vectors.operation(case["yxl"])
        assert transform(y, x, "right") == vectors.operation(case["yxr"])


def test_vectors_of_compose() -> None:
    for case in vectors.cases():
        composed = compose(vectors.operation(case["x"]), vectors.operation(case["z"]))
        assert apply(case["doc"], composed) == case["dxz"]


def test_vectors_of_invert() -> None:
    for case in vectors.cases():
        x = vectors.operation(case["x"])
        assert vectors.operation(case["xs"]) == vectors.operation(case["xi"]) == x
        inverse = invert(x, case["doc"])
        assert apply(case["dx"], inverse) == case["doc"]
        assert apply(case["dx"], vectors.operation(case["inv"])) == case["doc"]


def test_vectors_at_the_end_of_the_text() -> None:
    accepted = {("", ("x",)): "x", ("abc", (3, "x")): "abcx"}
    refused = {("abc", (5, "x")), ("abc", (-5,)), ("abc", (3, -1))}
    seen = [(text, tuple(op)) for text, op in vectors.edge_applications()]
    assert set(seen) == accepted.keys() | refused
    for text, op in seen:
        if (text, op) in refused:
            with pytest.raises(InvalidOperation):
                apply(text, op)
        else:
            assert apply(text, op) == accepted[text, op]


@given(concurrent())
def test_both_orders_converge(edit: Edit) -> None:
    text, a, b = edit
    for side, opposite in (SIDES, SIDES[::-1]):
        one = apply(apply(text, b), transform(a, b, side))
        assert one == apply(apply(text, a), transform(b, a, opposite))


@given(concurrent())
def test_no_insertion_is_lost_and_no_deletion_undone(edit: Edit) -> None:
    text, a, b = edit
    # Characters that no document here holds, so that each can be told by itself.
    result = apply(apply(text, b), transform(_marked(a, "A"), b, "left"))
    assert result.count("A") == sum(len(part) for part in a if isinstance(part, str))
    a_only_deletes = tuple(part for part in a if not isinstance(part, str))
    left = len(apply(apply(text, b), transform(a_only_deletes, b, "left")))
    assert left <= len(apply(text, b))


def _marked(op: Operation, mark: str) -> Operation:
    return tuple(mark * len(part) if isinstance(part, str) else part for part in op)


@pytest.mark.parametrize(
    ("a", "b", "left", "right"),
    [
        (("a",), ("b",), ("a",), (1, "a")),
        ((2, "a"), (2, "bc"), (2, "a"), (4, "a")),
        ((2, "a"), (-4,), ("a",), ("a",)),
        ((2, "a"), (-2, "b", -2), ("a",), (1, "a")),
        ((2, "a"), ("b", -4), (1, "a"), (1, "a")),
        ((2, "a"), (-4, "b"), ("a",), ("a",)),
        ((-4,), (2, "b"), (-2, 1, -2), (-2, 1, -2)),
        ((-3,), (-3,), (), ()),
        (("a", -1, "b"), (-1,), ("ab",), ("ab",)),
        ((-1, "a"), ("b",), (1, -1, "a"), (1, -1, "a")),
        (("a", -1), ("b",), ("a", 1, -1), (1, "a", -1)),
        (("a\0😀",), (-1, "é"), ("a\0😀",), ("a\0😀",)),
        ((3,), ("b",), (), ()),
    ],
)
def test_transform_by_example(
    a: Operation, b: Operation, left: Operation, right: Operation
) -> None:
    assert transform(a, b, "left") == left
    assert transform(a, b, "right") == right


@given(consecutive())
def test_compose_is_one_after_the_other(edit: Edit) -> None:
    text, a, b = edit
    composed = compose(a, b)
    assert apply(text, composed) == apply(apply(text, a), b)
    assert composed == normalize(composed)


@given(st.data())
def test_composing_is_associative(data: st.DataObject) -> None:
    text = data.draw(texts)
    a, b, c = data.draw(sequences(text, 3, 3))
    assert compose(compose(a, b), c) == compose(a, compose(b, c))


@given(consecutive(), st.data())
def test_composing_commutes_with_transforming_on_side_left(edit: Edit, data: st.DataObject) -> None:
    text, a, b = edit
    x = data.draw(operations(len(text)))
    assert transform(x, compose(a, b), "left") == transform(transform(x, a, "left"), b, "left")


def test_the_usual_compose_would_break_the_law() -> None:
    text, a, b, x = "12", (-2,), ("b",), (2, "x")
    usual, ours = ("b", -2), compose(a, b)
    assert ours == (-2, "b")
    assert apply(text, usual) == apply(text, ours)
    one_by_one = transform(transform(x, a, "left"), b, "left")
    assert one_by_one == transform(x, ours, "left") == ("x",)
    assert transform(x, usual, "left") == (1, "x")


def test_side_right_breaks_the_law_with_this_compose() -> None:
    a, b, x = (-2,), ("b",), (1, "x")
    one_by_one = transform(transform(x, a, "right"), b, "right")
    assert one_by_one == (1, "x")
    assert transform(x, compose(a, b), "right") == ("x",)


@pytest.mark.parametrize(
    ("a", "b", "composed"),
    [
        ((), (), ()),
        ((), (1, "a"), (1, "a")),
        ((1, "a"), (), (1, "a")),
        (("abc",), (1, -1), ("ac",)),
        (("abc",), (-3,), ()),
        (("abc",), (1, "x", 1, "y"), ("axbyc",)),
        (("ab", -2), (1, "x"), ("axb", -2)),
        (("ab", -2), (2, "x"), ("ab", -2, "x")),
        ((-2, "ab"), ("x",), (-2, "xab")),
        ((-1, 1, -1), (1, "x"), (-1, 1, -1, "x")),
        ((-1, 1, -1), (-1, "x"), (-3, "x")),
        (("😀",), (-1, "\0"), ("\0",)),
        ((1, "a"), (3, -2), (1, "a", 1, -2)),
    ],
)
def test_compose_by_example(a: Operation, b: Operation, composed: Operation) -> None:
    assert compose(a, b) == composed


@given(concurrent())
def test_invert_undoes(edit: Edit) -> None:
    text, op, _ = edit
    inverse = invert(op, text)
    assert apply(apply(text, op), inverse) == text
    assert apply(text, invert(inverse, apply(text, op))) == apply(text, op)


@given(concurrent())
def test_results_are_canonical(edit: Edit) -> None:
    text, a, b = edit
    for op in (transform(a, b, "left"), transform(a, b, "right"), invert(a, text)):
        assert isinstance(op, tuple)
        assert op == normalize(op)


def test_loose_forms_count_as_what_they_mean() -> None:
    loose: list[Component] = [0, 1, 1, "", "a", "b", -1, -0, -1, 3]
    tight = (2, "ab", -2)
    assert apply("1234567", loose) == apply("1234567", tight) == "12ab567"
    assert invert(loose, "1234567") == invert(tight, "1234567")
    assert transform(loose, loose, "left") == transform(tight, tight, "left")
    assert compose(loose, ["c", 1]) == compose(tight, ("c",))


def test_the_trailing_keep_counts_for_the_length() -> None:
    assert apply("ab", ["x", 2]) == "xab"
    longer: list[list[Component]] = [[3], ["x", 3], [1, 2], [0, 3, ""]]
    for op in longer:
        with pytest.raises(InvalidOperation):
            apply("ab", op)
        with pytest.raises(InvalidOperation):
            invert(op, "ab")


def test_malformed_input_is_refused_everywhere() -> None:
    bad: list[Component] = [1, True]
    for call in (
        lambda: apply("abc", bad),
        lambda: invert(bad, "abc"),
        lambda: compose(bad, []),
        lambda: compose([], bad),
        lambda: transform(bad, [], "left"),
        lambda: transform([], bad, "left"),
    ):
        with pytest.raises(InvalidOperation):
            call()


def test_thousands_of_pieces_take_no_quadratic_time() -> None:
    count, piece = 10_000, "x" * 200
    started = time.process_time()
    assert normalize([piece] * count) == (piece * count,)
    assert transform((piece, -1) * count, (-count,), "left") == (piece * count,)
    assert len(compose((piece * count,), (1, "y") * count)) == 1
    # Some 50 ms; growing or gnawing at the texts piece by piece takes many seconds.
    assert time.process_time() - started < 2
