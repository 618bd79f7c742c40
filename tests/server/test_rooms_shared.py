"""Rooms of several nodes on a real Redis: one capacity, one order, and nobody misses a change."""

import asyncio
import itertools
import random
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from stretto_core.errors import (
    NotFound,
    NotJoined,
    RevisionConflict,
    RoomFull,
    TooLarge,
    Unavailable,
)
from stretto_core.protocol import ROOMS, Limits
from stretto_core.room import RoomReplica
from tests.server.cluster import RoomsNode, rooms_node
from tests.server.test_rooms import connection, join
from tests.services.processes import running
from tests.services.redis_server import RedisCluster, RedisServer

WIDE = Limits(room_members=50, joined_rooms=50)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), appendfsync="no")
    with running(server):
        yield server


@pytest.fixture(autouse=True)
def _empty(server: RedisServer) -> None:
    server.say("FLUSHALL")


@pytest.fixture
async def two(server: RedisServer) -> AsyncIterator[tuple[RoomsNode, RoomsNode]]:
    async with rooms_node(server.url, "n1") as one, rooms_node(server.url, "n2") as other:
        yield one, other


@pytest.fixture
async def wide(server: RedisServer) -> AsyncIterator[tuple[RoomsNode, RoomsNode]]:
    async with (
        rooms_node(server.url, "n1", limits=WIDE) as one,
        rooms_node(server.url, "n2", limits=WIDE) as other,
    ):
        yield one, other


Two = tuple[RoomsNode, RoomsNode]


async def until(met: Callable[[], object], within_s: float = 5.0) -> float:
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with asyncio.timeout(within_s):
        while not met():
            await asyncio.sleep(0.005)
    return loop.time() - start


def users(node: RoomsNode, room: str = "lobby") -> list[str]:
    roster = node.rooms.roster(room)
    return sorted(one.user.id for one in roster.members) if roster is not None else []


async def outcomes(*calls: Coroutine[Any, Any, Any]) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_places_are_counted_on_all_nodes(two: Two) -> None:
    joining = [
        join(node.rooms, connection(f"u{number}", sid=node.presence.node))
        for number in range(4)
        for node in two
    ]
    results = await outcomes(*joining)
    assert sum(isinstance(result, dict) for result in results) == 2
    assert sum(isinstance(result, RoomFull) for result in results) == 6
    assert len(await two[0].store.members("lobby")) == 2


async def test_one_of_two_changes_from_one_revision_wins(two: Two) -> None:
    one, other = two
    ann, bob = connection("ann"), connection("bob")
    await join(one.rooms, ann)
    await join(other.rooms, bob)
    places = one.rooms.place(ann, "lobby"), other.rooms.place(bob, "lobby")
    for revision in range(10):
        results = await outcomes(
            *(place.set_state({"by": place.member_id}, revision) for place in places)
        )
        assert sorted(map(str, results), key=len)[0] == str(revision + 1)
        (conflict,) = [result for result in results if isinstance(result, RevisionConflict)]
        assert conflict.details == {"revision": revision + 1}
    told = [*one.bus.heard(ann, "state"), *other.bus.heard(bob, "state")]
    assert sorted(event["revision"] for event in told) == list(range(1, 11))


async def test_what_one_node_does_is_heard_on_the_other(two: Two) -> None:
    one, other = two
    ann, bob = connection("ann"), connection("bob")
    first = await join(one.rooms, ann, metadata={"name": "A"}, status=1)
    second = await join(other.rooms, bob)
    assert [member["id"] for member in second["members"]] == [
        first["member_id"],
        second["member_id"],
    ]
    assert (second["members"][0]["status"], second["metadata"]) == (1, {"name": "A"})
    place = one.rooms.place(ann, "lobby")
    await place.set_state({"k": "é"}, 0)
    await place.set_metadata({"tags": ["t"]})
    await place.send("hi", {"deep": [1]})
    place.set_status({"now": 2})
    by = {"id": first["member_id"], "user": first["members"][0]["user"]}
    (state,) = await other.bus.hears(bob, "state")
    assert state == {"room": "lobby", "revision": 1, "changes": {"k": "é"}, "by": by}
    (metadata,) = await other.bus.hears(bob, "metadata")
    assert metadata == {"room": "lobby", "metadata": {"name": "A", "tags": ["t"]}}
    (message,) = await other.bus.hears(bob, "message")
    assert (message["event"], message["data"], message["from"]) == ("hi", {"deep": [1]}, by)
    await until(lambda: other.bus.heard(bob, "presence")[-1]["updated"])
    assert other.bus.heard(bob, "presence")[-1]["updated"][0]["status"] == {"now": 2}
    assert not {"state", "metadata", "message"} & {name for name, _ in one.bus.boxes["sid-ann"]}
    await one.rooms.leave(ann, "lobby")
    await until(lambda: other.bus.heard(bob, "presence")[-1]["left"] == [first["member_id"]])
    assert users(other) == ["bob"]
    assert (await join(other.rooms, bob))["state"] == {"k": "é"}


