"""Each field loads what it should, and takes at once only what it would load as it is."""

import math
from typing import Any

import pytest
from marshmallow import ValidationError, validate
from marshmallow import fields as mm

from stretto_core.payload_fields import MAX_INTEGER, Flag, Listing, Ranges, Text, Whole, whole
from stretto_core.shapes import DOUBT


def loaded(field: "mm.Field[Any]", value: object) -> object:
    """Return what a field loads, DOUBT where it refuses."""
    try:
        return field.deserialize(value)
    except ValidationError:
        return DOUBT


@pytest.mark.parametrize("least", [0, 1])
def test_whole_numbers(least: int) -> None:
    assert whole(1.0, least) == 1
    good = [least, 1, 5, MAX_INTEGER]
    bad: list[object] = [least - 1, MAX_INTEGER + 1, True, 0.5, "1", None, [], math.nan, math.inf]
    field = Whole(least)
    for value in good:
        assert loaded(field, value) == field.take(value) == value
    for wrong in bad:
        assert loaded(field, wrong) is field.take(wrong) is DOUBT
    assert field.take(2.0) is DOUBT
    assert loaded(field, 2.0) == 2


def test_texts() -> None:
    checked = Text(validate=validate.Length(max=3))
    for value in ("", "abc"):
        for field in (Text(), checked):
            assert loaded(field, value) == field.take(value) == value
    assert loaded(checked, "abcd") is checked.take("abcd") is DOUBT
    assert checked.take("abcd") is DOUBT  # as it was remembered
    for wrong in (1, None, ["a"], b"a"):
        assert loaded(Text(), wrong) is Text().take(wrong) is DOUBT
    for value in ("é", "\ud800"):  # the request decides whether it may be there
        assert Text().take(value) is checked.take(value) is DOUBT


def test_flags() -> None:
    assert loaded(Flag(), True) is True
    assert loaded(Flag(), 1) is DOUBT
    assert not hasattr(Flag(), "take")


def test_listings() -> None:
    op = [1, "é\ud800", -1]
    assert loaded(Listing(), op) is Listing().take(op) is op
    for odd in ([1.0], [True], [None], [[1]], [b"x"]):
        assert Listing().take(odd) is DOUBT
    others: list[object] = [(1,), "1", {}, None]
    for wrong in others:
        assert loaded(Listing(), wrong) is Listing().take(wrong) is DOUBT


def test_ranges() -> None:
    pairs = [[0, 1], [MAX_INTEGER, 0]]
    assert loaded(Ranges(), pairs) == Ranges().take(pairs) == [(0, 1), (MAX_INTEGER, 0)]
    assert loaded(Ranges(), [[1.0, 2]]) == [(1, 2)]
    assert Ranges().take([[1.0, 2]]) is DOUBT
    others: list[object] = [[[0]], [[0, 1, 2]], [(0, 1)], [[-1, 0]], [[0, MAX_INTEGER + 1]], {}]
    for wrong in others:
        assert loaded(Ranges(), wrong) is Ranges().take(wrong) is DOUBT
    assert loaded(Ranges(allow_none=True), None) is None
