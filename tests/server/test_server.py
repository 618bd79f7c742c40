"""``RealtimeServer``: starting, stopping, and what goes wrong."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from stretto_core.errors import Unavailable
from stretto_server.server import RealtimeServer
from stretto_server.settings import SettingsError
from tests.server.wire import SECRET, Wire


def make(tmp_path: Path, **changes: Any) -> RealtimeServer:
    return RealtimeServer(
        **{
            "port": 0,
            "secret": SECRET,
            "host": "127.0.0.1",
            "journal": "memory://",
            "data": tmp_path,
            "drain": 0.2,
            **changes,
        }
    )


async def status(server: RealtimeServer, path: str = "/readyz") -> int:
    async with ClientSession() as session, session.get(server.url + path) as answer:
        return answer.status


async def test_it_serves_as_long_as_its_block_lasts(tmp_path: Path) -> None:
    async with make(tmp_path) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert not server.url.endswith(":0")
        assert await status(server) == 200
        assert await server.documents.edit("notes", ["Hello"]) == 1
        wire = await Wire.connect(server)
        assert (await wire.open()).answer["content"] == "Hello"
        await wire.close()
    with pytest.raises(OSError):  # nobody listens there any more
        await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))


async def test_two_servers_run_in_one_process(tmp_path: Path) -> None:
    async with make(tmp_path) as one, make(tmp_path) as two:
        assert one.url != two.url
        await one.documents.edit("notes", ["one"])
        await two.documents.edit("notes", ["two"])
        assert await one.documents.read("notes") == "one"


async def test_the_journal_outlives_the_server(tmp_path: Path) -> None:
    journal = f"sqlite:///{tmp_path}/notes.db"
    async with make(tmp_path, journal=journal) as server:
        await server.documents.edit("notes", ["Hello"])
    async with make(tmp_path, journal=journal) as server:
        assert await server.documents.read("notes") == "Hello"


async def test_stopping_twice_is_fine(tmp_path: Path) -> None:
    server = make(tmp_path)
    await server.stop()
    await server.start()
    await server.stop()
    await server.stop()


async def test_starting_twice_is_a_mistake(tmp_path: Path) -> None:
    async with make(tmp_path) as server:
        with pytest.raises(RuntimeError, match="started"):
            await server.start()
        assert await status(server) == 200
    with pytest.raises(RuntimeError, match="another"):
        await server.start()


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = make(tmp_path, port=port, journal=f"sqlite:///{tmp_path}/notes.db")
        with pytest.raises(Unavailable) as refusal:
            await server.start()
        assert f"127.0.0.1:{port}" in refusal.value.message
        assert "in use" in refusal.value.message
        await server.stop()
    async with make(tmp_path, journal=f"sqlite:///{tmp_path}/notes.db"):
        pass  # the journal was given up


async def test_a_journal_in_use_is_named(tmp_path: Path) -> None:
    journal = f"sqlite:///{tmp_path}/notes.db"
    async with make(tmp_path, journal=journal) as first:
        second = make(tmp_path, journal=journal)
        with pytest.raises(Unavailable) as refusal:
            await second.start()
        assert "in use by another server" in refusal.value.message
        assert first.url in refusal.value.message
        await second.stop()
        await first.documents.edit("notes", ["still here"])


async def test_a_host_that_is_none_is_named(tmp_path: Path) -> None:
    server = make(tmp_path, host="192.0.2.1")
    with pytest.raises(Unavailable, match=r"192\.0\.2\.1"):
        await server.start()


def test_wrong_settings_stop_the_constructor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRETTO_SECRET", raising=False)
    with pytest.raises(SettingsError, match="no key to check tokens with"):
        make(tmp_path, secret=None)
    with pytest.raises(SettingsError, match="mysql://"):
        make(tmp_path, journal="mysql://h/d")
    with pytest.raises(SettingsError, match="redis://"):
        make(tmp_path, redis="redis://h")


def test_what_is_given_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRETTO_PING_INTERVAL", "7")
    monkeypatch.setenv("STRETTO_PORT", "99")
    monkeypatch.setenv("STRETTO_SECRET", "x" * 40)
    server = make(tmp_path)
    assert (server.settings.port, server.settings.ping_interval) == (0, 7.0)
    assert server.settings.secret == SECRET
    assert make(tmp_path, ping_interval=3).settings.ping_interval == 3


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("localhost", "http://localhost:80"),
        ("::1", "http://[::1]:80"),
        ("::", "http://[::1]:80"),
    ],
)
def test_the_url_is_one_to_connect_to(tmp_path: Path, host: str, shown: str) -> None:
    assert make(tmp_path, host=host, port=80).url == shown


async def test_a_server_on_every_address_answers_at_its_url(tmp_path: Path) -> None:
    async with make(tmp_path, host="0.0.0.0") as server:
        assert await status(server) == 200


async def test_dev_needs_no_key_and_lets_guests_edit(tmp_path: Path) -> None:
    async with make(tmp_path, secret=None, dev=True) as server:
        async with (
            ClientSession() as session,
            session.post(server.url + "/dev/token", json={"name": "Ann"}) as answer,
        ):
            guest = (await answer.json())["token"]
        wire = await Wire.connect(server, auth={"token": guest})
        paper = await wire.open()
        assert paper.answer["role"] == "editor"
        assert await paper.submit(["Hello"], 0) == 1
        await wire.close()


async def test_a_block_that_raises_stops_the_server(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with make(tmp_path) as server:
            raise ZeroDivisionError
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))


@pytest.mark.parametrize(
    "said",
    [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"],
    ids=["nothing", "half a request", "nothing more"],
)
async def test_a_silent_connection_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr("stretto_server.server.IDLE_S", 0.2)
    async with make(tmp_path) as server:
        port = int(server.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        async with asyncio.timeout(3):
            while await reader.read(1_000):
                pass
        writer.close()
        await writer.wait_closed()
