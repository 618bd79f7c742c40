import math
from typing import Any

import pytest

from stretto_core.errors import InvalidRequest
from stretto_core.payload_fields import MAX_INTEGER
from stretto_core.protocol import (
    DOCS,
    NAMESPACES,
    REQUESTS,
    ROOMS,
    SESSION,
    Limits,
    RequestSpec,
    decode_request,
    holds_binary,
    holds_lone_surrogate,
    is_client_id,
    is_resource_id,
    is_whole,
)

CLIENT = "client-0123456789"
SINCE = {"epoch": "e", "version": 3, "hash": "0123456789abcdef"}

VALID: dict[tuple[str, str], dict[str, Any]] = {
    (SESSION, "refresh_token"): {"token": "t"},
    (DOCS, "open"): {
        "doc": "d",
        "client": CLIENT,
        "type": "text",
        "since": SINCE,
        "fence": CLIENT,
    },
    (DOCS, "submit"): {
        "doc": "d",
        "epoch": "e",
        "client": CLIENT,
        "seq": 1,
        "base": 0,
        "op": [1, "x", -1],
    },
    (DOCS, "fetch"): {"doc": "d", "epoch": "e", "from": 1, "limit": 5},
    (DOCS, "close"): {"doc": "d"},
    (DOCS, "cursor"): {"doc": "d", "version": 3, "ranges": [[0, 1], [2, 2]]},
    (ROOMS, "join"): {
        "room": "r",
        "metadata": {"name": "R", "max_members": 5, "private": True, "tags": ["t"]},
        "status": {"any": [None, 1.5, "x"]},
    },
    (ROOMS, "leave"): {"room": "r"},
    (ROOMS, "send"): {"room": "r", "event": "say", "data": {"any": 1.5}},
    (ROOMS, "set_state"): {"room": "r", "changes": {"key": None}, "if_revision": 0},
    (ROOMS, "set_status"): {"room": "r", "status": None},
    (ROOMS, "set_metadata"): {"room": "r", "metadata": {"name": "R"}},
    (ROOMS, "find"): {
        "owner": "o",
        "tags": ["t"],
        "min_members": 0,
        "max_members": 9,
        "limit": 5,
    },
}
REQUIRED = {
    "refresh_token": {"token"},
    "open": {"doc", "client"},
    "submit": {"doc", "epoch", "client", "seq", "base", "op"},
    "fetch": {"doc", "epoch", "from"},
    "close": {"doc"},
    "cursor": {"doc", "version", "ranges"},
    "join": {"room"},
    "leave": {"room"},
    "send": {"room", "event", "data"},
    "set_state": {"room", "changes"},
    "set_status": {"room", "status"},
    "set_metadata": {"room", "metadata"},
    "find": set[str](),
}
WHOLE = ["seq", "base", "from", "limit", "version", "if_revision", "min_members", "max_members"]
STRINGS = ["doc", "room", "client", "fence", "epoch", "type", "token", "event", "owner"]
ANYTHING = ["data", "status"]
BAD_IDS = [
    "",
    "a/../b",
    "..",
    ".",
    "a/.",
    "a//b",
    "/a",
    "a/",
    "a\n",
    "a b",
    "a\0",
    "é",
    "a\\b",
    "x" * 201,
]


def spec_of(namespace: str, event: str) -> RequestSpec:
    return REQUESTS[namespace][event]


def decoded(namespace: str, event: str, payload: object) -> dict[str, Any]:
    return decode_request(spec_of(namespace, event), [payload])


