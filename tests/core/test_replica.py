import json
from typing import Any

import pytest

from stretto_core.effects import (
    Changed,
    Closed,
    Confirmed,
    Opened,
    Origin,
    Request,
    Returned,
    RoleChanged,
)
from stretto_core.entries import Entry, next_hash
from stretto_core.errors import (
    ERRORS,
    EpochChanged,
    Forbidden,
    InternalError,
    InvalidOperation,
    InvalidRequest,
    NotFound,
    NotJoined,
    RateLimited,
    SequenceGap,
    StrettoError,
    TokenExpired,
    TooLarge,
    Unavailable,
    VersionGone,
)
from stretto_core.ot import apply, compose, transform
from stretto_core.protocol import NO_HASH, Limits
from stretto_core.replica import HELD_ENTRIES, HELD_FRAMES, Replica
from tests.core.history import DOC, Wire
from tests.core.network import Network

# Opening and editing.


def test_nothing_can_be_edited_before_the_first_opening() -> None:
    replica = Replica(DOC, lambda: "client-0123456789")
    assert not replica.known
    with pytest.raises(NotJoined):
        replica.edit(["a"])


def test_opening_shows_the_text_and_reports_the_answer() -> None:
    net = Network("a", text="one")
    net.all_show("one")
    a = net.replicas["a"]
    assert a.is_open
    assert a.is_current
    assert (a.length, a.role, a.epoch) == (3, "editor", "epoch-1")
    assert a.member_id
    assert [type(effect) for effect in net.effects["a"]] == [Changed, Opened]


def test_a_viewer_may_not_edit() -> None:
    net = Network("a")
    net.tell("a", "role", role="viewer")
    net.deliver("a")
    assert net.effects["a"][-1] == RoleChanged("viewer")
    with pytest.raises(Forbidden):
        net.type("a", 0, "x")


@pytest.mark.parametrize("op", [[4, "x"], [-4], [True], ["\ud800"]])
def test_an_edit_that_does_not_fit_changes_nothing(op: list[int | str]) -> None:
    net = Network("a", text="one")
    with pytest.raises(InvalidOperation):
        net.edit("a", op)
    net.all_show("one")


def test_an_edit_that_changes_nothing_is_none() -> None:
    net = Network("a", text="one")
    assert net.replicas["a"].edit([2]) == []
    assert net.replicas["a"].made == 0


def test_edits_that_cancel_each_other_out_are_saved() -> None:
    net = Network("a", text="one")
    net.type("a", 0, "x")
    assert not net.replicas["a"].is_saved
    net.erase("a", 0, 1)
    assert net.replicas["a"].is_saved
    assert net.send("a") == ""
    net.all_show("one")


def test_what_is_typed_goes_out_one_operation_at_a_time() -> None:
    net = Network("a", "b")
    net.type("a", 0, "x")
    net.send("a")
    net.type("a", 1, "y")
    net.type("a", 2, "z")
    assert net.send("a") == ""
    assert net.replicas["a"].pending == (("x",), (1, "yz"))
    net.settle()
    net.all_show("xyz")
    assert net.confirmed("a") == [1, 2]


def test_the_count_of_settled_edits_follows_the_entries() -> None:
    net = Network("a")
    a = net.replicas["a"]
    net.type("a", 0, "x")
    net.send("a")
    net.type("a", 1, "y")
    assert (a.made, a.settled) == (2, 0)
    net.deliver("a")
    assert (a.made, a.settled) == (2, 1)
    net.settle()
    assert (a.made, a.settled) == (2, 2)


# Races.


def test_two_type_at_one_place() -> None:
    net = Network("a", "b", text="()")
    net.type("a", 1, "aaa")
    net.type("b", 1, "bbb")
    net.send("a")
    net.send("b")
    net.shows("a", "(aaa)")
    net.settle()
    net.all_show("(bbbaaa)")  # what commits later goes left


def test_runs_typed_at_one_place_do_not_interleave() -> None:
    net = Network("a", "b")
    for position, (left, right) in enumerate(zip("abc", "xyz", strict=True)):
        for name, typed, char in (("a", "abc"[:position], left), ("b", "xyz"[:position], right)):
            net.type(name, net.replicas[name].text.index(typed) + position, char)
            net.send(name)
        net.deliver("a")
        net.deliver("b")
    net.settle()
    net.all_show("xyzabc")


def test_both_delete_the_same() -> None:
    net = Network("a", "b", text="abcdef")
    net.erase("a", 1, 3)
    net.erase("b", 2, 3)
    net.settle()
    net.all_show("af")


def test_the_own_entry_before_the_ack() -> None:
    net = Network("a")
    net.type("a", 0, "x")
    net.send("a")
    assert net.deliver("a", 1) == ["ops"]
    assert net.replicas["a"].is_saved
    assert net.deliver("a", 1) == ["submit"]
    net.all_show("x")


def test_the_ack_before_the_own_entry() -> None:
    net = Network("a")
    net.type("a", 0, "x")
    net.send("a")
    net.swap("a")
    assert net.deliver("a", 1) == ["submit"]
    assert not net.replicas["a"].is_saved
    assert net.send("a") == ""
    net.deliver("a")
    net.all_show("x")


