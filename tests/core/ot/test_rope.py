import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto_core.errors import InvalidOperation
from stretto_core.ot import Component, Operation, Rope, apply, check
from tests.core.ot.strategies import ALPHABET, raw_operations, sequences, texts

SIZES = [0, 1, 511, 512, 513, 1024, 1025, 5_000, 70_000, 300_000]


def a_text(length: int) -> str:
    return "".join(random.Random(length).choices(ALPHABET, k=length))


@st.composite
def long_sequences(draw: st.DrawFn) -> tuple[str, list[list[Component]]]:
    """Return a long text and operations that cut, join and jump across its chunks."""
    text = result = a_text(draw(st.sampled_from([0, 600, 4_000])))
    ops: list[list[Component]] = []
    for _ in range(draw(st.integers(1, 12))):
        op: list[Component] = []
        left = len(result)
        for _ in range(draw(st.integers(1, 3))):
            keep = draw(st.integers(0, left))
            cut = draw(st.integers(0, left - keep) | st.integers(0, min(left - keep, 3)))
            piece = a_text(draw(st.sampled_from([0, 1, 2, 300, 3_000])))
            op += [keep, piece, -cut] if draw(st.booleans()) else [keep, -cut, piece]
            left -= keep + cut
        ops.append(op)
        result = apply(result, op)
    return text, ops


@given(st.data(), texts)
def test_applies_as_the_plain_text_does(data: st.DataObject, text: str) -> None:
    rope = Rope(text)
    for op in data.draw(sequences(text)):
        rope.apply(op)
        text = apply(text, op)
        assert str(rope) == text
        assert len(rope) == len(text)


@given(st.data(), texts)
def test_takes_loose_forms(data: st.DataObject, text: str) -> None:
    op = data.draw(raw_operations(len(text)))
    rope = Rope(text)
    rope.apply(op)
    assert str(rope) == apply(text, op)


@given(long_sequences())
def test_applies_across_chunks_as_the_plain_text_does(
    sequence: tuple[str, list[list[Component]]],
) -> None:
    text, ops = sequence
    rope = Rope(text)
    for op in ops:
        rope.apply(op)
        text = apply(text, op)
        assert len(rope) == len(text)
        assert rope.slice(0, len(text)) == text
    assert str(rope) == text


@pytest.mark.parametrize("size", SIZES)
def test_many_edits_of_a_text_of_any_size(size: int) -> None:
    choose = random.Random(size)
    text = a_text(size)
    rope = Rope(text)
    place = 0
    for _ in range(300):
        if choose.random() < 0.3:  # else go on where the last edit was
            place = choose.randint(0, len(text))
        place = min(place, len(text))
        removed = choose.randint(0, min(choose.choice([1, 1, 1, 2_000]), len(text) - place))
        inserted = a_text(choose.choice([0, 1, 1, 1, 1, 2_500]))
        rope.apply([place, -removed, inserted])
        text = text[:place] + inserted + text[place + removed :]
        place += len(inserted)
        low = choose.randint(0, len(text))
        high = choose.randint(low, len(text))
        assert rope.slice(low, high) == text[low:high]
    assert str(rope) == text


def test_grows_from_nothing_and_shrinks_to_nothing() -> None:
    choose = random.Random(0)
    rope, text = Rope(), ""
    while len(text) < 60_000:
        at = choose.randint(0, len(text))
        rope.apply([at, "é😀" * 40])
        text = text[:at] + "é😀" * 40 + text[at:]
    assert str(rope) == text
    while text:
        at = choose.randint(0, len(text) - 1)
        count = min(90, len(text) - at)
        rope.apply([at, -count])
        text = text[:at] + text[at + count :]
        assert len(rope) == len(text)
    assert str(rope) == ""
    rope.apply(["again"])
    assert str(rope) == "again"


