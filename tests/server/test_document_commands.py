"""``stretto docs``: reading beside a server, changing through it, and straight on the file."""

import argparse
import asyncio
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientTimeout

from stretto_core.errors import InvalidRequest, NotFound, Unavailable
from stretto_server import document_commands as commands
from stretto_server.document_commands import parse_grants, parse_ttl
from stretto_server.journal.sqlite import SqliteJournal
from stretto_server.server import RealtimeServer
from stretto_server.settings import SettingsError
from tests.server.conftest import Connect, Serve
from tests.server.tampering import tamper
from tests.server.wire import SECRET

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRETTO_SECRET", SECRET)


@pytest.fixture
def journal(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/notes.db"


@pytest.fixture
async def stopped(serve: Serve, journal: str) -> None:
    """A journal with two documents that no server holds."""
    server = await fill(serve, journal)
    await server.stop()


@pytest.fixture
async def running(serve: Serve, journal: str) -> RealtimeServer:
    """A server that holds a journal with two documents."""
    return await fill(serve, journal)


async def fill(serve: Serve, journal: str) -> RealtimeServer:
    server = await serve(journal=journal)
    await server.documents.edit("notes", ["Hello"])
    await server.documents.edit("notes", [5, " 😀\n"])
    await server.documents.edit("other/page", ["x"])
    return server


async def run(name: str, journal: str, doc: str | None = "notes", **arguments: Any) -> int:
    given = {"journal": journal, "data": None, "dev": False, "doc": doc, **arguments}
    code: int = await getattr(commands, name)(argparse.Namespace(**given))
    return code


@pytest.mark.parametrize("held", [False, True], ids=["stopped", "running"])
async def test_reading(
    serve: Serve, journal: str, held: bool, capsys: Output, tmp_path: Path
) -> None:
    server = await fill(serve, journal)
    if not held:
        await server.stop()

    assert await run("list_documents", journal, prefix="", json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        ["notes", "version 2"],
        ["other/page", "version 1"],
    ]
    assert await run("list_documents", journal, prefix="other", json=True) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (row["doc"], row["version"], row["floor"]) == ("other/page", 1, 0)

    assert await run("show", journal) == 0
    shown = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert (shown["doc"], shown["version"], shown["characters"]) == ("notes", "2", "8")

    assert await run("export", journal, output="-") == 0
    assert capsys.readouterr().out == "Hello 😀\n"
    target = tmp_path / "out.txt"
    assert await run("export", journal, output=str(target)) == 0
    assert target.read_bytes() == "Hello 😀\n".encode()

    assert await run("history", journal, json=True, first=2) == 0
    (entry,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (entry["version"], entry["op"], entry["hash"]) == (2, [5, " 😀\n"], shown["hash"])
    assert await run("history", journal, json=False, first=None) == 0
    assert '["Hello"]' in capsys.readouterr().out

    assert await run("verify", journal) == 0
    assert "notes: clean, 2 of 2 versions replayed" in capsys.readouterr().out


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("show", {}),
        ("export", {"output": "-"}),
        ("history", {"json": False, "first": None}),
        ("verify", {}),
        ("delete", {"yes": True}),
    ],
)
async def test_a_document_that_does_not_exist(
    journal: str, name: str, more: dict[str, Any]
) -> None:
    with pytest.raises(NotFound, match="there is no document none"):
        await run(name, journal, "none", **more)


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize(
    ("name", "more"),
    [("show", {}), ("delete", {"yes": True}), ("import_", {"file": "-", "replace": True})],
)
async def test_what_is_no_id(
    journal: str, name: str, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, b"")
    with pytest.raises(InvalidRequest, match="is not a document id"):
        await run(name, journal, "a/../b", **more)


async def test_a_journal_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"none\.db"):
        await run("list_documents", f"sqlite:///{tmp_path}/none.db", prefix="", json=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE entries SET hash = x'0102030405060708' WHERE version = 1", "version 1: hash"),
        ("UPDATE entries SET op = '{' WHERE version = 1", "cannot be read"),
        ("DELETE FROM entries", "the log ends at version 0"),
    ],
)
async def test_verify_finds_what_was_tampered_with(
    journal: str, tmp_path: Path, capsys: Output, statement: str, said: str
) -> None:
    tamper(tmp_path / "notes.db", statement)
    assert await run("verify", journal) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


class _Input:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)

    def readline(self) -> str:
        return self.buffer.readline().decode()