def test_an_ack_that_comes_behind_the_next_submit_does_not_touch_it() -> None:
    net = Network("a")
    net.type("a", 0, "x")
    net.send("a")
    net.deliver("a", 1)
    net.type("a", 1, "y")
    net.request("a")
    net.deliver("a", 1)
    assert net.replicas["a"].in_flight is not None
    net.settle()
    net.all_show("xy")


def test_a_frame_that_comes_twice() -> None:
    net = Network("a", "b")
    net.type("b", 0, "x")
    net.send("b")
    net.repeat("a")
    assert net.deliver("a") == ["ops", "ops"]
    net.settle()
    net.all_show("x")


def test_the_ack_is_lost_and_the_entry_is_in_the_opening() -> None:
    net = Network("a", "b")
    net.type("a", 0, "x")
    net.send("a")
    net.lose("a")
    net.type("a", 1, "y")
    net.reconnect("a")
    net.settle()
    net.all_show("xy")
    assert net.confirmed("a") == [1, 2]


def test_the_submit_is_lost_and_resent_on_a_new_base_under_its_seq() -> None:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    net.request("a")
    net.lose("a")
    net.type("b", 0, "no ")
    net.settle("b")
    net.connect("a")
    net.settle()
    net.all_show("no one!")
    own = [(one.seq, one.op) for one in net.journal.log if one.user == "user-a"]
    assert own == [(1, (6, "!"))]


def test_the_commit_happens_after_the_replica_came_back() -> None:
    net = Network("a", "b")
    net.type("a", 0, "x")
    net.request("a")
    net.node.receive(net.wires["a"])  # read and queued
    net.lose("a")
    net.reconnect("a")
    net.settle()
    net.all_show("x")


def test_a_resent_operation_that_was_committed_is_acknowledged_again() -> None:
    net = Network("a", "b")
    a = net.replicas["a"]
    net.type("a", 0, "x")
    net.request("a")
    request = net.wires["a"].up[0]
    net.refuse("a", Unavailable())  # and yet it was queued:
    net.wires["a"].up.append(request)
    net.deliver("a")
    net.serve("a")
    assert a.in_flight is not None
    assert a.in_flight.unsure
    net.settle()
    net.all_show("x")


def test_an_empty_operation_keeps_its_version() -> None:
    net = Network("a", "b", text="x")
    net.erase("a", 0, 1)
    net.erase("b", 0, 1)
    net.settle()
    net.all_show("")
    assert net.journal.log[-1].op == ()


def test_a_replica_must_not_transform_a_server_op_over_its_operations_composed() -> None:
    """In flight deletes all, the buffer types "y" where it was; meanwhile "s" commits there.

    The authority puts what commits later first: first "y", then "s". Over the one and then
    the other "s" ends behind "y". Over their composition, which is delete and *then* "y",
    "s" stays before what is deleted, and so before "y".
    """
    net = Network("a", "b", text="abc")
    net.erase("a", 0, 3)
    net.request("a")
    net.type("a", 0, "y")
    net.type("b", 0, "s")
    net.settle("b")
    net.deliver("a", 1)
    net.shows("a", "ys")
    net.settle()
    net.all_show("ys")
    composed = transform(("s",), compose((-3,), ("y",)), "right")
    assert apply("y", composed) == "sy"


# Gaps.


def test_a_gap_is_fetched_and_what_came_over_it_is_kept() -> None:
    net = Network("a", "b")
    for text in "xyz":
        net.type("b", 0, text)
        net.settle("b")
    assert net.drop("a") == "ops"
    net.deliver("a")
    assert not net.replicas["a"].is_current
    assert net.send("a") == "fetch"
    net.tamper("a", ops=[net.journal.log[0].to_payload()], hash=net.journal.hashes[1])
    net.deliver("a")
    net.all_show("zyx")


def test_frames_that_arrive_while_fetching() -> None:
    net = Network("a", "b")
    for text in "xyz":
        net.type("b", 0, text)
        net.settle("b")
    net.drop("a")
    net.deliver("a", 1)
    assert net.request("a") == "fetch"
    assert net.request("a") == ""
    assert not net.replicas["a"].is_current
    net.deliver("a", 1)
    net.settle()
    net.all_show("zyx")


def test_an_own_entry_that_comes_by_fetching() -> None:
    net = Network("a", "b")
    net.type("b", 0, "x")
    net.type("a", 0, "y")
    net.settle("b")
    net.send("a")
    net.drop("a")
    net.settle()
    net.all_show("yx")
    assert net.confirmed("a") == [2]


def test_more_frames_over_a_gap_than_are_kept() -> None:
    net = Network("a", "b")
    for _ in range(HELD_FRAMES + 5):
        net.type("b", 0, "x")
        net.settle("b")
    net.drop("a")
    net.settle()
    net.all_show("x" * (HELD_FRAMES + 5))


def test_behind_is_fetched_page_by_page() -> None:
    net = Network("a", "b", page=2)
    for text in "uvwxyz":
        net.type("b", 0, text)
        net.settle("b")
    net.wires["a"].down.clear()
    net.tell("a", "behind", version=6)
    net.deliver("a")
    assert net.send("a") == "fetch"
    net.settle()
    net.all_show("zyxwvu")


