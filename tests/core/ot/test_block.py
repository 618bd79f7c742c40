from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto_core.ot import Component, Operation, map_position, transform
from stretto_core.ot.block import Block, block_of, join
from tests.core.ot.strategies import Edit, concurrent, operations, sequences, texts


def one_by_one(op: Operation, ops: list[Operation]) -> Operation:
    return reduce(lambda carried, over: transform(carried, over, "left"), ops, op)


@given(concurrent())
def test_a_block_of_one_rewrites_as_transform_does(edit: Edit) -> None:
    _, op, over = edit
    assert block_of(over).rewrite(op) == transform(op, over, "left")


@given(st.data(), texts)
def test_joined_blocks_rewrite_as_one_operation_after_the_other(
    data: st.DataObject, text: str
) -> None:
    op = data.draw(operations(len(text)))
    ops = data.draw(sequences(text, 1, 6))
    blocks = [block_of(over) for over in ops]
    from_left = reduce(join, blocks)
    assert from_left.count == len(ops)
    assert from_left.rewrite(op) == one_by_one(op, ops)
    from_right = reduce(lambda later, earlier: join(earlier, later), reversed(blocks))
    assert from_right.rewrite(op) == one_by_one(op, ops)


@given(st.data(), texts)
def test_places_are_those_of_positions(data: st.DataObject, text: str) -> None:
    ops = data.draw(sequences(text, 1, 6))
    block = reduce(join, map(block_of, ops))
    for position in range(len(text) + 3):
        expected = reduce(lambda at, op: map_position(at, op, -1), ops, position)
        assert block.place(position) == expected


@given(st.data(), texts)
def test_blocks_stay_small(data: st.DataObject, text: str) -> None:
    ops = data.draw(sequences(text, 1, 12))
    block = reduce(join, map(block_of, ops))
    # A new segment only where an operation begins or ends to keep or delete.
    assert len(block.places) <= 1 + 2 * sum(len(op) for op in ops)
    assert len(block.starts) == len(block.places) + 1
    starts = block.starts.tolist()
    assert starts == sorted(starts)


def test_nothing_done_is_one_segment() -> None:
    nothing = reduce(join, [block_of(())] * 8)
    assert (nothing.count, len(nothing.places)) == (8, 1)
    assert nothing.rewrite((3, "a", -1)) == (3, "a", -1)


def test_undone_insertions_leave_no_segment() -> None:
    block = join(block_of((3, "ab")), block_of((3, -2)))
    assert len(block.places) == 1


@pytest.mark.parametrize(
    ("ops", "op", "rewritten"),
    [
        ([(-2,), ("b",)], (2, "x"), ("x",)),
        ([(1, -2), (1, "b")], (3, "x"), (1, "x")),
        ([("b",), (1, -2)], ("x",), ("x",)),
        ([("ab",), (1, -1)], (-3,), (1, -3)),
        ([(2, "ab"), (2, -2)], (1, -2), (1, -2)),
        ([(2, "ab"), (3, "c")], (1, -2), (1, -1, 3, -1)),
        ([(-1,), (-1,)], (-1, "x", -1, "y"), ("xy",)),
        ([(1, "😀"), (1, -1, "\0")], (2, "é"), (3, "é")),
        ([(5, "z")], (1, -1), (1, -1)),
    ],
)
def test_by_example(ops: list[Operation], op: Operation, rewritten: Operation) -> None:
    assert one_by_one(op, ops) == rewritten
    assert reduce(join, map(block_of, ops)).rewrite(op) == rewritten


def test_thousands_of_scattered_edits() -> None:
    parts: list[Component] = []
    for _ in range(2_000):
        parts += [3, -1, "ab"]
    over = tuple(parts)
    block: Block = join(block_of(over), block_of(over))
    op: Operation = (1, -4, "x") * 1_000
    assert block.rewrite(op) == one_by_one(op, [over, over])