def give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Let standard input hold ``content``."""
    monkeypatch.setattr("sys.stdin", _Input(content))


@pytest.mark.parametrize("held", [False, True], ids=["stopped", "running"])
async def test_importing_and_deleting(
    serve: Serve, journal: str, held: bool, capsys: Output, tmp_path: Path,
) -> None:  # fmt: skip
    server = await fill(serve, journal)
    if not held:
        await server.stop()
    source = tmp_path / "text.txt"
    source.write_bytes("anew 😀\r\n".encode())

    assert await run("import_", journal, "fresh", file=str(source), replace=False) == 0
    assert capsys.readouterr().out == "fresh: imported 8 characters as version 1\n"
    with pytest.raises(InvalidRequest, match="--replace"):
        await run("import_", journal, file=str(source), replace=False)
    assert await run("import_", journal, file=str(source), replace=True) == 0
    capsys.readouterr()
    assert await run("export", journal, output="-") == 0
    assert capsys.readouterr().out == "anew 😀\r\n"

    assert await run("delete", journal, yes=True) == 0
    assert capsys.readouterr().out == "notes: deleted\n"
    with pytest.raises(NotFound):
        await run("delete", journal, yes=True)
    with pytest.raises(NotFound):
        await run("show", journal)


async def test_clients_follow_what_an_operator_does(
    running: RealtimeServer, connect: Connect, journal: str, tmp_path: Path
) -> None:
    wire = await connect(to=running)
    await wire.open()
    (tmp_path / "text.txt").write_text("anew")
    assert await run("import_", journal, file=str(tmp_path / "text.txt"), replace=True) == 0
    reset = await wire.hear("reset")
    assert (reset["doc"], reset["version"]) == ("notes", 1)
    paper = await wire.open()
    assert paper.answer["content"] == "anew"
    assert await paper.submit([4, "!"], 1) == 2
    assert await run("delete", journal, yes=True) == 0
    assert (await wire.hear("closed"))["error"]["code"] == "not_found"


async def test_whatever_fits_a_document_can_be_imported(
    serve: Serve, journal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRETTO_LIMIT_DOCUMENT_CHARS", "3000")
    server = await serve(journal=journal)
    for text in ("😀" * 3_000, "\u0000" * 3_000, ""):
        (tmp_path / "text.txt").write_text(text)
        assert await run("import_", journal, file=str(tmp_path / "text.txt"), replace=True) == 0
        assert await server.documents.read("notes") == text


@pytest.mark.usefixtures("stopped")
async def test_import_takes_utf_8_alone(journal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, b"\xff")
    with pytest.raises(InvalidRequest, match="UTF-8"):
        await run("import_", journal, "fresh", file="-", replace=False)
    give(monkeypatch, "\ufeffé".encode())
    assert await run("import_", journal, "fresh", file="-", replace=False) == 0


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("typed", [b"", b"\n", b"other\n", b"y\n"])
async def test_deleting_asks_first(
    journal: str, typed: bytes, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    give(monkeypatch, typed)
    assert await run("delete", journal, yes=False) == 1
    assert capsys.readouterr().err == "not deleted\n"
    assert await run("show", journal) == 0


@pytest.mark.usefixtures("stopped")
async def test_deleting_needs_the_id(journal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, b"notes\n")
    assert await run("delete", journal, yes=False) == 0


async def test_changing_a_running_servers_documents_needs_its_key(
    running: RealtimeServer, journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRETTO_SECRET")
    with pytest.raises(SettingsError, match="STRETTO_SECRET"):
        await run("delete", journal, yes=True)
    monkeypatch.setenv("STRETTO_SECRET", "another key that is long enough to be one")
    with pytest.raises(Exception, match="token"):
        await run("delete", journal, yes=True)
    assert await running.documents.read("notes")


async def test_a_holder_that_serves_nobody_is_not_called(journal: str, tmp_path: Path) -> None:
    holder = SqliteJournal(tmp_path / "notes.db")
    await holder.start()
    with pytest.raises(Unavailable, match="holds the journal"):
        await run("delete", journal, yes=True)
    await holder.close()


async def test_a_server_that_does_not_answer_is_named(
    journal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silence, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    holder = SqliteJournal(tmp_path / "notes.db")
    await holder.start()
    monkeypatch.setattr(commands, "ANSWER_TIME", ClientTimeout(total=0.1))
    holder.write_owner(url)
    with pytest.raises(Unavailable, match=url):
        await run("delete", journal, yes=True)
    listener.close()
    await listener.wait_closed()
    with pytest.raises(Unavailable, match=url):
        await run("delete", journal, yes=True)
    await holder.close()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604_800)],
)
def test_parse_ttl(text: str, seconds: float) -> None:
    assert parse_ttl(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0h", "-1h", "1.5h", "1w", "h", "1 h", "٣h", "9" * 400])
def test_parse_ttl_refuses(text: str) -> None:
    with pytest.raises(SettingsError, match="--ttl"):
        parse_ttl(text)


def test_parse_grants() -> None:
    assert parse_grants(["docs/*=editor", "rooms/a=b=owner"]) == {
        "docs/*": "editor",
        "rooms/a=b": "owner",
    }
    for row in ("docs/*", "=editor", "docs/*=", "docs/*=admin", "docs/*=EDITOR"):
        with pytest.raises(SettingsError, match="--grant"):
            parse_grants([row])
