"""Every example in the prose is run against a real server."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import socketio
from aiohttp import web

from stretto_server import RealtimeServer
from stretto_server.auth import issue_token

ROOT = Path(__file__).parents[2]
SECRET = "a key of the tests that is long enough for HS256"


def block(document: str, mark: str) -> str:
    """Return the code block that follows ``<!-- mark -->``."""
    text = (ROOT / document).read_text()
    found = re.search(rf"<!-- {re.escape(mark)} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    assert found, f"{document} has no block marked {mark}"
    return found[1]


def token() -> str:
    return issue_token(SECRET, "ann", name="Ann", grants={"docs/*": "editor", "rooms/*": "editor"})


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RealtimeServer]:
    async with RealtimeServer(
        port=0, host="127.0.0.1", secret=SECRET, journal="memory://", data=tmp_path, drain=1.0
    ) as server:
        yield server


async def run(*command: str, cwd: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(20):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_the_client_of_the_readme(
    server: RealtimeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    scope: dict[str, Any] = {}
    exec(block("README.md", "test: client"), scope)
    await scope["main"](server.url, token())
    assert capsys.readouterr().out == "Hello saved\n"
    assert await server.documents.read("notes") == "Hello"


async def test_the_server_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = block("README.md", "test: server").replace("port=8080", "port=0, host='127.0.0.1'")
    scope: dict[str, Any] = {}
    exec(code, scope)
    await scope["serve"](SECRET)
    assert capsys.readouterr().out == "Hello from the server\n"
    assert (tmp_path / "stretto.db").is_file()


async def test_the_raw_python_client(server: RealtimeServer, tmp_path: Path) -> None:
    await server.documents.edit("notes", ["old 😀"])
    program = tmp_path / "raw_client.py"
    program.write_text(block("docs/raw-clients.md", "file: raw_client.py"))
    command = (sys.executable, str(program), server.url, token(), "notes", "new 🎻")
    assert await run(*command, cwd=ROOT) == "new 🎻\nold 😀\n"
    assert await server.documents.read("notes") == "new 🎻\nold 😀"


async def test_the_raw_javascript_client(server: RealtimeServer) -> None:
    await server.documents.edit("notes", ["old 😀"])
    folder = ROOT / "web_client"  # where socket.io-client is installed
    program = folder / "node_modules" / ".raw-client.mjs"
    program.write_text(block("docs/raw-clients.md", "file: raw-client.mjs"))
    try:
        command = ("node", str(program), server.url, token(), "notes", "new 🎻")
        assert await run(*command, cwd=folder) == "new 🎻\nold 😀\n"
    finally:
        program.unlink()
    assert await server.documents.read("notes") == "new 🎻\nold 😀"


async def test_the_javascript_of_the_readme(server: RealtimeServer) -> None:
    folder = ROOT / "web_client"
    program = folder / "node_modules" / ".hello.mjs"
    program.write_text(block("README.md", "file: hello.mjs"))
    try:
        output = await run("node", str(program), server.url, token(), cwd=folder)
    finally:
        program.unlink()
    assert output == "Hello World saved\n"
    assert await server.documents.read("doc-123") == "Hello World"


async def test_the_application_on_the_engine() -> None:
    scope: dict[str, Any] = {}
    exec(block("docs/engine.md", "test: engine"), scope)
    runner = web.AppRunner(scope["app"])
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    welcomed: list[Any] = []
    clients = [socketio.AsyncClient() for _ in range(2)]
    for client in clients:
        client.on("welcome", welcomed.append)
        client.on("question", lambda question: question)
        await client.connect(url, transports=["websocket"])
    assert await clients[0].call("say", "Hello") == 5
    assert await clients[0].call("ask_all", "well?") == [2, 0]
    assert [each["sid"] for each in welcomed] == [client.get_sid() for client in clients]
    for client in clients:
        await client.disconnect()
    await runner.cleanup()


@pytest.mark.parametrize(
    ("mark", "most"), [("file: raw-client.mjs", 40), ("file: raw_client.py", 30)]
)
def test_raw_clients_stay_short(mark: str, most: int) -> None:
    lines = block("docs/raw-clients.md", mark).splitlines()
    assert len([line for line in lines if line.strip()]) <= most


def test_commands_of_the_readme_exist() -> None:
    from stretto_server.cli import build_parser

    text = (ROOT / "README.md").read_text()
    parser = build_parser()
    for line in re.findall(r"^stretto (.+)$", text, re.MULTILINE):
        words = [word.strip("'") for word in line.partition("  ")[0].split()]
        assert parser.parse_args(words)
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)", text):
        if target not in ("sure",):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


async def test_the_python_guide(
    server: RealtimeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    for mark in ("documents", "changes", "outbox", "rooms"):
        exec(block("docs/python.md", f"test: {mark}"), scope)
    await scope["edit"](server.url, token)
    text, version, status = capsys.readouterr().out.split()
    assert (text, int(version) > 0, status) == ("ettoStr", True, "saved")
    assert await server.documents.read("notes") == "ettoStr"

    async with scope["RealtimeClient"](server.url, token) as client:
        seen: list[Any] = []
        watching = asyncio.ensure_future(scope["watch"](client, seen))
        await client.open("notes")
        await asyncio.sleep(0)
        await server.documents.edit("notes", [7, " bye"])
        await asyncio.wait_for(watching, 5)
        assert seen == [("remote", [7, " bye"])]
        await scope["talk"](client)
    assert capsys.readouterr().out == "{'topic': 'gardens'} 1 1\n"

    await scope["resume"](server.url, token)
    assert capsys.readouterr().out == ""
