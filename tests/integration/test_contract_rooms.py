"""Sentences of the contract about rooms, tokens, limits and ends, one by one."""

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientSession

from stretto_core.protocol import Limits
from stretto_server import document_registry
from stretto_server.server import RealtimeServer
from tests.integration.conftest import Dial
from tests.integration.packets import Packets
from tests.server.conftest import Serve
from tests.server.wire import OWNER, VIEWER, Wire, client_id, token

ALL = ("/", "/docs", "/rooms")
DOCS, ROOMS = "/docs", "/rooms"


async def heard(packets: Packets, event: str, count: int = 1) -> list[Any]:
    """Wait until an event arrived ``count`` times; return the payloads."""
    async with asyncio.timeout(5):
        while len(packets.events(event)) < count:
            await asyncio.sleep(0.01)
    return packets.events(event)


async def test_what_needs_a_room_that_was_joined(dial: Dial) -> None:
    packets = await dial()
    asks: dict[str, dict[str, Any]] = {
        "leave": {},
        "send": {"event": "e", "data": 1},
        "set_state": {"changes": {}},
        "set_status": {"status": 1},
        "set_metadata": {"metadata": {}},
    }
    for event, payload in asks.items():
        assert await packets.code(ROOMS, event, {"room": "r", **payload}) == "not_joined"
        assert await packets.code(ROOMS, event, {"room": "r", **payload, "x": 1}) == (
            "invalid_request"
        )
    await packets.ok(ROOMS, "join", room="r")
    for event, payload in [*list(asks.items())[1:], ("leave", {})]:
        await packets.ok(ROOMS, event, room="r", **payload)
    for event, payload in asks.items():
        assert await packets.code(ROOMS, event, {"room": "r", **payload}) == "not_joined"


async def test_who_may_do_what_in_a_room(dial: Dial) -> None:
    vera, ann = await dial(sub="vera", grants=VIEWER), await dial()
    otto, nobody = await dial(sub="otto", grants=OWNER), await dial(sub="nobody", grants={})
    assert await vera.code(ROOMS, "join", {"room": "r"}) == "not_found"
    await ann.ok(ROOMS, "join", room="r")
    assert await nobody.code(ROOMS, "join", {"room": "r"}) == "not_found"
    assert (await nobody.ok(ROOMS, "find"))["rooms"] == []
    for one in (vera, otto):
        await one.ok(ROOMS, "join", room="r")
    for event, payload in (
        ("send", {"event": "e", "data": None}),
        ("set_state", {"changes": {"k": 1}}),
        ("set_metadata", {"metadata": {}}),
    ):
        assert await vera.code(ROOMS, event, {"room": "r", **payload}) == "forbidden"
    await vera.ok(ROOMS, "set_status", room="r", status="reading")
    assert len((await vera.ok(ROOMS, "find"))["rooms"]) == 1
    await ann.ok(ROOMS, "set_metadata", room="r", metadata={"name": "one"})
    await otto.ok(ROOMS, "set_metadata", room="r", metadata={"private": True})
    other = await dial(sub="eve")
    await other.ok(ROOMS, "join", room="r")
    assert await other.code(ROOMS, "set_metadata", {"room": "r", "metadata": {}}) == "forbidden"


async def test_events_of_a_room_go_to_the_others(dial: Dial) -> None:
    ann, bob = await dial(), await dial(sub="bob")
    first = await ann.ok(ROOMS, "join", room="r", status=None)
    assert (first["revision"], first["state"], first["metadata"]) == (0, {}, {})
    assert first["members"][0]["status"] is None
    await bob.ok(ROOMS, "join", room="r")
    await ann.ok(ROOMS, "set_state", room="r", changes={"a": 1, "b": {"x": None}})
    answer = await ann.ok(ROOMS, "set_state", room="r", changes={"a": None}, if_revision=1)
    assert answer == {"ok": True, "revision": 2}
    await ann.ok(ROOMS, "set_metadata", room="r", metadata={"tags": ["t"]})
    await ann.ok(ROOMS, "send", room="r", event="e", data={"deep": [1, None, "😀"]})
    by = {"id": first["member_id"], "user": first["members"][0]["user"]}
    message = (await heard(bob, "message"))[0]
    assert message.pop("at_ms") > 0
    assert message == {"room": "r", "event": "e", "data": {"deep": [1, None, "😀"]}, "from": by}
    assert bob.events("state")[1] == {"room": "r", "revision": 2, "changes": {"a": None}, "by": by}
    assert bob.events("metadata") == [{"room": "r", "metadata": {"tags": ["t"]}}]
    assert not {"message", "state", "metadata"} & {row[1] for row in ann.log}
    assert (await ann.ok(ROOMS, "join", room="r"))["state"] == {"b": {"x": None}}


