"""``/docs`` over the wire: opening, continuing, order, presence, rights, fences."""

from pathlib import Path

import pytest

from stretto_core.entries import Entry, next_hash
from stretto_core.protocol import NO_HASH, Limits
from stretto_server.server import RealtimeServer
from tests.server.conftest import Connect, Serve
from tests.server.wire import EDITOR, OWNER, VIEWER, client_id, token


async def test_open_tells_everything(server: RealtimeServer, connect: Connect) -> None:
    wire = await connect("ann", {"docs/*": "owner"})
    paper = await wire.open("a/b:c~d")
    answer = paper.answer
    member = answer["members"][0]
    assert answer == {
        "ok": True,
        "doc": "a/b:c~d",
        "type": "text",
        "epoch": answer["epoch"],
        "version": 0,
        "hash": NO_HASH,
        "member_id": member["id"],
        "last_seq": 0,
        "role": "owner",
        "members": [{"id": member["id"], "user": member["user"]}],
        "content": "",
    }
    assert member["user"]["id"] == "ann"
    assert member["user"]["name"] == "ann"
    assert member["user"]["color"].startswith("#")


async def test_ops_go_to_every_member_in_one_frame(connect: Connect) -> None:
    ann, bob = await connect("ann"), await connect("bob")
    paper, _ = await ann.open(), await bob.open()
    await paper.submit(["Hi 😀"], 0)
    frame = await bob.hear("ops")
    assert frame == await ann.hear("ops")
    entry = frame["ops"][0]
    assert entry == {
        "client": paper.client,
        "seq": 1,
        "op": ["Hi 😀"],
        "user": "ann",
        "at_ms": entry["at_ms"],
    }
    assert (frame["doc"], frame["epoch"], frame["from"]) == ("notes", paper.epoch, 1)
    assert frame["hash"] == next_hash(NO_HASH, Entry.from_payload(entry))


async def test_concurrent_ops_are_transformed_to_the_left(
    server: RealtimeServer, connect: Connect
) -> None:
    ann, bob = await connect("ann"), await connect("bob")
    first, second = await ann.open(), await bob.open()
    await first.submit(["abc"], 0)
    assert await first.submit([3, "1"], 1) == 2
    assert await second.submit([3, "2"], 1) == 3
    assert await server.documents.read("notes") == "abc21"


async def test_an_op_that_became_nothing_keeps_its_version(connect: Connect) -> None:
    ann, bob = await connect("ann"), await connect("bob")
    first, second = await ann.open(), await bob.open()
    await first.submit(["abc"], 0)
    await first.submit([-3], 1)
    assert await second.submit([-3], 1) == 3
    assert (await bob.hear("ops", 3))["ops"][0]["op"] == []


async def test_the_last_seq_again_is_answered_with_its_version(
    server: RealtimeServer, connect: Connect
) -> None:
    wire = await connect()
    paper = await wire.open()
    await paper.submit(["once"], 0)
    paper.seq = 0
    assert await paper.submit(["never read"], 7) == 1
    assert await server.documents.read("notes") == "once"


async def test_since_continues_with_entries(connect: Connect) -> None:
    ann, bob = await connect("ann"), await connect("bob")
    paper = await ann.open()
    await paper.submit(["one"], 0)
    frame = await ann.hear("ops")
    await paper.submit([3, "two"], 1)
    since = {"epoch": paper.epoch, "version": 1, "hash": frame["hash"]}
    answer = (await bob.open(since=since)).answer
    assert "content" not in answer
    assert "reset" not in answer
    assert [entry["op"] for entry in answer["ops"]] == [[3, "two"]]
    assert answer["version"] == 2


@pytest.mark.parametrize(
    "changes",
    [{"epoch": "another"}, {"version": 9}, {"hash": "0123456789abcdef"}],
    ids=["epoch", "version", "hash"],
)
async def test_since_that_cannot_continue_resets(
    connect: Connect, changes: dict[str, object]
) -> None:
    ann = await connect("ann")
    paper = await ann.open()
    await paper.submit(["one"], 0)
    frame = await ann.hear("ops")
    since = {"epoch": paper.epoch, "version": 1, "hash": frame["hash"]} | changes
    answer = (await ann.open(since=since)).answer
    assert answer["reset"] is True
    assert answer["content"] == "one"
    assert "ops" not in answer


async def test_a_second_open_replaces_the_first(connect: Connect) -> None:
    ann, bob = await connect("ann"), await connect("bob")
    await bob.open()
    first = await ann.open()
    await bob.hear("presence", 2)
    second = await ann.open()
    assert second.answer["member_id"] == first.answer["member_id"]
    assert len(second.answer["members"]) == 2
    assert await ann.code("submit", first.payload(["x"], 0)) == "invalid_request"
    await second.submit(["x"], 0)
    await bob.hear("ops")
    assert len(bob.events("presence")) == 2


