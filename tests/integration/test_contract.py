"""Sentences of the contract, one by one, as a client sees them that nobody here wrote."""

import asyncio
from typing import Any

import pytest

from stretto_core.entries import Entry, next_hash
from stretto_core.protocol import NO_HASH, Limits
from stretto_server import document_registry
from stretto_server.app import NODE
from stretto_server.server import RealtimeServer
from tests.integration.conftest import Dial
from tests.integration.packets import Packets
from tests.server.conftest import Connect, Serve
from tests.server.wire import VIEWER, client_id, token

ALL = ("/", "/docs", "/rooms")
DOCS, ROOMS = "/docs", "/rooms"


async def fill(packets: Packets, count: int, text: str = "x", doc: str = "notes") -> dict[str, Any]:
    """Open a document and submit ``count`` insertions; return the answer to ``open``."""
    client = client_id()
    answer = await packets.ok(DOCS, "open", doc=doc, client=client)
    base = answer["version"]
    for seq in range(1, count + 1):
        payload = {"doc": doc, "epoch": answer["epoch"], "client": client, "seq": seq}
        base = (await packets.ok(DOCS, "submit", **payload, base=base, op=[text]))["version"]
    return {**answer, "client": client, "version": base}


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


def hashed(hash_before: str, entries: list[dict[str, Any]]) -> str:
    """Return the history hash after ``entries``."""
    for entry in entries:
        hash_before = next_hash(hash_before, Entry.from_payload(entry))
    return hash_before


async def test_open_continues_at_most_500_entries_under_the_heads_version(
    serve: Serve, dial: Dial
) -> None:
    packets = await dial(to=await serve(rate_limits=False))
    filled = await fill(packets, 502)
    since = {"epoch": filled["epoch"], "version": 0, "hash": NO_HASH}
    answer = await packets.ok(DOCS, "open", doc="notes", client=client_id(), since=since)
    assert set(answer) == {
        *("ok", "doc", "type", "epoch", "version", "hash", "member_id", "last_seq", "role"),
        *("members", "ops"),
    }
    assert (answer["version"], len(answer["ops"])) == (502, 500)
    assert [set(entry) for entry in answer["ops"]] == [
        {"client", "seq", "op", "user", "at_ms"}
    ] * 500
    ask = {"doc": "notes", "epoch": filled["epoch"]}
    rest = await packets.ok(DOCS, "fetch", **ask, **{"from": 501}, limit=2**53 - 1)
    assert set(rest) == {"ok", "from", "ops", "hash", "version"}
    assert (rest["from"], len(rest["ops"]), rest["version"]) == (501, 2, 502)
    assert hashed(NO_HASH, answer["ops"] + rest["ops"]) == rest["hash"] == answer["hash"]
    page = await packets.ok(DOCS, "fetch", **ask, **{"from": 1}, limit=501.0)
    assert len(page["ops"]) == 500
    assert page["hash"] == hashed(NO_HASH, page["ops"])
    empty = await packets.ok(DOCS, "fetch", **ask, **{"from": 503})
    assert (empty["ops"], empty["hash"]) == ([], answer["hash"])
    refused = await packets.call(DOCS, "fetch", {**ask, "from": 504})
    assert refused["error"]["details"] == {"version": 502}


async def test_open_continues_at_most_512_kib(dial: Dial) -> None:
    packets = await dial()
    filled = await fill(packets, 4, "é" * 100_000)
    since = {"epoch": filled["epoch"], "version": 0, "hash": NO_HASH}
    answer = await packets.ok(DOCS, "open", doc="notes", client=client_id(), since=since)
    assert (answer["version"], len(answer["ops"])) == (4, 2)
    ask = {"doc": "notes", "epoch": filled["epoch"], "from": 2}
    page = await packets.ok(DOCS, "fetch", **ask)
    assert (len(page["ops"]), page["hash"]) == (
        2,
        hashed(hashed(NO_HASH, answer["ops"][:1]), page["ops"]),
    )