async def test_metadata_raises_how_many_a_room_takes(serve: Serve, dial: Dial) -> None:
    server = await serve(limits=Limits(room_members=2))
    ann, bob, eve = [await dial(to=server, sub=sub) for sub in ("ann", "bob", "eve")]
    await ann.ok(ROOMS, "join", room="r")
    await bob.ok(ROOMS, "join", room="r")
    assert await eve.code(ROOMS, "join", {"room": "r"}) == "room_full"
    await ann.ok(ROOMS, "join", room="r")  # whoever is in it already takes no place
    for most in (0, 1_001, 1.5, "3"):
        wrong = {"room": "r", "metadata": {"max_members": most}}
        assert await ann.code(ROOMS, "set_metadata", wrong) == "invalid_request"
    await ann.ok(ROOMS, "set_metadata", room="r", metadata={"max_members": 1_000})
    await eve.ok(ROOMS, "join", room="r")


async def test_find_asks_for_everything_at_once(dial: Dial) -> None:
    ann, bob = await dial(), await dial(sub="bob")
    await ann.ok(ROOMS, "join", room="one", metadata={"tags": ["x", "y"], "name": "One"})
    await ann.ok(ROOMS, "join", room="two", metadata={"tags": ["x"], "private": True})
    await bob.ok(ROOMS, "join", room="one")
    await bob.ok(ROOMS, "join", room="three")
    await bob.ok(ROOMS, "join", room="gone")
    await bob.ok(ROOMS, "leave", room="gone")

    async def found(packets: Packets, **query: Any) -> list[str]:
        return [row["room"] for row in (await packets.ok(ROOMS, "find", **query))["rooms"]]

    assert await found(ann) == ["one", "two", "three"]
    assert await found(bob) == ["one", "three"]
    assert await found(ann, tags=["x"]) == ["one", "two"]
    assert await found(ann, tags=["y", "x", "x"], min_members=2) == ["one"]
    assert await found(ann, tags=["x", "z"]) == []
    assert await found(ann, owner="ann", max_members=1) == ["two"]
    assert await found(ann, owner="bob", limit=1000) == ["three"]
    assert await found(ann, limit=2) == ["one", "two"]


async def test_a_connection_has_so_many_documents_and_rooms(dial: Dial) -> None:
    packets, other = await dial(), await dial(sub="bob")
    for number in range(50):
        await packets.ok(DOCS, "open", doc=f"d{number}", client=client_id())
    assert await packets.code(DOCS, "open", {"doc": "d50", "client": client_id()}) == "too_large"
    await packets.ok(DOCS, "open", doc="d0", client=client_id())
    await packets.ok(DOCS, "close", doc="d1")
    await packets.ok(DOCS, "open", doc="d50", client=client_id())
    for number in range(50):
        await other.ok(ROOMS, "join", room=f"r{number}")
    assert await other.code(ROOMS, "join", {"room": "r50"}) == "too_large"
    await other.ok(ROOMS, "join", room="r0")
    await other.ok(ROOMS, "leave", room="r1")
    await other.ok(ROOMS, "join", room="r50")


BUDGETS: dict[str, list[tuple[str, str]]] = {
    "ops_per_s": [(DOCS, "submit")],
    "cursors_per_s": [(DOCS, "cursor"), (ROOMS, "set_status")],
    "joins_per_s": [(DOCS, "open"), (ROOMS, "join"), (ROOMS, "find")],
    "messages_per_s": [(ROOMS, "send"), (ROOMS, "set_state"), (ROOMS, "set_metadata")],
    "reads_per_s": [
        *((DOCS, "fetch"), (DOCS, "close"), (ROOMS, "leave"), ("/", "refresh_token")),
        *((DOCS, "nonsense"), (ROOMS, "connect")),
    ],
}


