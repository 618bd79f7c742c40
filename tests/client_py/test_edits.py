"""Edits as applications write them."""

import random
from typing import Any

import pytest

from stretto_client.edits import build_operation, moved
from stretto_core.entries import Entry
from stretto_core.errors import InvalidRequest, StrettoError, VersionGone
from stretto_core.ot import apply
from stretto_core.protocol import NO_HASH
from stretto_core.replica import Replica

ALPHABET = "ab🎉é\n"


def replica_of(text: str) -> Replica:
    """Return an open replica at version 0."""
    replica = Replica("notes", lambda: "client-0000000001")
    request = replica.next_request()
    assert request is not None
    answer = {
        "epoch": "e",
        "version": 0,
        "hash": NO_HASH,
        "content": text,
        "last_seq": 0,
        "role": "editor",
        "member_id": "m",
        "members": [],
    }
    replica.answered(request, answer)
    return replica


def hear(replica: Replica, *ops: Any) -> None:
    """Let somebody else's operations arrive."""
    for op in ops:
        entry = Entry("client-0000000002", replica.version + 1, tuple(op), "bob", 0)
        frame = {
            "epoch": "e",
            "from": replica.version + 1,
            "ops": [entry.to_payload()],
            "hash": None,
        }
        replica.received("ops", frame)


def edited(replica: Replica, **edit: Any) -> str:
    return apply(replica.text, build_operation(replica, edit))


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        ({"type": "insert", "position": 1, "data": "X"}, "aX🎉bc"),
        ({"type": "delete", "position": 1, "length": 2}, "ac"),
        ({"type": "replace", "position": 1, "length": 1, "data": "XY"}, "aXYbc"),
        ({"type": "move", "position": 0, "length": 2, "to": 1}, "ba🎉c"),
        ({"type": "move", "position": 2, "length": 2, "to": 0}, "bca🎉"),
        ({"type": "move", "position": 1, "length": 1, "to": 1}, "a🎉bc"),
        ({"type": "move", "position": 0, "length": 4, "to": 0}, "a🎉bc"),
        ({"type": "insert", "position": 0, "data": "", "version": None}, "a🎉bc"),
    ],
)
def test_edits_count_code_points(edit: dict[str, Any], text: str) -> None:
    assert edited(replica_of("a🎉bc"), **edit) == text


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        ({}, "type"),
        ({"type": "paint", "position": 0}, "type"),
        ({"type": "insert", "position": 0}, "data"),
        ({"type": "insert", "position": 0, "data": "x", "length": 1}, "length"),
        ({"type": "insert", "position": 0, "data": 7}, "data"),
        ({"type": "insert", "position": -1, "data": "x"}, "position"),
        ({"type": "insert", "position": True, "data": "x"}, "position"),
        ({"type": "insert", "position": 1.0, "data": "x"}, "position"),
        ({"type": "delete", "position": 0, "length": "2"}, "length"),
        ({"type": "insert", "position": 0, "data": "x", "version": -1}, "version"),
        ({"type": "move", "position": 0, "length": 1}, "to"),
    ],
)
def test_other_shapes_are_refused(edit: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        build_operation(replica_of("abc"), edit)
    assert caught.value.details is not None
    assert key in caught.value.details


@pytest.mark.parametrize(
    ("position", "length", "to"), [(2, 2, 0), (0, 1, 3), (0, 4, 0), (4, 0, 5), (0, 0, 4)]
)
def test_a_move_outside_the_text_is_refused(position: int, length: int, to: int) -> None:
    edit = {"type": "move", "position": position, "length": length, "to": to}
    with pytest.raises(StrettoError):
        apply("abc", build_operation(replica_of("abc"), edit))
    with pytest.raises(InvalidRequest):
        moved("abc", position, length, to)


def test_positions_may_count_at_an_older_version() -> None:
    replica = replica_of("one two")
    hear(replica, [">> "], [3, -4])  # ">> one two", then ">> two"
    edit = {"type": "insert", "position": 4, "data": "my "}
    assert edited(replica, **edit, version=0) == ">> my two"
    assert edited(replica, **edit, version=1) == ">> my two"
    assert edited(replica, **edit, version=2) == ">> tmy wo"
    assert edited(replica, **edit, version=99) == ">> tmy wo"


def test_a_move_at_an_older_version_takes_what_stands_there_now() -> None:
    replica = replica_of("one two three")
    hear(replica, [5, "--", -1])  # one t--o three
    move = {"type": "move", "position": 4, "length": 4, "to": 0, "version": 0}
    assert edited(replica, **move) == "t--o one three"
    hear(replica, [4, -5])  # what was to be moved is gone
    assert edited(replica, **move) == "one three"


def test_an_older_move_into_its_own_span_leaves_the_text() -> None:
    replica = replica_of("abcdef")
    hear(replica, [2, -3])  # abf
    move = {"type": "move", "position": 1, "length": 4, "to": 1, "version": 0}
    assert edited(replica, **move) == "abf"


def test_positions_of_a_forgotten_version_are_refused() -> None:
    replica = replica_of("")
    replica._recent = type(replica._recent)(maxlen=2)
    hear(replica, ["a"], ["b"], ["c"])
    with pytest.raises(VersionGone):
        build_operation(replica, {"type": "insert", "position": 0, "data": "x", "version": 0})
    assert edited(replica, type="insert", position=0, data="x", version=1) == "xcba"


def test_moves_agree_with_cutting_and_pasting() -> None:
    chance = random.Random(4)
    for _ in range(500):
        text = "".join(chance.choices(ALPHABET, k=chance.randint(0, 8)))
        position = chance.randint(0, len(text))
        length = chance.randint(0, len(text) - position)
        to = chance.randint(0, len(text) - length)
        span, rest = text[position : position + length], text[:position] + text[position + length :]
        expected = rest[:to] + span + rest[to:]
        assert apply(text, moved(text, position, length, to)) == expected
        edit = {"type": "move", "position": position, "length": length, "to": to}
        assert edited(replica_of(text), **edit) == expected
