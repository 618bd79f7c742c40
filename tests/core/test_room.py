"""The authority and the replica of a room, without sockets."""

import json
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from stretto_core.errors import InvalidRequest, RevisionConflict, RoomFull, TooLarge
from stretto_core.protocol import Limits
from stretto_core.room import (
    RoomAuthority,
    RoomReplica,
    check_status,
    json_size,
    state_difference,
)
from stretto_core.roster import Member, Roster, User

SMALL = Limits(room_state_bytes=40)
ANN = User("ann", "Ann", "#112233")
BY = {"id": "m1", "user": ANN.to_payload()}


def room(limits: Limits | None = None, metadata: dict[str, Any] | None = None) -> RoomAuthority:
    return RoomAuthority("ann", limits or Limits(), metadata)


def compact(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


@pytest.mark.parametrize("value", [None, 1, "héllo", "🎻", [1, {"a": None}], {"ключ": "значение"}])
def test_size_is_that_of_compact_json(value: object) -> None:
    assert json_size(value) == compact(value)


def endless() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    "value", [b"\x00", float("nan"), float("inf"), "\ud800", object(), endless()]
)
def test_what_json_cannot_hold_has_no_size(value: object) -> None:
    with pytest.raises(InvalidRequest):
        json_size(value)


def test_each_change_is_a_revision() -> None:
    authority = room()
    assert authority.revision == 0
    assert authority.set_state({"a": 1, "b": [2]}) == 1
    assert authority.set_state({"a": None, "c": "x"}) == 2
    assert authority.set_state({}) == 3
    assert authority.set_state({"never": None}) == 4
    assert authority.state == {"b": [2], "c": "x"}


def test_a_change_may_ask_for_a_revision() -> None:
    authority = room()
    assert authority.set_state({"a": 1}, if_revision=0) == 1
    with pytest.raises(RevisionConflict) as caught:
        authority.set_state({"a": 2}, if_revision=0)
    assert caught.value.details == {"revision": 1}
    assert (authority.state, authority.revision) == ({"a": 1}, 1)


def test_the_limit_counts_the_whole_state_to_the_byte() -> None:
    authority = room(SMALL)
    fits = {"a": "x" * 25, "b": 1}
    assert compact(fits) == 39
    authority.set_state(fits)
    with pytest.raises(TooLarge):
        authority.set_state({"b": 123})
    assert (authority.state, authority.revision) == (fits, 1)
    authority.set_state({"b": 12})
    assert compact(authority.state) == 40
    authority.set_state({"a": None, "b": "x" * 32})
    assert compact(authority.state) == 40


def test_sizes_stay_right_over_many_changes() -> None:
    source = random.Random(4)
    authority = room(SMALL)
    accepted = 0
    for _ in range(3_000):
        keys = source.sample(["a", "b", "ключ", "🎻", '"'], source.randrange(1, 4))
        changes: dict[str, Any] = {
            key: source.choice([None, 1, "é" * source.randrange(12), [[]]]) for key in keys
        }
        after = {
            key: value for key, value in {**authority.state, **changes}.items() if value is not None
        }
        if compact(after) <= 40:
            authority.set_state(changes)
            accepted += 1
            assert authority.state == after
        else:
            with pytest.raises(TooLarge):
                authority.set_state(changes)
    assert 500 < accepted < 2_900


def test_metadata_merges_and_has_a_limit() -> None:
    authority = room(SMALL, {"name": "Lobby"})
    assert authority.set_metadata({"tags": ["a"]}) == {"name": "Lobby", "tags": ["a"]}
    with pytest.raises(TooLarge):
        authority.set_metadata({"name": "x" * 30})
    assert authority.metadata == {"name": "Lobby", "tags": ["a"]}
    with pytest.raises(TooLarge):
        room(SMALL, {"name": "x" * 40})


def test_status_has_a_limit() -> None:
    check_status("x" * 38, SMALL)
    with pytest.raises(TooLarge):
        check_status("x" * 39, SMALL)


