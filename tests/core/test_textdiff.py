import pytest
from hypothesis import given, settings

from stretto_core.ot import apply, inserted_length
from stretto_core.textdiff import difference
from tests.core.ot.strategies import texts


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "", ()),
        ("same", "same", ()),
        ("", "new", ("new",)),
        ("old", "", (-3,)),
        ("one two", "one, two", (3, ",")),
        ("one two", "two", (-4,)),
        ("aaa", "aa", (2, -1)),
        ("abcd", "aXcYd", (1, "X", -1, 1, "Y")),
        ("a😀b", "a😁b", (1, "😁", -1)),
        ("[one two three]", "[ONE two THREE]", (1, "ONE", -3, 5, "THREE", -5)),
    ],
)
def test_what_is_common_stays(before: str, after: str, expected: tuple[int | str, ...]) -> None:
    assert difference(before, after) == expected


@settings(deadline=None)
@given(texts, texts)
def test_it_turns_one_text_into_the_other(before: str, after: str) -> None:
    assert apply(before, difference(before, after)) == after


def test_long_middles_are_replaced_whole() -> None:
    before, after = "<" + "ab" * 2_000 + ">", "<" + "ba" * 2_500 + "!>"
    op = difference(before, after)
    assert apply(before, op) == after
    assert len(op) <= 3


def test_common_ends_of_long_texts_stay() -> None:
    text = "line\n" * 200_000
    op = difference(text, text[:500_000] + "x" + text[500_000:])
    assert inserted_length(op) == 1
    assert len(op) == 2