async def test_find_sees_all_nodes(wide: Two) -> None:
    one, other = wide
    ann, bob = connection("ann"), connection("bob")
    await join(one.rooms, ann, "b", metadata={"tags": ["x"]})
    await join(other.rooms, bob, "a", metadata={"tags": ["x"], "private": True})
    await join(other.rooms, bob, "b")
    for node in wide:
        rows = await node.rooms.find(bob, {"tags": ["x"]})
        assert [(row["room"], row["members"]) for row in rows] == [("b", 2), ("a", 1)]
        assert [row["room"] for row in await node.rooms.find(ann, {})] == ["b"]
        assert await node.rooms.find(connection("eve", None), {}) == []
    await other.rooms.leave(bob, "b")
    assert (await one.rooms.find(ann, {"owner": "ann"}))[0]["members"] == 1
    assert [row["room"] for row in await one.rooms.find(bob, {"limit": 1})] == ["b"]


async def test_a_dead_nodes_members_are_gone_within_the_ttl(server: RedisServer) -> None:
    ttl_s = 0.9
    async with (
        rooms_node(server.url, "n1", ttl_s=ttl_s) as one,
        rooms_node(server.url, "n2", ttl_s=ttl_s) as other,
    ):
        ann, bob = connection("ann"), connection("bob")
        gone = (await join(one.rooms, ann))["member_id"]
        await join(other.rooms, bob)
        with pytest.raises(RoomFull):
            await join(other.rooms, connection("eve"))
        await one.die()
        took = await until(lambda: users(other) == ["bob"])
        assert took <= ttl_s + 0.3
        await until(lambda: other.bus.heard(bob, "presence")[-1]["left"] == [gone])
        assert [row["members"] for row in await other.rooms.find(bob, {})] == [1]
        await join(other.rooms, connection("eve"))


async def test_a_room_whose_node_died_vanishes(server: RedisServer) -> None:
    async with rooms_node(server.url, "n1", ttl_s=0.3, idle_ttl=0.3) as one:
        await join(one.rooms, connection("ann"), metadata={"tags": ["x"]})
        await one.die()
    async with rooms_node(server.url, "n2") as other:
        bob = connection("bob")
        assert (await other.rooms.state("lobby")).revision == 0
        await asyncio.sleep(1.2)
        with pytest.raises(NotFound):
            await other.rooms.state("lobby")
        assert await other.rooms.find(bob, {}) == []
        assert (await join(other.rooms, bob))["metadata"] == {}


async def test_diffs_of_many_come_ten_a_second_at_most(wide: Two) -> None:
    one, other = wide
    ear = connection("ear")
    await join(other.rooms, ear)
    people = [connection(f"u{number}") for number in range(10)]
    for who in people:
        await join(one.rooms, who)
    loop = asyncio.get_running_loop()
    start, count = loop.time(), 0
    while loop.time() < start + 1.5:
        for who in people:
            count += 1
            one.rooms.place(who, "lobby").set_status(count)
        await asyncio.sleep(0.01)
    await until(
        lambda: any(
            member["status"] == count
            for event in other.bus.heard(ear, "presence")
            for member in event["updated"]
        )
    )
    times = [
        at
        for at, (name, _) in zip(
            other.bus.times["sid-ear"], other.bus.boxes["sid-ear"], strict=True
        )
        if name == "presence"
    ]
    assert len(times) >= 5
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert min(gaps) > 0.09


