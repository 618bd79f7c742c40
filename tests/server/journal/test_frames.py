"""What a message on a document's channel says, and that nothing else is taken for one."""

import json

import pytest

from stretto_core.entries import Entry
from stretto_core.following import Frame
from stretto_server.journal.frames import (
    MOST_FRAME_BYTES,
    Replaced,
    deleted_frame,
    ops_frame,
    read_frame,
    replaced_frame,
)
from stretto_server.journal.interface import Head

ENTRY = Entry("client-of-ann-0001", 1, ("é\n😀", -2), "ann", 5)
OPS = {
    "doc": "notes",
    "epoch": "e",
    "from": 3,
    "ops": [ENTRY.to_payload()],
    "hash": "0123456789abcdef",
}


def test_entries_are_read_with_the_text_they_came_in() -> None:
    text = json.dumps(OPS)
    assert read_frame(text.encode()) == Frame("e", 3, (ENTRY,), 3, OPS["hash"], text)  # type: ignore[arg-type]


def test_entries_may_have_been_too_large() -> None:
    large = {key: value for key, value in OPS.items() if key != "ops"} | {"version": 7}
    told = read_frame(json.dumps(large).encode())
    assert isinstance(told, Frame)
    assert (told.first, told.entries, told.version) == (3, None, 7)


@pytest.mark.parametrize(("key", "deleted"), [("replaced", False), ("deleted", True)])
def test_a_history_may_be_gone(key: str, deleted: bool) -> None:
    told = read_frame(json.dumps({"doc": "notes", "epoch": "e", key: True}).encode())
    assert told == Replaced("e", deleted)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b"[" * 5_000,
        json.dumps(OPS | {"from": 0}).encode(),
        json.dumps(OPS | {"from": "1"}).encode(),
        json.dumps(OPS | {"from": True}).encode(),
        json.dumps(OPS | {"epoch": 1}).encode(),
        json.dumps(OPS | {"hash": None}).encode(),
        json.dumps(OPS | {"ops": []}).encode(),
        json.dumps(OPS | {"ops": [1]}).encode(),
        json.dumps(OPS | {"ops": {}}).encode(),
        json.dumps(OPS | {"ops": [ENTRY.to_payload() | {"op": [1.5]}]}).encode(),
        json.dumps(OPS | {"ops": [ENTRY.to_payload() | {"op": 5}]}).encode(),
        json.dumps(OPS | {"ops": [ENTRY.to_payload() | {"seq": "1"}]}).encode(),
        json.dumps(OPS | {"ops": [ENTRY.to_payload() | {"client": None}]}).encode(),
        json.dumps({"epoch": 5, "deleted": True}).encode(),
        b"\x80\x04\x95.",
    ],
)
def test_garbage_is_none(message: bytes) -> None:
    with pytest.raises(ValueError, match="no message about a document"):
        read_frame(message)


def test_a_frame_holds_its_entries_or_says_where_they_are() -> None:
    hashes = ["00" * 8, "ff" * 8]
    head, tail, whole = ops_frame('a"b', 'e"', 4, hashes, MOST_FRAME_BYTES)
    assert whole == 1
    assert json.loads(f"{head}{{}},{{}}{tail}") == {
        "doc": 'a"b',
        "epoch": 'e"',
        "from": 5,
        "ops": [{}, {}],
        "hash": hashes[1],
    }
    head, tail, whole = ops_frame("a", "e", 4, hashes, MOST_FRAME_BYTES + 1)
    assert whole == 0
    assert json.loads(f"{head}{tail}") == {
        "doc": "a",
        "epoch": "e",
        "from": 5,
        "version": 6,
        "hash": hashes[1],
    }


def test_the_other_messages_are_json() -> None:
    assert json.loads(replaced_frame("a", Head("e", 2, "00", 0)))["replaced"] is True
    head, tail = deleted_frame('a"')
    assert json.loads(f'{head}"e"{tail}') == {"doc": 'a"', "epoch": "e", "deleted": True}
