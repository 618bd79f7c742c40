"""Documents in process: read, edit, replace and delete, live for everyone."""

import asyncio

import pytest

from stretto_core.errors import InvalidOperation, NotFound, ShuttingDown, TooLarge, VersionAhead
from stretto_server.app import NODE
from stretto_server.server import RealtimeServer
from tests.server.conftest import Connect


async def test_edit_creates_and_read_returns(server: RealtimeServer) -> None:
    with pytest.raises(NotFound):
        await server.documents.read("notes")
    assert await server.documents.edit("notes", ["Hello"]) == 1
    assert await server.documents.edit("notes", [5, " world"]) == 2
    assert await server.documents.read("notes") == "Hello world"
    state = await server.documents.state("notes")
    assert (state.version, state.text) == (2, "Hello world")


async def test_an_edit_at_an_older_version_is_carried_on(server: RealtimeServer) -> None:
    await server.documents.edit("notes", ["abc"])
    await server.documents.edit("notes", ["> "])
    assert await server.documents.edit("notes", [3, "!"], base=1) == 3
    assert await server.documents.read("notes") == "> abc!"


async def test_edits_at_once_all_commit(server: RealtimeServer) -> None:
    versions = await asyncio.gather(
        *(server.documents.edit("notes", [chr(97 + n)]) for n in range(20))
    )
    assert sorted(versions) == list(range(1, 21))
    assert sorted(await server.documents.read("notes")) == [chr(97 + n) for n in range(20)]


async def test_a_bad_edit_is_refused_and_the_next_one_goes_through(server: RealtimeServer) -> None:
    await server.documents.edit("notes", ["a"])
    with pytest.raises(InvalidOperation):
        await server.documents.edit("notes", [5, "x"])
    with pytest.raises(VersionAhead):
        await server.documents.edit("notes", ["x"], base=9)
    with pytest.raises(TooLarge):
        await server.documents.edit("notes", ["x" * (256 * 1024 + 1)])
    assert await server.documents.edit("notes", [1, "b"]) == 2


async def test_edits_reach_clients_and_theirs_are_read(
    server: RealtimeServer, connect: Connect
) -> None:
    wire = await connect()
    paper = await wire.open()
    await server.documents.edit("notes", ["from the server"])
    frame = await wire.hear("ops")
    assert frame["ops"][0]["user"] == "server"
    await paper.submit(["and "], 1)
    assert await server.documents.read("notes") == "and from the server"


async def test_replace_takes_long_texts_in_pieces(server: RealtimeServer) -> None:
    text = "😀" * 300_000
    head = await server.documents.replace("notes", text)
    assert head.version == 2
    assert await server.documents.read("notes") == text
    with pytest.raises(TooLarge):
        await server.documents.replace("notes", "x" * (1024 * 1024 + 1))
    with pytest.raises(InvalidOperation):
        await server.documents.replace("notes", "\ud800")
    assert await server.documents.read("notes") == text


async def test_delete_tells_whether_there_was_one(server: RealtimeServer) -> None:
    await server.documents.edit("notes", ["x"])
    assert await server.documents.delete("notes") is True
    assert await server.documents.delete("notes") is False
    with pytest.raises(NotFound):
        await server.documents.read("notes")


async def test_an_empty_text_is_a_history_too(server: RealtimeServer) -> None:
    await server.documents.edit("notes", ["x"])
    head = await server.documents.replace("notes", "")
    assert head.version == 1
    assert await server.documents.read("notes") == ""


async def test_a_draining_server_changes_no_history(server: RealtimeServer) -> None:
    await server.documents.edit("notes", ["x"])
    await server.documents.drain(1.0)
    with pytest.raises(ShuttingDown):
        await server.documents.delete("notes")
    with pytest.raises(ShuttingDown):
        await server.documents.replace("notes", "y")


async def test_an_edit_after_the_journal_forgot_this_process(server: RealtimeServer) -> None:
    await server.documents.edit("notes", ["a"])
    await server.documents.edit("notes", ["b"])
    assert await server._app[NODE].journal.expire_clients(2**53) == 1
    assert await server.documents.edit("notes", ["c"]) == 3
    assert await server.documents.edit("notes", ["d"]) == 4
    assert await server.documents.read("notes") == "dcba"