class Client:
    """A replica fed with what one connection is sent, its answers where they were given."""

    def __init__(self, node: RoomsNode, name: str) -> None:
        self.node = node
        self.who = connection(name)
        self.box = node.bus.boxes.setdefault(self.who.sids[ROOMS], [])
        self.rejoined = 0

    async def join(self) -> None:
        answer = await join(self.node.rooms, self.who)
        self.box.append(("joined", answer))

    async def change(self, changes: dict[str, Any]) -> None:
        place = self.node.rooms.place(self.who, "lobby")
        revision = await place.set_state(changes, None)
        self.box.append(("written", {"revision": revision, "changes": changes}))

    def check(self) -> tuple[int, dict[str, Any]]:
        """Return revision and state of a client that never needed to join again.

        It takes every change in turn, so one that is missing or early is an error.
        """
        revision, state = -1, {}
        for event, payload in self.box:
            if event == "joined":
                assert payload["revision"] >= revision
                revision, state = payload["revision"], dict(payload["state"])
            elif event in ("state", "written"):
                assert revision >= 0, "a frame came before the answer"
                if payload["revision"] <= revision:
                    assert event == "state"
                    continue
                assert payload["revision"] == revision + 1, self.box
                revision = payload["revision"]
                for key, value in payload["changes"].items():
                    if value is None:
                        state.pop(key, None)
                    else:
                        state[key] = value
            elif event in ("presence", "message", "metadata"):
                assert revision >= 0, "a frame came before the answer"
        return revision, state


@pytest.mark.parametrize("seed", range(6))
async def test_whoever_joins_misses_no_change(wide: Two, seed: int) -> None:
    source = random.Random(seed)
    wide[0].bus.delay_s = source.choice([0, 0, 0.001])
    clients = [Client(wide[number % 2], f"u{number}") for number in range(12)]
    for writer in clients[:3]:
        await writer.join()
    done = False

    async def write(client: Client) -> None:
        for number in range(25):
            key = source.choice("abcd")
            value = source.choice([None, number, {"by": client.who.engine_sid}])
            await client.change({key: value})
            await asyncio.sleep(source.choice([0, 0, 0.002]))

    async def come(client: Client) -> None:
        await asyncio.sleep(source.random() * 0.08)
        await client.join()
        while not done:
            await asyncio.sleep(source.random() * 0.02)
            await client.join()

    comers = [asyncio.create_task(come(client)) for client in clients[3:]]
    await asyncio.gather(*map(write, clients[:3]))
    done = True
    await asyncio.gather(*comers)
    final = await wide[0].rooms.state("lobby")
    assert final.revision == 75
    await until(lambda: all(client.check()[0] == 75 for client in clients))
    for client in clients:
        assert client.check() == (75, final.values)


async def test_an_answer_stands_where_its_change_is_heard(two: Two) -> None:
    one, other = two
    ann, bob = Client(one, "ann"), Client(other, "bob")
    await ann.join()
    await bob.join()
    one.bus.delay_s = 0.02  # Redis' reply comes long before what is heard
    await asyncio.gather(*(bob.change({"b": number}) for number in range(3)), ann.change({"a": 1}))
    await until(lambda: ann.check()[0] == 4)
    assert ann.check()[1] == {"a": 1, "b": 2}


async def test_replicas_that_missed_changes_are_reminded(two: Two) -> None:
    one, other = two
    ann, bob = connection("ann"), connection("bob")
    await join(one.rooms, ann)
    replica = RoomReplica("lobby")
    replica.joining()
    replica.joined(await join(other.rooms, bob))
    place = one.rooms.place(ann, "lobby")

    async def remind() -> None:
        (follower,) = other.bus.followers()
        box = other.bus.boxes.setdefault("sid-bob", [])
        seen = len(box)
        follower.missed()
        await until(lambda: "metadata" in dict(box[seen:]))
        for event, payload in box[seen:]:
            replica.receive(event, payload)

    await remind()  # nothing was changed yet
    assert not replica.must_join
    other.bus.deaf = True
    await place.set_state({"a": 1}, None)
    await place.set_metadata({"name": "new"})
    await asyncio.sleep(0.05)
    other.bus.deaf = False
    await remind()  # one change can be made up for
    assert (replica.state, replica.revision, replica.must_join) == ({"a": 1}, 1, False)
    assert replica.metadata == {"name": "new"}
    await remind()
    assert (replica.revision, replica.must_join) == (1, False)
    other.bus.deaf = True
    for number in range(3):
        await place.set_state({"a": number}, None)
    await asyncio.sleep(0.05)
    other.bus.deaf = False
    await remind()
    assert replica.must_join
    replica.joining()
    replica.joined(await join(other.rooms, bob))
    assert (replica.state, replica.revision) == ({"a": 2}, 4)