async def test_frames_come_between_the_answers_to_open_and_close(serve: Serve, dial: Dial) -> None:
    server = await serve(rate_limits=False)
    writer, reader = await dial(to=server), await dial(to=server, sub="bob")
    filled = await fill(writer, 1)
    done = False

    async def write() -> None:
        base, seq = 1, 2
        ask = {"doc": "notes", "epoch": filled["epoch"], "client": filled["client"]}
        while not done:
            answer = await writer.call(
                DOCS, "submit", {**ask, "seq": seq, "base": base, "op": ["x"]}
            )
            if answer["ok"]:
                base, seq = answer["version"], seq + 1
            await asyncio.sleep(0)

    writing = asyncio.ensure_future(write())
    client = client_id()
    for _ in range(200):
        await reader.send(DOCS, "open", {"doc": "notes", "client": client})
        await asyncio.sleep(0.005)
        await reader.ok(DOCS, "close", doc="notes")
        await asyncio.sleep(0.003)
    done = True
    await writing
    version: int | None = None
    heard = 0
    for _, event, _number, payload in reader.log[1:]:  # behind ``ready``
        if event == "ops":
            assert version is not None, "a frame outside of open and close"
            assert payload["from"] == version + 1
            version += len(payload["ops"])
            heard += 1
        elif event == "ack":
            version = payload.get("version")
        else:
            assert version is not None, event
    assert heard > 50


async def test_members_and_joined_include_yourself(dial: Dial) -> None:
    packets = await dial(sub="ann", name="Ann")
    answer = await packets.ok(DOCS, "open", doc="notes", client=client_id())
    user = {"id": "ann", "name": "Ann", "color": answer["members"][0]["user"]["color"]}
    assert answer["members"] == [{"id": answer["member_id"], "user": user}]
    await asyncio.sleep(0.05)
    diff = {"doc": "notes", "joined": answer["members"], "left": [], "updated": []}
    assert packets.events("presence") == [diff]
    assert answer["content"] == ""
    assert not {"ops", "reset", "fenced"} & set(answer)


WRONG: list[tuple[str, str, dict[str, Any]]] = [
    ("shape", "invalid_request", {"more": 1}),
    ("client", "invalid_request", {"client": "another-client-id-00"}),
    ("epoch", "epoch_changed", {"epoch": "other"}),
    ("seq", "sequence_gap", {"seq": 9}),
    ("base", "version_ahead", {"base": 99}),
    ("size", "too_large", {"op": [1] * 10_001}),
    ("form", "invalid_operation", {"op": [True]}),
]
"""What may be wrong with a submit, in the order in which it is looked at."""


@pytest.mark.parametrize("state", ["open", "viewer", "expired", "closed"])
async def test_submit_names_what_is_looked_at_first(serve: Serve, dial: Dial, state: str) -> None:
    server = await serve(rate_limits=False)
    packets = await dial(to=server, ttl_s=1.3 if state == "expired" else 60)
    filled = await fill(packets, 2)
    good = {
        "doc": "notes",
        "epoch": filled["epoch"],
        "client": filled["client"],
        "seq": 3,
        "base": 2,
    }
    good["op"] = ["x"]
    first = {"viewer": "forbidden", "expired": "token_expired", "closed": "not_joined"}.get(state)
    if state == "viewer":
        await packets.ok("/", "refresh_token", token=token("ann", VIEWER))
    elif state == "closed":
        await packets.ok(DOCS, "close", doc="notes")
    elif state == "expired":
        await asyncio.sleep(1.4)
    for number, (what, code, change) in enumerate(WRONG):
        for other, _, also in [(what, code, {}), *WRONG[number + 1 :]]:
            if set(change) & set(also):
                continue
            early = what == "shape" or (what == "client" and state != "closed")
            wanted = code if early or first is None else first
            found = await packets.code(DOCS, "submit", {**good, **also, **change})
            assert found == wanted, (what, other)
    if first is None:
        assert (await packets.ok(DOCS, "submit", **good))["version"] == 3


