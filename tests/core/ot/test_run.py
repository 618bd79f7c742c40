"""Splices go through history exactly as whole operations do."""

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from stretto_core.ot import Operation, transform
from stretto_core.ot.run import NO_SPLICE, Run, splice_of
from tests.core.ot.strategies import sequences, texts


def run_of(*ops: Operation) -> Run:
    run = Run()
    for op in ops:
        run.append(op, *splice_of(op))
    return run


def one_by_one(op: Operation, ops: list[Operation]) -> Operation:
    return reduce(lambda carried, over: transform(carried, over, "left"), ops, op)


def deletion(start: int, end: int) -> Operation:
    return () if start == end else (start, start - end) if start else (start - end,)


def test_what_a_splice_is() -> None:
    assert splice_of((3, "é😀")) == (3, 2)
    assert splice_of(("x",)) == (0, 1)
    assert splice_of((3, -2)) == (3, -2)
    assert splice_of((-2,)) == (0, -2)
    more: list[Operation] = [(), (1, "x", -1), (-1, "x"), ("x", -1), (-1, 1, "x"), ("x", 1, "y")]
    assert {splice_of(op) for op in more} == {NO_SPLICE}


@given(st.data(), texts)
def test_insertions_end_where_transform_puts_them(data: st.DataObject, text: str) -> None:
    ops = data.draw(sequences(text, 0, 12))
    position = data.draw(st.integers(1, len(text) + 1))
    first, end = sorted(data.draw(st.tuples(*[st.integers(0, len(ops))] * 2)))
    place = run_of(*ops).insertion(position, first, end)
    expected = one_by_one((position, "new"), ops[first:end])
    assert ((place, "new") if place else ("new",)) == expected


@given(st.data(), texts.filter(bool))
def test_deletions_become_what_transform_makes_of_them(data: st.DataObject, text: str) -> None:
    ops = data.draw(sequences(text, 0, 12))
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    first = data.draw(st.integers(0, len(ops)))
    span = run_of(*ops).deletion(start, end, first)
    if span is not None:
        assert deletion(*span) == one_by_one(deletion(start, end), ops[first:])
    else:
        # Only what has to be is left to the long way.
        assert any(
            len(one_by_one(deletion(start, end), ops[first:count])) > 2
            or splice_of(ops[count - 1]) == NO_SPLICE
            for count in range(first + 1, len(ops) + 1)
        )


def test_runs_grow_at_both_ends_and_shrink_in_front() -> None:
    run = run_of((1, "a"))
    run.extend(run_of((2, -1)))
    run.extend_front(run_of((), ("b",)))
    assert run.ops == [(), ("b",), (1, "a"), (2, -1)]
    assert (run.places, run.sizes) == ([-1, 0, 1, 2], [0, 1, 1, -1])
    assert len(run) == 4
    run.drop(2)
    assert (run.ops, run.places, run.sizes) == ([(1, "a"), (2, -1)], [1, 2], [1, -1])
