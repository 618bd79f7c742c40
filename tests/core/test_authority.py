import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto_core.authority import Authority, Submission
from stretto_core.entries import ClientRecord, Entry, next_hash
from stretto_core.errors import (
    EpochChanged,
    Forbidden,
    InvalidOperation,
    InvalidRequest,
    SequenceGap,
    StrettoError,
    TooLarge,
    VersionAhead,
    VersionGone,
)
from stretto_core.ot import Component, Operation, apply, transform
from stretto_core.protocol import NO_HASH, Limits
from stretto_core.staging import Stage
from tests.core.ot.strategies import operations

ANN, BOB = "client-of-ann-00", "client-of-bob-00"
LIMITS = Limits(op_components=5, op_inserted=6, document_chars=20)


def opened(*ops: Operation, text: str = "", version: int = 0, floor: int = 0) -> Authority:
    """Return an authority that learned ``ops`` of nobody's, with Ann and Bob enrolled."""
    authority = Authority("epoch-1", version, NO_HASH, text, floor=floor, limits=LIMITS)
    authority.learn([entry(op, seq) for seq, op in enumerate(ops, 1)])
    authority.enroll(ANN, None)
    authority.enroll(BOB, None)
    return authority


def entry(op: Operation, seq: int = 1, client: str = "client-of-nobody") -> Entry:
    return Entry(client, seq, op, "nobody", 0)


def by(
    client: str, seq: int, base: int, *op: object, epoch: str = "epoch-1", user: str | None = None
) -> Submission:
    return Submission(epoch, client, seq, base, op, user or client[10:13])


def outcomes(authority: Authority, *submissions: Submission) -> list[int | StrettoError]:
    """Stage a batch and commit it."""
    staged = authority.stage(submissions, 5)
    authority.commit(staged)
    return list(staged.outcomes)


def refused(authority: Authority, submission: Submission) -> StrettoError:
    """Check that a submission alone is refused, and leaves no trace; return why."""
    before = (authority.version, authority.hash, authority.text)
    staged = authority.stage([submission], 5)
    (outcome,) = staged.outcomes
    assert isinstance(outcome, StrettoError)
    assert staged.entries == ()
    assert (authority.version, authority.hash, authority.text) == before
    return outcome


# Committing.


def test_staging_changes_nothing_and_committing_does() -> None:
    authority = opened(("abc",))
    staged = authority.stage([by(ANN, 1, 1, 3, "!")], 5)
    assert (authority.version, authority.text) == (1, "abc")
    authority.commit(staged)
    assert (authority.version, authority.text, authority.length) == (2, "abc!", 4)
    assert staged.entries == (Entry(ANN, 1, (3, "!"), "ann", 5),)
    assert authority.hash == staged.hashes[-1] == next_hash(opened(("abc",)).hash, *staged.entries)
    assert authority.record(ANN) == ClientRecord(1, 2, "ann")


def test_what_commits_later_goes_left() -> None:
    authority = opened(("()",))
    assert outcomes(authority, by(ANN, 1, 1, 1, "aa"), by(BOB, 1, 1, 1, "bb")) == [2, 3]
    assert authority.text == "(bbaa)"


def test_an_operation_is_stored_canonical_and_may_become_empty() -> None:
    authority = opened(("abc",))
    outcomes(authority, by(ANN, 1, 1, 1.0, 0, -1, "", -1), by(BOB, 1, 1, 1, -2, 0))
    assert [one.op for one in authority.entries(2, 9)] == [(1, -2), ()]
    assert authority.text == "a"


def test_a_stage_on_another_head_is_not_committed() -> None:
    authority = opened()
    staged = authority.stage([by(ANN, 1, 0, "x")], 5)
    authority.learn([entry(("y",))])
    with pytest.raises(ValueError, match="another version"):
        authority.commit(staged)


def test_a_lost_race_is_learned_and_staged_again() -> None:
    authority = opened()
    submission = by(ANN, 1, 0, "x")
    authority.stage([submission], 5)
    authority.learn([entry(("y",))])
    assert outcomes(authority, submission) == [2]
    assert authority.text == "xy"


class LongWay(Authority):
    """Knows no short cut for splices."""

    def _spliced(self, stage: Stage, submission: Submission) -> None:
        return None