def test_metadata_raises_and_lowers_the_number_of_members() -> None:
    authority = room(Limits(room_members=2))
    authority.require_place(1)
    with pytest.raises(RoomFull):
        authority.require_place(2)
    authority.set_metadata({"max_members": 3})
    authority.require_place(2)
    authority.set_metadata({"max_members": 1})
    with pytest.raises(RoomFull):
        authority.require_place(1)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, True),
        ({"owner": "ann"}, True),
        ({"owner": "bob"}, False),
        ({"tags": ["chess", "blitz"]}, True),
        ({"tags": ["chess", "slow"]}, False),
        ({"tags": []}, True),
        ({"min_members": 3, "max_members": 3}, True),
        ({"min_members": 4}, False),
        ({"max_members": 2}, False),
    ],
)
def test_find(query: dict[str, Any], found: bool) -> None:
    authority = room(metadata={"tags": ["blitz", "chess"]})
    assert authority.is_found_by(query, 3) is found


# The replica


def member(id: str, **values: Any) -> dict[str, Any]:
    return {"id": id, "user": ANN.to_payload(), **values}


def answer(*members: dict[str, Any], revision: int = 0, **values: Any) -> dict[str, Any]:
    return {
        "room": "lobby",
        "member_id": "me",
        "members": [member("me"), *members],
        "revision": revision,
        "state": {},
        "metadata": {},
        **values,
    }


def presence(*joined: Any, left: Any = (), updated: Any = ()) -> dict[str, Any]:
    return {"room": "lobby", "joined": [*joined], "left": [*left], "updated": [*updated]}


def change(revision: int, **changes: Any) -> dict[str, Any]:
    return {"room": "lobby", "revision": revision, "changes": changes, "by": BY}


def joined(*members: dict[str, Any], **values: Any) -> RoomReplica:
    replica = RoomReplica("lobby")
    replica.joining()
    assert replica.joined(answer(*members, **values)) == []
    return replica


def test_a_snapshot_is_the_whole_room() -> None:
    replica = joined(
        member("m1", status="here"), revision=7, state={"a": 1}, metadata={"name": "Lobby"}
    )
    assert replica.member_id == "me"
    assert list(replica.members) == ["me", "m1"]
    assert (replica.revision, replica.state) == (7, {"a": 1})
    assert replica.metadata == {"name": "Lobby"}
    assert not replica.must_join


def test_presence_tells_of_others_once() -> None:
    replica = joined()
    told = replica.receive("presence", presence(member("me"), member("m1")))
    assert [(one.event, one.payload["member"]["id"]) for one in told] == [
        ("room.member_joined", "m1")
    ]
    assert replica.receive("presence", presence(member("m1"))) == []
    told = replica.receive("presence", presence(updated=[member("m1", status=None)]))
    assert [one.event for one in told] == ["room.member_updated"]
    told = replica.receive("presence", presence(left=["m1", "stranger"]))
    assert [one.event for one in told] == ["room.member_left"]
    assert list(replica.members) == ["me"]


def test_changes_apply_in_the_order_of_revisions() -> None:
    replica = joined()
    told = replica.receive("state", change(1, a=1, b=2))
    assert told[0].event == "room.state"
    assert told[0].payload["by"] == BY
    replica.receive("state", change(2, a=None))
    assert replica.receive("state", change(2, b="again")) == []
    assert (replica.revision, replica.state) == (2, {"b": 2})


def test_a_revision_skipped_asks_for_another_join() -> None:
    replica = joined()
    assert replica.receive("state", change(2, a=2)) == []
    assert replica.must_join
    assert replica.state == {}

    replica.joining()
    assert not replica.must_join
    replica.receive("state", change(4, b=4))
    replica.receive("state", change(3, a=3))
    told = replica.joined(answer(revision=3, state={"a": 3}))

    assert [one.payload["changes"] for one in told] == [{"a": 3}, {"b": 4}]
    assert (replica.revision, replica.state) == (4, {"a": 3, "b": 4})
    assert not replica.must_join


