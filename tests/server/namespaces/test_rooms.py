"""``/rooms`` over the wire: shapes, codes, order, binary data and lost connections."""

import asyncio
from typing import Any

import pytest

from stretto_core.protocol import Limits
from stretto_server.server import RealtimeServer
from tests.server.conftest import Connect, Serve
from tests.server.wire import EDITOR, VIEWER, Wire, token

ROOMS = "/rooms"


@pytest.fixture
def enter(connect: Connect) -> Connect:
    """Connect to ``/`` and ``/rooms``."""

    async def start(*arguments: Any, **options: Any) -> Wire:
        return await connect(*arguments, **{"namespaces": ("/", ROOMS), **options})

    return start


async def ok(wire: Wire, event: str, /, **payload: Any) -> dict[str, Any]:
    return await wire.ok(event, {"room": "lobby", **payload}, ROOMS)


async def code(wire: Wire, event: str, /, **payload: Any) -> str:
    return await wire.code(event, {"room": "lobby", **payload}, ROOMS)


async def test_a_visit(enter: Connect) -> None:
    ann, bob = await enter(), await enter("bob")
    await ok(ann, "join", metadata={"name": "Lobby", "tags": ["a"]})
    answer = await ok(bob, "join", status="⌨️")
    assert set(answer) == {
        *("ok", "room", "member_id", "members", "state", "revision", "metadata"),
    }
    member = {"id": answer["member_id"], "user": answer["members"][1]["user"], "status": "⌨️"}
    joined = await ann.hear("presence", 2)
    assert joined == {"room": "lobby", "joined": [member], "left": [], "updated": []}

    assert await ok(bob, "send", event="wave", data=["🎻", None]) == {"ok": True}
    message = await ann.hear("message")
    assert message["from"] == {"id": member["id"], "user": member["user"]}
    assert (message["event"], message["data"]) == ("wave", ["🎻", None])

    assert await ok(bob, "set_state", changes={"ключ": {"a": 1}}) == {"ok": True, "revision": 1}
    state = await ann.hear("state")
    assert state == {
        "room": "lobby",
        "revision": 1,
        "changes": {"ключ": {"a": 1}},
        "by": message["from"],
    }

    assert await ok(bob, "set_status", status=None) == {"ok": True}
    updated = await ann.hear("presence", 3)
    assert updated["updated"] == [member | {"status": None}]
    await bob.hear("presence", 2)

    whole = {"name": "Hall", "tags": ["a"]}
    answer = await ok(ann, "set_metadata", metadata={"name": "Hall"})
    assert answer == {"ok": True, "metadata": whole}
    assert await bob.hear("metadata") == {"room": "lobby", "metadata": whole}
    found = await bob.ok("find", {"tags": ["a"]}, ROOMS)
    assert found["rooms"] == [{"room": "lobby", "members": 2, "metadata": whole}]

    assert await ok(bob, "leave") == {"ok": True}
    assert (await ann.hear("presence", 4))["left"] == [member["id"]]
    await ok(ann, "send", event="gone?", data=1)
    assert [len(one.events("message")) for one in (ann, bob)] == [1, 0]
    assert [len(one.events("state")) for one in (ann, bob)] == [1, 0]
    assert len(ann.events("metadata")) == 0