async def test_size_comes_before_form_and_form_before_the_documents_size(
    serve: Serve, dial: Dial
) -> None:
    packets = await dial(to=await serve(limits=Limits(document_chars=10, op_inserted=8)))
    filled = await fill(packets, 2, "abcd")
    good = {
        "doc": "notes",
        "epoch": filled["epoch"],
        "client": filled["client"],
        "seq": 3,
        "base": 2,
    }

    async def code(op: list[Any], **more: Any) -> str:
        return await packets.code(DOCS, "submit", {**good, "op": op, **more})

    assert await code(["x" * 9, None]) == "too_large"
    assert await code(["xxxxx", None]) == "invalid_operation"
    assert await code([9, "xxx"]) == "invalid_operation"
    assert await code(["xxx"]) == "too_large"
    assert await code(["xxx", -1.5]) == "invalid_operation"
    assert await code(["xxx"], base=1) == "invalid_request"
    assert (await packets.ok(DOCS, "submit", **good, op=["xx"]))["version"] == 3
    good |= {"seq": 4, "base": 3}
    assert await code(["x"]) == "too_large"
    assert (await packets.ok(DOCS, "submit", **good, op=["x", -1]))["version"] == 4


async def test_a_rate_comes_before_the_shape(serve: Serve, dial: Dial) -> None:
    packets = await dial(to=await serve(limits=Limits(ops_per_s=1, cursors_per_s=2)))
    codes = [await packets.code(DOCS, "submit", {"more": 1}) for _ in range(5)]
    assert codes == ["invalid_request"] * 4 + ["rate_limited"]
    codes = [await packets.code(DOCS, "cursor", 5) for _ in range(9)]
    assert codes == ["invalid_request"] * 8 + ["rate_limited"]
    answer = await packets.call(DOCS, "submit", {"more": 1})
    assert answer["error"]["retryable"] is True
    wait = answer["error"]["retry_after_ms"]
    assert 500 < wait <= 1_001
    await asyncio.sleep(wait / 1000)
    assert await packets.code(DOCS, "submit", {"more": 1}) == "invalid_request"


async def test_another_users_client_is_forbidden_before_anything_of_the_history(dial: Dial) -> None:
    ann, bob = await dial(), await dial(sub="bob")
    client = client_id()
    answer = await ann.ok(DOCS, "open", doc="notes", client=client)
    await bob.ok(DOCS, "open", doc="notes", client=client)
    ask = {"doc": "notes", "client": client, "seq": 1, "base": 0, "op": ["x"]}
    await ann.ok(DOCS, "submit", **ask, epoch=answer["epoch"])
    for change in ({}, {"epoch": "other"}, {"seq": 5}, {"base": 9}, {"op": [None]}):
        payload = {**ask, "epoch": answer["epoch"], **change}
        assert await bob.code(DOCS, "submit", payload) == "forbidden", change
    fenced = {"doc": "notes", "client": client_id(), "fence": client}
    assert await bob.code(DOCS, "open", {"doc": "notes", "client": client}) == "forbidden"
    assert await bob.code(DOCS, "open", fenced) == "forbidden"


async def test_the_last_seq_again_is_answered_whatever_else_it_says(dial: Dial) -> None:
    packets = await dial()
    filled = await fill(packets, 3)
    again = {"doc": "notes", "epoch": filled["epoch"], "client": filled["client"], "seq": 3.0}
    for base, op in ((0, ["x"]), (99, [None]), (3, [-500]), (2**53 - 1, ["\ud800"])):
        assert (await packets.ok(DOCS, "submit", **again, base=base, op=op))["version"] == 3
    assert (
        await packets.code(DOCS, "submit", {**again, "base": 2**53, "op": []}) == "invalid_request"
    )
    for seq in (1, 2, 5, 2**53 - 1):
        answer = await packets.call(DOCS, "submit", {**again, "seq": seq, "base": 3, "op": []})
        assert answer["error"]["details"] == {"last_seq": 3}


