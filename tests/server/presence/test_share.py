"""Merging what nodes tell of each other's members, by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from stretto_core.roster import Member, Roster
from stretto_server.presence import share as share_module
from stretto_server.presence.share import RosterShare
from tests.server.presence.fakes import ANN, FakePresence, FakeRoom


class Node:
    """A roster of one node."""

    def __init__(self, room: FakeRoom, name: str) -> None:
        self.presence = FakePresence(room, name)
        self.members = Roster()
        self.changes = 0
        self.share = RosterShare(self.presence, "doc:notes", self.members, self._changed)

    def join(self, name: str, **more: Any) -> None:
        self.members.join(Member(name, ANN, **more))
        self.share.own(name)

    def leave(self, name: str) -> None:
        self.members.leave(name)
        self.share.disown(name)

    def ids(self) -> set[str]:
        return {member.id for member in self.members}

    def _changed(self) -> None:
        self.changes += 1


class Two:
    def __init__(self) -> None:
        self.room = FakeRoom()
        self.one, self.two = Node(self.room, "n1"), Node(self.room, "n2")
        self._delivered = 0

    def deliver(self) -> None:
        """Let both hear what was told and not heard yet."""
        for message in self.room.messages[self._delivered :]:
            for node in (self.one, self.two):
                node.share.hear(message)
        self._delivered = len(self.room.messages)

    def lose(self) -> None:
        self._delivered = len(self.room.messages)


@pytest.fixture
async def nodes(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Two]:
    monkeypatch.setattr(share_module, "WRITE_INTERVAL_S", 0.01)
    monkeypatch.setattr(share_module, "RETRY_S", 0.02)
    nodes = Two()
    await nodes.one.share.ready()
    await nodes.two.share.ready()
    yield nodes
    nodes.one.share.close()
    nodes.two.share.close()


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not met():
            await asyncio.sleep(0.002)


async def test_members_of_one_node_are_seen_on_the_other(nodes: Two) -> None:
    nodes.one.join("a", ranges=((1, 2),), version=3, client="c")
    await nodes.one.share.written()
    nodes.deliver()
    assert nodes.two.members["a"] == nodes.one.members["a"]
    nodes.one.members.update("a", {"status": 1})
    nodes.one.share.own("a")
    await nodes.one.share.written()
    nodes.deliver()
    assert nodes.two.members["a"].status == 1
    nodes.one.leave("a")
    await nodes.one.share.written()
    nodes.deliver()
    assert nodes.two.ids() == set()
    assert not nodes.one.share.occupied


async def test_own_changes_are_gathered(nodes: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_module, "WRITE_INTERVAL_S", 0.05)
    nodes.one.join("a")
    nodes.one.join("b")
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.25
    while loop.time() < end:
        nodes.one.members.update("a", {"status": loop.time()})
        nodes.one.share.own("a")
        await asyncio.sleep(0.001)
    await nodes.one.share.written()
    assert 3 <= nodes.one.presence.writes <= 7
    nodes.deliver()
    assert nodes.two.members["a"] == nodes.one.members["a"]


async def test_a_gap_is_closed_by_a_snapshot_and_tells_what_differs(nodes: Two) -> None:
    nodes.one.join("a")
    await nodes.one.share.written()
    nodes.deliver()
    nodes.two.members.take_diff()
    nodes.one.join("b")
    await nodes.one.share.written()
    nodes.lose()
    nodes.one.join("c")
    await nodes.one.share.written()
    nodes.deliver()
    await until(lambda: nodes.two.ids() == {"a", "b", "c"})
    diff = nodes.two.members.take_diff()
    assert diff is not None
    assert [one["id"] for one in diff["joined"]] == ["b", "c"]
    assert (diff["left"], diff["updated"]) == ([], [])
    assert nodes.two.presence.snapshots == 2


async def test_what_is_heard_during_a_snapshot_comes_on_top(nodes: Two) -> None:
    nodes.two.share.resync()
    nodes.one.join("a")
    await nodes.one.share.written()
    nodes.deliver()
    nodes.one.join("b")
    await nodes.one.share.written()
    nodes.deliver()
    await nodes.two.share.ready()
    assert nodes.two.ids() == {"a", "b"}
    assert nodes.two.share.is_synced


async def test_whoever_asks_again_meanwhile_gets_a_newer_snapshot(nodes: Two) -> None:
    before = nodes.two.presence.snapshots
    nodes.two.share.resync()
    nodes.two.share.resync()
    await until(lambda: nodes.two.presence.snapshots == before + 2)


async def test_mapped_cursors_are_not_told_again(nodes: Two) -> None:
    nodes.one.join("a", ranges=((1, 1),), version=1)
    await nodes.one.share.written()
    nodes.deliver()
    nodes.two.members.update("a", {"ranges": ((2, 2),), "version": 2}, silent=True)
    nodes.two.members.take_diff()
    nodes.two.share.resync()
    await nodes.two.share.ready()
    assert nodes.two.members.take_diff() is None
    assert nodes.two.members["a"].ranges == ((2, 2),)


async def test_a_node_that_was_taken_for_dead_enters_again(nodes: Two) -> None:
    nodes.one.join("a")
    nodes.one.join("b")
    await nodes.one.share.written()
    nodes.room.sweep("n1", by="n2")
    nodes.lose()  # it was stopped, and hears nothing of it
    if not await nodes.one.presence.write("doc:notes", (), (), stays=True):
        nodes.one.share.lapsed()
    await nodes.one.share.written()
    assert {key[1] for key in nodes.room.members} == {"a", "b"}
    nodes.room.sweep("n1", by="n2")
    nodes.deliver()  # now it hears of it
    await until(lambda: {key[1] for key in nodes.room.members} == {"a", "b"})
    nodes.deliver()
    await until(lambda: nodes.two.ids() == {"a", "b"})
    assert nodes.one.ids() == {"a", "b"}


async def test_a_write_after_the_lease_enters_everybody(nodes: Two) -> None:
    nodes.one.join("a")
    await nodes.one.share.written()
    nodes.room.sweep("n1", by="n2")
    nodes.one.join("b")
    await nodes.one.share.written()
    assert {key[1] for key in nodes.room.members} == {"a", "b"}


async def test_own_ghosts_are_taken_out(nodes: Two) -> None:
    nodes.room.members["n1", "ghost"] = Member("ghost", ANN)
    nodes.room.members["n1", "coming"] = Member("coming", ANN)
    nodes.one.share.expect("coming")
    nodes.one.share.resync()
    await nodes.one.share.ready()
    await nodes.one.share.written()
    assert {key[1] for key in nodes.room.members} == {"coming"}
    nodes.one.share.expect_no_longer("coming")
    assert nodes.one.share.is_settled


async def test_own_members_that_are_missing_are_entered(nodes: Two) -> None:
    nodes.one.join("a")
    await nodes.one.share.written()
    nodes.room.members.clear()
    nodes.one.share.resync()
    await nodes.one.share.ready()
    await nodes.one.share.written()
    assert ("n1", "a") in nodes.room.members


async def test_while_redis_is_away_the_roster_stays(nodes: Two) -> None:
    nodes.one.join("a")
    await nodes.one.share.written()
    nodes.deliver()
    for node in (nodes.one, nodes.two):
        node.presence.away = True
    nodes.two.join("b")
    await nodes.two.share.written()
    nodes.two.share.resync()
    await nodes.two.share.ready()
    assert nodes.two.ids() == {"a", "b"}
    assert not nodes.two.share.is_synced
    nodes.one.leave("a")
    for node in (nodes.one, nodes.two):
        node.presence.away = False
    await until(lambda: {key[1] for key in nodes.room.members} == {"b"})
    nodes.deliver()
    await until(lambda: nodes.two.ids() == {"b"} == nodes.one.ids())


async def test_garbage_and_messages_of_others_change_nothing(nodes: Two) -> None:
    for message in (b"", b"p", b"pnull", b"{}", b's- - 1 {"changes":{}}'):
        nodes.one.share.hear(message)
    assert nodes.one.ids() == set()
    assert nodes.one.share.is_synced


async def test_more_messages_than_are_kept_are_read_anew(
    nodes: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_module, "MOST_KEPT", 3)
    nodes.two.share.resync()
    for name in "abcdef":
        nodes.room.members["n1", name] = Member(name, ANN)
        nodes.room.tell("n1", [Member(name, ANN)], ())
    nodes.deliver()
    await until(lambda: nodes.two.ids() == set("abcdef"))


async def test_nothing_happens_once_closed(nodes: Two) -> None:
    share = nodes.one.share
    assert nodes.one.presence.kept == [share]
    share.close()
    assert nodes.one.presence.kept == []
    share.resync()
    share.own("a")
    await share.written()
    share.hear(b'p{"seq":101,"by":"n2","set":[],"gone":[]}')
    assert nodes.one.presence.writes == 0