rough = st.one_of(
    st.tuples(
        st.integers(-1, 7), st.one_of(st.text("ab\0é😀\ud800", max_size=7), st.integers(-7, 2))
    ),
    st.lists(
        st.one_of(st.integers(-3, 4), st.sampled_from(["x", "", 1.0, True, None])), max_size=4
    ),
)
"""Operations of which many are one splice, and many are wrong."""


@given(
    st.lists(st.lists(st.tuples(st.sampled_from([ANN, BOB]), rough, st.integers(0, 9)), max_size=6))
)
def test_the_short_cut_for_splices_gives_what_the_long_way_gives(
    rounds: list[list[tuple[str, list[object], int]]],
) -> None:
    short = Authority("epoch-1", 0, NO_HASH, "0123456789", floor=0, limits=LIMITS)
    long = LongWay("epoch-1", 0, NO_HASH, "0123456789", floor=0, limits=LIMITS)
    for authority in (short, long):
        authority.enroll(ANN, None)
        authority.enroll(BOB, None)
    for batch in rounds:
        submissions: list[Submission] = []
        for client, op, behind in batch:
            record = short.record(client)
            assert record is not None
            earlier = [one.client for one in submissions].count(client)
            base = max(0, short.version - behind, 0 if earlier else record.last_version)
            seq = record.last_seq + 1 + earlier
            submissions.append(Submission("epoch-1", client, seq, base, op, client[10:13]))
        results = [authority.stage(submissions, 5) for authority in (short, long)]
        assert [_told(staged.outcomes) for staged in results[:1]] == [_told(results[1].outcomes)]
        assert results[0].entries == results[1].entries
        assert results[0].hashes == results[1].hashes
        for authority, staged in zip((short, long), results, strict=True):
            authority.commit(staged)
        assert (
            (short.text, short.length) == (long.text, long.length) == (short.text, len(long.text))
        )


def _told(outcomes: Sequence[int | StrettoError]) -> list[object]:
    return [one.to_payload() if isinstance(one, StrettoError) else one for one in outcomes]


# The order of checks.


def test_another_epoch() -> None:
    error = refused(opened(), by(ANN, 9, 9, None, epoch="epoch-0"))
    assert isinstance(error, EpochChanged)
    assert error.details == {"epoch": "epoch-1"}


def test_a_client_that_did_not_open() -> None:
    assert isinstance(refused(opened(), by("client-of-eve-00", 1, 0, "x")), InvalidRequest)


def test_another_users_client() -> None:
    authority = opened()
    outcomes(authority, by(ANN, 1, 0, "x"))
    assert isinstance(refused(authority, by(ANN, 2, 1, "y", user="bob")), Forbidden)
    assert isinstance(refused(authority, by(ANN, 1, 0, "x", user="bob")), Forbidden)


def test_a_client_is_bound_by_its_first_operation_in_a_batch() -> None:
    found = outcomes(opened(), by(ANN, 1, 0, "x"), by(ANN, 1, 0, "x", user="bob"))
    assert found[0] == 1
    assert isinstance(found[1], Forbidden)


@pytest.mark.parametrize("seq", [1, 2, 4, 5])
def test_another_seq_than_the_next_is_a_gap(seq: int) -> None:
    authority = opened()
    authority.enroll(ANN, ClientRecord(3, 0, "ann"))
    if seq == 4:
        assert outcomes(authority, by(ANN, seq, 0, "x")) == [1]
        return
    error = refused(authority, by(ANN, seq, 0, "x"))
    assert isinstance(error, SequenceGap)
    assert error.details == {"last_seq": 3}


def test_the_last_seq_again_has_the_version_that_it_took_and_the_rest_is_unread() -> None:
    authority = opened()
    outcomes(authority, by(ANN, 1, 0, "x"), by(BOB, 1, 0, "y"))
    staged = authority.stage([by(ANN, 1, 99, None)], 5)
    assert staged.outcomes == (1,)
    assert staged.entries == ()


def test_the_same_seq_twice_in_a_batch_commits_once() -> None:
    authority = opened()
    found = outcomes(authority, by(ANN, 1, 0, "x"), by(BOB, 1, 0, "b"), by(ANN, 1, 0, "other"))
    assert found == [1, 2, 1]
    assert authority.text == "bx"