@pytest.mark.parametrize("budget", BUDGETS)
async def test_each_event_drains_its_own_budget(serve: Serve, dial: Dial, budget: str) -> None:
    packets = await dial(to=await serve(limits=Limits(**{budget: 3})))
    events = BUDGETS[budget]
    codes = [await packets.code(*events[turn % len(events)], {"x": 1}) for turn in range(12)]
    assert codes == ["invalid_request"] * 12
    for namespace, event in events:
        answer = await packets.call(namespace, event, {})
        assert answer["error"]["code"] == "rate_limited"
        assert 0 < answer["error"]["retry_after_ms"] <= 334
    for other in BUDGETS:
        if other != budget:
            assert await packets.code(*BUDGETS[other][0], {"x": 1}) == "invalid_request"


async def test_what_an_expired_token_may_do_until_the_grace_ends(serve: Serve, dial: Dial) -> None:
    packets = await dial(to=await serve(token_grace=0.5), ttl_s=1.2)
    opened = await packets.ok(DOCS, "open", doc="notes", client=client_id())
    await packets.ok(ROOMS, "join", room="r")
    assert await heard(packets, "token_expired") == [{"grace_s": 0}]
    open_, join = {"doc": "other", "client": client_id()}, {"room": "other"}
    assert await packets.code(DOCS, "open", open_) == "token_expired"
    assert await packets.code(ROOMS, "join", join) == "token_expired"
    assert await packets.code(ROOMS, "join", {"room": "r"}) == "token_expired"
    await packets.ok(DOCS, "fetch", doc="notes", epoch=opened["epoch"], **{"from": 1})
    await packets.ok(DOCS, "cursor", doc="notes", version=0, ranges=[])
    await packets.ok(DOCS, "close", doc="notes")
    await packets.ok(ROOMS, "send", room="r", event="e", data=1)
    await packets.ok(ROOMS, "set_state", room="r", changes={})
    await packets.ok(ROOMS, "set_status", room="r", status=1)
    await packets.ok(ROOMS, "find")
    await packets.ok(ROOMS, "leave", room="r")
    old = {"token": token("ann", ttl_s=-1)}
    assert await packets.code("/", "refresh_token", old) == "token_expired"
    assert packets.disconnected == []
    await asyncio.wait_for(packets.closed.wait(), 3)
    assert sorted(packets.disconnected) == sorted(ALL)


async def test_a_refresh_tells_what_became_of_each_right(dial: Dial) -> None:
    packets = await dial()
    for name in ("a", "b", "c"):
        await packets.ok(DOCS, "open", doc=name, client=client_id())
        await packets.ok(ROOMS, "join", room=name)
    grants = {"docs/a": "owner", "docs/b": "editor", "rooms/a": "viewer", "rooms/b": "editor"}
    answer = await packets.ok("/", "refresh_token", token=token("ann", grants, ttl_s=100))
    assert set(answer) == {"ok", "token_ttl_s"}
    assert 98 <= answer["token_ttl_s"] <= 100
    assert packets.events("role") == [
        {"doc": "a", "role": "owner"},
        {"room": "a", "role": "viewer"},
    ]
    closed = [
        (one.get("doc"), one.get("room"), one["error"]["code"]) for one in packets.events("closed")
    ]
    assert closed == [("c", None, "not_found"), (None, "c", "not_found")]
    assert await packets.code(DOCS, "close", {"doc": "c"}) == "not_joined"
    assert await packets.code(ROOMS, "leave", {"room": "c"}) == "not_joined"
    assert await packets.code(ROOMS, "send", {"room": "a", "event": "e", "data": 1}) == "forbidden"
    answer = await packets.ok(DOCS, "open", doc="a", client=client_id())
    assert answer["role"] == "owner"


