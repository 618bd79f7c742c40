import pytest
from hypothesis import given, settings

from stretto_core.ot import apply
from stretto_core.protocol import Limits
from stretto_core.unconfirmed import InFlight, Unconfirmed
from tests.core.ot.strategies import Edit, consecutive

NARROW = Limits(op_components=4, op_inserted=4)


def shown(text: str, edits: Unconfirmed) -> str:
    for op in edits.ops:
        text = apply(text, op)
    return text


def test_nothing_is_unconfirmed_at_first() -> None:
    edits = Unconfirmed()
    assert not edits
    assert edits.ops == ((),)
    edits.take_off(NARROW)
    edits.doubt()
    edits.confirm()
    assert edits.in_flight is None
    assert not edits.is_outgrown(NARROW)
    assert edits.take_back("") == ()


def test_taking_off_leaves_what_is_in_flight_alone() -> None:
    edits = Unconfirmed()
    edits.add(("a",))
    edits.take_off(NARROW)
    edits.add((1, "b"))
    edits.take_off(NARROW)
    assert edits.in_flight == InFlight(1, ("a",), 1)
    assert edits.buffer == (1, "b")


def test_what_is_in_flight_is_unsure_once_it_was_doubted() -> None:
    edits = Unconfirmed()
    edits.add(("a",))
    edits.take_off(NARROW)
    edits.doubt()
    assert edits.in_flight == InFlight(1, ("a",), 1, unsure=True)


def test_what_another_process_had_in_flight_is_unsure() -> None:
    edits = Unconfirmed()
    edits.restore((4, ()), ("b",))
    assert edits.in_flight == InFlight(4, (), 1, unsure=True)
    assert (edits.made, edits.settled) == (2, 0)
    edits.confirm()
    assert (edits.made, edits.settled) == (2, 1)


def test_deletions_that_are_cut_up_outgrow_the_limits() -> None:
    edits = Unconfirmed()
    edits.add((-6,))
    edits.take_off(NARROW)
    edits.pass_below((2, "x"))
    assert not edits.is_outgrown(NARROW)
    edits.pass_below((4, "y"))
    assert edits.is_outgrown(NARROW)


@settings(deadline=None)
@given(consecutive())
def test_taking_back_leaves_only_the_buffer(edit: Edit) -> None:
    edits = Unconfirmed()
    edits.add(edit.op)
    edits.take_off(Limits())
    edits.add(edit.other)
    before, seq = shown(edit.text, edits), edits.seq
    undo = edits.take_back(edit.text)
    assert apply(before, undo) == shown(edit.text, edits)
    assert edits.in_flight is None
    assert edits.seq == max(0, seq - 1)


@pytest.mark.parametrize(("last_seq", "expected"), [(0, "old+new"), (1, "old+new")])
def test_carrying_over_keeps_each_edit_once(last_seq: int, expected: str) -> None:
    edits = Unconfirmed()
    edits.add((3, "+"))
    edits.take_off(Limits())
    edits.add((4, "new"))
    edits.carry_over("old", "old+" if last_seq else "old", last_seq)
    assert edits.in_flight is None
    assert edits.seq == 0
    assert shown("old+" if last_seq else "old", edits) == expected
    assert edits.settled == last_seq  # the first edit is in the journal, or waits again