MALFORMED: dict[str, tuple[str, dict[str, Any]]] = {
    "join: no room": ("join", {"room": None}),
    "join: not an id": ("join", {"room": "a//b"}),
    "join: id too long": ("join", {"room": "a" * 201}),
    "join: id with a line break": ("join", {"room": "lobby\n"}),
    "join: unknown key": ("join", {"role": "owner"}),
    "join: metadata is text": ("join", {"metadata": "x"}),
    "join: unknown metadata": ("join", {"metadata": {"owner": "eve"}}),
    "join: too many members": ("join", {"metadata": {"max_members": 1_001}}),
    "join: no members": ("join", {"metadata": {"max_members": 0}}),
    "join: private is a number": ("join", {"metadata": {"private": 1}}),
    "join: tags are text": ("join", {"metadata": {"tags": "a"}}),
    "join: lone surrogate": ("join", {"status": ["\ud800"]}),
    "join: binary status": ("join", {"status": b"\x00"}),
    "leave: unknown key": ("leave", {"reason": "bored"}),
    "send: no event": ("send", {"data": 1}),
    "send: no data": ("send", {"event": "x"}),
    "send: event is empty": ("send", {"event": "", "data": 1}),
    "send: event is a number": ("send", {"event": 5, "data": 1}),
    "send: lone surrogate": ("send", {"event": "x", "data": {"a": "\udc00"}}),
    "send: binary event": ("send", {"event": b"x", "data": 1}),
    "set_state: no changes": ("set_state", {}),
    "set_state: changes are a list": ("set_state", {"changes": []}),
    "set_state: binary": ("set_state", {"changes": {"a": b"\x00"}}),
    "set_state: revision is text": ("set_state", {"changes": {}, "if_revision": "0"}),
    "set_state: revision is negative": ("set_state", {"changes": {}, "if_revision": -1}),
    "set_status: no status": ("set_status", {}),
    "set_metadata: no metadata": ("set_metadata", {}),
    "set_metadata: null": ("set_metadata", {"metadata": {"name": None}}),
    "find: names a room": ("find", {}),
    "shout: unknown event": ("shout", {}),
    "connect: a reserved name": ("connect", {}),
    "disconnect: a reserved name": ("disconnect", {}),
}


@pytest.mark.parametrize(("event", "changes"), MALFORMED.values(), ids=MALFORMED)
async def test_malformed(
    server: RealtimeServer, enter: Connect, event: str, changes: dict[str, Any]
) -> None:
    ann = await enter()
    await ok(ann, "join", status="here")
    assert await code(ann, event, **changes) == "invalid_request"
    assert (await server.rooms.state("lobby")).revision == 0
    assert [one.status for one in await server.rooms.members("lobby")] == ["here"]


@pytest.mark.parametrize("payload", [None, [], "lobby", 5])
async def test_a_payload_is_one_object(enter: Connect, payload: Any) -> None:
    ann = await enter()
    assert await ann.code("join", payload, ROOMS) == "invalid_request"
    assert await ann.code("find", ({}, {}), ROOMS) == "invalid_request"


@pytest.mark.parametrize(
    "query",
    [
        *({"limit": 0}, {"limit": "9"}, {"tags": "a"}, {"tags": [1]}, {"owner": 1}),
        *({"min_members": -1}, {"max_members": 1.5}, {"name": "x"}),
    ],
)
async def test_malformed_queries(enter: Connect, query: dict[str, Any]) -> None:
    ann = await enter()
    assert await ann.code("find", query, ROOMS) == "invalid_request"


async def test_codes(serve: Serve, enter: Connect) -> None:
    limits = Limits(room_members=2, joined_rooms=1, room_state_bytes=20)
    server = await serve(limits=limits)
    ann, bob = await enter(to=server), await enter("bob", VIEWER, to=server)
    eve = await enter("eve", {"docs/*": "owner"}, to=server)
    assert await code(bob, "join") == "not_found"
    assert await code(bob, "leave") == "not_joined"
    await ok(ann, "join")
    assert await code(eve, "join") == "not_found"
    assert await code(bob, "send", event="x", data=1) == "not_joined"
    await ok(bob, "join")
    assert await code(bob, "send", event="x", data=1) == "forbidden"
    assert await code(bob, "set_state", changes={}) == "forbidden"
    assert await code(bob, "set_metadata", metadata={}) == "forbidden"
    assert await code(await enter("max", to=server), "join") == "room_full"
    assert await code(ann, "join", room="other") == "too_large"
    assert await code(ann, "set_state", changes={"a": "x" * 20}) == "too_large"
    assert await code(ann, "set_status", status="x" * 20) == "too_large"
    assert await code(ann, "set_metadata", metadata={"name": "x" * 20}) == "too_large"
    await ok(ann, "set_state", changes={"a": 1}, if_revision=0)
    answer = await ann.call(
        "set_state", {"room": "lobby", "changes": {"a": 2}, "if_revision": 0}, ROOMS
    )
    assert answer["error"]["code"] == "revision_conflict"
    assert answer["error"]["details"] == {"revision": 1}
    assert (await server.rooms.state("lobby")).values == {"a": 1}