async def test_presence_comes_and_goes(connect: Connect) -> None:
    ann, bob = await connect("ann"), await connect("bob")
    mine = (await ann.open()).answer["member_id"]
    theirs = (await bob.open()).answer["member_id"]
    joined = [member["id"] for diff in [await ann.hear("presence", 2)] for member in diff["joined"]]
    assert joined == [theirs]
    assert mine != theirs
    await bob.close()
    assert (await ann.hear("presence", 3))["left"] == [theirs]


async def test_cursors_are_mapped_and_shown(server: RealtimeServer, connect: Connect) -> None:
    ann, bob = await connect("ann"), await connect("vera", VIEWER)
    paper = await ann.open()
    await paper.submit(["hello"], 0)
    await bob.open()
    await bob.ok("cursor", {"doc": "notes", "version": 1, "ranges": [[5, 99], [0, 0]]})
    updated = (await ann.hear("presence", 2))["updated"][0]
    assert updated["ranges"] == [[5, 5], [0, 0]]
    assert updated["version"] == 1
    await paper.submit(["> "], 1)
    carl = await connect("carl")
    members = {member["user"]["id"]: member for member in (await carl.open()).answer["members"]}
    assert members["vera"]["ranges"] == [[7, 7], [0, 0]]
    assert members["vera"]["version"] == 2
    assert "ranges" not in members["ann"]
    await bob.ok("cursor", {"doc": "notes", "version": 2, "ranges": None})


async def test_cursor_errors(connect: Connect) -> None:
    wire = await connect()
    cursor = {"doc": "notes", "version": 0, "ranges": [[0, 0]]}
    assert await wire.code("cursor", cursor) == "not_joined"
    await wire.open()
    assert await wire.code("cursor", cursor | {"version": 5}) == "version_ahead"
    assert await wire.code("cursor", cursor | {"ranges": [[0, 0]] * 101}) == "too_large"
    for ranges in ([[0]], [0], [[0, -1]], "x", [[True, 0]]):
        assert await wire.code("cursor", cursor | {"ranges": ranges}) == "invalid_request"


async def test_fetch_pages_through_the_log(connect: Connect) -> None:
    wire = await connect()
    paper = await wire.open()
    for version in range(5):
        await paper.submit(["x"], version)
    last = await wire.hear("ops", 5)
    ask = {"doc": "notes", "epoch": paper.epoch}
    answer = await wire.ok("fetch", ask | {"from": 2, "limit": 2})
    assert (answer["from"], len(answer["ops"]), answer["version"]) == (2, 2, 5)
    assert answer["hash"] == wire.events("ops")[2]["hash"]
    whole = await wire.ok("fetch", ask | {"from": 1, "limit": 100_000})
    assert len(whole["ops"]) == 5
    empty = await wire.ok("fetch", ask | {"from": 6})
    assert (empty["ops"], empty["hash"]) == ([], last["hash"])
    assert await wire.code("fetch", ask | {"from": 7}) == "version_ahead"
    assert await wire.code("fetch", ask | {"from": 1, "epoch": "other"}) == "epoch_changed"
    assert await wire.code("fetch", ask | {"from": 0}) == "invalid_request"
    assert await wire.code("fetch", ask | {"from": 1, "doc": "else"}) == "not_joined"


async def test_no_frame_follows_close(connect: Connect) -> None:
    ann, bob = await connect("ann"), await connect("bob")
    paper = await ann.open()
    await bob.open()
    await bob.ok("close", {"doc": "notes"})
    await paper.submit(["x"], 0)
    assert await bob.code("close", {"doc": "notes"}) == "not_joined"
    assert bob.events("ops") == []


async def test_who_may_open(connect: Connect) -> None:
    viewer, stranger = await connect("vera", VIEWER), await connect("sue", {"docs/other": "owner"})
    ask = {"doc": "notes", "client": client_id()}
    assert await viewer.code("open", ask) == "not_found"
    assert await stranger.code("open", ask) == "not_found"
    editor = await connect("ann")
    await (await editor.open()).submit(["text"], 0)
    assert (await viewer.open()).answer["content"] == "text"
    assert await stranger.code("open", ask) == "not_found"


async def test_a_client_belongs_to_its_user(connect: Connect) -> None:
    ann, bob = await connect("ann"), await connect("bob")
    paper = await ann.open()
    early = await bob.open(client=paper.client)
    await paper.submit(["mine"], 0)
    assert await bob.code("submit", early.payload(["x"], 0)) == "forbidden"
    assert await bob.code("open", {"doc": "notes", "client": paper.client}) == "forbidden"
    fenced = {"doc": "notes", "client": client_id(), "fence": paper.client}
    assert await bob.code("open", fenced) == "forbidden"


async def test_two_connections_may_share_a_client(connect: Connect) -> None:
    old, new = await connect("ann"), await connect("ann")
    paper = await old.open()
    await paper.submit(["a"], 0)
    again = await new.open(client=paper.client)
    assert again.seq == 1
    assert await again.submit(["b"], 1) == 2
    assert await old.code("submit", paper.payload(["c"], 0, seq=4)) == "sequence_gap"