def test_a_stale_behind_ends_with_one_empty_page() -> None:
    net = Network("a", text="one")
    net.tell("a", "behind", version=100)
    net.deliver("a")
    assert net.send("a") == "fetch"
    net.deliver("a")
    assert net.replicas["a"].is_current
    assert net.send("a") == ""
    net.all_show("one")


def test_a_hint_that_comes_while_fetching_is_kept() -> None:
    net = Network("a", "b")
    net.tell("a", "behind", version=1)
    net.deliver("a")
    assert net.send("a") == "fetch"  # answered before there is anything
    net.type("b", 0, "x")
    net.settle("b")
    assert net.drop("a", 1) == "ops"
    net.tell("a", "behind", version=1)
    net.swap("a")
    assert net.deliver("a") == ["behind", "fetch"]
    assert not net.replicas["a"].is_current
    net.settle()
    net.all_show("x")


def test_frames_over_entries_that_the_log_does_not_have() -> None:
    net = Network("a", text="one")
    entry = Entry("client-of-nobody", 1, ("x",), "user-x", 0)
    frame = {"epoch": "epoch-1", "from": 9, "ops": [entry.to_payload()], "hash": NO_HASH}
    net.tell("a", "ops", **frame)
    net.deliver("a")
    assert net.send("a") == "fetch"
    net.deliver("a")
    assert net.send("a") == "open"
    net.settle()
    net.all_show("one")


def test_an_opening_that_stops_short_is_fetched_on() -> None:
    net = Network("a", "b", page=2)
    net.lose("a")
    for text in "uvwxyz":
        net.type("b", 0, text)
        net.settle("b")
    net.type("a", 0, "!")
    net.connect("a")
    assert [net.send("a"), net.deliver("a")] == ["open", ["open"]]
    assert net.replicas["a"].version == 2
    assert not net.replicas["a"].is_current
    assert [net.send("a"), net.deliver("a")] == ["fetch", ["fetch"]]
    net.settle()
    net.all_show("!zyxwvu")


def test_frames_are_held_while_an_opening_is_fetched_on() -> None:
    net = Network("a", "b", page=2)
    net.lose("a")
    for text in "uvwx":
        net.type("b", 0, text)
        net.settle("b")
    net.connect("a")
    net.send("a")
    net.type("b", 0, "y")
    net.settle("b")
    assert net.deliver("a") == ["open", "ops"]
    assert net.replicas["a"].version == 2
    net.settle()
    net.all_show("yxwvu")


def test_frames_before_the_answer_to_an_opening_are_left_alone() -> None:
    net = Network("a", "b")
    net.tell("a", "reset", epoch="epoch-1", version=0, hash=NO_HASH)
    net.deliver("a")
    assert net.request("a") == "open"
    net.type("b", 0, "x")
    net.settle("b")
    net.tell("a", "behind", version=7)
    assert net.deliver("a") == ["ops", "behind"]
    assert net.replicas["a"].version == 0
    net.serve("a")
    net.settle()
    net.all_show("x")


def test_a_fetch_that_fails_for_now_is_repeated() -> None:
    net = Network("a", "b")
    net.type("b", 0, "x")
    net.settle("b")
    net.wires["a"].down.clear()
    net.tell("a", "behind", version=1)
    net.deliver("a")
    net.request("a")
    net.refuse("a", RateLimited())
    net.deliver("a")
    assert net.request("a") == "fetch"
    net.settle()
    net.all_show("x")
    assert net.openings("a") == 1


def test_a_fetch_of_what_is_gone_opens_again() -> None:
    net = Network("a", "b")
    for text in "xyz":
        net.type("b", 0, text)
        net.settle("b")
    net.drop("a")
    net.deliver("a")
    net.compact()
    assert net.send("a") == "fetch"
    assert net.deliver("a") == ["version_gone"]
    assert net.send("a") == "open"
    net.settle()
    net.all_show("zyx")


# Stale answers.


def test_an_answer_for_an_older_connection_is_ignored() -> None:
    net = Network("a", "b", text="one")
    a = net.replicas["a"]
    net.type("a", 0, "x")
    request = a.next_request()
    assert request is not None
    a.disconnected()
    assert a.failed(request, Forbidden()) == []
    assert a.answered(request, {"version": 2}) == []
    net.shows("a", "xone")
    net.reconnect("a")
    net.settle()
    net.all_show("xone")


def test_an_answer_to_an_opening_that_failed_is_ignored() -> None:
    """The shell gave it up, say after a timeout, and the answer came after the next one's."""
    net = Network("a", "b")
    net.type("b", 0, "x")
    net.lose("a")
    net.settle("b")
    net.connect("a")
    a = net.replicas["a"]
    first = a.next_request()
    assert first is not None
    a.failed(first, Unavailable())
    net.wires["a"].up.append(first)
    net.serve("a")
    net.deliver("a")
    assert not a.is_open
    net.settle()
    net.all_show("x")