async def test_a_room_that_redis_lost_is_made_anew(server: RedisServer, two: Two) -> None:
    one, other = two
    ann, bob = connection("ann"), connection("bob")
    await join(one.rooms, ann)
    before = await join(other.rooms, bob)
    await one.rooms.place(ann, "lobby").set_state({"a": 1}, None)
    await other.bus.hears(bob, "state")
    server.say("FLUSHALL")
    for node in two:
        for follower in node.bus.followers():
            follower.missed()
    nudge = (await other.bus.hears(bob, "state", 2))[1]
    assert nudge["revision"] > 2
    with pytest.raises(NotFound):
        await one.rooms.place(ann, "lobby").set_state({"a": 2}, None)
    again = await join(other.rooms, bob)
    assert (again["member_id"], again["state"], again["revision"]) == (before["member_id"], {}, 0)
    assert (await join(one.rooms, ann))["revision"] == 0
    await one.rooms.place(ann, "lobby").set_state({"a": 2}, 0)
    await until(lambda: len(server.say("HKEYS", "stretto:{rooms}:members:room:lobby")) == 2)


async def test_a_join_under_way_is_waited_for(wide: Two) -> None:
    one, _ = wide
    ann = connection("ann")
    first, second = (
        asyncio.create_task(join(one.rooms, ann)),
        asyncio.create_task(join(one.rooms, ann, status=3)),
    )
    await asyncio.sleep(0)
    with pytest.raises(NotJoined):
        one.rooms.place(ann, "lobby")
    await one.rooms.joined(ann, "lobby")
    answers = await asyncio.gather(first, second)
    assert answers[0]["member_id"] == answers[1]["member_id"]
    assert answers[1]["members"][0]["status"] == 3
    assert len(await one.store.members("lobby")) == 1


async def test_joins_at_once_keep_to_the_limit(two: Two) -> None:
    one, _ = two
    ann = connection("ann")
    results = await outcomes(*(join(one.rooms, ann, f"room-{number}") for number in range(6)))
    assert sum(isinstance(result, TooLarge) for result in results) == 3
    assert len(ann.rooms) == 3
    await until(lambda: len(one.rooms._rooms) == 3)
    rows = await one.rooms.find(ann, {})
    assert {row["room"] for row in rows} == ann.rooms


async def test_a_connection_that_is_lost_meanwhile_takes_no_place(two: Two) -> None:
    one, other = two
    ann = connection("ann")
    joining = asyncio.create_task(join(one.rooms, ann))
    await asyncio.sleep(0)
    sid = ann.sids.pop(ROOMS)
    await one.rooms.leave_all(ann)
    with pytest.raises(Unavailable):
        await joining
    await until(lambda: one.rooms._rooms == {})
    assert await other.rooms.members("lobby") == []
    assert sid not in one.bus.rooms.get("room:lobby", [])


async def test_a_connection_that_is_gone_leaves_all_its_rooms(two: Two) -> None:
    one, other = two
    ann = connection("ann")
    for room in ("a", "b", "c"):
        await join(one.rooms, ann, room)
    await one.rooms.leave_all(ann)
    assert await other.rooms.find(connection("bob"), {}) == []
    await until(lambda: not one.rooms._rooms and not one.bus.followers())


