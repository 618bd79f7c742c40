"""A private Redis, or three of them that are a cluster, or Sentinels around a primary."""

import time
from pathlib import Path
from typing import Any

import redis

from tests.services.processes import START_S, ServerProcess, found_program, free_port

DURABLE = {"appendonly": "yes", "appendfsync": "always"}


class RedisServer(ServerProcess):
    """A Redis with the settings given, by default as durable as it can be."""

    def __init__(self, folder: Path, *, port: int | None = None, **settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = port or free_port()
        rows = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "save": "",
            "loglevel": "notice",
            **DURABLE,
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        self.bus_port = int(rows.get("cluster-port", 0))
        quoted = (f'{name} "{value}"' for name, value in rows.items())
        (folder / "redis.conf").write_text("\n".join(quoted))
        super().__init__([found_program("redis-server"), str(folder / "redis.conf")], folder, port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def say(self, *arguments: str | int | bytes) -> Any:
        """Send one command, as ``redis-cli`` would; return the reply."""
        with redis.Redis(port=self.port, decode_responses=True) as client:
            return client.execute_command(*arguments)


class RedisCluster:
    """Three primaries that share the slots."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [
            RedisServer(
                folder / str(number),
                cluster_enabled="yes",
                cluster_port=str(free_port()),
                appendfsync="no",
            )
            for number in range(3)
        ]

    @property
    def url(self) -> str:
        return f"redis://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}"

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        first, second, third = self.nodes
        first.say("CLUSTER", "ADDSLOTSRANGE", 0, 5000)
        second.say("CLUSTER", "ADDSLOTSRANGE", 5001, 10000)
        third.say("CLUSTER", "ADDSLOTSRANGE", 10001, 16383)
        for node in (second, third):
            first.say("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
        deadline = time.monotonic() + START_S
        while not all(self._agrees(node) for node in self.nodes):
            assert time.monotonic() < deadline, "the cluster does not come together"
            time.sleep(0.05)

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def flush(self) -> None:
        for node in self.nodes:
            node.say("FLUSHALL")

    @staticmethod
    def _agrees(node: RedisServer) -> bool:
        return "cluster_state:ok" in node.say("CLUSTER", "INFO")


class SentinelServer(ServerProcess):
    """A Sentinel that watches the primary ``stretto``, and alone may fail it over."""

    def __init__(self, folder: Path, primary: RedisServer) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        (folder / "sentinel.conf").write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor stretto 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds stretto 500\n"
            "sentinel failover-timeout stretto 5000\n"
        )
        command = [found_program("redis-server"), str(folder / "sentinel.conf"), "--sentinel"]
        super().__init__(command, folder, port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0?sentinel=stretto"
