"""What a node hears of rooms in which it has no members: nothing."""

import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from bench.cluster.load import Work, check, drive
from bench.cluster.nodes import FIRST_CPU, LAST_CPU, Layout, cluster
from tests.services.redis_server import RedisServer

SPAN_S: Final = 10.0
"""How long at rest and under load; a subscription is tried every 5 s, give or take a tenth."""
_OWNER: Final = re.compile(r"127\.0\.0\.1:(\d+)\s+127\.0\.0\.1:(\d+)\b.*\bpid=(\d+)\b")
_RECEIVED: Final = re.compile(r"\bbytes_received:(\d+)")


def measure(work: Work) -> dict[str, Any]:
    """Let everybody work at the first of two nodes; return what the second one's channels bring.

    ``rest_bytes_per_s`` came while nobody worked, ``load_bytes_per_s`` while everybody did.
    """
    with cluster(Layout((FIRST_CPU, LAST_CPU))) as nodes:
        assert nodes.redis is not None
        idle = nodes.pids[1]
        begun = received(nodes.redis, idle)
        time.sleep(SPAN_S)
        rest = received(nodes.redis, idle) - begun
        first = replace(nodes, ports=nodes.ports[:1], pids=nodes.pids[:1])
        begun, started = received(nodes.redis, idle), time.monotonic()
        figures = drive(first, work)
        load = received(nodes.redis, idle) - begun
        span = time.monotonic() - started
        check(first, work, figures.pop("documents"))
    return {
        **figures,
        "rest_bytes_per_s": rest / SPAN_S,
        "load_bytes_per_s": load / span,
        "load_bytes_per_op": load / figures["all_operations"],
    }


def received(redis: RedisServer, pid: int) -> int:
    """Return the bytes that a process has got on its subscriptions to a Redis."""
    listing = redis.say("CLIENT", "LIST", "TYPE", "pubsub")
    ports = set(re.findall(r"\baddr=127\.0\.0\.1:(\d+)", str(listing)))
    command = ["ss", "-tinpHO", "state", "established", f"( dport = :{redis.port} )"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    counts = received_by(output, pid)
    return sum(count for port, count in counts.items() if str(port) in ports)


def received_by(output: str, pid: int) -> Mapping[int, int]:
    """Return, from what ``ss -tinpHO`` says, the bytes that a process got, by its own port."""
    found: dict[int, int] = {}
    for line in output.splitlines():
        owner, count = _OWNER.search(line), _RECEIVED.search(line)
        if owner is not None and int(owner[3]) == pid:
            found[int(owner[1])] = int(count[1]) if count is not None else 0
    return found