async def test_details_of_each_code(dial: Dial) -> None:
    packets = await dial()
    filled = await fill(packets, 2)
    good = {
        "doc": "notes",
        "epoch": filled["epoch"],
        "client": filled["client"],
        "seq": 3,
        "base": 2,
    }
    good["op"] = ["x"]

    async def details(event: str, payload: Any, namespace: str = DOCS) -> Any:
        return (await packets.call(namespace, event, payload))["error"].get("details")

    assert await details("submit", {**good, "seq": 4}) == {"last_seq": 2}
    assert await details("submit", {**good, "epoch": "x" * 500}) == {"epoch": filled["epoch"]}
    assert await details("submit", {**good, "base": 3}) == {"version": 2}
    fetch = {"doc": "notes", "epoch": "other", "from": 1}
    assert await details("fetch", fetch) == {"epoch": filled["epoch"]}
    cursor = {"doc": "notes", "version": 3, "ranges": []}
    assert await details("cursor", cursor) == {"version": 2}
    wrong = await details("submit", {**good, "seq": True, "more": 1, "base": -1})
    assert set(wrong) == {"seq", "more", "base"}
    assert all(isinstance(text, str) for reasons in wrong.values() for text in reasons)
    await packets.ok(ROOMS, "join", room="r")
    await packets.ok(ROOMS, "set_state", room="r", changes={"a": None, "b": {"c": None}})
    conflict = {"room": "r", "changes": {}, "if_revision": 0}
    assert await details("set_state", conflict, ROOMS) == {"revision": 1}


async def test_a_failure_without_an_ack_says_what_it_was_about(dial: Dial) -> None:
    packets = await dial()
    filled = await fill(packets, 1)
    wrong = {
        "doc": "notes",
        "epoch": filled["epoch"],
        "client": filled["client"],
        "seq": 7,
        "base": 1,
    }
    await packets.send(DOCS, "submit", {**wrong, "op": ["x"]}, ack=False)
    await packets.send(DOCS, "submit", {**wrong, "seq": "7", "doc": 5}, ack=False)
    await packets.send(ROOMS, "send", {"room": "r", "event": "e", "data": b"x"}, ack=False)
    await packets.send("/", "nonsense", ack=False)
    await packets.send(DOCS, "submit", {**wrong, "seq": -1}, ack=False)
    await packets.send(DOCS, "submit", {**wrong, "seq": 2.0}, ack=False)
    await packets.send(DOCS, "submit", {**wrong, "seq": 2, "op": ["y"]}, ack=False)
    await packets.ok(DOCS, "close", doc="notes")
    await asyncio.sleep(0.1)
    refused = packets.events("refused")
    shown = [
        ({k: v for k, v in one.items() if k != "error"}, one["error"]["code"]) for one in refused
    ]
    expected = [
        ({"event": "submit", "doc": "notes", "seq": 7}, "sequence_gap"),
        ({"event": "submit"}, "invalid_request"),
        ({"event": "send", "room": "r"}, "not_joined"),
        ({"event": "nonsense"}, "invalid_request"),
        ({"event": "submit", "doc": "notes"}, "invalid_request"),
        ({"event": "submit", "doc": "notes", "seq": 2}, "invalid_request"),
    ]
    # What the journal decides comes when it is decided.
    assert sorted(shown, key=repr) == sorted(expected, key=repr)


async def test_unknown_namespaces_and_another_user(dial: Dial) -> None:
    packets = await dial(DOCS)
    for namespace in ("/nothing", "/docs/x", "/room"):
        assert await packets.join(namespace, {"token": token()}) == {"message": "Invalid namespace"}
    refused = await packets.join(ROOMS, {"token": token("bob"), "more": 1})
    assert refused["message"] == refused["data"]["code"] == "forbidden"
    refused = await packets.join(ROOMS, {"token": token("ann", ttl_s=-1)})
    assert refused["message"] == refused["data"]["code"] == "token_expired"
    wrong: list[Any] = [{}, {"token": 5}, {"token": "\ud800"}, {"token": None}, {"token": []}]
    for auth in wrong:
        refused = await packets.join(ROOMS, auth)
        assert refused["message"] == refused["data"]["code"] == "unauthenticated", auth
    assert "sid" in await packets.join(ROOMS, {"token": token("ann"), "more": 1})
    await fill(packets, 1)