def test_an_own_change_whose_answer_comes_late_is_no_gap() -> None:
    replica = joined()
    replica.writing()
    assert replica.receive("state", change(2, a="theirs")) == []
    assert not replica.must_join
    told = replica.written(1, {"a": "ours", "b": "ours"})
    assert [one.payload["revision"] for one in told] == [2]
    assert replica.state == {"a": "theirs", "b": "ours"}
    assert not replica.must_join


def test_a_refused_change_leaves_a_gap_where_one_is() -> None:
    replica = joined()
    replica.writing()
    replica.receive("state", change(2, a=2))
    replica.not_written()
    assert replica.must_join


@pytest.mark.parametrize("metadata", [False, True])
def test_a_change_whose_outcome_is_unknown_asks_for_another_join(metadata: bool) -> None:
    replica = joined()
    replica.writing(metadata=metadata)
    replica.not_written(metadata=metadata, unknown=True)
    assert replica.must_join


def test_an_own_change_during_a_join_is_in_the_snapshot_or_behind_it() -> None:
    replica = joined()
    replica.writing()
    replica.writing()
    replica.joining()
    replica.written(1, {"a": 1})
    replica.written(2, {"a": 2})
    assert replica.joined(answer(revision=1, state={"a": 1})) == [
        ("room.state", {"room": "lobby", "revision": 1, "changes": {"a": 1}, "by": None})
    ]
    assert (replica.revision, replica.state) == (2, {"a": 2})


def test_metadata_that_crosses_an_own_change_asks_for_another_join() -> None:
    replica = joined()
    replica.writing(metadata=True)
    told = replica.receive("metadata", {"room": "lobby", "metadata": {"name": "theirs"}})
    assert [one.event for one in told] == ["room.metadata"]
    replica.described({"name": "ours"})
    assert replica.must_join

    replica.joining()
    replica.joined(answer(metadata={"name": "theirs"}))
    assert replica.metadata == {"name": "theirs"}
    assert not replica.must_join
    assert replica.receive("metadata", {"room": "lobby", "metadata": {"name": "theirs"}}) == []


def test_another_snapshot_tells_what_was_missed() -> None:
    replica = joined(member("m1"), member("m2", status=1), state={"a": 1, "b": 1})
    replica.joining()
    told = replica.joined(
        answer(
            member("m2", status=2),
            member("m3"),
            member("new"),
            member_id="new",
            state={"b": 1, "c": 1},
            revision=9,
            metadata={"name": "Lobby"},
        )
        | {"members": [member("m2", status=2), member("m3"), member("new")]}
    )
    assert [(one.event, one.payload.get("member", {}).get("id")) for one in told] == [
        ("room.member_left", "m1"),
        ("room.member_joined", "m3"),
        ("room.member_updated", "m2"),
        ("room.state", None),
        ("room.metadata", None),
    ]
    assert told[3].payload == {
        "room": "lobby",
        "revision": 9,
        "changes": {"a": None, "c": 1},
        "by": None,
    }
    assert replica.member_id == "new"


def test_unknown_events_change_nothing() -> None:
    replica = joined()
    assert replica.receive("confetti", {"room": "lobby"}) == []
    assert replica.receive("message", {"room": "lobby"}) == []


def test_difference_of_states() -> None:
    assert state_difference({"a": 1, "b": 2}, {"b": 3, "c": None}) == {"a": None, "b": 3, "c": None}
    assert state_difference({"a": [1]}, {"a": [1]}) == {}


