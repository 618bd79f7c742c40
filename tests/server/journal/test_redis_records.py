import pytest

from stretto_core.entries import ClientRecord
from stretto_server.journal.interface import Head
from stretto_server.journal.redis_records import (
    DAMAGE,
    INDEXES,
    entry_arguments,
    keys_of,
    last_used,
    publish_arguments,
    read_entries,
    read_hash,
    read_head,
    read_record,
    require_full,
    require_whole,
)
from stretto_server.redis_client.cluster import slot_of
from tests.contracts.journal_samples import A, chain, entry, typed

HEAD = Head("epoch", 4, chain(typed(4))[-1], 1)


def rows(first: int, last: int) -> list[list[object]]:
    """Return the log's rows from ``first`` to ``last``, as XRANGE gives them."""
    entries = typed(last)
    arguments, _ = entry_arguments(entries, chain(entries))
    return [
        [
            b"%d-0" % (at + 1),
            [b"d", arguments[6 * at + 4], b"h", str(arguments[6 * at + 5]).encode()],
        ]
        for at in range(first - 1, last)
    ]


@pytest.mark.parametrize("doc", ["notes", "a/b.c:d~e", "{x}", "}{"])
def test_all_keys_of_a_document_lie_in_one_slot(doc: str) -> None:
    keys = keys_of(doc)
    assert len(set(keys)) == 5
    assert len({slot_of(key) for key in keys}) == 1
    assert keys[4] in INDEXES


def test_entries_come_back_as_they_went() -> None:
    kept = read_entries(rows(2, 4), 2)
    assert [one.version for one in kept] == [2, 3, 4]
    assert require_whole(kept, HEAD, 1) == tuple(typed(4)[1:])


def test_the_size_of_a_batch_is_that_of_its_json() -> None:
    arguments, size = entry_arguments([entry(), entry(A, 2, ("é",))], ["0" * 16] * 2)
    data = [argument for argument in arguments if isinstance(argument, bytes)]
    assert size == sum(len(one) + 1 for one in data)
    with pytest.raises(ValueError):
        entry_arguments([entry()], [])


@pytest.mark.parametrize(
    "damaged",
    [
        lambda: read_entries(rows(2, 4), 1),
        lambda: read_entries([rows(1, 1)[0], rows(3, 3)[0]], 1),
        lambda: read_entries([[b"1-0", [b"d", b"{}", b"h", b"00"]]], 1),
        lambda: read_entries([[b"1-0", [b"d", b"[]"]]], 1),
        lambda: require_whole(read_entries(rows(2, 3), 2), HEAD, 1),
        lambda: require_whole(read_entries(rows(1, 4), 1), Head("e", 4, "f" * 16, 0), 0),
        lambda: require_full(rows(1, 2), None),
        lambda: require_full(rows(1, 2), 100_000),
        lambda: read_head([b"epoch", b"x", b"00", b"0"]),
        lambda: read_head([b"epoch", None, b"00", b"0"]),
        lambda: read_record(b"1 2 3"),
        lambda: last_used(b"x"),
        lambda: read_hash(b""),
    ],
)
def test_damage_raises(damaged: object) -> None:
    with pytest.raises(DAMAGE):
        damaged()  # type: ignore[operator]


def test_a_page_that_its_bytes_ended_is_full() -> None:
    require_full(rows(1, 2), 10)


def test_records() -> None:
    data = b"7 9 1 1234 a b\n\0"
    assert read_record(data) == ClientRecord(7, 9, "a b\n\0", fenced=True)
    assert last_used(data) == 1234
    assert read_record(b"") == ClientRecord()
    assert read_hash(b"00ff") == "00ff"


def test_a_cluster_has_channels_of_its_own_kind() -> None:
    assert publish_arguments("a", False)[0] == "PUBLISH"
    assert publish_arguments("a", True)[0] == "SPUBLISH"
    assert publish_arguments("a", True)[1].endswith(":channel:doc:a")