async def test_a_failure_without_an_ack_names_the_room(enter: Connect) -> None:
    ann = await enter()
    await ann.sio.emit("send", {"room": "lobby", "event": "x", "data": 1}, namespace=ROOMS)
    refused = await ann.hear("refused")
    assert (refused["event"], refused["room"]) == ("send", "lobby")
    assert refused["error"]["code"] == "not_joined"


BINARY = {"image": bytes(range(256)), "parts": [b"", {"deep": b"\xff"}], "text": "🎻"}


POLLED: dict[str, Any] = {"ping_interval": 0.3, "ping_timeout": 1.5}
"""A client that polls leaves once its poll is over, which takes as long as both together."""


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_data_arrives_as_it_was_sent(serve: Serve, enter: Connect, transport: str) -> None:
    server = await serve(**POLLED)
    ann, bob = await enter(to=server), await enter("bob", to=server, transport=transport)
    await ok(ann, "join")
    await ok(bob, "join")
    sent = [b"\x00\x01", [b"a", b"b"], BINARY, {}, None, "text", 1.5]
    for sender, receiver in ((ann, bob), (bob, ann)):
        for data in sent:
            await ok(sender, "send", event="x", data=data)
        await receiver.hear("message", len(sent))
        assert [one["data"] for one in receiver.events("message")] == sent


async def test_binary_data_reaches_members_over_different_transports(
    serve: Serve, enter: Connect
) -> None:
    server = await serve(**POLLED)
    ann, bob = await enter(to=server), await enter("bob", to=server)
    eve = await enter("eve", to=server, transport="polling")
    for one in (ann, bob, eve):
        await ok(one, "join")
    await ok(ann, "send", event="x", data=BINARY)
    async with asyncio.timeout(2):
        for one in (bob, eve):
            assert (await one.hear("message"))["data"] == BINARY


async def test_binary_from_this_process(server: RealtimeServer, enter: Connect) -> None:
    ann = await enter()
    await ok(ann, "join")
    await server.rooms.send("lobby", "x", BINARY)
    message = await ann.hear("message")
    assert message["data"] == BINARY
    assert message["from"]["id"] == "server"


async def test_the_answer_to_join_precedes_everything_of_the_room(
    server: RealtimeServer, enter: Connect
) -> None:
    ann, bob = await enter(), await enter("bob")
    await ok(ann, "join")
    going = True

    async def talk() -> None:
        number = 0
        while going:
            await server.rooms.send("lobby", "tick", number)
            await server.rooms.set_state("lobby", {"tick": number})
            number += 1
            await asyncio.sleep(0)

    talking = asyncio.create_task(talk())
    for _ in range(10):
        bob.heard.clear()
        answered = asyncio.Event()

        def note(answer: Any, answered: asyncio.Event = answered) -> None:
            bob.heard.append((ROOMS, "answer", answer))
            answered.set()

        await bob.sio.emit("join", {"room": "lobby"}, namespace=ROOMS, callback=note)
        await answered.wait()
        state = await bob.hear("state")
        assert bob.heard[0][1] == "answer"
        answer = bob.heard[0][2]
        assert answer["ok"]
        assert state["revision"] == answer["revision"] + 1
        await ok(bob, "leave")
        heard = len(bob.heard)
        await ok(bob, "join", room="other")
        assert all(payload["room"] == "other" for _, _, payload in bob.heard[heard:])
        await ok(bob, "leave", room="other")
    going = False
    await talking