def test_the_error_of_an_earlier_sending_does_not_take_back_a_later_one() -> None:
    net = Network("a")
    a = net.replicas["a"]
    net.type("a", 0, "x")
    first = a.next_request()
    assert first is not None
    a.failed(first, TooLarge())
    net.type("a", 0, "y")
    net.request("a")
    assert a.failed(first, TooLarge()) == []
    net.settle()
    net.all_show("y")


def test_renewing_the_token_does_not_resend_what_is_under_way() -> None:
    net = Network("a")
    net.type("a", 0, "x")
    net.request("a")
    net.replicas["a"].resend()
    assert net.request("a") == ""
    net.serve("a")
    net.settle()
    net.all_show("x")


# One by one: what every error of `submit` leads to.

REFUSED = ("invalid_operation", "too_large", "invalid_request", "forbidden")
REPLACED = ("epoch_changed", "version_gone", "version_ahead", "sequence_gap")
HELD_BACK = ("token_expired", "rate_limited")
UNKNOWN = tuple(code for code in ERRORS if code not in {*REFUSED, *REPLACED, *HELD_BACK})


def submit_and_fail(code: str) -> Network:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    net.request("a")
    net.type("a", 4, "?")
    net.refuse("a", ERRORS[code]())
    net.deliver("a")
    return net


@pytest.mark.parametrize("code", REFUSED)
def test_a_refused_operation_is_taken_back_and_its_text_given_back(code: str) -> None:
    net = submit_and_fail(code)
    net.shows("a", "one?")
    assert net.returned("a") == [("refused", "!")]
    given = [effect for effect in net.effects["a"] if isinstance(effect, Returned)]
    assert [effect.error.code for effect in given if effect.error] == [code]
    net.settle()
    net.all_show("one?")
    assert net.journal.log[-1].seq == 1


@pytest.mark.parametrize("code", REPLACED)
def test_another_history_raises_a_fence_before_anything_moves_over(code: str) -> None:
    net = submit_and_fail(code)
    a = net.replicas["a"]
    assert not a.is_saved
    request = a.next_request()
    assert request is not None
    assert request.event == "open"
    assert request.payload["fence"] == "client-of-a-00001"
    assert request.payload["client"] == "client-of-a-00002"
    assert "since" not in request.payload
    a.disconnected()
    net.reconnect("a")
    net.settle()
    net.all_show("one!?")
    assert [(one.client, one.seq) for one in net.journal.log[1:]] == [("client-of-a-00002", 1)]


@pytest.mark.parametrize("code", UNKNOWN)
def test_an_unknown_outcome_opens_again_and_sends_the_same_seq(code: str) -> None:
    net = submit_and_fail(code)
    assert net.request("a") == "open"
    net.serve("a")
    net.settle()
    net.all_show("one!?")
    assert [(one.client[:11], one.seq) for one in net.journal.log[1:]] == [
        ("client-of-a", 1),
        ("client-of-a", 2),
    ]
    assert net.returned("a") == []


def test_an_expired_token_holds_the_operation_back_until_it_is_renewed() -> None:
    net = submit_and_fail("token_expired")
    assert net.request("a") == ""
    net.replicas["a"].resend()
    assert net.request("a") == "submit"
    net.serve("a")
    net.settle()
    net.all_show("one!?")
    assert net.openings("a") == 1


def test_a_rate_limit_sends_the_same_again() -> None:
    net = submit_and_fail("rate_limited")
    assert net.send("a") == "submit"
    net.settle()
    net.all_show("one!?")
    assert net.openings("a") == 1


def test_every_code_of_submit_was_looked_at() -> None:
    assert {*REFUSED, *REPLACED, *HELD_BACK, *UNKNOWN} == set(ERRORS)


# Refused operations.


def test_a_refused_deletion_comes_back_under_the_buffer() -> None:
    net = Network("a", "b", text="abcdef")
    net.erase("a", 1, 4)
    net.request("a")
    net.type("a", 1, "x")
    net.erase("a", 2, 1)
    net.shows("a", "ax")
    net.refuse("a", TooLarge())
    net.deliver("a")
    net.shows("a", "axbcde")
    net.settle()
    net.all_show("axbcde")


def test_a_refused_insertion_leaves_what_was_typed_inside_it() -> None:
    net = Network("a", "b", text="()")
    net.type("a", 1, "heo")
    net.request("a")
    net.type("a", 3, "ll")
    net.refuse("a", InvalidRequest())
    net.deliver("a")
    net.shows("a", "(ll)")
    net.settle()
    net.all_show("(ll)")
    assert net.returned("a") == [("refused", "heo")]


def test_a_refusal_after_others_committed() -> None:
    net = Network("a", "b", text="abc")
    net.erase("a", 0, 2)
    net.request("a")
    net.type("a", 1, "!")
    net.type("b", 1, "-")
    net.settle("b")
    net.deliver("a")
    net.shows("a", "-c!")
    net.refuse("a", Forbidden())
    net.deliver("a")
    net.settle()
    net.all_show("a-bc!")


