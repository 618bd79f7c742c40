from stretto_core.roster import Member, Roster, User

ANN = User("ann", "Ann", "#aa0000")


def member(member_id: str = "m1") -> Member:
    return Member(member_id, ANN)


def roster_with(*member_ids: str) -> Roster:
    """Return a roster whose members everybody knows already."""
    roster = Roster()
    for member_id in member_ids:
        roster.join(member(member_id))
    roster.take_diff()
    return roster


def test_a_member_is_written_with_what_it_has() -> None:
    user = {"id": "ann", "name": "Ann", "color": "#aa0000"}
    assert member().to_payload() == {"id": "m1", "user": user}
    full = Member("m1", ANN, ranges=((1, 2),), version=3, status=None)
    assert full.to_payload() == {
        "id": "m1",
        "user": user,
        "ranges": [[1, 2]],
        "version": 3,
        "status": None,
    }


def test_a_diff_tells_what_changed_once() -> None:
    roster = roster_with("m1", "m2")
    roster.join(member("m3"))
    roster.leave("m1")
    roster.update("m2", {"status": "busy"})
    diff = roster.take_diff()
    assert diff is not None
    assert [one["id"] for one in diff["joined"]] == ["m3"]
    assert diff["left"] == ["m1"]
    assert [(one["id"], one["status"]) for one in diff["updated"]] == [("m2", "busy")]
    assert roster.take_diff() is None


def test_a_snapshot_has_everyone() -> None:
    roster = roster_with("m1", "m2")
    assert [one["id"] for one in roster.snapshot()] == ["m1", "m2"]
    assert len(roster) == 2
    assert "m1" in roster
    assert "m9" not in roster
    assert roster["m2"].user is ANN


def test_nobody_is_told_of_one_who_came_and_went() -> None:
    roster = roster_with("m1")
    roster.join(member("m2"))
    roster.update("m2", {"status": 1})
    roster.leave("m2")
    assert roster.take_diff() is None


def test_leaving_twice_is_leaving() -> None:
    roster = roster_with("m1")
    roster.leave("m1")
    roster.leave("m1")
    assert roster.take_diff() == {"joined": [], "left": ["m1"], "updated": []}


def test_one_who_joined_and_changed_is_told_as_both() -> None:
    roster = roster_with()
    roster.join(member("m1"))
    roster.update("m1", {"status": 1})
    diff = roster.take_diff()
    assert diff is not None
    assert [one["status"] for one in diff["joined"]] == [1]
    assert [one["status"] for one in diff["updated"]] == [1]


def test_one_who_changed_and_left_is_only_gone() -> None:
    roster = roster_with("m1")
    roster.update("m1", {"status": 1})
    roster.leave("m1")
    assert roster.take_diff() == {"joined": [], "left": ["m1"], "updated": []}


def test_a_silent_change_is_in_snapshots_only() -> None:
    roster = roster_with("m1")
    roster.update("m1", {"ranges": ((0, 0),), "version": 4}, silent=True)
    assert roster.take_diff() is None
    assert roster.snapshot()[0]["version"] == 4


def test_an_id_that_left_and_came_back_is_not_told_as_gone() -> None:
    """Whoever applies ``left`` behind ``joined`` would lose a member who is there."""
    roster = roster_with("m1")
    roster.leave("m1")
    roster.join(Member("m1", ANN, status="back"))
    diff = roster.take_diff()
    assert diff is not None
    assert (diff["joined"], diff["left"]) == ([], [])
    assert [one["status"] for one in diff["updated"]] == ["back"]


def test_an_id_that_joined_twice_and_left_is_told_as_gone() -> None:
    roster = roster_with("m1")
    roster.join(member("m1"))
    roster.leave("m1")
    assert roster.take_diff() == {"joined": [], "left": ["m1"], "updated": []}


def test_an_id_that_joined_twice_at_once_joined() -> None:
    roster = roster_with()
    roster.join(member("m1"))
    roster.join(member("m1"))
    diff = roster.take_diff()
    assert diff is not None
    assert len(diff["joined"]) == 1
    assert diff["updated"] == []


def test_who_was_announced() -> None:
    roster = roster_with("m1", "m2")
    roster.leave("m2")
    roster.join(member("m3"))
    roster.leave("m4")
    assert roster.announced() == {"m1", "m2"}
    roster.take_diff()
    assert roster.announced() == {"m1", "m3"}


def test_nobody_is_told_of_the_client_of_a_member() -> None:
    member = Member("m1", User("ann", "Ann", "#112233"), client="client-1")
    assert set(member.to_payload()) == {"id", "user"}
