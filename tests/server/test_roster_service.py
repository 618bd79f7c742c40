"""Diffs of a roster: at once when it was quiet, else gathered."""

import asyncio
import itertools
from typing import Any

import pytest

from stretto_core.roster import Member, User
from stretto_server import roster_service
from stretto_server.roster_service import DIFF_INTERVAL_S, LiveRoster
from tests.server.presence.fakes import FakePresence, FakeRoom
from tests.server.stubs import SilentBus

ANN = User("ann", "Ann", "#112233")


class Ear(SilentBus):
    """A bus that notes what is told to this node's members, and when."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, str, str, str, dict[str, Any]]] = []

    def deliver(self, namespace: str, room: str, event: str, payload: dict[str, Any]) -> None:
        self.heard.append((asyncio.get_running_loop().time(), namespace, room, event, payload))


def roster(ear: Ear) -> LiveRoster:
    return LiveRoster(ear, "/docs", "doc:notes", {"doc": "notes"})


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_first_change_is_told_at_once() -> None:
    ear = Ear()
    live = roster(ear)
    live.members.join(Member("m1", ANN))
    live.changed()
    assert ear.heard == []  # first the answer to whoever joined
    await turns()
    ((_, namespace, room, event, payload),) = ear.heard
    assert (namespace, room, event) == ("/docs", "doc:notes", "presence")
    assert payload == {
        "doc": "notes",
        "joined": [{"id": "m1", "user": {"id": "ann", "name": "Ann", "color": "#112233"}}],
        "left": [],
        "updated": [],
    }
    live.close()


async def test_a_change_that_changed_nothing_is_not_told() -> None:
    ear = Ear()
    live = roster(ear)
    live.members.join(Member("m1", ANN))
    live.members.leave("m1")
    live.changed()
    await turns()
    assert ear.heard == []
    live.close()


async def test_further_changes_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    interval = 0.05
    monkeypatch.setattr(roster_service, "DIFF_INTERVAL_S", interval)
    ear = Ear()
    live = roster(ear)
    live.members.join(Member("m1", ANN))
    loop = asyncio.get_running_loop()
    end = loop.time() + 5 * interval
    version = 0
    while loop.time() < end:
        version += 1
        live.members.update("m1", {"ranges": ((0, 0),), "version": version})
        live.changed()
        await asyncio.sleep(0.002)
    await asyncio.sleep(2 * interval)
    times = [heard[0] for heard in ear.heard]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert 3 <= len(times) <= 7
    assert min(gaps) > interval * 0.9
    assert ear.heard[-1][4]["updated"][0]["version"] == version
    live.close()


def test_a_room_hears_at_most_ten_diffs_a_second() -> None:
    assert DIFF_INTERVAL_S >= 0.1


async def test_nothing_is_told_once_closed() -> None:
    ear = Ear()
    live = roster(ear)
    live.members.join(Member("m1", ANN))
    live.changed()
    live.close()
    live.close()
    await turns()
    assert ear.heard == []


async def test_whoever_missed_diffs_is_brought_up_to_date() -> None:
    ear = Ear()
    live = roster(ear)
    for name in ("stays", "leaves", "leaves later"):
        live.members.join(Member(name, ANN))
    live.changed()
    await turns()
    live.members.leave("leaves")
    live.members.join(Member("joins", ANN))
    live.changed()
    # The next diff comes later, so those who hear no more from here on know as much as:
    known = live.known()
    assert known == {"stays", "leaves", "leaves later"}
    live.members.leave("leaves later")
    live.members.join(Member("joins later", ANN))
    live.members.update("stays", {"status": 5})
    missed = live.since(known)
    assert missed["doc"] == "notes"
    assert [each["id"] for each in missed["joined"]] == ["joins", "joins later"]
    assert missed["left"] == ["leaves", "leaves later"]
    assert [(each["id"], each["status"]) for each in missed["updated"]] == [("stays", 5)]
    live.close()


async def test_whoever_missed_nothing_hears_of_those_who_are_there() -> None:
    live = roster(Ear())
    live.members.join(Member("m1", ANN))
    assert live.known() == frozenset()
    live.members.take_diff()
    difference = live.since(live.known())
    assert (difference["joined"], difference["left"]) == ([], [])
    assert [each["id"] for each in difference["updated"]] == ["m1"]


async def test_members_of_other_nodes_are_told_as_own_ones_are() -> None:
    ear, room = Ear(), FakeRoom()
    live = LiveRoster(ear, "/docs", "doc:notes", {"doc": "notes"}, FakePresence(room, "n1"))
    await live.ready()
    assert live.is_synced
    live.join(Member("m1", ANN))
    await live.written()
    room.tell("n2", [Member("m2", ANN, client="c")], ())
    for message in room.messages:
        live.hear(message)
    async with asyncio.timeout(5):
        while len(joined := [each for told in ear.heard for each in told[4]["joined"]]) < 2:
            await asyncio.sleep(0.01)
    assert [each["id"] for each in joined] == ["m1", "m2"]
    assert "client" not in joined[1]
    live.update("m1", {"client": "d"}, silent=True)
    live.leave("m1")
    live.resync()
    await live.ready()
    await live.written()
    assert [member.id for member in live.members] == []  # no snapshot knew of m2
    assert room.members == {}
    live.close()


async def test_a_roster_of_one_node_waits_for_nobody() -> None:
    live = roster(Ear())
    live.expect("m1")
    live.expect_no_longer("m1")
    live.entered(Member("m1", ANN, ((1, 1),), 3))
    live.clear_cursors()
    assert live.members["m1"].ranges is None
    live.hear(b"p")
    live.resync()
    await live.ready()
    await live.written()
    assert live.is_synced
    live.close()