def refusal(namespace: str, event: str, payload: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decoded(namespace, event, payload)
    return caught.value


def fields() -> list[tuple[str, str, str]]:
    return [(*event, key) for event, payload in VALID.items() for key in payload]


def wrong_values(key: str) -> list[object]:
    """Return values of every JSON type that ``key`` does not take."""
    every: list[object] = [True, False, 1, 1.5, "1", [], {}, [1], None]
    taken: tuple[type, ...] = {
        **dict.fromkeys(WHOLE, (int,)),
        **dict.fromkeys(STRINGS, (str,)),
        **dict.fromkeys(["op", "tags", "ranges"], (list,)),
        **dict.fromkeys(["since", "metadata", "changes"], (dict,)),
    }[key]
    if key == "ranges":
        taken = (list, type(None))
    wrong = [one for one in every if type(one) not in taken]
    return wrong + ([[1]] if key in ("tags", "ranges") else [])


def test_every_request_has_an_example_here() -> None:
    assert set(REQUESTS) == set(NAMESPACES)
    assert set(VALID) == {(name, event) for name, events in REQUESTS.items() for event in events}


@pytest.mark.parametrize(("namespace", "event"), VALID)
def test_valid_payloads_are_taken(namespace: str, event: str) -> None:
    payload = VALID[namespace, event]
    assert decoded(namespace, event, payload)
    least = {key: value for key, value in payload.items() if key in REQUIRED[event]}
    decoded(namespace, event, least)


@pytest.mark.parametrize(("namespace", "event"), VALID)
def test_what_is_required_is_missed(namespace: str, event: str) -> None:
    for key in REQUIRED[event]:
        payload = {name: one for name, one in VALID[namespace, event].items() if name != key}
        assert list(refusal(namespace, event, payload).details or {}) == [key]


@pytest.mark.parametrize(("namespace", "event"), VALID)
def test_an_unknown_key_is_refused(namespace: str, event: str) -> None:
    error = refusal(namespace, event, {**VALID[namespace, event], "colour": "red"})
    assert list(error.details or {}) == ["colour"]


@pytest.mark.parametrize(("namespace", "event"), VALID)
def test_an_event_carries_exactly_one_object(namespace: str, event: str) -> None:
    spec = spec_of(namespace, event)
    payload = VALID[namespace, event]
    wrong: list[list[object]] = [[], [payload, payload], [[payload]], [None], ["x"], [1], [True]]
    for arguments in wrong:
        with pytest.raises(InvalidRequest):
            decode_request(spec, arguments)


@pytest.mark.parametrize(("namespace", "event", "key"), fields())
def test_wrong_types_are_refused(namespace: str, event: str, key: str) -> None:
    if key in ANYTHING:
        return
    for value in wrong_values(key):
        error = refusal(namespace, event, {**VALID[namespace, event], key: value})
        assert list(error.details or {}) == [key], value


@pytest.mark.parametrize(
    ("namespace", "event", "key"), [field for field in fields() if field[2] in WHOLE]
)
def test_whole_numbers(namespace: str, event: str, key: str) -> None:
    payload = VALID[namespace, event]
    for value in (-1, 2**53, 2**64, 0.5, math.nan, math.inf, -math.inf, float(2**53)):
        refusal(namespace, event, {**payload, key: value})
    name = "from_" if key == "from" else key
    for value in (7, 7.0, MAX_INTEGER):
        found = decoded(namespace, event, {**payload, key: value})[name]
        assert found == value
        assert type(found) is int


def test_counts_that_begin_at_one() -> None:
    for event, key in (("submit", "seq"), ("fetch", "from"), ("fetch", "limit")):
        refusal(DOCS, event, {**VALID[DOCS, event], key: 0})
    refusal(ROOMS, "find", {"limit": 0})


@pytest.mark.parametrize(
    ("namespace", "event", "key"), [field for field in fields() if field[2] != "op"]
)
def test_a_lone_surrogate_is_refused_outside_an_operation(
    namespace: str, event: str, key: str
) -> None:
    for bad in ("\ud800", "x\udfff", ["\udc00"], {"\ud800": 1}, {"deep": [{"er": "\ud83d"}]}):
        error = refusal(namespace, event, {**VALID[namespace, event], key: bad})
        assert error.details == {key: ["lone surrogate"]}


def test_a_lone_surrogate_in_an_operation_is_left_to_who_knows_the_document() -> None:
    payload = {**VALID[DOCS, "submit"], "op": ["\ud800"]}
    assert decoded(DOCS, "submit", payload)["op"] == ["\ud800"]


def test_a_lone_surrogate_in_a_key_is_refused() -> None:
    refusal(DOCS, "close", {"doc": "d", "\ud800": 1})


@pytest.mark.parametrize(("namespace", "event", "key"), fields())
def test_binary_is_refused_but_in_the_data_of_a_message(
    namespace: str, event: str, key: str
) -> None:
    for bad in (b"\0", bytearray(b"x"), [b"x"], {"deep": [memoryview(b"x")]}):
        payload = {**VALID[namespace, event], key: bad}
        if (event, key) == ("send", "data"):
            assert decoded(namespace, event, payload)["data"] == bad
        else:
            assert refusal(namespace, event, payload).details == {key: ["binary"]}


@pytest.mark.parametrize("bad", BAD_IDS)
def test_bad_ids_of_documents_and_rooms(bad: str) -> None:
    assert not is_resource_id(bad)
    for namespace, event, key in fields():
        if key in ("doc", "room"):
            refusal(namespace, event, {**VALID[namespace, event], key: bad})


@pytest.mark.parametrize(
    "good", ["a", "x" * 200, "notes/2026-11", "a.b:c~d_e-F/0", "...", "a/.../b", "~", "-"]
)
def test_good_ids_of_documents_and_rooms(good: str) -> None:
    assert is_resource_id(good)
    assert decoded(DOCS, "close", {"doc": good}) == {"doc": good}


@pytest.mark.parametrize(
    "bad", ["", "x" * 15, "x" * 65, "client-0123456789\n", "client 0123456789", "clïent-0123456789"]
)
def test_bad_ids_of_clients(bad: str) -> None:
    assert not is_client_id(bad)
    refusal(DOCS, "open", {"doc": "d", "client": bad})
    refusal(DOCS, "open", {"doc": "d", "client": CLIENT, "fence": bad})
    refusal(DOCS, "submit", {**VALID[DOCS, "submit"], "client": bad})


@pytest.mark.parametrize("good", ["x" * 16, "x" * 64, "AZaz09_-AZaz09_-"])
def test_good_ids_of_clients(good: str) -> None:
    assert is_client_id(good)


@pytest.mark.parametrize(
    "changes",
    [
        {"hash": "0123456789ABCDEF"},
        {"hash": "0123456789abcde"},
        {"hash": "0123456789abcdef\n"},
        {"hash": "0123456789abcdef0"},
        {"hash": 5},
        {"version": -1},
        {"version": True},
        {"epoch": None},
        {"more": 1},
    ],
)
def test_what_a_replica_has_must_be_well_formed(changes: dict[str, object]) -> None:
    payload = {**VALID[DOCS, "open"], "since": {**SINCE, **changes}}
    (key,) = changes
    reasons = (refusal(DOCS, "open", payload).details or {})["since"]
    assert reasons[0].startswith(f"{key}: ")


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": 5},
        {"max_members": 0},
        {"max_members": 1_001},
        {"private": 1},
        {"private": "true"},
        {"tags": [1]},
        {"tags": "t"},
        {"colour": "red"},
    ],
)
def test_metadata_must_be_well_formed(metadata: dict[str, object]) -> None:
    for event in ("join", "set_metadata"):
        refusal(ROOMS, event, {"room": "r", "metadata": metadata})