class Pipe:
    """A client whose answers are taken some frames after they arrived."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.replica = RoomReplica("lobby")
        self.frames: deque[Callable[[], None]] = deque()
        self.woken: deque[Callable[[], None]] = deque()
        self.expects_join = False

    def answered(self, taken: Callable[[], object]) -> None:
        self.frames.append(lambda: self.woken.append(lambda: (taken(), None)[1]))

    def heard(self, event: str, payload: dict[str, Any]) -> None:
        self.frames.append(lambda: (self.replica.receive(event, payload), None)[1])

    def step(self, source: random.Random) -> None:
        queue = self.woken if self.woken and source.random() < 0.4 else self.frames or self.woken
        if queue:
            queue.popleft()()


class Hall:
    """A server's room and its clients, with frames under way."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.authority = room()
        self.roster = Roster()
        self.pipes = [Pipe(f"m{n}") for n in range(3)]
        for pipe in self.pipes:
            self.join(pipe)

    def join(self, pipe: Pipe) -> None:
        pipe.replica.joining()
        pipe.expects_join = True
        if pipe.name not in self.roster:
            self.roster.join(Member(pipe.name, ANN))
        snapshot = {
            "member_id": pipe.name,
            "members": self.roster.snapshot(),
            "state": dict(self.authority.state),
            "revision": self.authority.revision,
            "metadata": self.authority.metadata,
        }

        def taken() -> None:
            pipe.replica.joined(snapshot)
            pipe.expects_join = False

        pipe.answered(taken)

    def tell_others(self, pipe: Pipe, event: str, payload: dict[str, Any]) -> None:
        for other in self.pipes:
            if other is not pipe and self.source.random() > 0.05 * (event == "state"):
                other.heard(event, payload)

    def tell_presence(self) -> None:
        diff = self.roster.take_diff()
        for pipe in self.pipes if diff else ():
            pipe.heard("presence", {"room": "lobby", **(diff or {})})

    def act(self, pipe: Pipe) -> None:
        action = self.source.choice(["state", "state", "metadata", "status", "diff", "join"])
        if action == "state":
            changes = {self.source.choice("abc"): self.source.choice([None, 1, 2, 3])}
            pipe.replica.writing()
            revision = self.authority.set_state(changes)
            pipe.answered(lambda: pipe.replica.written(revision, changes))
            self.tell_others(pipe, "state", change(revision, **changes))
        elif action == "metadata":
            pipe.replica.writing(metadata=True)
            metadata = self.authority.set_metadata({"name": str(self.source.randrange(99))})
            pipe.answered(lambda: pipe.replica.described(metadata))
            self.tell_others(pipe, "metadata", {"room": "lobby", "metadata": metadata})
        elif action == "status":
            self.roster.update(pipe.name, {"status": self.source.randrange(99)})
        elif action == "diff":
            self.tell_presence()
        elif not pipe.expects_join:
            self.join(pipe)

    def settle(self) -> None:
        self.tell_presence()
        for pipe in self.pipes:
            pipe.replica.writing()
            revision = self.authority.set_state({})
            pipe.answered(lambda p=pipe, r=revision: p.replica.written(r, {}))  # type: ignore[misc]
            for other in self.pipes:
                if other is not pipe:
                    other.heard("state", change(revision))
        while any(pipe.frames or pipe.woken or pipe.replica.must_join for pipe in self.pipes):
            for pipe in self.pipes:
                pipe.step(self.source)
                if pipe.replica.must_join:
                    self.join(pipe)


@pytest.mark.parametrize("seed", range(60))
def test_replicas_end_with_what_the_authority_has(seed: int) -> None:
    hall = Hall(seed)
    for _ in range(150):
        pipe = hall.source.choice(hall.pipes)
        if hall.source.random() < 0.3:
            hall.act(pipe)
        else:
            pipe.step(hall.source)
            if pipe.replica.must_join and not pipe.expects_join:
                hall.join(pipe)
    hall.settle()
    for pipe in hall.pipes:
        replica = pipe.replica
        assert (replica.revision, replica.state) == (hall.authority.revision, hall.authority.state)
        assert replica.metadata == hall.authority.metadata
        assert replica.members == {one["id"]: one for one in hall.roster.snapshot()}
