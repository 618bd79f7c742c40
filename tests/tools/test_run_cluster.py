"""The cluster for trying out: clients over WebSocket and polling, and a node that is killed."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import socketio
from aiohttp import ClientSession

from stretto_client import RealtimeClient
from tools.run_cluster import FIRST, FRONT, NGINX_CONF, SECOND, nginx_command, nginx_conf

PATIENCE_S = 30.0


class Cluster:
    """``python -m tools.run_cluster`` and what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[str] = []
        self.url = ""

    async def ready(self) -> None:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while not self.said or not self.said[-1].startswith("Open "):
                line = await self._process.stdout.readline()
                assert line, self.said
                self.said.append(line.decode())
        self.url = self.said[-1].split()[1]

    def node(self, number: int) -> tuple[str, int]:
        """Return the name that a node goes by, and its process."""
        (line,) = (line for line in self.said if line.startswith(f"node {number}"))
        found = re.search(r"(http://\S+) +process (\d+)", line)
        assert found is not None
        return found[1], int(found[2])

    async def stop(self) -> int:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S):
            await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    command = [sys.executable, "-m", "tools.run_cluster", "--port", "0", "--data", str(tmp_path)]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={name: value for name, value in os.environ.items() if not name.startswith("STRETTO_")},
    )
    cluster = Cluster(process)
    try:
        await cluster.ready()
        yield cluster
    finally:
        await cluster.stop()


class PollingClient:
    """A client that comes back by itself; ``nodes`` has the node of each connection."""

    def __init__(self) -> None:
        self._session = ClientSession()  # its own ones python-socketio does not always close
        self.sio = socketio.AsyncClient(
            reconnection_delay=0.1, reconnection_delay_max=0.5, http_session=self._session
        )
        self.nodes: list[str] = []
        self.texts: list[Any] = []
        self.sio.on("ready", lambda ready: self.nodes.append(ready["node"]))

    async def connect(self, url: str, token: str) -> None:
        await self.sio.connect(
            url, auth={"token": token}, namespaces=["/", "/docs"], transports=["polling"]
        )
        await self.connections(1)

    async def connections(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.nodes) < count:
                await asyncio.sleep(0.02)

    async def open(self, doc: str) -> str:
        answer: dict[str, Any] = await self.sio.call(
            "open", {"doc": doc, "client": f"polling-{len(self.nodes):012d}"}, namespace="/docs"
        )
        assert answer["ok"], answer
        return str(answer)

    async def close(self) -> None:
        await self.sio.disconnect()
        await self.sio.shutdown()
        await self._session.close()


async def guest_token(url: str) -> str:
    async with ClientSession() as session, session.post(url + "/dev/token") as answer:
        token: str = (await answer.json())["token"]
        return token


async def test_clients_come_back_when_a_node_is_killed(cluster: Cluster) -> None:
    poller = PollingClient()
    await poller.connect(cluster.url, await guest_token(cluster.url))
    async with RealtimeClient(cluster.url, await guest_token(cluster.url)) as typist:
        doc = await typist.open("notes")
        await doc.insert(0, "before ")
        await doc.saved()
        assert "before " in await poller.open("notes")
        first = poller.nodes[-1]
        _, victim = await node_called(cluster, first)
        os.kill(victim, signal.SIGKILL)
        await poller.connections(2)
        assert poller.nodes[-1] != first
        await doc.insert(0, "after ")
        async with asyncio.timeout(PATIENCE_S):
            await doc.saved()
        assert "after before " in await poller.open("notes")
        async with ClientSession() as session, session.get(cluster.url + "/metrics") as answer:
            assert answer.status == 404
    await poller.close()
    assert await cluster.stop() == 0


async def node_called(cluster: Cluster, name: str) -> tuple[str, int]:
    """Return where the node ``name`` listens, and its process."""
    for number in (1, 2):
        url, process = cluster.node(number)
        sio = socketio.AsyncClient(reconnection=False)
        heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        sio.on("ready", lambda ready, heard=heard: heard.set_result(ready["node"]))
        await sio.connect(url, auth={"token": await guest_token(url)}, transports=["websocket"])
        async with asyncio.timeout(PATIENCE_S):
            found = await heard
        await sio.disconnect()
        await sio.shutdown()
        if found == name:
            return url, process
    raise AssertionError(f"no node is called {name}")


def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    command = nginx_command(tmp_path, NGINX_CONF, "-t")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_other_ports_are_put_in_and_nothing_else_changes() -> None:
    text = NGINX_CONF.read_text()
    assert nginx_conf(text, FRONT, (FIRST, SECOND)) == text
    moved = nginx_conf(text, 8081, (8082, 8080))
    assert re.findall(r"127\.0\.0\.1:(\d+)", moved) == ["8082", "8080", "8082", "8080", "8081"]
    assert len(moved) == len(text)
