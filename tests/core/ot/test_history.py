import random
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto_core.errors import InvalidOperation
from stretto_core.ot import Component, ComposedHistory, Operation, normalize, transform
from tests.core.ot.strategies import operations, sequences, texts


def in_a_loop(op: Operation, ops: list[Operation]) -> Operation:
    for over in ops:
        op = transform(op, over, "left")
    return op


def history_of(ops: list[Operation], base: int = 0) -> ComposedHistory:
    history = ComposedHistory(base)
    for op in ops:
        history.append(op)
    return history


class Writer:
    """Makes up operations: clustered, so that they meet, or scattered."""

    def __init__(self, seed: int, length: int = 30) -> None:
        self._random = random.Random(seed)
        self.length = length

    def op(self, length: int, edits: int) -> Operation:
        choose = self._random
        parts: list[Component] = []
        for _ in range(choose.randint(0, edits)):
            kept = choose.randint(0, length)
            cut = choose.randint(0, min(length - kept, choose.choice([0, 1, 6])))
            text = choose.choice(["", "a", "😀", "b\0"])
            parts += [kept, text, -cut] if choose.random() < 0.5 else [kept, -cut, text]
            length -= kept + cut
        return normalize(parts)

    def next(self) -> Operation:
        op = self.op(self.length, 2)
        self.length += sum(len(p) if isinstance(p, str) else min(p, 0) for p in op)
        return op


@cache
def a_long_run() -> tuple[list[Operation], list[int]]:
    """Return 10,000 operations and the length of the text at each version."""
    writer = Writer(1)
    ops, lengths = [], [writer.length]
    for _ in range(10_000):
        ops.append(writer.next())
        lengths.append(writer.length)
    return ops, lengths


@settings(max_examples=60)
@given(st.data(), texts)
def test_equals_the_loop(data: st.DataObject, text: str) -> None:
    ops = data.draw(sequences(text, 0, 60))
    base = data.draw(st.integers(0, 40))
    history = history_of(ops, base)
    op = data.draw(operations(len(text)))
    assert history.transform(op, base) == in_a_loop(op, ops)


@pytest.mark.parametrize("base", [0, 1, 15, 16, 4_095, 70_001])
def test_equals_the_loop_from_any_version(base: int) -> None:
    ops, lengths = a_long_run()
    ops = ops[:700]
    history = history_of(ops, base)
    writer = Writer(base)
    for since in range(0, 701, 23):
        op = writer.op(lengths[since], 3)
        assert history.transform(op, base + since) == in_a_loop(op, ops[since:])


def test_equals_the_loop_over_ten_thousand() -> None:
    ops, lengths = a_long_run()
    history = history_of(ops)
    writer = Writer(3)
    for since in (0, 1, 16, 17, 1_000, 4_095, 4_096, 4_097, 8_192, 9_983, 9_999, 10_000):
        for edits in (1, 4):
            op = writer.op(lengths[since], edits)
            assert history.transform(op, since) == in_a_loop(op, ops[since:])


@pytest.mark.parametrize("shape", ["keep-insert", "delete-insert", "insert", "insert-delete"])
def test_equals_the_loop_for_short_operations(shape: str) -> None:
    ops, lengths = a_long_run()
    ops = ops[:200]
    history = history_of(ops)
    for since in range(0, 200, 3):
        count = min(4, lengths[since])
        op = {
            "keep-insert": normalize([count, "x"]),
            "delete-insert": normalize([-count, "x"]),
            "insert": ("x",),
            "insert-delete": normalize(["x", -count]),
        }[shape]
        assert history.transform(op, since) == in_a_loop(op, ops[since:])


@settings(max_examples=30)
@given(st.data())
def test_equals_the_loop_while_appended_dropped_and_extended(data: st.DataObject) -> None:
    ops, lengths = a_long_run()
    begin = data.draw(st.integers(0, 300))
    history = ComposedHistory(begin)
    writer = Writer(data.draw(st.integers(0, 9)))
    for _ in range(data.draw(st.integers(1, 8))):
        step = data.draw(st.sampled_from(["append", "append", "drop", "extend"]))
        if step == "append":
            for op in ops[history.head : history.head + data.draw(st.integers(0, 200))]:
                history.append(op)
        elif step == "drop":
            history.drop_before(data.draw(st.integers(0, history.head + 20)))
        else:
            first = data.draw(st.integers(0, history.base))
            history.extend_front(ops[first : history.base])
            assert history.base == first
        for since in _some(history.base, history.head, data):
            op = writer.op(lengths[since], 3)
            assert history.transform(op, since) == in_a_loop(op, ops[since : history.head])


def _some(base: int, head: int, data: st.DataObject) -> list[int]:
    return [base, head, *data.draw(st.lists(st.integers(base, head), max_size=4))]