def test_the_seq_of_a_refused_operation_is_used_again() -> None:
    net = Network("a", "b")
    for text in ("x", "y"):
        net.type("a", 0, text)
        net.request("a")
        net.refuse("a", TooLarge())
        net.deliver("a")
    net.type("a", 0, "z")
    net.settle()
    net.all_show("z")
    assert [one.seq for one in net.journal.log] == [1]
    assert net.returned("a") == [("refused", "x"), ("refused", "y")]


def test_an_edit_that_was_given_back_counts_as_settled() -> None:
    net = Network("a")
    a = net.replicas["a"]
    net.type("a", 0, "x")
    net.request("a")
    net.type("a", 1, "y")
    net.refuse("a", TooLarge())
    net.deliver("a")
    assert (a.made, a.settled) == (2, 1)


def test_a_refused_resend_that_may_commit_yet_waits_for_the_fence_and_did_commit() -> None:
    """One node refuses it for a right that is gone; another had read it before."""
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    net.request("a")
    earlier = net.wires["a"].up[0]
    net.lose("a")
    net.connect("a")
    net.send("a")
    net.deliver("a")
    net.request("a")
    net.refuse("a", Forbidden())
    net.deliver("a")
    net.shows("a", "one!")
    assert net.returned("a") == []
    assert not net.replicas["a"].is_saved
    commit_late(net, "a", earlier)
    net.settle()
    net.all_show("one!")
    assert net.returned("a") == []


def test_a_refused_resend_that_never_committed_is_given_back_after_the_fence() -> None:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    net.request("a")
    earlier = net.wires["a"].up[0]
    net.lose("a")
    net.connect("a")
    net.send("a")
    net.deliver("a")
    net.request("a")
    net.type("a", 0, ">")
    net.refuse("a", Forbidden())
    net.deliver("a")
    net.settle()
    net.all_show(">one")
    assert net.returned("a") == [("refused", "!")]
    commit_late(net, "a", earlier)
    net.settle()
    net.all_show(">one")


def commit_late(net: Network, name: str, request: Request) -> None:
    """Let a request that was read on a connection now gone be worked off."""
    late = Wire("user-" + name, client=request.payload["client"])
    net.node.seats[late] = None
    late.up.append(request)
    net.node.receive(late)
    late.cut()
    del net.node.seats[late]
    net.node.work()


# Fences.


def late_replica(net: Network, name: str, others: str) -> None:
    """Let one be so late that its version was compacted away."""
    net.lose(name)
    for text in others:
        net.type("b", 0, text)
        net.settle("b")
    net.compact()
    net.connect(name)


def test_a_late_replica_without_edits_takes_the_content() -> None:
    net = Network("a", "b", text="one")
    late_replica(net, "a", "xy")
    net.settle()
    net.all_show("yxone")
    assert net.returned("a") == []
    net.type("a", 5, "!")
    net.settle()
    net.all_show("yxone!")


def test_a_fence_with_the_operation_in_flight_committed() -> None:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    net.send("a")
    net.type("a", 4, "?")
    late_replica(net, "a", "xy")
    assert [net.send("a"), net.deliver("a")] == ["open", ["open"]]
    assert not net.replicas["a"].is_open
    net.settle()
    net.all_show("yxone!?")
    assert net.replicas["a"].client == "client-of-a-00002"


def test_a_fence_with_the_operation_in_flight_not_committed() -> None:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    net.request("a")
    net.type("a", 4, "?")
    late_replica(net, "a", "xy")
    net.settle()
    net.all_show("yxone!?")
    assert [one.op for one in net.journal.log if one.user == "user-a"] == [(5, "!?")]


def test_a_fence_with_the_buffer_only() -> None:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    late_replica(net, "a", "x")
    net.settle()
    net.all_show("xone!")


def test_what_was_sent_before_the_fence_cannot_commit_after_it() -> None:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    net.request("a")
    earlier = net.wires["a"].up[0]
    late_replica(net, "a", "x")
    net.send("a")
    net.deliver("a")
    assert net.send("a") == "open"
    net.node.authority.floor = 0  # as on a node that does not know of the compaction
    commit_late(net, "a", earlier)
    net.settle()
    net.all_show("xone!")


@pytest.mark.parametrize("committed", [True, False])
def test_the_connection_is_lost_between_the_fence_and_its_answer(committed: bool) -> None:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    (net.send if committed else net.request)("a")
    late_replica(net, "a", "xy")
    net.send("a")
    net.deliver("a")
    assert net.send("a") == "open"
    net.lose("a")
    net.type("a", 0, ">")
    assert not net.replicas["a"].is_saved
    net.reconnect("a")
    net.settle()
    net.all_show(">yxone!")
    assert net.replicas["a"].client == "client-of-a-00002"


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("steps", range(5))
def test_a_crash_at_every_moment_of_a_fence(committed: bool, steps: int) -> None:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    (net.send if committed else net.request)("a")
    late_replica(net, "a", "xy")
    for step in range(steps):
        net.deliver("a") if step % 2 else net.send("a")
    net.crash("a")
    net.settle()
    net.all_show("yxone!")


def test_a_fence_while_fencing() -> None:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    late_replica(net, "a", "x")
    net.send("a")
    net.deliver("a")
    net.send("a")
    net.replace("two")  # before the answer is read
    net.settle()
    assert net.journal.text() == net.replicas["a"].text
    assert "!" in net.replicas["a"].text
    assert net.replicas["a"].is_saved