async def test_too_many_connections_close_the_transport(serve: Serve, dial: Dial) -> None:
    server = await serve(limits=Limits(user_connections=1))
    first = await dial(to=server)
    async with ClientSession() as session:
        second = await Packets.connect(session, server)
        await second.socket.send_str(f'40/docs,{{"token":"{token()}"}}')
        await asyncio.wait_for(second.closed.wait(), 3)
        assert (second.log, second.disconnected) == ([], [])
        await second.close()
    await first.ok(ROOMS, "join", room="r")


async def test_operators_close_and_reset_what_is_open(server: RealtimeServer, dial: Dial) -> None:
    packets = await dial(grants=OWNER)
    first = await packets.ok(DOCS, "open", doc="a/b", client=client_id())
    ask = {"doc": "a/b", "epoch": first["epoch"], "seq": 1, "base": 0, "op": ["x"]}
    url = f"{server.url}/api/docs/a/b"
    headers = {"Authorization": f"Bearer {token(grants=OWNER)}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.put(url, json={"text": "new"}) as response:
            head = await response.json()
        reset = (await heard(packets, "reset"))[0]
        assert reset == {"doc": "a/b", **{key: head[key] for key in ("epoch", "version", "hash")}}
        again = {"doc": "a/b", "client": client_id()}
        assert (
            await packets.code(DOCS, "submit", {**ask, "client": client_id()}) == "invalid_request"
        )
        since = {"epoch": first["epoch"], "version": 0, "hash": "0" * 16}
        answer = await packets.ok(DOCS, "open", **again, since=since)
        assert (answer["content"], answer["reset"], answer["version"]) == ("new", True, 1)
        assert answer["member_id"] == first["member_id"]
        stale = await packets.call(DOCS, "submit", {**ask, "client": again["client"]})
        assert stale["error"]["details"] == {"epoch": head["epoch"]}
        async with session.delete(url) as response:
            assert (await response.json()) == {"ok": True, "deleted": True}
    closed = (await heard(packets, "closed"))[0]
    assert (closed["doc"], closed["error"]["code"]) == ("a/b", "not_found")
    assert await packets.code(DOCS, "submit", {**ask, "client": again["client"]}) == "not_joined"
    answer = await packets.ok(DOCS, "open", **again)
    assert answer["epoch"] not in (first["epoch"], head["epoch"])
    assert answer["member_id"] != first["member_id"]


async def test_an_untouched_document_is_dropped_when_idle(
    dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_registry, "IDLE_S", 0.0)
    packets, vera = await dial(), await dial(sub="vera", grants=VIEWER)
    first = await packets.ok(DOCS, "open", doc="notes", client=client_id())
    ask = {"doc": "notes", "client": client_id()}
    assert (await vera.ok(DOCS, "open", **ask))["role"] == "viewer"
    for one in (packets, vera):
        await one.ok(DOCS, "close", doc="notes")
    await asyncio.sleep(0.1)
    assert await vera.code(DOCS, "open", ask) == "not_found"
    assert (await packets.ok(DOCS, "open", **ask))["epoch"] != first["epoch"]


async def test_a_drain_closes_the_transport_alone(serve: Serve, dial: Dial) -> None:
    server = await serve()
    packets = await dial(to=server)
    await server.stop()
    await asyncio.wait_for(packets.closed.wait(), 5)
    told = packets.events("shutdown")
    assert [set(one) for one in told] == [{"reason", "reconnect_after_ms"}]
    assert packets.disconnected == []


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_binary_travels_both_ways(server: RealtimeServer, transport: str) -> None:
    sender = await Wire.connect(server, namespaces=ALL, transport=transport)
    receivers = [
        await Wire.connect(server, sub, namespaces=ALL, transport=other)
        for sub, other in (("bob", "polling"), ("eve", "websocket"))
    ]
    for wire in (sender, *receivers):
        await wire.ok("join", {"room": "r"}, ROOMS)
    data = {"a": b"\x00\xff" * 1_000, "b": [b"", 1, None, {"c": bytes(range(256))}]}
    await sender.ok("send", {"room": "r", "event": "bytes", "data": data}, ROOMS)
    for wire in receivers:
        assert (await wire.hear("message"))["data"] == data
    assert (
        await sender.code("set_status", {"room": "r", "status": b"x"}, ROOMS) == "invalid_request"
    )
    for wire in (sender, *receivers):
        await wire.close()
