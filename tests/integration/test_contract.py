"""Sentences of the contract, one by one, as a client sees them that nobody here wrote."""

import asyncio
from typing import Any

import pytest

from stretto_core.protocol import Limits
from stretto_server import document_registry
from stretto_server.app import NODE
from stretto_server.server import RealtimeServer
from tests.server.conftest import Connect, Serve
from tests.server.wire import VIEWER, client_id, token

ALL = ("/", "/docs", "/rooms")


async def gather(*work: Any) -> list[Any]:
    """Wait for all; what failed is raised."""
    return list(await asyncio.gather(*work))


def slowed(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, delay_s: float) -> None:
    """Let a coroutine method of ``owner`` take a while before it answers."""
    original = getattr(owner, name)

    async def slow(*arguments: Any, **options: Any) -> Any:
        found = await original(*arguments, **options)
        await asyncio.sleep(delay_s)
        return found

    monkeypatch.setattr(owner, name, slow)


async def test_opening_many_at_once_keeps_to_the_limit(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve(limits=Limits(open_documents=5))
    slowed(monkeypatch, server._app[NODE].journal, "client", 0.1)
    wire = await connect(to=server)
    answers = await gather(
        *(wire.call("open", {"doc": f"d{i}", "client": client_id()}) for i in range(9))
    )
    codes = [answer["error"]["code"] for answer in answers if not answer["ok"]]
    assert codes == ["too_large"] * 4


async def test_an_import_takes_cursors_away(server: RealtimeServer, connect: Connect) -> None:
    ann, bob = await connect("ann"), await connect("bob")
    paper = await ann.open()
    for base in range(3):
        await paper.submit(["x"], base)
    await ann.ok("cursor", {"doc": "notes", "version": 3, "ranges": [[2, 3]]})
    await ann.hear("presence", 2)
    await server.documents.replace("notes", "new")
    await ann.hear("reset")
    answer = (await bob.open()).answer
    assert answer["content"] == "new"
    assert all("ranges" not in member for member in answer["members"])
    assert "ranges" not in (await ann.hear("presence", 3))["updated"][0]


async def test_who_was_in_a_snapshot_is_told_as_gone(connect: Connect) -> None:
    ann, bob, eve = await connect("ann"), await connect("bob"), await connect("eve")
    await eve.open()  # the next diff waits for its turn
    await eve.hear("presence")
    gone = (await ann.open()).answer["member_id"]
    seen = (await bob.open()).answer["members"]
    await ann.ok("close", {"doc": "notes"})
    diff = await bob.hear("presence")
    assert gone in [member["id"] for member in seen]
    assert diff["left"] == [gone]
    assert gone not in [member["id"] for member in diff["joined"]]


async def test_who_was_in_a_rooms_snapshot_is_told_as_gone(connect: Connect) -> None:
    ann, bob, eve = [await connect(sub, namespaces=ALL) for sub in ("ann", "bob", "eve")]
    await eve.ok("join", {"room": "r"}, "/rooms")
    await eve.hear("presence")
    gone = (await ann.ok("join", {"room": "r"}, "/rooms"))["member_id"]
    await bob.ok("join", {"room": "r"}, "/rooms")
    await ann.ok("leave", {"room": "r"}, "/rooms")
    assert (await bob.hear("presence"))["left"] == [gone]


async def test_the_latest_accepted_token_counts_on_every_namespace(connect: Connect) -> None:
    wire = await connect("ann")
    paper = await wire.open()
    packet = {"token": token("ann", {**VIEWER, "docs/other": "editor"})}
    await wire.sio._send_packet(
        wire.sio.packet_class(packet_type=0, data=packet, namespace="/rooms")
    )
    assert await wire.hear("role") == {"doc": "notes", "role": "viewer"}
    assert await wire.code("submit", paper.payload(["x"], 0)) == "forbidden"


async def test_a_right_lost_while_opening_is_lost(
    server: RealtimeServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = await connect("ann")
    slowed(monkeypatch, server._app[NODE].journal, "client", 0.2)
    opening = asyncio.ensure_future(wire.call("open", {"doc": "notes", "client": client_id()}))
    await asyncio.sleep(0.1)
    await wire.ok("refresh_token", {"token": token("ann", VIEWER)}, "/")
    assert (await opening)["role"] == "viewer"


async def test_opening_during_a_delete_opens_what_is_there(
    server: RealtimeServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await connect("ann"), await connect("bob")
    old = await ann.open()
    await old.submit(["x"], 0)
    journal = server._app[NODE].journal
    slowed(monkeypatch, journal, "delete", 0.1)
    slowed(monkeypatch, journal, "client", 0.2)
    deleting = asyncio.ensure_future(server.documents.delete("notes"))
    await asyncio.sleep(0.05)
    new = await bob.open()
    assert await deleting
    assert new.epoch != old.epoch
    assert (await ann.hear("closed"))["error"]["code"] == "not_found"
    assert await new.submit(["y"], 0) == 1
    assert await server.documents.read("notes") == "y"


async def test_opening_during_an_import_opens_what_is_there(
    server: RealtimeServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await connect("ann"), await connect("bob")
    await (await ann.open()).submit(["x"], 0)
    journal = server._app[NODE].journal
    slowed(monkeypatch, journal, "replace", 0.1)
    slowed(monkeypatch, journal, "client", 0.2)
    replacing = asyncio.ensure_future(server.documents.replace("notes", "new"))
    await asyncio.sleep(0.05)
    new = await bob.open()
    assert new.epoch == (await replacing).epoch
    assert new.answer["content"] == "new"
    assert await new.submit(["y"], 1) == 2


async def test_opening_while_an_untouched_document_is_dropped(
    server: RealtimeServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_registry, "IDLE_S", 0.0)
    slowed(monkeypatch, server._app[NODE].journal, "delete", 0.2)
    wire = await connect()
    old = await wire.open()
    await wire.ok("close", {"doc": "notes"})
    await asyncio.sleep(0.1)
    new = await wire.open()
    assert new.epoch != old.epoch
    assert await new.submit(["x"], 0) == 1


async def test_metadata_beyond_the_limit_is_too_large(connect: Connect) -> None:
    wire = await connect(namespaces=ALL)
    for metadata in ({"name": "n" * 65_537}, {"tags": ["t" * 65_537]}, {"tags": ["t"] * 20_000}):
        assert await wire.code("join", {"room": "r", "metadata": metadata}, "/rooms") == "too_large"
    await wire.ok("join", {"room": "r", "metadata": {"tags": ["t" * 300] * 30}}, "/rooms")
    assert len((await wire.ok("find", {"tags": ["t" * 300]}, "/rooms"))["rooms"]) == 1
    big = {"room": "r", "metadata": {"name": "n" * 65_537}}
    assert await wire.code("set_metadata", big, "/rooms") == "too_large"
    await wire.ok("set_state", {"room": "r", "changes": {"k" * 300: 1}}, "/rooms")
    assert await wire.code("set_status", {"room": "r", "status": "s" * 65_537}, "/rooms") == (
        "too_large"
    )


async def test_joining_again_with_a_status_shows_it(connect: Connect) -> None:
    ann, bob = await connect("ann", namespaces=ALL), await connect("bob", namespaces=ALL)
    first = await ann.ok("join", {"room": "r", "status": "here"}, "/rooms")
    await bob.ok("join", {"room": "r"}, "/rooms")
    await bob.hear("presence")
    again = await ann.ok("join", {"room": "r", "metadata": {"name": "other"}}, "/rooms")
    assert again["members"][0]["status"] == "here"
    again = await ann.ok("join", {"room": "r", "status": "away"}, "/rooms")
    assert again["member_id"] == first["member_id"]
    assert again["members"][0]["status"] == "away"
    assert again["metadata"] == {}
    told = (await bob.hear("presence", 2))["updated"]
    assert [(one["id"], one["status"]) for one in told] == [(first["member_id"], "away")]