def test_an_edit_made_while_fencing_moves_over_too() -> None:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    late_replica(net, "a", "x")
    net.send("a")
    net.deliver("a")
    net.type("a", 4, "?")
    net.send("a")
    net.type("a", 5, "#")
    net.erase("a", 3, 1)
    net.settle()
    net.all_show("xone?#")


def test_another_users_fence_closes_the_document() -> None:
    net = Network("a", text="one")
    net.type("a", 3, "!")
    net.request("a")
    net.refuse("a", SequenceGap())
    net.deliver("a")
    net.request("a")
    net.refuse("a", Forbidden())
    net.deliver("a")
    closed = net.effects["a"][-1]
    assert isinstance(closed, Closed)
    assert closed.text == "one!"


def test_an_operation_that_outgrew_the_limits_is_split_behind_a_fence() -> None:
    """Text typed into the span that it deletes cuts it into ever more components."""
    net = Network("a", "b", text="abcdefgh", limits=Limits(op_components=4))
    net.erase("a", 0, 8)
    net.request("a")
    net.lose("a")
    for position in (2, 5, 8):
        net.type("b", position, "-")
        net.settle("b")
    net.connect("a")
    net.settle()
    net.all_show("---")
    sent = [one for one in net.journal.log if one.user == "user-a"]
    assert [one.client for one in sent] == ["client-of-a-00002"] * len(sent)
    assert len(sent) > 1
    assert net.returned("a") == []


# Other histories.


def test_a_reset_with_nothing_pending_takes_the_other_history_and_offers_the_text() -> None:
    net = Network("a", "b", text="one")
    net.replace("two")
    net.settle()
    net.all_show("two")
    assert net.returned("a") == [("replaced", "one")]


def test_a_reset_with_text_pending_carries_it_over_and_offers_all() -> None:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    net.request("a")
    net.type("a", 4, "?")
    net.replace("one more")
    net.serve("a")
    net.settle()
    assert net.journal.text() == "one!? more"
    net.all_show("one!? more")
    assert net.returned("a") == [("replaced", "one!?")]
    assert net.returned("b") == [("replaced", "one")]


def test_a_frame_of_another_epoch_opens_again() -> None:
    net = Network("a", "b", text="one")
    net.replace("two")
    assert net.drop("a") == "reset"
    net.settle("b")
    net.type("b", 3, "!")
    net.settle("b")
    net.deliver("a")
    net.settle()
    net.all_show("two!")


def test_a_history_that_lost_its_tail_gives_the_text_back() -> None:
    net = Network("a", "b", text="one")
    net.type("b", 3, "!")
    net.settle()
    net.lose("a")
    net.lose("b")
    net.journal.log.pop()
    net.journal.hashes.pop()
    net.node.load()
    net.reconnect("a")
    net.shows("a", "one")
    assert net.returned("a") == [("replaced", "one!")]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_lost_tail_is_remembered_until_the_fence_is_answered(restarts: bool) -> None:
    net = Network("a", text="one")
    net.node.tells_floor = False
    net.type("a", 3, "!")
    net.settle()
    net.lose("a")
    net.journal.log.pop()
    net.journal.hashes.pop()
    net.node.load()
    net.type("a", 4, "?")
    net.connect("a")
    net.send("a")
    net.deliver("a")  # shorter than what it has
    assert net.request("a") == "open"
    if restarts:
        net.crash("a")
    net.join("c")
    net.type("c", 0, ">")
    net.type("c", 1, ">")
    net.settle("c")
    net.type("c", 2, ">")
    net.settle("c")  # and now it is longer
    net.settle()
    net.all_show(">>>one?")
    assert net.returned("a") == [("replaced", "one!?")]


@pytest.mark.parametrize("told", ["answer", "reset", "frame"])
def test_a_renewed_history_is_remembered_even_if_the_renewal_is_lost(told: str) -> None:
    net = Network("a", text="one")
    net.node.tells_floor = False
    net.type("a", 3, "!")
    net.settle()
    net.type("a", 4, "?")
    assert net.request("a") == "submit"
    if told == "answer":
        net.refuse("a", EpochChanged(details={"epoch": "epoch-2"}))
    elif told == "reset":
        net.tell("a", "reset", epoch="epoch-2", version=1, hash="0" * 16)
    else:
        net.tell("a", "ops", epoch="epoch-2", **{"from": 2}, ops=[], hash="0" * 16)
    net.deliver("a")
    net.lose("a")
    net.journal.log.pop()
    net.journal.hashes.pop()
    net.node.load()
    net.join("c")
    for text in "<<<":
        net.type("c", 0, text)
        net.settle("c")
    net.connect("a")
    net.settle()
    net.all_show("<<<one?")
    assert net.returned("a") == [("replaced", "one!?")]


def test_a_hash_that_does_not_follow_starts_over_from_the_content() -> None:
    net = Network("a", "b", text="one")
    net.type("b", 0, "x")
    net.send("b")
    net.tamper("a", hash="0" * 16)
    net.deliver("a")
    assert not net.replicas["a"].is_open
    net.settle()
    net.all_show("xone")
    assert net.returned("a") == []


