import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto_core.ot import Operation, apply, inserted_length, normalize
from stretto_core.protocol import PAGE_BYTES, Limits
from stretto_core.split import split
from tests.core.ot.strategies import operations

DOCUMENT = "0123456789abcdef"


def pieces(op: Operation, limits: Limits, most_bytes: int = PAGE_BYTES) -> Iterator[Operation]:
    rest = op
    while rest:
        first, rest = split(rest, limits, most_bytes)
        yield first


def encoded(op: Operation) -> int:
    return len(json.dumps(op, ensure_ascii=False).encode())


def test_what_fits_stays_whole() -> None:
    op = (3, "abc", -2)
    assert split(op, Limits(op_components=3, op_inserted=3)) == (op, ())
    assert split((), Limits()) == ((), ())


@pytest.mark.parametrize(
    ("op", "limits", "expected"),
    [
        (("abcde",), {"op_inserted": 2}, [("ab",), (2, "cd"), (4, "e")]),
        (("abc", -2), {"op_inserted": 2}, [("ab",), (2, "c", -2)]),
        ((-2, "abc"), {"op_inserted": 2}, [(-2, "ab"), (2, "c")]),
        ((1, "a", 1, "b"), {"op_components": 3}, [(1, "a"), (3, "b")]),
        ((1, "a", -1, 1, "b"), {"op_components": 2}, [(1, "a"), (2, -1), (3, "b")]),
        ((2, -1, 2, -1), {"op_components": 3}, [(2, -1), (4, -1)]),
        (("ab", -3, "cd"), {"op_inserted": 3}, [("ab", -3, "c"), (3, "d")]),
        (("ab", 3, "c"), {"op_inserted": 2}, [("ab",), (5, "c")]),
        (("😀😀😀",), {"op_inserted": 2}, [("😀😀",), (2, "😀")]),
    ],
)
def test_pieces(op: Operation, limits: dict[str, int], expected: list[Operation]) -> None:
    assert list(pieces(op, Limits(**limits))) == expected


@pytest.mark.parametrize("op", [(5, "ab", 1, -1), (5, -3, "x"), (5, "ab")])
def test_limits_too_narrow_for_any_change_still_make_progress(op: Operation) -> None:
    """Else the replica would send empty operations for ever; the authority refuses these."""
    found = list(pieces(op, Limits(op_components=1)))
    assert all(found)
    text = DOCUMENT
    for piece in found:
        text = apply(text, piece)
    assert text == apply(DOCUMENT, op)
    assert all(pieces(op, Limits(), most_bytes=1))


@pytest.mark.parametrize("char", ["a", "é", "漢", "😀", "\0", '"', "\u2028"])
def test_bytes_are_counted_as_json_writes_them(char: str) -> None:
    op = (7, char * 1_000, -5, char * 300)
    found = list(pieces(op, Limits(), most_bytes=500))
    assert len(found) > 1
    assert max(map(encoded, found)) <= 500
    text = DOCUMENT
    for piece in found:
        text = apply(text, piece)
    assert text == apply(DOCUMENT, op)


def test_the_default_limits_take_the_longest_insertion_of_plain_text() -> None:
    op = ("x" * Limits().op_inserted,)
    assert split(op, Limits()) == (op, ())
    (first, rest) = split(("😀" * Limits().op_inserted,), Limits())
    assert encoded(first) <= PAGE_BYTES < encoded(first) + encoded(rest)


@settings(deadline=None)
@given(
    operations(len(DOCUMENT)),
    st.integers(2, 6),
    st.integers(1, 4),
    st.integers(100, 200),
)
def test_pieces_fit_and_do_together_what_the_whole_does(
    op: Operation, components: int, inserted: int, most_bytes: int
) -> None:
    limits = Limits(op_components=components, op_inserted=inserted)
    text = DOCUMENT
    for piece in pieces(op, limits, most_bytes):
        assert piece
        assert piece == normalize(piece)
        assert len(piece) <= components
        assert inserted_length(piece) <= inserted
        assert encoded(piece) <= most_bytes
        assert split(piece, limits, most_bytes) == (piece, ())
        text = apply(text, piece)
    assert text == apply(DOCUMENT, op)
