"""``stretto serve --workers 2`` on a real Redis: clients on both, and workers that die."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.server.served import PATIENCE_S, Process
from tests.server.wire import Wire, client_id
from tests.services.redis_server import RedisServer

Start = Callable[..., Awaitable[Process]]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), appendfsync="no")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def start(tmp_path: Path, redis: RedisServer) -> AsyncIterator[Start]:
    processes: list[Process] = []

    async def begin(*arguments: str, **environ: str) -> Process:
        services = {"STRETTO_JOURNAL": redis.url, "STRETTO_REDIS_URL": redis.url}
        process = await Process.start(tmp_path, "--workers", "2", *arguments, **services | environ)
        processes.append(process)
        return process

    yield begin
    for process in processes:
        await process.kill()


async def clients_of_two(
    server: Process, namespaces: tuple[str, ...] = ("/", "/docs")
) -> list[Wire]:
    """Return two clients, each on another worker; the kernel spreads connections."""
    found: dict[str, Wire] = {}
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < 2:
            wire = await Wire.connect(server, namespaces=namespaces)
            node = (await wire.hear("ready"))["node"]
            if node in found:
                await wire.close()
            else:
                found[node] = wire
    return list(found.values())


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not done():
            await asyncio.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]


async def test_clients_of_two_workers_edit_one_document(start: Start) -> None:
    server = await (await start()).listening()
    assert "2 workers" in server.log[-1]
    assert sum("listens on" in line for line in server.log) == 1
    ann, bob = await clients_of_two(server)
    paper = await ann.open("shared", client_id())
    await bob.open("shared", client_id())
    submitted = {"doc": "shared", "client": paper.client, "epoch": paper.epoch, "seq": 1, "base": 0}
    await ann.ok("submit", {**submitted, "op": ["Hello"]})
    heard = await bob.hear("ops")
    assert heard["doc"] == "shared"
    async with ClientSession() as session:
        address = server.url + "/socket.io/?EIO=4&transport=polling"
        async with session.get(address) as answer:
            assert answer.status == 400
            assert "only websocket is served" in (await answer.json())["message"]
    server.send(signal.SIGTERM)
    assert await server.ended() == 0
    assert sum("draining" in line for line in server.log) == 2
    assert not any("Traceback" in line or "ERROR" in line for line in server.log)
    for wire in (ann, bob):
        await wire.close()


async def test_a_worker_that_is_killed_is_replaced(start: Start) -> None:
    server = await (await start()).listening()
    ann, bob = await clients_of_two(server)
    before = server.children()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    await until(lambda: len(server.children()) == 2 and before[0] not in server.children())
    await server.wait_for("a worker ended with -9")
    assert before[1] in server.children()
    await until(lambda: not (ann.sio.connected and bob.sio.connected))
    assert ann.sio.connected or bob.sio.connected  # the other one serves on
    again = await clients_of_two(server)
    server.send(signal.SIGINT)
    assert await server.ended() == 0
    for wire in (ann, bob, *again):
        await wire.close()


async def test_no_worker_outlives_who_started_it(start: Start) -> None:
    server = await (await start()).listening()
    workers = server.children()
    server.send(signal.SIGKILL)
    await until(lambda: not any(map(runs, workers)))
    assert await server.ended() == -signal.SIGKILL


async def test_a_worker_that_hangs_is_killed_after_the_drain(start: Start) -> None:
    server = await (await start(STRETTO_DRAIN_S="1")).listening()
    workers = server.children()
    os.kill(workers[0], signal.SIGSTOP)
    server.send(signal.SIGTERM)
    assert await server.ended() == 1
    assert not any(map(runs, workers))


async def test_what_workers_need_is_said_in_one_line(start: Start, redis: RedisServer) -> None:
    without = await start(STRETTO_REDIS_URL="")
    assert await without.ended() == 2
    (line,) = without.log
    assert "set STRETTO_REDIS_URL or REDIS_URL" in line


async def test_a_journal_that_is_away_is_said_once(start: Start) -> None:
    away = await start(STRETTO_JOURNAL="redis://127.0.0.1:1")
    assert await away.ended() == 1
    assert sum("stretto: " in line for line in away.log) == 1