@pytest.mark.parametrize(
    "ranges", [[[0]], [[0, 1, 2]], [[0, -1]], [[0, "1"]], [[True, 0]], [[0.5, 1]], ["ab"], {}]
)
def test_ranges_are_pairs_of_positions(ranges: object) -> None:
    refusal(DOCS, "cursor", {"doc": "d", "version": 1, "ranges": ranges})


def test_a_cursor_may_be_taken_away() -> None:
    assert decoded(DOCS, "cursor", {"doc": "d", "version": 1, "ranges": None})["ranges"] is None
    found = decoded(DOCS, "cursor", {"doc": "d", "version": 1, "ranges": [[1.0, 2]]})["ranges"]
    assert found == [(1, 2)]


def test_other_bounds() -> None:
    refusal(DOCS, "open", {"doc": "d", "client": CLIENT, "type": "rich"})
    refusal(ROOMS, "send", {"room": "r", "event": "", "data": 1})
    refusal(ROOMS, "send", {"room": "r", "event": "e" * 201, "data": 1})


def test_limits_are_checked_and_told() -> None:
    told = Limits(ops_per_s=7).to_payload()
    assert told["ops_per_s"] == 7
    assert all(value >= 1 for value in told.values())
    with pytest.raises(ValueError, match="op_inserted"):
        Limits(op_inserted=0)


def test_budgets_are_limits() -> None:
    told = Limits().to_payload()
    assert all(spec.budget in told for events in REQUESTS.values() for spec in events.values())


def test_what_holds_surrogates_or_binary() -> None:
    assert not holds_lone_surrogate({"é😀": ["x", 1, None, ("y",)]})
    assert holds_lone_surrogate(("x", ["\udfff"]))
    assert not holds_binary({"x": [1, None, ("y",)]})
    assert holds_binary((b"x",))


def test_what_is_a_whole_number() -> None:
    assert all(map(is_whole, (0, 1.0, 2**53 - 1)))
    assert not any(map(is_whole, (-1, 1.5, 2**53, True, "1", None, float("inf"))))
    assert not is_whole(0, 1)