def test_a_seq_twice_in_a_batch_whose_first_is_refused() -> None:
    found = outcomes(opened(), by(ANN, 1, 0, 5), by(ANN, 1, 0, "x"))
    assert isinstance(found[0], InvalidOperation)
    assert found[1] == 1


def test_a_seq_that_follows_a_refused_one_is_a_gap() -> None:
    found = outcomes(opened(), by(ANN, 1, 0, 5), by(ANN, 2, 0, "x"))
    assert isinstance(found[1], SequenceGap)


def test_a_batch_goes_on_behind_what_it_refuses() -> None:
    authority = opened()
    found = outcomes(authority, by(ANN, 1, 0, "x"), by(BOB, 3, 0, "b"), by(BOB, 1, 0, "b"))
    assert [type(one) for one in found] == [int, SequenceGap, int]
    assert authority.text == "bx"


def test_a_fenced_client_commits_nothing_more_but_hears_of_its_last() -> None:
    authority = opened()
    outcomes(authority, by(ANN, 1, 0, "x"))
    authority.enroll(ANN, ClientRecord(1, 1, "ann", fenced=True))
    assert authority.stage([by(ANN, 1, 0, "x")], 5).outcomes == (1,)
    error = refused(authority, by(ANN, 2, 1, "y"))
    assert isinstance(error, SequenceGap)
    assert error.details == {"last_seq": 1}


def test_a_base_above_the_head() -> None:
    error = refused(opened(("abc",)), by(ANN, 1, 2, "x"))
    assert isinstance(error, VersionAhead)
    assert error.details == {"version": 1}


def test_a_base_may_not_count_on_what_is_only_staged() -> None:
    found = outcomes(opened(), by(ANN, 1, 0, "x"), by(BOB, 1, 1, "b"))
    assert isinstance(found[1], VersionAhead)


def test_a_base_below_the_floor() -> None:
    error = refused(opened(text="abc", version=7, floor=5), by(ANN, 1, 4, "x"))
    assert isinstance(error, VersionGone)
    assert error.details == {"floor": 5}


def test_a_base_below_the_clients_own_last_version() -> None:
    authority = opened(("abc",))
    outcomes(authority, by(BOB, 1, 1, "b"), by(ANN, 1, 1, "x"))
    error = refused(authority, by(ANN, 2, 2, "y"))
    assert isinstance(error, InvalidRequest)
    assert error.details is not None
    assert list(error.details) == ["base"]
    assert outcomes(authority, by(ANN, 2, 3, "y")) == [4]


def test_a_base_older_than_memory_is_the_callers_mistake_and_not_the_clients() -> None:
    authority = opened(text="abc", version=7, floor=5)
    with pytest.raises(IndexError):
        authority.stage([by(ANN, 1, 5, 3, "x")], 5)


@pytest.mark.parametrize(
    "op",
    [[True], [1.5], [None], ["\ud800"], [2**53], [[]], [{}], [3, "x", 1], [-4], [1, -3], [4]],
)
def test_a_malformed_operation_or_one_longer_than_its_document(op: list[object]) -> None:
    assert isinstance(refused(opened(("abc",)), by(ANN, 1, 1, *op)), InvalidOperation)


def test_the_length_at_the_base_counts_and_not_that_at_the_head() -> None:
    authority = opened(("abc",), (-2,), (1, "defgh"))
    assert isinstance(refused(authority, by(ANN, 1, 2, 2)), InvalidOperation)
    assert outcomes(authority, by(ANN, 1, 1, 3, "!"), by(BOB, 1, 2, 1, "?")) == [4, 5]
    assert authority.text == "c?!defgh"


@pytest.mark.parametrize(
    "op", [[1, -1, "a", 1, "b", 0], ["1234567"], ["1234", 1, "567"], [True] * 6, ["\ud800" * 7]]
)
def test_an_operation_beyond_the_limits_before_its_form_is_read(op: list[object]) -> None:
    assert isinstance(refused(opened(("abc",)), by(ANN, 1, 1, *op)), TooLarge)