@pytest.mark.parametrize("base", [0, 1, 16, 100, 4_096, 5_000])
def test_extending_the_front_catches_up_as_fast_as_appending(base: int) -> None:
    ops, _ = a_long_run()
    whole = history_of(ops[:9_000])
    parts = history_of(ops[base:9_000], base)
    while parts.base:
        parts.extend_front(ops[max(0, parts.base - 1_100) : parts.base])
    assert parts.base == 0
    assert parts.head == whole.head == 9_000
    # The same blocks, of which few are enough.
    for since in range(0, 9_001, 13):
        steps = _steps(whole, since)
        assert _steps(parts, since) == steps
        assert len(steps) <= 45 or 9_000 - since < 64


def _steps(history: ComposedHistory, since: int) -> list[int]:
    """Return the versions at which an operation from ``since`` is rewritten."""
    steps = []
    version = since
    while version < history.head:
        steps.append(version)
        block = history._block_at(version, since, 64)
        version += block.count if block else 1
    return steps


def test_nobody_from_far_behind_costs_nothing() -> None:
    ops, lengths = a_long_run()
    history = history_of(ops[:2_000])
    for op in ops[2_000:2_200]:
        history.append(op)
        for behind in (0, 1, 20, 63):
            history.transform((lengths[history.head - behind],), history.head - behind)
    assert not history._blocks
    history.transform((1, "x", 1, "y"), 0)
    assert history._blocks


@settings(max_examples=40)
@given(st.data())
def test_lone_splices_are_carried_as_the_loop_does(data: st.DataObject) -> None:
    ops, lengths = a_long_run()
    head = data.draw(st.integers(0, 1_500))
    history = history_of(ops[:head])
    for since in _some(max(0, head - 900), head, data):
        position = data.draw(st.integers(1, lengths[since] + 1))
        place = history.insertion(position, since)
        expected = in_a_loop((position, "x"), ops[since:head])
        assert ((place, "x") if place else ("x",)) == expected
        span = history.deletion(position - 1, position, since)
        if span is not None:
            start, end = span
            op: Operation = (start, start - end) if start else (start - end,)
            if start == end:
                op = ()
            expected = in_a_loop(normalize([position - 1, -1]), ops[since:head])
            assert op == expected


def test_holds_operations_by_version() -> None:
    history = history_of([("a",), (1, "b"), (-1,)], 5)
    assert (history.base, history.head) == (5, 8)
    assert [history.op(version) for version in (6, 7, 8)] == [("a",), (1, "b"), (-1,)]
    for version in (-1, 0, 5, 9):
        with pytest.raises(IndexError):
            history.op(version)


def test_normalizes_what_it_is_given() -> None:
    history = ComposedHistory(1)
    history.append([0, "a", "b", 3])
    history.extend_front([[1.0, -1, 0, -1]])  # type: ignore[list-item]
    assert (history.op(1), history.op(2)) == ((1, -2), ("ab",))
    assert history.transform([0, 1, "", "x", 1], 1) == (3, "x")


def test_refuses_what_is_malformed_and_stays_as_it_was() -> None:
    history = history_of([("a",)], 3)
    bad: list[Component] = [True]
    with pytest.raises(InvalidOperation):
        history.append(bad)
    with pytest.raises(InvalidOperation):
        history.extend_front([("b",), bad])
    with pytest.raises(InvalidOperation):
        history.transform(bad, 3)
    with pytest.raises(InvalidOperation):
        history.transform(bad, 4)
    assert (history.base, history.head) == (3, 4)


def test_refuses_more_operations_in_front_than_versions() -> None:
    history = history_of([("a",)], 1)
    with pytest.raises(IndexError):
        history.extend_front([("b",), ("c",)])
    assert (history.base, history.head) == (1, 2)
    history.extend_front([])
    history.extend_front(iter([("b",)]))
    assert (history.base, history.op(1)) == (0, ("b",))


@pytest.mark.parametrize("since", [-1, 0, 4, 8, 100])
def test_refuses_versions_that_it_does_not_hold(since: int) -> None:
    history = history_of([("a",), ("b",)], 5)
    with pytest.raises(IndexError):
        history.transform(("x",), since)


def test_at_the_head_the_operation_stays_the_same() -> None:
    history = history_of([("a",)], 5)
    assert history.transform((1, "x"), 6) == (1, "x")
    assert ComposedHistory(7).transform((-2, "x"), 7) == (-2, "x")
    assert ComposedHistory().transform([], 0) == ()


def test_what_is_deleted_already_becomes_nothing_and_stays_nothing() -> None:
    history = history_of([(-3,), *[("a",)] * 40])
    assert history.transform((1, -1), 0) == ()


def test_dropping() -> None:
    ops, lengths = a_long_run()
    history = history_of(ops[:100])
    history.drop_before(0)
    assert history.base == 0
    history.drop_before(37)
    assert (history.base, history.head) == (37, 100)
    history.drop_before(20)
    assert history.base == 37
    with pytest.raises(IndexError):
        history.transform(("x",), 36)
    op = Writer(0).op(lengths[37], 3)
    assert history.transform(op, 37) == in_a_loop(op, ops[37:100])
    history.drop_before(1_000)
    assert (history.base, history.head) == (100, 100)
    history.append(ops[100])
    assert history.op(101) == ops[100]
