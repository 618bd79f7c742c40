import pytest

from stretto_core.entries import ClientRecord
from stretto_core.errors import EpochChanged, NotFound, VersionAhead, VersionGone
from stretto_server.journal.interface import Head, StaleClient
from stretto_server.journal.rules import (
    advance_clients,
    clients_of,
    encoded_bytes,
    fill_page,
    require_history,
    require_readable,
)
from tests.contracts.journal_samples import ALICE, BOB, EPOCH, A, B, chain, entry, typed

HEAD = Head(EPOCH, 9, "0" * 16, 4)


def test_a_history_is_required() -> None:
    assert require_history("doc", HEAD, EPOCH) is HEAD
    with pytest.raises(NotFound, match="doc"):
        require_history("doc", None, EPOCH)
    with pytest.raises(EpochChanged):
        require_history("doc", HEAD, "other")


def test_pages_start_between_the_floor_and_the_head() -> None:
    for first in (5, 10):
        require_readable(HEAD, first)
    with pytest.raises(VersionGone):
        require_readable(HEAD, 4)
    with pytest.raises(VersionAhead):
        require_readable(HEAD, 11)


def test_records_advance_with_their_entries() -> None:
    known = {A: ClientRecord(4, 7, ALICE), "idle": ClientRecord(1, 1, ALICE)}
    batch = [entry(A, 5), entry(B, 1, user=BOB), entry(A, 6)]
    assert advance_clients(known, 9, batch) == {
        A: ClientRecord(6, 12, ALICE),
        B: ClientRecord(1, 11, BOB),
    }


@pytest.mark.parametrize("seq", [3, 4, 6])
def test_an_entry_that_is_not_the_next_is_stale(seq: int) -> None:
    known = {A: ClientRecord(4, 7, ALICE)}
    assert advance_clients(known, 9, [entry(A, seq)]) == StaleClient(A, known[A])


def test_a_fenced_client_is_stale() -> None:
    known = {A: ClientRecord(4, 7, ALICE, fenced=True)}
    assert advance_clients(known, 9, [entry(A, 5)]) == StaleClient(A, known[A])


def test_a_whole_history_leaves_the_last_of_each_client() -> None:
    assert clients_of([*typed(3), entry(B, 8, user=BOB)]) == {
        A: ClientRecord(3, 3, ALICE),
        B: ClientRecord(8, 4, BOB),
    }


def test_a_page_is_measured_in_bytes_of_utf_8() -> None:
    assert encoded_bytes(entry(op=("🙂",))) == encoded_bytes(entry(op=("abcd",)))


def test_a_page_without_entries_has_no_hash() -> None:
    assert fill_page([], 10) == ((), None)
    entries = typed(2)
    kept = list(zip(entries, chain(entries), strict=True))
    assert fill_page(kept, None) == (tuple(entries), chain(entries)[-1])
    assert fill_page(kept, 1) == ((entries[0],), chain(entries)[0])