async def test_a_fence_stops_the_old_client_on_every_connection(
    server: RealtimeServer, connect: Connect
) -> None:
    old, new = await connect("ann"), await connect("ann")
    paper = await old.open()
    await paper.submit(["a"], 0)
    opened = await new.open(fence=paper.client)
    assert opened.answer["fenced"] == {"last_seq": 1}
    assert opened.answer["content"] == "a"
    answer = await old.call("submit", paper.payload(["zombie"], 1))
    assert answer["error"]["code"] == "sequence_gap"
    assert answer["error"]["details"] == {"last_seq": 1}
    await opened.submit(["b"], 1)
    assert await server.documents.read("notes") == "ba"
    unknown = await new.open(fence=client_id())
    assert unknown.answer["fenced"] == {"last_seq": 0}


async def test_limits_of_documents_and_members(serve: Serve, connect: Connect) -> None:
    server = await serve(
        limits=Limits(open_documents=2, document_members=2, document_chars=10, op_inserted=8)
    )
    ann, bob, carl = [await connect(name, to=server) for name in ("ann", "bob", "carl")]
    paper = await ann.open("one")
    await ann.open("two")
    assert await ann.code("open", {"doc": "three", "client": client_id()}) == "too_large"
    await ann.open("one", client=paper.client)
    await bob.open("one")
    assert await carl.code("open", {"doc": "one", "client": client_id()}) == "room_full"
    await paper.submit(["12345678"], 0)
    assert await ann.code("submit", paper.payload(["123"], 1)) == "too_large"
    assert await ann.code("submit", paper.payload(["123456789"], 1)) == "too_large"
    assert await paper.submit(["12"], 1) == 2
    assert await paper.submit([-1], 2) == 3


async def test_a_refresh_changes_rights_at_once(connect: Connect) -> None:
    wire = await connect("ann", {"docs/*": "editor"})
    keep, lose = await wire.open("keep"), await wire.open("lose")
    await keep.submit(["x"], 0)
    refreshed = token("ann", {"docs/keep": "viewer"})
    await wire.ok("refresh_token", {"token": refreshed}, "/")
    assert await wire.hear("role") == {"doc": "keep", "role": "viewer"}
    closed = await wire.hear("closed")
    assert closed["doc"] == "lose"
    assert closed["error"]["code"] == "not_found"
    assert await wire.code("submit", keep.payload(["y"], 1)) == "forbidden"
    assert await wire.code("submit", lose.payload(["y"], 0)) == "not_joined"


async def test_delete_closes_and_another_epoch_follows(
    server: RealtimeServer, connect: Connect
) -> None:
    wire = await connect("ann", OWNER)
    paper = await wire.open()
    await paper.submit(["text"], 0)
    assert await server.documents.delete("notes") is True
    assert (await wire.hear("closed"))["error"]["code"] == "not_found"
    assert await wire.code("submit", paper.payload(["x"], 1)) == "not_joined"
    again = await wire.open()
    assert again.epoch != paper.epoch
    assert again.answer["content"] == ""
    assert await wire.code("submit", again.payload(["x"], 0, epoch=paper.epoch)) == "epoch_changed"


async def test_replace_resets_everyone(server: RealtimeServer, connect: Connect) -> None:
    wire = await connect("ann")
    paper = await wire.open()
    await paper.submit(["old"], 0)
    head = await server.documents.replace("notes", "new text")
    reset = await wire.hear("reset")
    assert reset == {
        "doc": "notes",
        "epoch": head.epoch,
        "version": head.version,
        "hash": head.hash,
    }
    assert await wire.code("submit", paper.payload(["x"], 1)) == "epoch_changed"
    again = await wire.open(fence=paper.client)
    assert again.answer["content"] == "new text"
    await again.submit(["! "], head.version)
    assert await server.documents.read("notes") == "! new text"


async def test_ops_survive_a_restart(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    journal = f"sqlite:///{tmp_path / 'stretto.db'}"
    server = await serve(journal=journal)
    wire = await connect(to=server)
    paper = await wire.open()
    await paper.submit(["kept"], 0)
    hash_ = (await wire.hear("ops"))["hash"]
    await wire.close()
    await server.stop()
    server = await serve(journal=journal)
    wire = await connect(to=server)
    since = {"epoch": paper.epoch, "version": 1, "hash": hash_}
    again = await wire.open(client=paper.client, since=since)
    assert again.answer["ops"] == []
    assert again.seq == 1
    assert await again.submit([4, "!"], 1) == 2


async def test_draining_refuses_to_open(server: RealtimeServer, connect: Connect) -> None:
    wire = await connect()
    await wire.open("before")
    await server.documents.drain(1.0)
    ask = {"doc": "after", "client": client_id()}
    assert await wire.code("open", ask) == "shutting_down"


async def test_grants_choose_the_longest_prefix(connect: Connect) -> None:
    wire = await connect("ann", {**EDITOR, "docs/notes": "viewer", "docs/n*": "owner"})
    assert await wire.code("open", {"doc": "notes", "client": client_id()}) == "not_found"
    assert (await wire.open("nb")).answer["role"] == "owner"