def test_a_head_hash_in_the_opening_that_does_not_follow_starts_over() -> None:
    net = Network("a", "b", text="one")
    net.lose("a")
    net.type("b", 0, "x")
    net.settle("b")
    net.connect("a")
    net.send("a")
    net.tamper("a", hash="0" * 16)
    net.deliver("a")
    assert not net.replicas["a"].is_open
    net.settle()
    net.all_show("xone")


def test_an_entry_that_does_not_fit_starts_over_from_the_content() -> None:
    net = Network("a", "b", text="one")
    net.type("a", 0, "x")
    net.type("b", 3, "!")
    net.send("b")
    net.tamper("a", ops=[{**net.journal.log[-1].to_payload(), "op": [90, "!"]}])
    net.deliver("a")
    net.settle()
    net.all_show("xone!")


# A client id in two hands: a copied profile, a restored backup.


def twin(net: Network, name: str, other: str) -> None:
    """Start a second process from one's stored state."""
    state = json.loads(json.dumps(net.replicas[name].state()))
    net.replicas[other] = Replica.restore(state, lambda: net._fresh(other), limits=net.limits)
    net.effects[other] = []
    net.connect(other)
    net.wires[other].user = "user-" + name
    net.settle(other)


def test_two_processes_with_one_client_id_lose_nothing_silently() -> None:
    net = Network("a", text="one")
    twin(net, "a", "t")
    net.type("a", 0, "x")
    net.type("t", 3, "!")
    net.request("t")
    net.settle("a")
    net.serve("t")  # the same seq, acknowledged, with another meaning
    net.settle()
    net.all_show("xone")
    assert net.returned("t") == [("replaced", "one!")]
    net.type("t", 4, "?")
    net.settle()
    net.all_show("xone?")
    assert net.replicas["t"].client != net.replicas["a"].client


def test_a_process_whose_client_id_another_one_uses_parts_with_it() -> None:
    net = Network("a", text="one")
    twin(net, "a", "t")
    net.type("a", 0, "x")
    net.settle()
    net.type("t", 4, "?")
    net.type("a", 0, "y")
    net.settle()
    net.all_show("yxone?")


def test_a_twin_keeps_what_followed_the_operation_that_lost() -> None:
    net = Network("a", text="one")
    twin(net, "a", "t")
    net.type("a", 0, "x")
    net.type("t", 3, "!")
    net.request("t")
    net.type("t", 4, "?")
    net.settle("a")
    net.serve("t")
    net.settle()
    net.all_show("xone?")
    assert net.returned("t") == [("replaced", "one!?")]


# Stored state.


def test_the_state_is_json_and_goes_on_where_it_was() -> None:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    net.send("a")
    net.type("a", 4, "?😀")
    a = net.replicas["a"]
    state = json.loads(json.dumps(a.state()))
    again = Replica.restore(state, lambda: "client-0123456789")
    assert again.state() == a.state()
    assert again.text == a.text == "one!?😀"
    assert (again.made, again.settled) == (2, 0)
    assert not again.is_open
    assert not again.is_saved


def test_a_crash_with_the_operation_in_flight_committed() -> None:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    net.send("a")
    net.crash("a")
    net.type("a", 0, ">")
    net.settle()
    net.all_show(">one!")


def test_a_crash_with_the_operation_in_flight_lost() -> None:
    net = Network("a", "b", text="one")
    net.type("a", 3, "!")
    net.request("a")
    net.crash("a")
    net.settle()
    net.all_show("one!")
    assert net.journal.log[-1].seq == 1


def test_a_crash_before_the_first_opening() -> None:
    fresh = Replica(DOC, lambda: "client-0123456789")
    again = Replica.restore(fresh.state(), lambda: "client-9876543210")
    assert not again.known
    assert again.client == "client-0123456789"


def test_a_restored_operation_that_became_empty_does_not_settle_the_buffer() -> None:
    net = Network("a", "b", text="x")
    net.erase("a", 0, 1)
    net.request("a")
    net.type("a", 0, "y")
    net.erase("b", 0, 1)
    net.settle("b")
    net.deliver("a")
    net.stored["a"] = json.dumps(net.replicas["a"].state())
    net.crash("a")
    a = net.replicas["a"]
    assert a.in_flight is not None
    assert a.in_flight.op == ()
    assert a.made == 2
    net.send("a")
    net.deliver("a")
    net.send("a")
    net.deliver("a")
    assert (a.is_saved, a.settled) == (False, 1)
    net.settle()
    net.all_show("y")


# Splitting.


def test_what_is_too_large_for_one_operation_goes_out_in_pieces() -> None:
    net = Network("a", "b", limits=Limits(op_inserted=4, op_components=3))
    net.type("a", 0, "abcdefghij")
    net.settle()
    net.all_show("abcdefghij")
    assert [one.op for one in net.journal.log] == [("abcd",), (4, "efgh"), (8, "ij")]