async def test_what_a_fence_answers(dial: Dial) -> None:
    ann, bob, again = await dial(), await dial(sub="bob"), await dial()
    old = await fill(ann, 2)
    ask = {"doc": "notes", "client": client_id()}
    unknown = client_id()
    for _ in range(2):
        answer = await again.ok(DOCS, "open", **ask, fence=unknown)
        assert answer["fenced"] == {"last_seq": 0}
    bobs = {"doc": "notes", "client": client_id(), "fence": old["client"]}
    assert await bob.code(DOCS, "open", bobs) == "forbidden"
    for _ in range(2):
        answer = await again.ok(DOCS, "open", **ask, fence=old["client"])
        assert (answer["fenced"], answer["last_seq"]) == ({"last_seq": 2}, 0)
    late = {"doc": "notes", "epoch": old["epoch"], "client": old["client"], "base": 2, "op": ["z"]}
    refused = await ann.call(DOCS, "submit", {**late, "seq": 3})
    assert refused["error"]["code"] == "sequence_gap"
    assert refused["error"]["details"] == {"last_seq": 2}
    assert (await ann.ok(DOCS, "submit", **late, seq=2))["version"] == 2
    own = {"doc": "notes", "client": ask["client"], "fence": ask["client"]}
    assert await again.code(DOCS, "open", own) == "invalid_request"
    dead = await again.ok(DOCS, "open", doc="notes", client=unknown)
    assert dead["last_seq"] == 0
    wrong = {**late, "client": unknown, "seq": 1}
    assert await again.code(DOCS, "submit", wrong) == "sequence_gap"


async def test_a_fence_knows_what_was_in_flight(dial: Dial) -> None:
    ann, again = await dial(), await dial()
    old = await fill(ann, 1)
    late = {"doc": "notes", "epoch": old["epoch"], "client": old["client"], "base": 1, "op": ["z"]}
    for seq in range(2, 30):
        flying = await ann.send(DOCS, "submit", {**late, "seq": seq, "base": seq - 1})
        client, old["client"] = old["client"], client_id()
        ask = {"doc": "notes", "client": old["client"], "fence": client}
        fenced = await again.ok(DOCS, "open", **ask)
        answer = await flying
        covered = fenced["fenced"]["last_seq"] == seq
        assert covered == answer["ok"]
        assert fenced["content"].count("z") == seq - 1 - (not covered)
        if not covered:
            assert answer["error"]["code"] == "sequence_gap"
        assert client != old["client"]
        break


async def test_cursors_are_clamped_and_carried(dial: Dial) -> None:
    ann, bob = await dial(), await dial(sub="bob")
    opened = await fill(ann, 1, "a😀b")
    theirs = (await bob.ok(DOCS, "open", doc="notes", client=client_id()))["member_id"]
    await ann.ok(DOCS, "cursor", doc="notes", version=1, ranges=[[1, 1], [3, 2**53 - 1]])
    await bob.ok(DOCS, "cursor", doc="notes", version=1.0, ranges=[[1, 1], [9, 0]])
    ask = {"doc": "notes", "epoch": opened["epoch"], "client": opened["client"]}
    await ann.ok(DOCS, "submit", **ask, seq=2, base=1, op=[1, "XY", 2, "Z"])
    late = await dial(sub="eve")
    answer = await late.ok(DOCS, "open", doc="notes", client=client_id())
    shown = {one["id"]: (one["ranges"], one["version"]) for one in answer["members"][:2]}
    assert shown[opened["member_id"]] == ([[3, 3], [6, 6]], 2)
    assert shown[theirs] == ([[1, 1], [5, 0]], 2)
    await bob.ok(DOCS, "cursor", doc="notes", version=0, ranges=[[4, 4]])
    answer = await late.ok(DOCS, "open", doc="notes", client=client_id())
    assert answer["members"][1]["ranges"] == [[0, 0]]
    await bob.ok(DOCS, "cursor", doc="notes", version=2, ranges=[])
    await bob.ok(DOCS, "cursor", doc="notes", version=2, ranges=[[0, 0]] * 100)
    many = {"doc": "notes", "version": 2, "ranges": [[0, 0]] * 101}
    assert await bob.code(DOCS, "cursor", many) == "too_large"
    await bob.ok(DOCS, "cursor", doc="notes", version=2, ranges=None)
    answer = await late.ok(DOCS, "open", doc="notes", client=client_id())
    assert set(answer["members"][1]) == {"id", "user"}


