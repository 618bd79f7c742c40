from dataclasses import FrozenInstanceError, fields, replace

import pytest

from stretto_core.values import value


@value
class Point:
    x: int
    y: int = 2


def test_values_are_compared_hashed_and_copied_by_their_fields() -> None:
    assert Point(1) == Point(1, 2) != Point(1, 3)
    assert len({Point(1), Point(1), Point(2)}) == 2
    assert replace(Point(1), y=5) == Point(1, 5)
    assert [field.name for field in fields(Point(1))] == ["x", "y"]


def test_values_have_slots() -> None:
    with pytest.raises((AttributeError, FrozenInstanceError)):
        Point(1).z = 3  # type: ignore[attr-defined]
