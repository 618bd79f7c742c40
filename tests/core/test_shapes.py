"""Shapes answer exactly as the schemas do, or not at all."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, post_load
from marshmallow import fields as mm

from stretto_core.errors import InvalidRequest
from stretto_core.payload_fields import MAX_INTEGER, Text, Whole
from stretto_core.protocol import (
    DOCS,
    REQUESTS,
    SESSION,
    RequestSpec,
    decode_request,
)
from stretto_core.shapes import DOUBT, shape_of

CLIENT = "client-0123456789"
EXAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    (SESSION, "refresh_token"): {"token": "t"},
    (DOCS, "submit"): {
        "doc": "d",
        "epoch": "e",
        "client": CLIENT,
        "seq": 1,
        "base": 0,
        "op": [1, "é", -1],
    },
    (DOCS, "fetch"): {"doc": "d", "epoch": "e", "from": 1},
    (DOCS, "close"): {"doc": "d"},
    (DOCS, "cursor"): {"doc": "d", "version": 3, "ranges": [[0, 1], [2, 2]]},
}
KEYS = sorted({key for payload in EXAMPLES.values() for key in payload} | {"limit", "extra"})

numbers = st.one_of(
    st.integers(-2, 3),
    st.sampled_from([MAX_INTEGER, MAX_INTEGER + 1, -MAX_INTEGER, 1.0, 0.5, 2.0**60, True, False]),
    st.floats(),
)
texts = st.one_of(
    st.sampled_from(
        ["d", "a/b", "a/../b", "..", "x" * 201, CLIENT, "x" * 15, "", "a\n", "é", "😀"]
    ),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20),
    st.sampled_from(["\ud800", "a\udfffb"]),
)
leaves = st.one_of(numbers, texts, st.none(), st.sampled_from([b"x", bytearray(b"y")]))
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=2)
)
operations = st.lists(st.one_of(numbers, texts), max_size=5)
ranges = st.lists(st.lists(numbers, min_size=1, max_size=3), max_size=3)


def by_schema(spec: RequestSpec) -> RequestSpec:
    """Return the description of the same event, without its shape."""
    slow = RequestSpec(spec.schema, spec.budget, spec.binary)
    object.__setattr__(slow, "shape", None)
    return slow


def outcome(spec: RequestSpec, payload: dict[str, Any]) -> str:
    """Return what becomes of a payload, types and errors included, as one comparable text."""
    try:
        decoded = decode_request(spec, [payload])
    except InvalidRequest as error:
        return json.dumps(error.to_payload(), sort_keys=True)
    return repr(sorted(decoded.items()))


@st.composite
def payloads(draw: st.DrawFn, example: dict[str, Any]) -> dict[str, Any]:
    """Draw a payload that is right, or wrong in a few places."""
    payload: dict[str, Any] = dict(example)
    for key in draw(st.lists(st.sampled_from([*example, *KEYS]), max_size=3)):
        if draw(st.booleans()):
            payload[key] = draw(st.one_of(values, operations, ranges))
        else:
            payload.pop(key, None)
    return dict(draw(st.permutations(list(payload.items()))))


@pytest.mark.parametrize(("namespace", "event"), EXAMPLES)
@given(data=st.data())
def test_shape_and_schema_agree(namespace: str, event: str, data: st.DataObject) -> None:
    spec = REQUESTS[namespace][event]
    payload = data.draw(payloads(EXAMPLES[namespace, event]))
    assert outcome(spec, payload) == outcome(by_schema(spec), payload)


@pytest.mark.parametrize(("namespace", "event"), EXAMPLES)
def test_what_is_plainly_right_needs_no_schema(namespace: str, event: str) -> None:
    spec = REQUESTS[namespace][event]
    assert spec.shape is not None
    payload = EXAMPLES[namespace, event]
    assert spec.shape(payload) is not None
    assert spec.shape({**payload, "extra": 1}) is None
    assert spec.shape({}) is None


def test_optional_keys_and_null() -> None:
    fetch, cursor = REQUESTS[DOCS]["fetch"].shape, REQUESTS[DOCS]["cursor"].shape
    assert fetch is not None
    assert cursor is not None
    page = EXAMPLES[DOCS, "fetch"]
    assert fetch({**page, "limit": 5}) == {"doc": "d", "epoch": "e", "from_": 1, "limit": 5}
    assert fetch({**page, "limit": 5.0}) is None
    assert fetch({**page, "extra": 5}) is None
    away = cursor({"doc": "d", "version": 3, "ranges": None})
    assert away == {"doc": "d", "version": 3, "ranges": None}


def test_what_no_shape_can_say() -> None:
    class Hooked(Schema):
        name = Text(required=True)

        @post_load
        def shout(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
            return {"name": data["name"].upper()}

    class Converted(Schema):
        name = mm.Str(required=True)

    class Defaulted(Schema):
        count = Whole(load_default=3)

    class Cleaned(Schema):
        name = Text(required=True, pre_load=[str.strip])

    assert [shape_of(one()) for one in (Hooked, Converted, Defaulted, Cleaned)] == [None] * 4
    assert REQUESTS[DOCS]["open"].shape is None


def test_doubt_is_no_value() -> None:
    assert Whole().take(1) == 1
    assert all(Whole(1).take(one) is DOUBT for one in (0, True, 1.0, "1", None, DOUBT))