async def test_any_text_is_kept_as_it_is(dial: Dial) -> None:
    packets = await dial()
    answer = await packets.ok(DOCS, "open", doc="notes", client=client_id())
    texts = [
        "\u0000",
        "😀",
        "e\u0301",
        "\u2028\r\n",
        "👩‍👩‍👧",
        "\ufeff\uffff",
        '"\\\u007f',
        "\ud83d" + "\ude00",
    ]
    ask = {"doc": "notes", "epoch": answer["epoch"]}
    whole, version = "", 0
    for text in texts:
        client = client_id()
        await packets.ok(DOCS, "open", doc="notes", client=client)
        op = [float(len(whole)), "", text]
        submitted = await packets.ok(
            DOCS, "submit", **ask, client=client, seq=1, base=version, op=op
        )
        version, whole = submitted["version"], whole + text.replace("\ud83d\ude00", "😀")
    answer = await packets.ok(DOCS, "open", doc="notes", client=client_id())
    assert answer["content"] == whole
    log = await packets.ok(DOCS, "fetch", **ask, **{"from": 1})
    assert log["ops"][1]["op"] == [1, "😀"]
    assert hashed(NO_HASH, log["ops"]) == answer["hash"]


async def test_surrogates_that_are_alone(dial: Dial) -> None:
    packets = await dial()
    filled = await fill(packets, 1)
    ask = {
        "doc": "notes",
        "epoch": filled["epoch"],
        "client": filled["client"],
        "seq": 2,
        "base": 1,
    }
    for op in (["\udc00"], ["x", "\ud800y"], ["\ude00\ud83d"]):
        assert await packets.code(DOCS, "submit", {**ask, "op": op}) == "invalid_operation"
    outside: list[tuple[str, str, dict[str, Any]]] = [
        (DOCS, "submit", {**ask, "epoch": "\ud800", "op": []}),
        (DOCS, "submit", {**ask, "\udfff": 1, "op": []}),
        (DOCS, "open", {"doc": "\ud800", "client": client_id()}),
        (ROOMS, "join", {"room": "r", "status": {"\ud800": 1}}),
        (ROOMS, "send", {"room": "r", "event": "e", "data": [["\udc00"]]}),
        (ROOMS, "set_state", {"room": "r", "changes": {"k": "\ud800"}}),
        (ROOMS, "find", {"tags": ["\ud800"]}),
        ("/", "refresh_token", {"token": "\ud800"}),
    ]
    for namespace, event, payload in outside:
        assert await packets.code(namespace, event, payload) == "invalid_request", payload
    assert await packets.code(DOCS, "\ud800", {}) == "invalid_request"
    assert (await packets.ok(DOCS, "submit", **ask, op=["\ud83d\ude00"]))["version"] == 2


GOOD_IDS = ["x" * 200, "a/" * 99 + "aa", "...", "a/.b/..c/d..", ":~-_.", "-"]
BAD_IDS = [
    "",
    "x" * 201,
    "a//b",
    "/a",
    "a/",
    ".",
    "..",
    "a/./b",
    "a/..",
    "a\n",
    "a b",
    "é",
    "a\u0000",
]


async def test_ids_at_the_borders(dial: Dial) -> None:
    packets = await dial()
    for good in GOOD_IDS:
        await packets.ok(DOCS, "open", doc=good, client="c" * 16)
        await packets.ok(ROOMS, "join", room=good)
    for bad in [*BAD_IDS, 5, None, ["a"], {"a": 1}]:
        refused = await packets.call(DOCS, "open", {"doc": bad, "client": client_id()})
        assert list(refused["error"]["details"]) == ["doc"], bad
        refused = await packets.call(ROOMS, "join", {"room": bad})
        assert list(refused["error"]["details"]) == ["room"], bad
    for client in ("c" * 15, "c" * 65, "c" * 16 + "\n", "é" * 16, "c" * 15 + "."):
        ask = {"doc": "notes", "client": client}
        assert await packets.code(DOCS, "open", ask) == "invalid_request"
    await packets.ok(DOCS, "open", doc="notes", client="_-" * 32)


