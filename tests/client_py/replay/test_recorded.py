"""The recorded world reproduces the recorded end, and knows what each author saw."""

from pathlib import Path

from stretto_client.replay.recorded import RecordedWorld, edits_of
from stretto_client.replay.traces import Patch, Row, Trace, read_trace
from stretto_core.ot import Rope

TRACES = Path(__file__).parents[3] / "bench" / "traces"


def test_the_schedule_ends_as_recorded() -> None:
    trace = read_trace(TRACES / "friendsforever.schedule.jsonl.gz")
    world = RecordedWorld(trace)
    for row in trace.rows:
        world.advance(row)
    text = Rope(trace.start)
    for op in world.log:
        text.apply(op)
    assert str(text) == trace.end


def test_an_author_sees_what_it_received_and_its_own_edits() -> None:
    rows = (
        Row(0, 0, (Patch(0, 0, "ab"),)),
        Row(1, 1, (Patch(2, 0, "X"),)),
        Row(0, 1, (Patch(2, 0, "c"), Patch(0, 1, ""))),
        Row(0, 3, (Patch(0, 0, "!"),)),
    )
    trace = Trace("", None, rows, 2, False)
    assert [edit.seen_text for edit in edits_of(trace)] == ["", "ab", "ab", "bcX"]


def test_a_single_author_sees_everything() -> None:
    rows = (Row(0, 0, (Patch(0, 0, "a"),)), Row(0, 1, (Patch(1, 0, "b"),)))
    trace = Trace("", "ab", rows, 1, True)
    assert [edit.seen_text for edit in edits_of(trace)] == [None, None]
