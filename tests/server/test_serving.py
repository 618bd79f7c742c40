"""``stretto serve`` as a process: its log, its signals, and what it leaves behind."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import socketio
from aiohttp import ClientSession

from stretto_server.journal.sqlite_appends import open_journal_writer
from tests.server.served import Process
from tests.server.wire import client_id, token

Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    processes: list[Process] = []

    async def begin(*arguments: str, **environ: str) -> Process:
        processes.append(await Process.start(tmp_path, *arguments, **environ))
        return processes[-1]

    yield begin
    for process in processes:
        await process.kill()


class Typist:
    """A client that submits as fast as it is answered."""

    def __init__(self, doc: str) -> None:
        self.doc = doc
        self.acknowledged = 0
        self.busy = asyncio.Event()
        self.sio = socketio.AsyncClient(reconnection=False)

    async def run(self, url: str) -> None:
        client = client_id()
        await self.sio.connect(
            url, auth={"token": token(self.doc)}, namespaces=["/docs"], transports=["websocket"]
        )
        opened = await self._call("open", doc=self.doc, client=client)
        try:
            for seq in range(1, 100_000):
                answer = await self._call(
                    "submit", doc=self.doc, client=client, epoch=opened["epoch"], seq=seq,
                    base=seq - 1, op=[f"{seq};"],
                )  # fmt: skip
                if not answer["ok"]:
                    break
                self.acknowledged = seq
                self.busy.set()
        except socketio.exceptions.SocketIOError:
            pass  # the server went away
        await self.sio.disconnect()
        await self.sio.shutdown()

    async def _call(self, event: str, **payload: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.sio.call(event, payload, namespace="/docs", timeout=2)
        return answer


def versions(path: Path) -> dict[str, int]:
    """Return each document's version, after a check that its log is complete."""
    with closing(open_journal_writer(path, 1)) as connection:  # as the next server would
        rows = connection.execute(
            "SELECT doc, version, sum(json_array_length(entries)) FROM documents"
            " JOIN batches ON place >> 32 = documents.id GROUP BY documents.id"
        ).fetchall()
    assert all(version == count for _, version, count in rows)
    return {doc: version for doc, version, _ in rows}


async def test_a_signal_drains_and_exits_0(start: Start, tmp_path: Path) -> None:
    server = await (await start()).listening()
    typists = [Typist(f"doc-{number}") for number in range(3)]
    typing = [asyncio.create_task(typist.run(server.url)) for typist in typists]
    await asyncio.gather(*(typist.busy.wait() for typist in typists))
    asked = time.monotonic()
    server.send(signal.SIGTERM)
    assert await server.ended() == 0
    assert time.monotonic() - asked < 4.0
    await asyncio.gather(*typing)
    assert "stopped" in server.log[-1]
    assert not any("Traceback" in line or "ERROR" in line for line in server.log)
    kept = versions(tmp_path / "stretto.db")
    for typist in typists:
        assert typist.acknowledged <= kept[typist.doc] <= typist.acknowledged + 1
        assert typist.acknowledged > 0


async def test_a_second_signal_leaves_at_once(start: Start) -> None:
    server = await (await start(STRETTO_DRAIN_S="60")).listening()
    reader, writer = await asyncio.open_connection(*server.url[7:].split(":"))
    sio = socketio.AsyncClient(reconnection=False)
    await sio.connect(server.url, auth={"token": token()}, transports=["websocket"])
    server.send(signal.SIGTERM)
    await server.wait_for("draining")
    server.send(signal.SIGTERM)
    assert await server.ended() == 1
    assert "leaving at once" in server.log[-1]
    await sio.disconnect()
    await sio.shutdown()
    writer.close()
    assert await reader.read() == b""


async def test_without_time_to_drain_it_still_exits(start: Start) -> None:
    server = await (await start(STRETTO_DRAIN_S="0")).listening()
    typist = Typist("notes")
    typing = asyncio.create_task(typist.run(server.url))
    await typist.busy.wait()
    server.send(signal.SIGTERM)
    assert await server.ended() == 0
    assert not any("Traceback" in line for line in server.log)
    await typing


async def test_a_journal_in_use_stops_the_start_with_one_line(start: Start) -> None:
    first = await (await start()).listening()
    second = await start()
    assert await second.ended() == 1
    (line,) = second.log
    assert line.startswith("stretto: the journal ")
    assert "in use by another server" in line
    assert first.url in line
    async with ClientSession() as session, session.get(first.url + "/readyz") as answer:
        assert answer.status == 200


async def test_a_port_in_use_stops_the_start_with_one_line(start: Start) -> None:
    first = await (await start()).listening()
    port = first.url.rpartition(":")[2]
    second = await start("--port", port, "--journal", "memory://")
    assert await second.ended() == 1
    (line,) = second.log
    assert "cannot listen" in line
    assert port in line
    assert "in use" in line


async def test_wrong_settings_stop_the_start(start: Start) -> None:
    server = await start(STRETTO_SECRET="short", STRETTO_DRAIN_S="soon")
    assert await server.ended() == 2
    assert len(server.log) == 2


async def test_development_lets_guests_in(start: Start, tmp_path: Path) -> None:
    server = await (await start("--dev", STRETTO_SECRET="")).listening()
    async with ClientSession() as session, session.post(server.url + "/dev/token") as answer:
        assert set(await answer.json()) == {"token"}
    assert (tmp_path / "dev.key").stat().st_mode & 0o777 == 0o600
    key = (tmp_path / "dev.key").read_text()
    server.send(signal.SIGINT)
    assert await server.ended() == 0
    assert not any(key in line for line in server.log)


async def test_the_journal_survives_a_kill(start: Start, tmp_path: Path) -> None:
    server = await (await start()).listening()
    typist = Typist("notes")
    typing = asyncio.create_task(typist.run(server.url))
    await typist.busy.wait()
    server.send(signal.SIGKILL)
    assert await server.ended() == -signal.SIGKILL
    await typing
    assert versions(tmp_path / "stretto.db")["notes"] >= typist.acknowledged
    again = await (await start()).listening()
    again.send(signal.SIGTERM)
    assert await again.ended() == 0