def test_components_and_characters_are_counted_as_they_came() -> None:
    assert outcomes(opened(), by(ANN, 1, 0, "a", "b", "c", "d", "ef")) == [1]
    assert isinstance(refused(opened(), by(ANN, 1, 0, "", "", "", "", "", "")), TooLarge)


def test_a_document_beyond_its_limit() -> None:
    authority = opened(("x" * 18,))
    assert isinstance(refused(authority, by(ANN, 1, 1, "abc")), TooLarge)
    found = outcomes(authority, by(ANN, 1, 1, "ab"), by(BOB, 1, 1, "b"))
    assert found[0] == 2
    assert isinstance(found[1], TooLarge)
    assert outcomes(authority, by(BOB, 1, 2, "b", -1)) == [3]


def test_a_document_that_is_too_long_already_may_shrink_or_stay() -> None:
    authority = opened(("x" * 30,))
    assert outcomes(authority, by(ANN, 1, 1, -2, "a")) == [2]
    assert outcomes(authority, by(BOB, 1, 2, -1, "b")) == [3]
    assert isinstance(refused(authority, by(ANN, 2, 3, "b")), TooLarge)


# Memory.


def test_entries_are_handed_out_by_count_and_size() -> None:
    authority = opened(("a",), ("b",), ("c",))
    assert [one.op for one in authority.entries(2, 9)] == [("b",), ("c",)]
    assert [one.op for one in authority.entries(1, 2)] == [("a",), ("b",)]
    assert authority.entries(4, 9) == ()
    for version in (0, 5):
        with pytest.raises(IndexError):
            authority.entries(version, 9)


def test_a_page_by_size_has_at_least_one_entry() -> None:
    authority = opened(("a" * 50,), ("b",), ("c",))
    size = len(json.dumps(authority.entries(2, 1)[0].to_payload(), separators=(",", ":")))
    assert len(authority.entries(1, 9, 10)) == 1
    assert len(authority.entries(2, 9, size)) == 1
    assert len(authority.entries(2, 9, 2 * size)) == 2
    assert len(authority.entries(1, 9, 10_000)) == 3


def test_memory_is_trimmed_and_read_back() -> None:
    ops: list[Operation] = [("abc",), (1, "x"), (-1,), (2, "yz"), (1, -2)]
    authority, full = opened(*ops), opened(*ops)
    authority.trim(3)
    assert (authority.horizon, authority.version, authority.text) == (3, 5, full.text)
    assert authority.oldest_base([by(ANN, 1, 1, "q"), by(BOB, 1, 2, "q")]) == 1
    assert authority.oldest_base([by(ANN, 1, 3, "q"), by(ANN, 1, 1, "q", epoch="old")]) is None
    assert authority.hash_at(2) is None
    assert authority.hash_at(3) == full.hash_at(3)
    authority.extend_back(full.entries(2, 2))
    assert authority.horizon == 1
    assert authority.hash_at(1) is None  # ask the journal
    assert authority.hash_at(3) == full.hash_at(3)
    for one in (authority, full):
        assert outcomes(one, by(ANN, 1, 1, 3, "!"), by(BOB, 1, 3, 3, "?")) == [6, 7]
    assert authority.text == full.text
    assert authority.hash == full.hash
    assert authority.entries(2, 9) == full.entries(2, 9)


def test_what_is_below_the_floor_is_not_read_back() -> None:
    authority = opened(text="abc", version=7, floor=5)
    assert authority.oldest_base([by(ANN, 1, 4, "x")]) is None
    assert authority.oldest_base([by(ANN, 1, 5, "x"), by(BOB, 1, 6, "x")]) == 5


def test_a_trim_keeps_to_what_there_is() -> None:
    authority = opened(("abc",), ("x",))
    authority.trim(0)
    assert authority.horizon == 0
    authority.trim(99)
    assert (authority.horizon, authority.version, authority.text) == (2, 2, "xabc")
    assert authority.hash_at(2) == authority.hash
    assert authority.hash_at(3) is None


def test_records_come_and_go() -> None:
    authority = opened()
    assert set(authority.clients()) == {ANN, BOB}
    authority.forget(ANN)
    authority.forget(ANN)
    assert authority.record(ANN) is None
    authority.learn([entry(("x",), client=ANN)])
    assert authority.record(ANN) is None
    authority.learn([entry(("x",), client=BOB)])
    assert authority.record(BOB) == ClientRecord(1, 2, "nobody")