async def test_in_process_calls_reach_all_nodes(two: Two) -> None:
    one, other = two
    ann = connection("ann")
    await join(one.rooms, ann)
    assert await other.rooms.set_state("lobby", {"a": 1}, if_revision=0) == 1
    (state,) = await one.bus.hears(ann, "state")
    assert (state["changes"], state["by"]["id"]) == ({"a": 1}, "server")
    await other.rooms.send("lobby", "notice", 5)
    (message,) = await one.bus.hears(ann, "message")
    assert (message["event"], message["data"]) == ("notice", 5)
    assert [member.user.id for member in await other.rooms.members("lobby")] == ["ann"]
    assert (await other.rooms.state("lobby")).values == {"a": 1}
    assert await other.rooms.set_state("new", {"b": 1}) == 1
    assert (await join(one.rooms, connection("vera", "viewer"), "new"))["state"] == {"b": 1}


async def test_rights_that_are_gone_take_the_place(two: Two) -> None:
    one, other = two
    ann, bob = connection("ann"), connection("bob")
    await join(one.rooms, ann)
    await join(other.rooms, bob)
    bob.principal = connection("bob", None).principal
    await other.rooms.rights_changed(bob)
    assert [event["error"]["code"] for event in other.bus.heard(bob, "closed")] == ["not_found"]
    await until(lambda: users(one) == ["ann"])


async def timed(call: Coroutine[Any, Any, Any]) -> tuple[float, Any]:
    loop = asyncio.get_running_loop()
    start = loop.time()
    (result,) = await outcomes(call)
    return loop.time() - start, result


@pytest.mark.parametrize("how", ["stopped", "hung"])
async def test_without_redis_joins_are_unavailable_and_places_stay(
    tmp_path: Path, how: str
) -> None:
    server = RedisServer(tmp_path / "redis", appendfsync="no")
    with running(server):
        async with rooms_node(server.url, "n1", limits=WIDE) as one:
            ann, bob = connection("ann"), connection("bob")
            await join(one.rooms, ann)
            await join(one.rooms, bob)
            if how == "stopped":
                server.kill()
            else:
                server.signal(signal.SIGSTOP)
            attempts = [
                *(timed(join(one.rooms, connection("eve"), room)) for room in ("lobby", "new")),
                timed(join(one.rooms, ann)),
                timed(one.rooms.place(ann, "lobby").set_state({"a": 1}, None)),
            ]
            for took, result in await asyncio.gather(*attempts):
                assert isinstance(result, Unavailable)
                assert took < 2.5
            one.rooms.place(ann, "lobby").set_status("alone")
            await one.bus.hears(bob, "presence")
            await until(
                lambda: any(
                    member["status"] == "alone"
                    for event in one.bus.heard(bob, "presence")
                    for member in event["updated"]
                )
            )
            took, result = await timed(one.rooms.leave(bob, "lobby"))
            assert result is None
            assert took < 2.5
            assert users(one) == ["ann"]
            if how == "stopped":
                server.start()
            else:
                server.signal(signal.SIGCONT)
            await until(lambda: users(one) == ["ann"])
            async with asyncio.timeout(6):
                while True:
                    (result,) = await outcomes(join(one.rooms, connection("late"), "after"))
                    if isinstance(result, dict):
                        break
                    await asyncio.sleep(0.05)
            await until(lambda: _members(server) == 1)


def _members(server: RedisServer) -> int:
    return int(server.say("HLEN", "stretto:{rooms}:members:room:lobby"))


async def test_nodes_meet_on_a_cluster_too(tmp_path: Path) -> None:
    cluster = RedisCluster(tmp_path / "cluster")
    with running(cluster):
        async with rooms_node(cluster.url, "n1") as one, rooms_node(cluster.url, "n2") as other:
            ann, bob = connection("ann"), connection("bob")
            await join(one.rooms, ann)
            await join(other.rooms, bob)
            place = one.rooms.place(ann, "lobby")
            assert await place.set_state({"a": 1}, 0) == 1
            await place.set_metadata({"name": "A"})
            await place.send("hi", 1)
            place.set_status("here")
            for event in ("state", "metadata", "message"):
                assert len(await other.bus.hears(bob, event)) == 1
            await until(lambda: users(one) == users(other) == ["ann", "bob"])
            await other.bus.hears(bob, "presence", 2)
            assert [row["members"] for row in await other.rooms.find(bob, {})] == [2]
            await one.rooms.leave(ann, "lobby")
            await until(lambda: users(other) == ["bob"])
