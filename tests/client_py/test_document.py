"""A document over a server that does what a test says."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stretto_client import Changed, LiveDocument, Origin, RealtimeClient, Status, StrettoError
from stretto_client.changes import WAITING_CHANGES
from stretto_core.errors import (
    Busy,
    Forbidden,
    InvalidOperation,
    InvalidRequest,
    NotFound,
    NotJoined,
    RateLimited,
    TokenExpired,
    TooLarge,
    Unavailable,
)
from stretto_core.ot import apply
from tests.client_py.scripted import BOB, ScriptedServer, settle, warp_time


@pytest.fixture
async def server() -> ScriptedServer:
    warp_time(asyncio.get_running_loop())
    return ScriptedServer()


@pytest.fixture
async def client(server: ScriptedServer) -> AsyncIterator[RealtimeClient]:
    async with server.client() as client:
        yield client


@pytest.fixture
async def doc(client: RealtimeClient) -> LiveDocument:
    return await client.open("notes")


def statuses(doc: LiveDocument) -> list[Status]:
    heard: list[Status] = []
    doc.on("status", heard.append)
    return heard


async def test_edits_are_shown_at_once_and_saved_later(
    server: ScriptedServer, doc: LiveDocument
) -> None:
    await doc.insert(0, "Hello 🎉")
    assert doc.text == "Hello 🎉"
    assert server.logs["notes"].text == ""
    await doc.saved()
    assert server.logs["notes"].text == "Hello 🎉"
    assert (doc.version, doc.role, doc.id) == (1, "editor", "notes")


async def test_all_kinds_of_edits(server: ScriptedServer, doc: LiveDocument) -> None:
    await doc.insert(0, "one two three")
    await doc.delete(0, 4)
    await doc.replace(0, 3, "🎉")
    await doc.move(2, 5, 0)
    await doc.apply([5, "-"])
    await doc.saved()
    assert doc.text == server.logs["notes"].text == "three-🎉 "


@pytest.mark.parametrize("op", [[5, "x"], [-1], ["\ud800"], [True], ["a", 1.5]])
async def test_what_does_not_fit_is_refused_and_leaves_no_trace(
    server: ScriptedServer, doc: LiveDocument, op: Any
) -> None:
    with pytest.raises(InvalidOperation):
        await doc.apply(op)
    assert doc.text == ""
    await doc.insert(0, "fine")
    await doc.saved()
    assert server.logs["notes"].text == "fine"


async def test_a_move_outside_the_text_is_refused(doc: LiveDocument) -> None:
    with pytest.raises(InvalidRequest):
        await doc.move(0, 1, 0)


async def test_status_says_saved_only_when_the_entry_came(
    server: ScriptedServer, doc: LiveDocument
) -> None:
    heard = statuses(doc)
    seen = []
    server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "x")
    await settle()
    seen.append(doc.status)
    server.gates["submit"].set()
    await doc.saved()
    seen.append(doc.status)
    server.last.cut()
    seen.append(doc.status)
    await doc.insert(0, "y")
    seen.append(doc.status)
    await doc.saved()
    assert seen == [Status.SAVING, Status.SAVED, Status.OFFLINE, Status.OFFLINE]
    assert heard == [
        *(Status.SAVING, Status.SAVED),
        *(Status.OFFLINE, Status.SAVING, Status.SAVED),
    ]


async def test_status_is_not_saved_while_the_document_is_opening_again(
    server: ScriptedServer, doc: LiveDocument
) -> None:
    heard = statuses(doc)
    server.gates["open"] = asyncio.Event()
    server.tell("reset", {"doc": "notes", "epoch": "epoch-1", "version": 0, "hash": "0" * 16})
    await settle()
    assert doc.status is Status.OFFLINE
    server.gates["open"].set()
    await settle()
    assert heard == [Status.OFFLINE, Status.SAVED]


async def test_the_outcome_of_a_submit_is_unknown_and_it_is_sent_again_as_it_was(
    server: ScriptedServer, doc: LiveDocument
) -> None:
    server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "x")
    await settle()
    server.last.cut()
    server.gates.clear()
    await doc.saved()
    first, second = server.asked("submit")
    assert (first["client"], first["seq"], first["op"]) == (
        second["client"],
        second["seq"],
        second["op"],
    )
    assert server.logs["notes"].text == "x"


async def test_a_committed_edit_whose_ack_was_lost_is_not_sent_again(
    server: ScriptedServer, doc: LiveDocument
) -> None:
    server.ack_gates["submit"] = asyncio.Event()
    server.last.on_event = lambda *_: None  # its frames are lost, too
    await doc.insert(0, "x")
    await settle()
    assert doc.status is Status.SAVING
    server.last.cut()
    await doc.saved()
    assert len(server.asked("submit")) == 1
    assert server.logs["notes"].text == "x"


@pytest.mark.parametrize("error", [RateLimited(retry_after_ms=2_000), Busy(retry_after_ms=2_000)])
async def test_what_was_refused_for_a_while_waits_and_is_sent_again(
    server: ScriptedServer, doc: LiveDocument, error: StrettoError
) -> None:
    server.refusals["submit"].append(error)
    started = server.now()
    await doc.insert(0, "x")
    await doc.insert(1, "y")
    await doc.saved()
    assert 2.0 <= server.now() - started < 2.5
    assert server.logs["notes"].text == "xy"
    assert {payload["seq"] for payload in server.asked("submit")} <= {1, 2}


async def test_opening_is_tried_again_when_it_was_refused_for_a_while(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    server.refusals["open"] += [RateLimited(retry_after_ms=1_000), Unavailable(retry_after_ms=500)]
    started = server.now()
    await client.open("notes")
    assert 1.5 <= server.now() - started < 2.5


async def test_a_new_connection_does_not_wait_for_what_the_old_one_was_told(
    server: ScriptedServer, doc: LiveDocument
) -> None:
    server.refusals["submit"].append(RateLimited(retry_after_ms=60_000))
    await doc.insert(0, "x")
    await settle()
    started = server.now()
    server.last.cut()
    await doc.saved()
    assert server.now() - started < 1.0


async def test_a_lost_connection_is_no_reason_to_wait(
    server: ScriptedServer, doc: LiveDocument
) -> None:
    server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "x")
    await settle()
    started = server.now()
    server.last.cut()
    server.gates.clear()
    await doc.saved()
    assert server.now() - started < 0.3  # the first retry of the connection, and no more


@pytest.mark.parametrize("error", [TooLarge(), InvalidOperation(), Forbidden()])
async def test_a_refused_edit_is_taken_back_and_its_text_given_back(
    server: ScriptedServer, doc: LiveDocument, error: StrettoError
) -> None:
    server.refusals["submit"].append(error)
    await doc.insert(0, "too much")
    await doc.saved()
    assert doc.text == ""
    assert [(given.text, given.origin) for given in doc.returned] == [("too much", Origin.REFUSED)]
    assert doc.take_returned()[0].error is error
    assert doc.returned == []
    await doc.insert(0, "less")
    await doc.saved()
    assert server.logs["notes"].text == "less"


async def test_what_a_handler_took_is_not_kept(server: ScriptedServer, doc: LiveDocument) -> None:
    taken: list[Any] = []
    doc.on("returned", taken.append)
    server.refusals["submit"].append(TooLarge())
    await doc.insert(0, "x")
    await doc.saved()
    assert [given.text for given in taken] == ["x"]
    assert doc.returned == []


async def test_committing_raises_the_refusal_of_that_very_edit(
    server: ScriptedServer, doc: LiveDocument
) -> None:
    assert await doc.commit(["fine"]) == 1
    server.refusals["submit"].append(TooLarge())
    refused, later = await asyncio.gather(
        doc.commit(["x"]), doc.commit([5, "."]), return_exceptions=True
    )
    assert isinstance(refused, TooLarge)
    assert later == 2
    assert server.logs["notes"].text == "fine."


async def test_a_token_that_expired_holds_edits_until_it_is_renewed(
    server: ScriptedServer,
) -> None:
    tokens = iter(["first", "second", "third"])
    async with server.client(lambda: next(tokens)) as client:
        doc = await client.open("notes")
        server.refusals["submit"].append(TokenExpired())
        await doc.insert(0, "x")
        await doc.saved()
        assert server.logs["notes"].text == "x"
        assert server.last.token == "second"
        assert [payload["seq"] for payload in server.asked("submit")] == [1, 1]


async def test_not_joined_opens_again_and_keeps_the_edit(
    server: ScriptedServer, doc: LiveDocument
) -> None:
    server.last.clients.clear()
    await doc.insert(0, "x")
    await doc.saved()
    assert server.logs["notes"].text == "x"
    assert len(server.asked("open")) == 2


async def test_a_viewer_may_not_edit(server: ScriptedServer, client: RealtimeClient) -> None:
    server.logs["notes"].role = "viewer"
    doc = await client.open("notes")
    with pytest.raises(Forbidden):
        await doc.insert(0, "x")
    roles: list[str] = []
    doc.on("role", roles.append)
    server.tell("role", {"doc": "notes", "role": "editor"})
    await doc.insert(0, "x")
    await doc.saved()
    assert roles == ["editor"]


async def test_remote_edits_are_merged_and_told(
    server: ScriptedServer, client: RealtimeClient, doc: LiveDocument
) -> None:
    updates: list[Any] = []
    client.on("sync.update", updates.append)
    changes = doc.changes()
    server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "ann")
    server.type("notes", ["bob "])
    server.gates["submit"].set()
    await doc.saved()
    assert doc.text == server.logs["notes"].text == "annbob "
    assert updates == [{"doc": "notes", "version": 1, "op": ["bob "], "user": "bob"}]
    origins = [(await anext(changes)).origin for _ in range(2)]
    assert origins == [Origin.LOCAL, Origin.REMOTE]


async def test_missed_frames_are_fetched(server: ScriptedServer, doc: LiveDocument) -> None:
    listening = server.last.on_event
    server.last.on_event = lambda *_: None
    server.type("notes", ["a"])
    server.last.on_event = listening
    server.type("notes", [1, "b"])
    await settle()
    assert doc.text == "ab"
    server.tell("behind", {"doc": "notes", "version": 2})
    await settle()
    assert doc.text == "ab"


async def test_replaying_all_changes_gives_the_text_also_when_handlers_edit(
    server: ScriptedServer, doc: LiveDocument
) -> None:
    mirrored = [""]

    def mirror(change: Changed) -> None:
        mirrored[0] = apply(mirrored[0], change.op)

    def echo(change: Changed) -> None:
        if change.origin is Origin.REMOTE:
            doc.edit([f"({change.version})"])

    doc.on("change", echo)
    doc.on("change", mirror)
    changes = doc.changes()
    log = server.logs["notes"]
    for number in range(3):  # three entries in one frame
        log.append("bob-client-0000000", number + 1, ["x"], "bob")
    server.tell("ops", {"doc": "notes", **log.page(1)})
    await doc.saved()
    assert doc.text == log.text == mirrored[0]
    text = ""
    while text != doc.text:
        text = apply(text, (await anext(changes)).op)


async def test_changes_end_with_the_document(doc: LiveDocument) -> None:
    changes = doc.changes()
    await doc.insert(0, "x")
    await doc.close()
    assert [change.op async for change in changes] == [("x",)]
    assert [change async for change in doc.changes()] == []


async def test_changes_that_nobody_reads_are_bounded(
    server: ScriptedServer, doc: LiveDocument
) -> None:
    changes = doc.changes()
    server.gates["submit"] = asyncio.Event()
    for _ in range(WAITING_CHANGES + 1):
        doc.edit([1, "x"] if doc.text else ["x"])
    with pytest.raises(Busy):
        await anext(changes)


async def test_the_server_deletes_a_document_with_unsent_text(
    server: ScriptedServer, client: RealtimeClient, doc: LiveDocument
) -> None:
    await doc.insert(0, "old")
    await doc.saved()
    closed: list[Any] = []
    doc.on("closed", closed.append)
    changes = doc.changes()
    server.gates["submit"] = asyncio.Event()
    await doc.insert(3, " and unsent")
    waiting = asyncio.ensure_future(doc.saved())
    await settle()
    server.delete("notes")
    with pytest.raises(NotFound):
        await waiting
    assert [(one.text, one.error.code) for one in closed] == [("old and unsent", "not_found")]
    assert doc.status is Status.OFFLINE
    assert doc.is_over
    assert [change.op async for change in changes] == [(3, " and unsent")]
    with pytest.raises(NotFound):
        await doc.insert(0, "x")
    server.gates.clear()
    again = await client.open("notes")
    assert again is not doc
    assert again.text == ""


async def test_another_history_takes_the_unsent_text_over_and_offers_it(
    server: ScriptedServer, doc: LiveDocument
) -> None:
    await doc.insert(0, "old")
    await doc.saved()
    server.gates["submit"] = asyncio.Event()
    await doc.insert(3, " unsent")
    await settle()
    log = server.logs["notes"]
    log.epoch, log.text, log.entries, log.hashes = "epoch-2", "new", [], log.hashes[:1]
    server.tell("reset", {"doc": "notes", "epoch": "epoch-2", "version": 0, "hash": "0" * 16})
    server.gates["submit"].set()
    await doc.saved()
    assert "unsent" in log.text
    assert doc.text == log.text
    assert [given.origin for given in doc.returned] == [Origin.REPLACED]
    assert doc.returned[0].text == "old unsent"


async def test_an_answer_that_cannot_be_read_is_asked_for_again(
    server: ScriptedServer, client: RealtimeClient, caplog: pytest.LogCaptureFixture
) -> None:
    server.odd_answers["open"] = {"version": 3}
    with caplog.at_level("CRITICAL"):
        doc = await client.open("notes")
    assert doc.status is Status.SAVED
    assert len(server.asked("open")) == 2


async def test_an_event_that_cannot_be_read_brings_the_document_back_by_opening_it(
    server: ScriptedServer, doc: LiveDocument, caplog: pytest.LogCaptureFixture
) -> None:
    server.logs["notes"].append("bob-client-0000000", 1, ["bob"], "bob")
    with caplog.at_level("CRITICAL"):
        server.tell("ops", {"doc": "notes", "ops": 7})
        assert doc.status is Status.OFFLINE
        await doc.insert(0, "ann ")
        await doc.saved()
    assert doc.text == server.logs["notes"].text == "ann bob"


async def test_members_and_their_cursors(server: ScriptedServer, doc: LiveDocument) -> None:
    heard: list[Any] = []
    doc.on("presence", heard.append)
    bob = {"id": "m2", "user": BOB, "ranges": [[0, 1]], "version": 0}
    server.tell("presence", {"doc": "notes", "joined": [bob], "left": [], "updated": []})
    assert [member["id"] for member in doc.members] == ["me", "m2"]
    await doc.insert(0, "🎉")
    assert doc.cursors[0].ranges == [(0, 1)]
    await doc.saved()
    assert [(one.member_id, one.user) for one in doc.cursors] == [("m2", BOB)]
    server.tell("presence", {"doc": "notes", "joined": [], "left": ["m2", "m9"], "updated": []})
    assert [member["id"] for member in heard[-1]] == ["me"]
    assert doc.cursors == []


async def test_the_own_cursor_is_sent_once_everything_is_saved(
    server: ScriptedServer, doc: LiveDocument
) -> None:
    await doc.set_cursor([(0, 0)])
    await settle()
    server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "abc")
    await doc.set_cursor([(1, 3)])
    await asyncio.sleep(1)
    assert [payload["ranges"] for payload in server.asked("cursor")] == [[(0, 0)]]
    server.type("notes", ["> "])
    server.gates["submit"].set()
    await doc.saved()
    await asyncio.sleep(1)
    last = server.asked("cursor")[-1]
    assert doc.text == "abc> "
    assert (last["ranges"], last["version"]) == ([(1, 3)], 2)
    server.last.cut()
    await asyncio.sleep(1)
    assert server.asked("cursor")[-1] == last  # to those who see a new member
    assert len(server.asked("cursor")) == 3


async def test_closing_tells_the_server_and_ends_what_waits(
    server: ScriptedServer, client: RealtimeClient, doc: LiveDocument
) -> None:
    server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "x")
    waiting = asyncio.ensure_future(doc.saved())
    await settle()
    await doc.close()
    await doc.close()
    with pytest.raises(NotJoined):
        await waiting
    with pytest.raises(NotJoined):
        await doc.insert(0, "x")
    assert len(server.asked("close")) == 1
    assert not doc._sender._tasks
    assert "notes" not in client._documents


async def test_a_handler_may_close_its_document(server: ScriptedServer, doc: LiveDocument) -> None:
    done = asyncio.Event()

    async def close(_: Any) -> None:
        await doc.close()
        done.set()

    doc.on("change", close)
    server.type("notes", ["x"])
    async with asyncio.timeout(5):
        await done.wait()
    assert len(server.asked("close")) == 1


async def test_opening_again_waits_until_the_close_went_out(
    server: ScriptedServer, client: RealtimeClient, doc: LiveDocument
) -> None:
    server.gates["close"] = asyncio.Event()
    closing = asyncio.ensure_future(doc.close())
    opening = asyncio.ensure_future(client.open("notes"))
    await settle()
    server.type("notes", ["unheard"])  # by the one that is left
    assert doc.text == ""
    server.gates["close"].set()
    await closing
    again = await opening
    assert [event for event, _ in server.requests] == ["open", "close", "open"]
    assert again is not doc
    server.type("notes", ["heard, un"])
    assert again.text == "heard, ununheard"


async def test_a_cancelled_close_leaves_the_document(
    server: ScriptedServer, client: RealtimeClient, doc: LiveDocument
) -> None:
    server.gates["close"] = asyncio.Event()
    closing = asyncio.ensure_future(doc.close())
    await settle()
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    assert (await client.open("notes")) is not doc


async def test_waiting_is_safe_to_cancel(server: ScriptedServer, doc: LiveDocument) -> None:
    server.gates["submit"] = asyncio.Event()
    committing = asyncio.ensure_future(doc.commit(["x"]))
    saving = asyncio.ensure_future(doc.saved())
    await settle()
    for task in (committing, saving):
        task.cancel()
    await asyncio.gather(committing, saving, return_exceptions=True)
    assert doc._watches == []
    server.gates["submit"].set()
    await doc.saved()
    assert server.logs["notes"].text == "x"