def test_replaces_everything_at_once() -> None:
    rope = Rope(a_text(100_000))
    rope.apply([-100_000])
    assert (str(rope), len(rope)) == ("", 0)
    rope.apply([a_text(100_000)])
    rope.apply([-100_000, "😀"])
    assert (str(rope), len(rope)) == ("😀", 1)


def test_types_at_the_end_of_a_chunk_and_deletes_back_over_its_start() -> None:
    text = a_text(3_000)
    rope = Rope(text)
    for boundary in (500, 1_000, 1_500, 2_000, 2_500, 3_000):
        for _ in range(3):
            rope.apply([boundary, "x"])
            text = text[:boundary] + "x" + text[boundary:]
            rope.apply([boundary - 2, -3])
            text = text[: boundary - 2] + text[boundary + 1 :]
            rope.apply([boundary - 2, "ab"])
            text = text[: boundary - 2] + "ab" + text[boundary - 2 :]
    assert str(rope) == text


@pytest.mark.parametrize(
    "op",
    [
        [4],
        [-4],
        [4, "x"],
        [1, -3],
        [3, -1],
        [3, "x", -1],
        ["x", 4],
        [-1, "x", 3],
        [1, -1, "x", 1, -1],
        [1, "x", 1, "y", 2],
        [2.0, 2.0],
        [1, 0.0, -3],
        [2**53 - 1, "x"],
    ],
    ids=repr,
)
def test_what_is_longer_than_the_text_raises_and_changes_nothing(op: Any) -> None:
    check(op)
    rope = Rope("a😀c")
    with pytest.raises(InvalidOperation):
        rope.apply(op)
    assert (str(rope), len(rope)) == ("a😀c", 3)
    rope.apply([3, "d"])
    assert str(rope) == "a😀cd"


@pytest.mark.parametrize(
    ("op", "result"),
    [
        ([], "a😀c"),
        ([3], "a😀c"),
        ([1, 1, "x", 1], "a😀xc"),
        ([1.0, "x"], "ax😀c"),
        (["", 1, 0, "x", "y", -1, -1], "axy"),
        ([0, "x", 0, "y"], "xya😀c"),
        ([-1, "x", "y", 1, -1.0], "xy😀"),
        (("\0",), "\0a😀c"),
    ],
    ids=repr,
)
def test_accepts_whatever_check_accepts(op: Any, result: str) -> None:
    check(op)
    rope = Rope("a😀c")
    rope.apply(op)
    assert str(rope) == result


def test_slices() -> None:
    text = a_text(5_000)
    rope = Rope(text)
    for start, end in ((0, 0), (0, 5_000), (5_000, 5_000), (511, 513), (4_999, 5_000), (1, 4_000)):
        assert rope.slice(start, end) == text[start:end]
    assert Rope().slice(0, 0) == ""


@pytest.mark.parametrize(("start", "end"), [(-1, 1), (2, 1), (0, 4), (4, 4), (-2, -1)])
def test_slices_only_inside_the_text(start: int, end: int) -> None:
    with pytest.raises(IndexError):
        Rope("a😀c").slice(start, end)


def test_an_edit_of_many_places() -> None:
    text = a_text(20_000)
    op: Operation = (1, "x", -1, 2, -1, "é") * 4_000
    rope = Rope(text)
    rope.apply(op)
    assert str(rope) == apply(text, op)


@given(st.data(), texts)
def test_a_splice_replaces_what_is_there(data: st.DataObject, text: str) -> None:
    rope = Rope(text)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    inserted = data.draw(texts)
    rope.splice(start, end - start, inserted)
    assert str(rope) == text[:start] + inserted + text[end:]


@pytest.mark.parametrize(("position", "removed"), [(-1, 0), (4, 0), (3, 1), (0, 4), (2, -1)])
def test_a_splice_beyond_the_text_changes_nothing(position: int, removed: int) -> None:
    rope = Rope("abc")
    with pytest.raises(InvalidOperation):
        rope.splice(position, removed, "x")
    assert str(rope) == "abc"