async def test_counts_are_taken_before_an_operation_is_normalised(dial: Dial) -> None:
    packets = await dial()
    filled = await fill(packets, 1, "ab")
    ask = {"doc": "notes", "epoch": filled["epoch"], "client": filled["client"]}

    async def submit(seq: int, base: int, op: list[Any]) -> str:
        payload = {**ask, "seq": seq, "base": base, "op": op}
        answer = await packets.call(DOCS, "submit", payload)
        return str(answer.get("version") or answer["error"]["code"])

    assert await submit(2, 1, [0] * 10_001) == "too_large"
    assert await submit(2, 1, [""] * 10_001) == "too_large"
    assert await submit(2, 1, [0, ""] * 5_000) == "2"
    assert await submit(3, 2, [1, 1, 1]) == "invalid_operation"
    assert await submit(3, 2, [3]) == "invalid_operation"
    assert await submit(3, 2, [1, -0.0, 1.0, 0]) == "3"
    assert await submit(4, 3, [2**53 - 1]) == "invalid_operation"
    assert await submit(4, 3, [2**53]) == "invalid_operation"
    assert await submit(4, 3, [10**30]) == "invalid_operation"
    assert await submit(4, 3, ["é" * 131_072, "x" * 131_073]) == "too_large"
    assert await submit(4, 3, ["é" * 131_072, "x" * 131_072]) == "4"
    log = await packets.ok(DOCS, "fetch", doc="notes", epoch=filled["epoch"], **{"from": 2})
    assert [entry["op"] for entry in log["ops"][:2]] == [[], []]
    assert await submit(5, 4, ["😀" * 120_000, -2]) == "5"


async def test_the_size_of_a_document_counts_code_points(serve: Serve, dial: Dial) -> None:
    packets = await dial(to=await serve(limits=Limits(document_chars=3)))
    filled = await fill(packets, 1, "😀😀")
    ask = {
        "doc": "notes",
        "epoch": filled["epoch"],
        "client": filled["client"],
        "seq": 2,
        "base": 1,
    }
    assert await packets.code(DOCS, "submit", {**ask, "op": ["😀é"]}) == "too_large"
    assert (await packets.ok(DOCS, "submit", **ask, op=["😀"]))["version"] == 2


async def test_what_is_sent_behind_an_open_finds_it_open(
    server: RealtimeServer, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    packets = await dial()
    filled = await fill(packets, 1)
    await packets.ok(DOCS, "close", doc="notes")
    slowed(monkeypatch, server._app[NODE].journal, "client", 0.02)
    client = client_id()
    ask = {"doc": "notes", "epoch": filled["epoch"], "client": client}
    for turn in range(3):
        opening = {"doc": "notes", "client": client}
        base = turn + 1
        sent = [
            await packets.send(DOCS, "open", opening),
            await packets.send(DOCS, "submit", {**ask, "seq": base, "base": base, "op": ["y"]}),
            await packets.send(DOCS, "cursor", {"doc": "notes", "version": 0, "ranges": []}),
            await packets.send(DOCS, "close", {"doc": "notes"}),
            await packets.send(DOCS, "open", {"doc": "notes", "client": client_id()}),
            await packets.send(DOCS, "close", {"doc": "notes"}),
            await packets.send(DOCS, "close", {"doc": "notes"}),
        ]
        answers = [await each for each in sent]
        assert [answer["ok"] for answer in answers] == [True] * 6 + [False]
    assert await server.documents.read("notes") == "yyyx"
    rows = [row for row in packets.log if row[0] == DOCS and row[1] in ("ops", "presence")]
    assert rows
    await packets.ok("/", "refresh_token", token=token())
    count = len(packets.log)
    await server.documents.edit("notes", ["z"])
    await asyncio.sleep(0.15)
    assert len(packets.log) == count
