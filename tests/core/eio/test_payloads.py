import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto_core.eio.payloads import Survey, deconstruct, reconstruct, survey
from stretto_core.eio.violations import Reason, Violation


def nested(levels: int) -> Any:
    value: Any = 1
    for number in range(levels):
        value = [value] if number % 2 else {"a": value}
    return value


@pytest.mark.parametrize("levels", [0, 1, 5])
def test_depth_within_the_limit(levels: int) -> None:
    assert survey(nested(levels), 5, placeholders=False) == Survey(())


@pytest.mark.parametrize("levels", [6, 7, 100_000])
def test_depth_beyond_the_limit(levels: int) -> None:
    assert survey(nested(levels), 5, placeholders=False) == Violation(Reason.TOO_DEEP)


@pytest.mark.parametrize(
    "number", [math.nan, math.inf, -math.inf, 10**309, -(10**309), 2**1024, 2**1024 - 2**970]
)
def test_numbers_that_are_none(number: float) -> None:
    assert survey([{"a": number}], 5, placeholders=False) == Violation(Reason.NOT_FINITE)


@pytest.mark.parametrize("number", [0, -1, 1.5, 2**64, 1.7976931348623157e308, 10**308, True])
def test_numbers(number: float) -> None:
    assert survey([number], 5, placeholders=False) == Survey(())


def test_placeholders_are_found_where_they_may_be() -> None:
    data = ["a", {"_placeholder": True, "num": 1}, {"b": {"_placeholder": True, "num": 0}}]
    assert survey(data, 5, placeholders=True) == Survey((1, 0))
    assert survey(data, 5, placeholders=False) == Survey(())
    assert reconstruct(data, [b"x", b"y"]) == ["a", b"y", {"b": b"x"}]


@pytest.mark.parametrize("number", [True, 0.0, "0", None, [], -1])
def test_a_placeholder_needs_a_whole_number(number: Any) -> None:
    data = [{"_placeholder": True, "num": number}]
    assert survey(data, 5, placeholders=True) == Survey((-1,))


@pytest.mark.parametrize("mark", [1, "true", False, None])
def test_only_true_makes_a_placeholder(mark: Any) -> None:
    assert survey([{"_placeholder": mark, "num": 0}], 5, placeholders=True) == Survey(())


def test_deconstruct_takes_all_that_is_binary() -> None:
    data = ["a", b"1", {"b": [bytearray(b"2")]}, (memoryview(b"3"),)]
    plain, attachments = deconstruct(data)
    assert attachments == [b"1", b"2", b"3"]
    assert plain == [
        "a",
        {"_placeholder": True, "num": 0},
        {"b": [{"_placeholder": True, "num": 1}]},
        [{"_placeholder": True, "num": 2}],
    ]


def test_data_without_binary_is_left_alone() -> None:
    data = ["a", {"_placeholder": True, "num": 0}]
    plain, attachments = deconstruct(data)
    assert plain is data
    assert attachments == []


def test_a_false_placeholder_beside_binary_is_refused() -> None:
    with pytest.raises(ValueError, match="placeholder"):
        deconstruct([b"1", {"_placeholder": True, "num": 0}])


def test_deep_and_cyclic_data_without_binary_passes() -> None:
    cyclic: list[Any] = []
    cyclic += [cyclic, cyclic]
    assert deconstruct(cyclic)[1] == []
    assert deconstruct(nested(100_000))[1] == []


plain = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.binary())
payloads = st.recursive(
    plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner)
)


@given(payloads)
def test_binary_round_trips(data: Any) -> None:
    taken, attachments = deconstruct(data)
    surveyed = survey(taken, 64, placeholders=True)
    assert surveyed == Survey(surveyed.placeholders if isinstance(surveyed, Survey) else ())
    assert isinstance(surveyed, Survey)
    assert sorted(surveyed.placeholders) == list(range(len(attachments)))
    assert reconstruct(taken, attachments) == data