async def test_a_lost_connection_leaves(enter: Connect) -> None:
    ann, bob = await enter(), await enter("bob")
    await ok(ann, "join")
    member_id = (await ok(bob, "join"))["member_id"]
    await ann.hear("presence", 2)
    await bob.close()
    assert (await ann.hear("presence", 3))["left"] == [member_id]
    again = await enter("bob")
    answer = await ok(again, "join")
    assert answer["member_id"] != member_id
    assert len(answer["members"]) == 2


async def test_a_namespace_that_is_left_leaves_its_rooms(
    server: RealtimeServer, enter: Connect
) -> None:
    ann, bob = await enter(), await enter("bob")
    await ok(ann, "join")
    await ok(bob, "join")
    await ann.hear("presence", 2)
    await bob.sio.eio.send("1/rooms,")
    await ann.hear("presence", 3)
    assert [one.user.id for one in await server.rooms.members("lobby")] == ["ann"]


async def test_a_refresh_that_takes_the_right_away(enter: Connect) -> None:
    ann, bob = await enter(), await enter("bob")
    await ok(ann, "join")
    member_id = (await ok(bob, "join"))["member_id"]
    await bob.ok("refresh_token", {"token": token("bob", VIEWER)}, "/")
    assert await bob.hear("role") == {"room": "lobby", "role": "viewer"}
    assert await code(bob, "send", event="x", data=1) == "forbidden"

    await ann.hear("presence", 2)
    await bob.ok("refresh_token", {"token": token("bob", {"rooms/other": "editor"})}, "/")
    closed = await bob.hear("closed")
    assert (closed["room"], closed["error"]["code"]) == ("lobby", "not_found")
    assert (await ann.hear("presence", 3))["left"] == [member_id]
    await ok(ann, "send", event="x", data=1)
    assert await code(bob, "set_status", status=1) == "not_joined"
    assert await code(bob, "join") == "not_found"
    assert bob.events("message") == []


async def test_an_expired_token_joins_nothing_until_it_is_refreshed(enter: Connect) -> None:
    ann = await enter(ttl_s=2)
    await ok(ann, "join")
    await ann.hear("token_expired")
    assert await code(ann, "join", room="other") == "token_expired"
    assert await code(ann, "join") == "token_expired"
    await ok(ann, "send", event="x", data=1)
    await ann.ok("find", {}, ROOMS)
    await ann.ok("refresh_token", {"token": token("ann", EDITOR)}, "/")
    await ok(ann, "join", room="other")


async def test_a_draining_server_takes_nobody_in(server: RealtimeServer, enter: Connect) -> None:
    ann = await enter()
    await ok(ann, "join")
    server.rooms.drain()
    answer = await ann.call("join", {"room": "other"}, ROOMS)
    assert answer["error"]["code"] == "shutting_down"
    assert answer["error"]["retry_after_ms"] > 0
    await ok(ann, "send", event="x", data="still")


async def test_requests_have_rates(serve: Serve, enter: Connect) -> None:
    limits = Limits(messages_per_s=1, joins_per_s=1, cursors_per_s=1)
    ann = await enter(to=await serve(limits=limits))
    await ok(ann, "join")
    assert await limited(ann, "send", event="x", data=1)
    assert await limited(ann, "set_status", status=1)
    assert await limited(ann, "join")
    await ok(ann, "leave")


async def limited(wire: Wire, event: str, /, **payload: Any) -> bool:
    answers = [await wire.call(event, {"room": "lobby", **payload}, ROOMS) for _ in range(6)]
    return any(not one["ok"] and one["error"]["code"] == "rate_limited" for one in answers)


async def test_a_room_that_nobody_came_back_to(serve: Serve, enter: Connect) -> None:
    server = await serve(room_idle_ttl=0.3)
    ann, bob = await enter(to=server), await enter("bob", VIEWER, to=server)
    await ok(ann, "join")
    await ok(ann, "set_state", changes={"a": 1})
    await ann.close()
    assert (await ok(bob, "join"))["state"] == {"a": 1}
    await ok(bob, "leave")
    await asyncio.sleep(0.9)
    assert await code(bob, "join") == "not_found"
