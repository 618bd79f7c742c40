"""The outbox: what a process leaves behind, and who may go on with it."""

import asyncio
import json
import shutil
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stretto_client import Origin, RealtimeClient, Status
from stretto_client.client import fresh_client
from stretto_client.outbox import Outbox, Row, fenced
from stretto_core.errors import InvalidRequest, TooLarge, Unavailable
from tests.client_py.scripted import ScriptedServer, settle

Opener = Callable[..., RealtimeClient]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "unsent.db"


@pytest.fixture
async def server() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
async def process(server: ScriptedServer, path: Path) -> AsyncIterator[Opener]:
    """Make clients of the outbox; a crash of their process is :func:`crash`."""
    clients = []

    def start(file: Path = path) -> RealtimeClient:
        clients.append(server.client(outbox=file, backoff_scale=0.0))
        return clients[-1]

    yield start
    for client in clients:
        await client.close()


async def crash(client: RealtimeClient) -> None:
    """Stop a client where it stands, as when its process is killed: nothing more is written."""
    assert client._outbox is not None
    client._outbox._dirty.clear()
    await client.close()


async def stored(client: RealtimeClient) -> None:
    assert client._outbox is not None
    await client._outbox.stored()


def rows(path: Path) -> dict[str, Any]:
    """Read a file that nobody has open."""
    with sqlite3.connect(path) as db:
        found = dict(db.execute("SELECT doc, row FROM documents"))
    db.close()
    return {doc: json.loads(row) for doc, row in found.items()}


def row_of(text: str) -> Row:
    return {"state": None, "returned": [{"text": text, "origin": "refused", "error": None}]}


def spoil(path: Path, kind: str) -> None:
    """Put something else where the outbox should be."""
    if kind == "text":
        path.write_text("no database " * 1_000)
    elif kind == "folder":
        path.mkdir()
    else:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()


# The file.


async def test_rows_are_kept_and_removed(path: Path) -> None:
    outbox = Outbox(path, fresh_client)
    await outbox.open()
    await outbox.open()
    outbox.changed("a", lambda: row_of("one"))
    outbox.changed("b", lambda: row_of("two"))
    assert outbox.unsent() == ["a", "b"]
    await outbox.stored()
    outbox.changed("a", lambda: row_of("three"))
    outbox.changed("b", lambda: None)
    await outbox.close()
    await outbox.close()
    again = Outbox(path, fresh_client)
    await again.open()
    assert again.unsent() == ["a"]
    assert again.read("a") == row_of("three")
    assert again.read("b") is None
    await again.close()


async def test_what_changes_while_the_disk_is_busy_goes_out_as_one(path: Path) -> None:
    outbox = Outbox(path, fresh_client)
    await outbox.open()
    written: list[Any] = []
    write = outbox._file.write

    def noting(rows: Any) -> None:
        written.append(rows)
        write(rows)

    outbox._file.write = noting  # type: ignore[method-assign]
    for number in range(1_000):
        outbox.changed("a", partial(row_of, str(number)))
        if number % 100 == 99:
            await asyncio.sleep(0)
    await outbox.stored()
    assert written[-1] == {"a": row_of("999")}
    assert len(written) < 15
    await outbox.close()


async def test_nothing_is_written_for_those_who_only_read(path: Path) -> None:
    outbox = Outbox(path, fresh_client)
    await outbox.open()
    outbox.changed("a", lambda: None)
    assert outbox._pump is None
    await outbox.stored()
    await outbox.close()


async def test_the_file_is_private(path: Path) -> None:
    outbox = Outbox(path, fresh_client)
    await outbox.open()
    outbox.changed("a", lambda: row_of("secret"))
    await outbox.stored()
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await outbox.close()


async def test_only_one_at_a_time_has_the_file(path: Path) -> None:
    outbox = Outbox(path, fresh_client)
    await outbox.open()
    outbox.changed("a", lambda: row_of("mine"))
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"in use: .* its own file"):
            await Outbox(path, fresh_client).open()
    await outbox.stored()
    await outbox.close()
    second = Outbox(path, fresh_client)
    await second.open()
    assert second.unsent() == ["a"]
    await second.close()