def test_entries_older_than_a_record_do_not_set_it_back() -> None:
    """The journal knew of seq 2 at version 2 before this memory had either entry."""
    authority = opened()
    authority.enroll(ANN, ClientRecord(2, 2, "ann"))
    authority.learn([Entry(ANN, 1, ("x",), "ann", 0)])
    assert authority.record(ANN) == ClientRecord(2, 2, "ann")
    authority.learn([Entry(ANN, 2, ("y",), "ann", 0), Entry(ANN, 3, ("z",), "ann", 0)])
    assert authority.record(ANN) == ClientRecord(3, 3, "ann")


def test_an_operation_of_an_older_version_is_carried_to_the_head() -> None:
    authority = opened(("abc",), ("x",))
    assert authority.carried([1, "!"], 1) == (2, "!")
    assert authority.carried([1.0, "!", 2], 2) == (1, "!")
    with pytest.raises(VersionAhead):
        authority.carried(["!"], 3)
    with pytest.raises(InvalidOperation):
        authority.carried([4], 1)
    authority.trim(1)
    with pytest.raises(IndexError):
        authority.carried([3, "!"], 0)
    with pytest.raises(VersionGone):
        opened(text="abc", version=7, floor=5).carried(["!"], 4)


# Cursors.


def test_ranges_are_carried_to_the_head() -> None:
    authority = opened(("abc",))
    outcomes(authority, by(ANN, 1, 1, 1, "xx"), by(BOB, 1, 1, "yy"))
    assert authority.text == "yyaxxbc"
    assert authority.map_ranges([(1, 2)], 1, ANN) == [(5, 6)]
    assert authority.map_ranges([(1, 2)], 1, BOB) == [(3, 6)]
    assert authority.map_ranges([(0, 0)], 1, BOB) == [(2, 2)]
    assert authority.map_ranges([(0, 0)], 1, ANN) == [(0, 0)]
    assert authority.map_ranges([], 1, ANN) == []


def test_ranges_past_the_end_are_clamped_where_they_count() -> None:
    authority = opened(("abc",))
    outcomes(authority, by(BOB, 1, 1, "yy"))
    assert authority.map_ranges([(99, 3)], 1, ANN) == [(5, 5)]
    assert authority.map_ranges([(99, 99)], 2, ANN) == [(5, 5)]


def test_ranges_of_a_version_that_memory_does_not_have() -> None:
    authority = opened(("abc",), ("x",))
    authority.trim(1)
    for version in (0, 3):
        with pytest.raises(IndexError):
            authority.map_ranges([(0, 0)], version, ANN)


# Properties.


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_batch_is_what_one_after_the_other_would_be(data: st.DataObject) -> None:
    text = "abcdef"
    both = [opened((text,)), opened((text,))]
    lengths, submissions = [len(text)], []
    for client in (ANN, BOB, "client-of-cat-00", "client-of-dan-00"):
        op: tuple[Component, ...] = data.draw(operations(lengths[0]))[:5]
        submissions.append(by(client, 1, 1, *op))
        for authority in both:
            authority.enroll(client, None)
    outcomes(both[0], *submissions)
    for submission in submissions:
        outcomes(both[1], submission)
    assert both[0].text == both[1].text
    assert both[0].hash == both[1].hash
    replayed = ""
    for one in both[0].entries(1, 9):
        replayed = apply(replayed, one.op)
    assert replayed == both[0].text


@settings(deadline=None)
@given(st.data())
def test_an_old_base_is_carried_as_by_one_transform_after_the_other(data: st.DataObject) -> None:
    authority = opened(("abcd",))
    for seq in range(1, 40):
        op = data.draw(operations(min(authority.length, 10)))
        if not isinstance(authority.stage([by(BOB, seq, seq, *op)], 0).outcomes[0], int):
            op = ()
        outcomes(authority, by(BOB, seq, seq, *op))
    own: Operation = data.draw(operations(4))[:5]
    expected = own
    for one in authority.entries(2, 99):
        expected = transform(expected, one.op, "left")
    (found,) = authority.stage([by(ANN, 1, 1, *own)], 0).entries or (entry(expected),)
    assert found.op == expected
