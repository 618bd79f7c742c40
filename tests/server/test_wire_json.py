"""JSON with and without orjson: the same values, the same refusals."""

from typing import Any

import pytest

from stretto_server import wire_json


@pytest.fixture(autouse=True, params=["orjson", "standard library"])
def _library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "standard library":
        monkeypatch.setattr(wire_json, "orjson", None)
    else:
        assert vars(wire_json)["orjson"] is not None


VALUES: list[Any] = [
    None, True, 0, -1, 1.5, 2**53 - 1, 2**70, "", "text", "é 😀 \u0000 \u2028", [], {},
    {"a": [1, {"b": None}]}, "\ud800", {"\udfff": ["a\ud800b"]},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_values_survive(value: Any) -> None:
    assert wire_json.loads(wire_json.dumps(value)) == value


def test_json_is_compact() -> None:
    assert wire_json.dumps({"a": [1, "b"]}, separators=(", ", ": ")) == '{"a":[1,"b"]}'


def test_bytes_are_read_too() -> None:
    assert wire_json.loads('{"a":"é"}'.encode()) == {"a": "é"}


REFUSED = {
    "empty": "",
    "half": '{"a":',
    "more": "1 2",
    "NaN": "NaN",
    "infinite": "[Infinity]",
    "minus infinite": '{"a":-Infinity}',
    "beyond floats": "[1e999]",
    "minus beyond floats": "-1e999",
    "single quotes": "{'a':1}",
    "trailing comma": "[1,]",
    "too many digits": "9" * 10_000,
    "nested too deep": "[" * 65 + "]" * 65,
    "objects nested too deep": '{"a":' * 65 + "1" + "}" * 65,
    "nested and open": "[" * 100_000,
    "not UTF-8": b'"\xff"',
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_anything_else_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        wire_json.loads(text)


def test_the_deepest_that_is_read() -> None:
    value = wire_json.loads("[" * 64 + "]" * 64)
    for _ in range(63):
        (value,) = value
    assert value == []


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert wire_json.loads("[" + "[],{}," * 500 + "1]")[-1] == 1
    assert wire_json.loads('["' + "[" * 500 + '"]') == ["[" * 500]
