import json

from stretto_server.journal.interface import Head
from stretto_server.journal.redis_frames import (
    MOST_FRAME_BYTES,
    deleted_frame,
    ops_frame,
    publish_arguments,
    replaced_frame,
)


def test_a_frame_holds_its_entries_or_says_where_they_are() -> None:
    hashes = ["00" * 8, "ff" * 8]
    head, tail, whole = ops_frame('a"b', 'e"', 4, hashes, MOST_FRAME_BYTES)
    assert whole == 1
    assert json.loads(f"{head!s}{{}},{{}}{tail!s}") == {
        "doc": 'a"b',
        "epoch": 'e"',
        "from": 5,
        "ops": [{}, {}],
        "hash": hashes[1],
    }
    head, tail, whole = ops_frame("a", "e", 4, hashes, MOST_FRAME_BYTES + 1)
    assert whole == 0
    assert json.loads(f"{head!s}{tail!s}") == {
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


def test_a_cluster_has_channels_of_its_own_kind() -> None:
    assert publish_arguments("a", False)[0] == "PUBLISH"
    assert publish_arguments("a", True)[0] == "SPUBLISH"
    assert publish_arguments("a", True)[1].endswith(":channel:doc:a")
