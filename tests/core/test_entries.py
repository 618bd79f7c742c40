import dataclasses
import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto_core.entries import ClientRecord, Entry, hashes_after, next_hash, operation_json, seal
from stretto_core.ot import Operation
from stretto_core.protocol import NO_HASH

CLIENT = "client-0123456789"

# What Node.js computes, with JSON.stringify([client, seq, op]) for the JSON.
EXPECTED: dict[str, tuple[Operation, str]] = {
    "plain": (("abc",), "ff49593d1d37de38"),
    "quotes": (('say "hi" \\ / done',), "1e60ef16b6dcdabb"),
    "control characters": (("\0\x01\x08\t\n\x0b\f\r\x1f\x7f",), "340abbb963f1800e"),
    "line separators": (("\u2028\u2029\x85\ufeff",), "2130e4a5ca0b3dac"),
    "emoji": ((3, "😀👩\u200d👧🇩🇪"), "c7b3fc8cb619cc9f"),
    "combining characters": (("e\u0301é\u00e9",), "3e417e2237dbf7fb"),
    "markup": (("</script><!-- &amp; -->",), "d516534b26e449e5"),
    "edges of the planes": (("\ud7ff\ue000\uffff\U0010ffff",), "1e13228168a85f98"),
    "large numbers": ((2**53 - 1, 1 - 2**53), "bb47d5a25f1f28f0"),
    "mixed": ((1, "a", -2, "b"), "0fc488a646d1f680"),
    "nothing": ((), "baa146dbd97e7aab"),
}


def entry(op: Operation, seq: int = 7) -> Entry:
    return Entry(CLIENT, seq, op, "ann", 1_700_000_000_000)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_hash_is_that_of_the_json_of_javascript(name: str) -> None:
    op, expected = EXPECTED[name]
    assert next_hash(NO_HASH, entry(op)) == expected


def compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ops = st.lists(st.integers(1 - 2**53, 2**53 - 1) | strings, max_size=4).map(tuple)


@given(strings, st.integers(1, 2**53), ops, strings, st.integers(0, 2**53))
def test_json_is_what_the_standard_library_writes(
    client: str, seq: int, op: Operation, user: str, at_ms: int
) -> None:
    one = Entry(client, seq, op, user, at_ms)
    assert operation_json(op) == compact(op)
    digest = sha256(bytes(8) + compact([client, seq, op]).encode()).digest()[:8].hex()
    assert next_hash(NO_HASH, one) == digest
    assert one.json == ""
    assert one.to_json() == one.json == compact(one.to_payload())
    assert seal(NO_HASH, again := dataclasses.replace(one)) == digest
    assert again.json == one.json


def test_json_that_is_kept_makes_no_difference() -> None:
    one = entry((1, "x"))
    one.to_json()
    other = entry((1, "x"))
    assert (one, hash(one), repr(one)) == (other, hash(other), repr(other))
    assert dataclasses.replace(one, seq=8).to_json() == entry((1, "x"), 8).to_json()


def test_hashes_chain() -> None:
    reached = NO_HASH
    for op, _ in EXPECTED.values():
        reached = next_hash(reached, entry(op))
    assert reached == "f9bfc1e8ed101ee2"


def test_hashes_of_entries_in_a_row() -> None:
    entries = [entry(op) for op, _ in EXPECTED.values()]
    assert hashes_after(NO_HASH, entries)[-1] == "f9bfc1e8ed101ee2"
    assert len(hashes_after(NO_HASH, entries)) == len(entries)
    assert hashes_after(NO_HASH, []) == []


def test_user_and_time_are_not_hashed() -> None:
    one = entry(("x",))
    assert next_hash(NO_HASH, dataclasses.replace(one, user="bob", at_ms=0)) == next_hash(
        NO_HASH, one
    )


def test_an_entry_survives_its_payload_and_ignores_unknown_keys() -> None:
    one = entry((1, "é", -2))
    assert one.to_payload() == {
        "client": CLIENT,
        "seq": 7,
        "op": [1, "é", -2],
        "user": "ann",
        "at_ms": 1_700_000_000_000,
    }
    assert Entry.from_payload({**one.to_payload(), "later": 1}) == one


def test_a_record_advances() -> None:
    record = ClientRecord(fenced=True).advanced(1, 9, "ann")
    assert record == ClientRecord(1, 9, "ann", fenced=True)