def test_an_edit_is_settled_with_the_last_of_its_pieces() -> None:
    net = Network("a", limits=Limits(op_inserted=2))
    a = net.replicas["a"]
    net.type("a", 0, "abcd")
    net.send("a")
    net.deliver("a")
    assert (a.made, a.settled, a.is_saved) == (1, 0, False)
    net.settle()
    assert (a.made, a.settled, a.is_saved) == (1, 1, True)


# Positions.


def test_positions_of_an_older_version_are_carried_over_entries_and_pending() -> None:
    net = Network("a", "b", text="one")
    net.type("b", 0, "xx")
    net.settle()
    net.type("a", 0, ">")
    a = net.replicas["a"]
    assert a.carried([1, "!"], 1) == (4, "!")
    assert a.carried([1, "!"], 2) == (2, "!")
    assert a.carried([1, "!"], None) == (1, "!")
    assert a.carried([1, "!"], 99) == (1, "!")
    with pytest.raises(VersionGone):
        a.carried([1, "!"], 0)


def test_versions_are_held_back_to_a_limit() -> None:
    net = Network("a", "b")
    for _ in range(HELD_ENTRIES + 1):
        net.replicas["a"]._append(Entry("client-of-nobody", 1, (), "user-x", 0))
    a = net.replicas["a"]
    assert a.carried(["x"], 1) == ("x",)
    with pytest.raises(VersionGone):
        a.carried(["x"], 0)


def test_cursors_are_carried_over_later_entries_and_pending_and_clamped() -> None:
    net = Network("a", "b", text="one")
    a = net.replicas["a"]
    net.type("b", 1, "xx")
    net.settle()
    assert a.shown_ranges([[1, 2]], 1, "user-b") == [(3, 4)]  # behind what its author typed
    assert a.shown_ranges([[1, 2]], 1, "user-c") == [(1, 4)]
    net.type("a", 0, ">")
    assert a.shown_ranges([[0, 99]], 2, "user-b") == [(0, 6)]
    assert a.shown_ranges([(2, 2)], 99, "user-b") == [(3, 3)]
    assert a.shown_ranges([], 2, "user-b") == []
    with pytest.raises(VersionGone):
        a.shown_ranges([(0, 0)], 0, "user-b")


# Closing.


def test_a_closed_document_gives_the_unsent_text_and_does_nothing_more() -> None:
    net = Network("a", text="one")
    net.type("a", 3, "!")
    net.request("a")
    a = net.replicas["a"]
    error = NotFound()
    assert a.close(error) == [Closed(error, "one!")]
    assert a.close(NotFound()) == []
    assert a.next_request() is None
    assert a.received("role", {"role": "viewer"}) == []
    assert not a.is_open
    assert not a.is_saved
    with pytest.raises(NotFound):
        a.edit(["x"])


def test_a_closed_document_whose_text_is_saved_gives_nothing() -> None:
    net = Network("a", text="one")
    error = NotFound()
    assert net.replicas["a"].close(error) == [Closed(error, "")]


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_an_opening_that_fails_is_repeated_or_ends_it(code: str) -> None:
    net = Network("a", text="one")
    net.lose("a")
    net.connect("a")
    net.request("a")
    error: StrettoError = ERRORS[code]()
    net.refuse("a", error)
    net.deliver("a")
    passing = error.retryable or code in ("internal_error", "token_expired", "not_joined")
    assert net.request("a") == ("open" if passing else "")
    assert (net.replicas["a"].closed is None) is passing


def test_unknown_events_are_ignored() -> None:
    net = Network("a", text="one")
    assert net.replicas["a"].received("sparkle", {"doc": DOC}) == []


def test_the_effects_of_a_remote_change_say_whose_it_was() -> None:
    net = Network("a", "b")
    net.type("b", 0, "x")
    net.send("b")
    net.deliver("a")
    entry = net.journal.log[-1]
    assert net.effects["a"][-1] == Changed(("x",), Origin.REMOTE, entry, 1)
    net.deliver("b")
    assert net.effects["b"][-1] == Confirmed(entry, 1)


def test_an_internal_error_while_fetching_opens_again() -> None:
    net = Network("a", "b")
    net.tell("a", "behind", version=1)
    net.deliver("a")
    net.request("a")
    net.refuse("a", InternalError())
    net.deliver("a")
    assert net.request("a") == "open"


def test_a_token_that_expires_while_opening_is_waited_for() -> None:
    net = Network("a")
    net.lose("a")
    net.connect("a")
    net.request("a")
    net.refuse("a", TokenExpired())
    net.deliver("a")
    net.settle()
    net.all_show("")


def test_an_entry_under_ones_client_that_one_knows_nothing_of() -> None:
    """Entries under our client that we know nothing of: somebody else goes on from our state."""
    net = Network("a", text="one")
    a = net.replicas["a"]
    entry = Entry(a.client, 1, ("x",), "user-a", 0)
    staged = next_hash(net.journal.hashes[-1], entry)
    payload: dict[str, Any] = {"from": 2, "ops": [entry.to_payload()], "hash": staged}
    effects = a.received("ops", {"doc": DOC, "epoch": "epoch-1", **payload})
    assert a.text == "xone"
    assert [type(effect) for effect in effects] == [Changed]
    assert a.client != entry.client