async def test_another_process_is_refused_and_a_killed_one_lets_go(path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from stretto_client.outbox import Outbox\n"
        "async def main():\n"
        "    await Outbox(sys.argv[1], lambda: 'client-000000000').open()\n"
        "    print('open', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )

    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    await child.stdout.readline()
    outbox = Outbox(path, fresh_client)
    with pytest.raises(Unavailable, match="in use"):
        await outbox.open()
    child.kill()
    await child.communicate()
    await outbox.open()
    await outbox.close()


@pytest.mark.parametrize("kind", ["text", "folder", "newer"])
async def test_what_is_no_outbox_is_refused_with_what_to_do(path: Path, kind: str) -> None:
    spoil(path, kind)
    expected = {"text": "move it away", "folder": "cannot open", "newer": "update"}[kind]
    with pytest.raises(Unavailable, match=expected):
        await Outbox(path, fresh_client).open()


async def test_a_disk_that_refuses_is_tried_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(path, fresh_client)
    await outbox.open()
    write, failures = outbox._file.write, [Unavailable("disk full")] * 2

    def fail(rows: Any) -> None:
        if failures:
            raise failures.pop()
        write(rows)

    outbox._file.write = fail  # type: ignore[method-assign]
    with caplog.at_level("CRITICAL"):
        outbox.changed("a", lambda: row_of("kept"))
        with pytest.raises(Unavailable, match="disk full"):
            await outbox.stored()
        outbox.changed("b", lambda: row_of("kept, too"))
        while failures:
            await asyncio.sleep(0.01)
        await outbox.stored()
    await outbox.close()
    assert set(rows(path)) == {"a", "b"}


async def test_closing_says_when_the_last_edits_could_not_be_written(path: Path) -> None:
    outbox = Outbox(path, fresh_client)
    await outbox.open()

    def fail(rows: Any) -> None:
        raise Unavailable("disk full")

    outbox._file.write = fail  # type: ignore[method-assign]
    outbox.changed("a", lambda: row_of("lost"))
    with pytest.raises(Unavailable, match="disk full"):
        await outbox.close()
    await outbox.close()
    second = Outbox(path, fresh_client)
    await second.open()
    await second.close()


async def test_a_failed_transaction_leaves_what_was_there(path: Path) -> None:
    outbox = Outbox(path, fresh_client)
    await outbox.open()
    outbox.changed("a", lambda: row_of("old"))
    await outbox.stored()
    assert outbox._file._db is not None
    outbox._file._db.execute(
        "CREATE TRIGGER full BEFORE DELETE ON documents BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    with pytest.raises(Unavailable, match="full"):
        outbox._file.write({"b": row_of("new"), "a": None})
    assert not outbox._file._db.in_transaction
    await outbox.close()
    assert rows(path) == {"a": row_of("old")}


# A copy.


async def test_a_copy_goes_on_as_other_clients_behind_fences(path: Path) -> None:
    state = {"client": "client-0000000001", "fence": None, "seq": 5}
    outbox = Outbox(path, lambda: "client-fresh-00001")
    await outbox.open()
    outbox.changed("a", lambda: {"state": state, "returned": []})
    await outbox.stored()
    await outbox.close()
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    shutil.move(path, path.with_name("moved.db"))
    for file, expected in ((copy, "client-fresh-00001"), (path.with_name("moved.db"), None)):
        opened = Outbox(file, lambda: "client-fresh-00001")
        await opened.open()
        row = opened.read("a")
        assert row is not None
        client = row["state"]["client"]
        assert (client, row["state"]["fence"]) == (
            (expected, "client-0000000001") if expected else ("client-0000000001", None)
        )
        await opened.close()
        assert rows(file)["a"] == row  # for good, not only in memory


def test_a_fence_that_was_not_answered_stays() -> None:
    state = {"client": "second", "fence": "first"}
    row = fenced({"state": state, "returned": []}, "third")
    assert row["state"] == {"client": "third", "fence": "first"}
    assert state["client"] == "second"
    assert fenced(row_of("x"), "third") == row_of("x")


# A client with an outbox.


async def test_unsent_edits_are_sent_by_the_next_process(
    server: ScriptedServer, process: Opener
) -> None:
    first = process()
    doc = await first.open("notes")
    await doc.insert(0, "saved")
    await doc.saved()
    server.last.cut()
    server.down = True
    await doc.insert(5, ", unsent 🎉")
    await stored(first)
    await crash(first)
    second = process()
    assert await second.unsent() == ["notes"]
    again = await second.open("notes")
    assert again.text == "saved, unsent 🎉"
    assert again.status is Status.OFFLINE
    await again.insert(0, "> ")
    server.down = False
    await again.saved()
    assert server.logs["notes"].text == "> saved, unsent 🎉"
    await stored(second)
    assert await second.unsent() == []
    await second.close()
    assert await process().unsent() == []


@pytest.mark.parametrize("committed", [True, False])
async def test_an_operation_in_flight_is_delivered_once(
    server: ScriptedServer, process: Opener, committed: bool
) -> None:
    first = process()
    doc = await first.open("notes")
    gates = server.ack_gates if committed else server.gates
    gates["submit"] = asyncio.Event()
    server.last.on_event = lambda *_: None
    await doc.insert(0, "once")
    while not server.asked("submit"):
        await asyncio.sleep(0.001)
    await doc.insert(4, " more")
    await stored(first)
    await crash(first)
    gates.clear()
    second = process()
    again = await second.open("notes")
    await again.saved()
    assert server.logs["notes"].text == again.text == "once more"
    clients = {payload["client"] for payload in server.asked("submit")}
    assert len(clients) == 1  # nobody else had the state: the client may stay
    assert all("fence" not in payload for payload in server.asked("open"))


async def test_nothing_leaves_before_it_is_durable(server: ScriptedServer, process: Opener) -> None:
    client = process()
    doc = await client.open("notes")
    assert client._outbox is not None
    write, allowed = client._outbox._file.write, asyncio.Event()
    on_disk: list[Any] = []

    def noting(rows: Any) -> None:
        write(rows)
        on_disk.append(rows["notes"])

    client._outbox._file.write = noting  # type: ignore[method-assign]
    request = client.request

    async def checking(namespace: str, event: str, payload: Any) -> Any:
        if event == "submit":
            state = on_disk[-1]["state"]
            assert (state["client"], state["seq"]) == (payload["client"], payload["seq"])
            assert state["in_flight"]["op"] == payload["op"]
            allowed.set()
        return await request(namespace, event, payload)

    client.request = checking  # type: ignore[method-assign]
    for number in range(20):
        allowed.clear()
        await doc.insert(0, str(number % 10))
        await doc.saved()
        assert allowed.is_set()


async def test_a_disk_that_refuses_holds_edits_back(
    server: ScriptedServer, process: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    client = process()
    doc = await client.open("notes")
    assert client._outbox is not None
    write, is_full = client._outbox._file.write, True

    def fail(rows: Any) -> None:
        if is_full:
            raise Unavailable("disk full", retry_after_ms=10)
        write(rows)

    client._outbox._file.write = fail  # type: ignore[method-assign]
    with caplog.at_level("CRITICAL"):
        await doc.insert(0, "x")
        await asyncio.sleep(0.05)
        assert server.asked("submit") == []
        assert doc.status is not Status.SAVED
        is_full = False
        await doc.saved()
    assert server.logs["notes"].text == "x"


async def test_a_submit_that_waited_for_the_disk_does_not_go_to_another_connection(
    server: ScriptedServer, process: Opener
) -> None:
    client = process()
    doc = await client.open("notes")
    await doc.insert(0, "x")
    await asyncio.sleep(0)
    server.last.cut()
    await doc.saved()
    assert len(server.asked("submit")) == 1
    assert server.logs["notes"].text == "x"


async def test_a_copied_outbox_cannot_use_a_seq_twice(
    server: ScriptedServer, process: Opener, path: Path
) -> None:
    first = process()
    doc = await first.open("notes")
    await doc.insert(0, "a")
    await doc.saved()
    server.last.cut()
    server.down = True
    await doc.insert(1, "b")
    await stored(first)
    await crash(first)
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    server.down = False
    original, duplicate = process(), process(copy)
    ours, theirs = await asyncio.gather(original.open("notes"), duplicate.open("notes"))
    await asyncio.gather(ours.saved(), theirs.saved())
    await ours.insert(0, "1")
    await theirs.insert(0, "2")
    await asyncio.gather(ours.saved(), theirs.saved())
    entries = [(entry.client, entry.seq) for entry in server.logs["notes"].entries]
    assert len(set(entries)) == len(entries)
    while not (ours.text == theirs.text == server.logs["notes"].text):
        await asyncio.sleep(0.001)
    assert set("12ab") <= set(ours.text)


async def test_a_backup_put_back_in_place_loses_nothing_and_uses_no_seq_twice(
    server: ScriptedServer, process: Opener, path: Path
) -> None:
    first = process()
    doc = await first.open("notes")
    server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "a")
    await settle()
    await doc.insert(1, "b")
    await stored(first)
    await crash(first)
    backup = path.with_name("backup.db")
    shutil.copyfile(path, backup)
    server.gates.clear()
    second = process()
    doc = await second.open("notes")
    await doc.insert(2, "c")
    await doc.saved()
    assert server.logs["notes"].text == "abc"
    await second.close()
    shutil.copyfile(backup, path)  # the same file by all that can be seen of it
    third = process()
    doc = await third.open("notes")
    await doc.insert(0, "d")
    await doc.saved()
    entries = [(entry.client, entry.seq) for entry in server.logs["notes"].entries]
    assert len(set(entries)) == len(entries)
    assert set(server.logs["notes"].text) == set("abcd")
    assert server.logs["notes"].text.count("a") == 1  # its seq says that it was delivered
    assert server.asked("open")[-1]["fence"] == entries[0][0]


async def test_closing_a_document_keeps_its_edits_for_the_next_opening(
    server: ScriptedServer, process: Opener
) -> None:
    client = process()
    doc = await client.open("notes")
    server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "unsent")
    await settle()
    await doc.close()
    assert await client.unsent() == ["notes"]
    server.gates.clear()
    again = await client.open("notes")
    assert again.text == "unsent"
    await again.saved()
    assert server.logs["notes"].text == "unsent"


async def test_text_given_back_that_nobody_took_outlives_the_process(
    server: ScriptedServer, process: Opener
) -> None:
    first = process()
    doc = await first.open("notes")
    server.refusals["submit"].append(TooLarge("4 characters at most"))
    await doc.insert(0, "too long")
    await doc.saved()
    await stored(first)
    await crash(first)
    second = process()
    assert await second.unsent() == ["notes"]
    again = await second.open("notes")
    assert again.text == ""
    (returned,) = again.take_returned()
    assert (returned.text, returned.origin) == ("too long", Origin.REFUSED)
    assert isinstance(returned.error, TooLarge)
    assert returned.error.message == "4 characters at most"
    await stored(second)
    assert await second.unsent() == []


async def test_what_a_closed_document_had_unsent_stays_in_the_file(
    server: ScriptedServer, process: Opener
) -> None:
    client = process()
    doc = await client.open("notes")
    server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "mine")
    await settle()
    server.delete("notes")
    assert doc.is_over
    await client.close()
    assert await process().unsent() == ["notes"]


