"""The processes of a measurement: nodes of one cluster, and the Redis that they share."""

import json
import os
import secrets
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.machine import available_cpus
from bench.server import ROOT, node, pinned
from stretto_server.auth import issue_token
from tests.services.processes import running
from tests.services.redis_server import RedisServer

FOLDER: Final = ROOT / "bench" / "results"
TOKEN_S: Final = 3600
FIRST_CPU: Final = 0
LAST_CPU: Final = -1


@dataclass(frozen=True, slots=True)
class Layout:
    """How many nodes there are, on which CPUs, and what they keep documents in."""

    cpus: tuple[int | None, ...] = (FIRST_CPU,)
    """Of each node: the first CPU, the last one, or any (None)."""
    redis: bool = True
    """Whether Redis is journal and bus; else a single node has SQLite, and no bus."""
    workers: int = 1
    """Of each node's processes; of more than one, nobody can tell them apart."""
    appendfsync: str = "always"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes that run."""

    ports: Sequence[int]
    pids: Sequence[int]
    redis: RedisServer | None
    secret: str

    def token(self, number: int) -> str:
        """Return a token of one of many users, who may edit everything."""
        return issue_token(
            self.secret, f"user-{number}", grants={"docs/*": "editor"}, ttl_s=TOKEN_S
        )

    def document(self, doc: str, port: int) -> dict[str, Any]:
        """Return a document as the node at ``port`` has it."""
        headers = {"Authorization": f"Bearer {self.token(0)}"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/docs/{doc}", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def spread(pids: Sequence[int]) -> None:
    """Give each process a CPU of its own, as far as there are some."""
    cpus = available_cpus()
    for number, pid in enumerate(pids):
        os.sched_setaffinity(pid, {cpus[number % len(cpus)]})


@contextmanager
def cluster(layout: Layout, folder: Path = FOLDER) -> Iterator[Cluster]:
    """Run the nodes, each with its log in a folder that is gone afterwards; Redis on the last CPU.

    Raises RuntimeError, with what it logged, when one does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix="cluster-")))
        redis = None
        if layout.redis:
            redis = RedisServer(data / "redis", appendfsync=layout.appendfsync)
            with pinned(LAST_CPU):
                stack.enter_context(running(redis))
        secret = secrets.token_hex(32)
        environment = {"STRETTO_SECRET": secret, "STRETTO_WORKERS": str(layout.workers)}
        if redis is None:
            environment["STRETTO_JOURNAL"] = f"sqlite:///{data / 'bench.db'}"
        else:
            environment |= {"STRETTO_JOURNAL": redis.url, "STRETTO_REDIS_URL": redis.url}
        found: list[tuple[str, int]] = []
        for number, cpu in enumerate(layout.cpus):
            home = data / str(number)
            home.mkdir()
            found.append(stack.enter_context(node(home, environment, cpu)))
            if layout.workers > 1:
                spread(children_of(found[-1][1]))
        ports = [int(url.rpartition(":")[2]) for url, _ in found]
        yield Cluster(ports, [pid for _, pid in found], redis, secret)