async def test_what_will_never_be_sent_can_be_given_up(
    server: ScriptedServer, process: Opener
) -> None:
    client = process()
    await client.discard_unsent("unheard of")
    doc = await client.open("notes")
    server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "mine")
    await settle()
    with pytest.raises(InvalidRequest, match="close it first"):
        await client.discard_unsent("notes")
    server.delete("notes")
    assert await client.unsent() == ["notes"]
    await client.discard_unsent("notes")
    assert await client.unsent() == []
    assert (await client.open("notes")).text == ""


async def test_a_document_that_was_left_writes_nothing_over_its_successor(
    server: ScriptedServer, process: Opener
) -> None:
    first = process()
    doc = await first.open("notes")
    server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "one")
    await settle()
    await doc.close()
    again = await first.open("notes")
    await again.insert(3, " two")
    await settle()
    await stored(first)
    doc.take_returned()
    await stored(first)
    await crash(first)
    server.gates.clear()
    assert (await process().open("notes")).text == "one two"


async def test_an_outbox_in_use_is_told_by_every_call(process: Opener, path: Path) -> None:
    first = process()
    await first.open("notes")
    second = process()
    for call in (second.connect, second.unsent, lambda: second.open("notes")):
        with pytest.raises(Unavailable, match="in use"):
            await call()
    await first.close()
    assert (await second.open("notes")).text == ""


async def test_a_client_without_an_outbox_has_nothing_unsent(server: ScriptedServer) -> None:
    async with server.client() as client:
        assert await client.unsent() == []
