"""The load generator: a process of its own that drives a server and prints what it saw.

Started by :mod:`bench.server` with one JSON argument; prints one JSON object.
"""

import asyncio
import gc
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import orjson
import uvloop

from bench.wire import Tally, WireClient, WireError
from stretto_server.auth import issue_token

CONNECTING: Final = 20
"""Clients that connect at the same time; servers limit those that did not join yet."""
SETTLE_S: Final = 30.0
"""How long operations in flight may take after the clients were told to stop."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do to which server."""

    url: str
    secret: str
    server_pid: int
    documents: int
    clients: int
    """Per document."""
    chars: int
    warm_up_s: float
    measured_s: float


class Clocks(NamedTuple):
    """Seconds that passed, and what became of them."""

    wall: float
    server: float
    waited: float
    own: float


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that all threads of a process have used (10 ms steps)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def waited_seconds(pid: int) -> float:
    """Return how long a process's main thread could have run, but others had its CPU."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # a kernel that does not count it
        return 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(share * 1000) // 1000) - 1)]


async def drive(plan: Plan) -> dict[str, float]:
    """Connect, edit in a closed loop, and check what the server has at the end.

    Raises WireError when the server broke the contract or lost an operation.
    """
    tally = Tally()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        groups = await _connect_all(session, plan, tally)
        gc.collect()
        gc.disable()
        figures = await _measure(plan, [one for group in groups for one in group], tally)
        gc.enable()
        for number, group in enumerate(groups):
            await _check(session, plan, number, group)
    return figures


async def _connect_all(
    session: aiohttp.ClientSession, plan: Plan, tally: Tally
) -> list[list[WireClient]]:
    turn = asyncio.Semaphore(CONNECTING)

    async def connect(document: int, number: int) -> WireClient:
        user = f"user-{document}-{number}"
        client = f"bench-client-{document:04d}-{number:04d}"
        async with turn:
            return await WireClient.connect(
                session, plan.url, _token(plan, user), _doc(document), client, tally
            )

    async def fill(document: int) -> list[WireClient]:
        first = await connect(document, 0)
        await first.write("0123456789" * (plan.chars // 10))
        others = (connect(document, number) for number in range(1, plan.clients))
        return [first, *await asyncio.gather(*others)]

    return list(await asyncio.gather(*(fill(number) for number in range(plan.documents))))


async def _measure(plan: Plan, clients: Sequence[WireClient], tally: Tally) -> dict[str, float]:
    editing = [asyncio.create_task(client.edit()) for client in clients]
    try:
        await _go_on(editing, plan.warm_up_s)
        tally.counting = True
        before = _clocks(plan.server_pid)
        await _go_on(editing, plan.measured_s)
        tally.counting = False
        after = _clocks(plan.server_pid)
        tally.stopping = True
        async with asyncio.timeout(SETTLE_S):
            await asyncio.gather(*editing)
    finally:
        for task in editing:
            task.cancel()
    spent = Clocks(*(late - early for early, late in zip(before, after, strict=True)))
    return _figures(tally, spent)


async def _go_on(editing: "Sequence[asyncio.Task[None]]", seconds: float) -> None:
    """Let the clients edit; raise what ended one of them."""
    done, _ = await asyncio.wait(editing, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


def _clocks(server_pid: int) -> Clocks:
    return Clocks(
        time.perf_counter(),
        cpu_seconds(server_pid),
        waited_seconds(server_pid),
        time.process_time(),
    )


def _figures(tally: Tally, spent: Clocks) -> dict[str, float]:
    count = len(tally.latencies)
    if not count:
        raise WireError("nothing was acknowledged")
    return {
        "operations": count,
        "ops_per_s": count / spent.wall,
        "ack_p50_ms": statistics.median(tally.latencies) * 1e3,
        "ack_p99_ms": percentile(tally.latencies, 0.99) * 1e3,
        "server_cpu_us_per_op": spent.server / count * 1e6,
        "server_cpu_share": spent.server / spent.wall,
        "server_waited_share": spent.waited / spent.wall,
        "generator_cpu_share": spent.own / spent.wall,
        "frames": tally.frames,
    }


async def _check(
    session: aiohttp.ClientSession, plan: Plan, number: int, group: Sequence[WireClient]
) -> None:
    """Look for every accepted operation in the log, and for its character in the text."""
    accepted = sum(client.accepted for client in group)
    head, count = accepted, 0
    while count < head:
        entries, head = await group[0].fetch(count + 1)
        if not entries:
            break
        count += entries
    if not count == head == accepted:
        raise WireError(f"{accepted} accepted, version {head}, {count} entries in the log")
    headers = {"Authorization": f"Bearer {_token(plan, 'checker')}"}
    url = f"{plan.url}/api/docs/{_doc(number)}"
    async with session.get(url, headers=headers) as response:
        document: dict[str, Any] = await response.json()
    expected = plan.chars // 10 * 10 + accepted - 1
    if len(document["text"]) != expected:
        raise WireError(f"{len(document['text'])} characters instead of {expected}")


def _doc(number: int) -> str:
    return f"bench-{number}"


def _token(plan: Plan, user: str) -> str:
    return issue_token(plan.secret, user, grants={"docs/*": "editor"}, ttl_s=3600)


def main(argument: str) -> int:
    """Carry out a plan."""
    figures = uvloop.run(drive(Plan(**orjson.loads(argument))))
    print(orjson.dumps(figures).decode())
    return 0


def argument_of(plan: Plan) -> str:
    """Return the plan as the argument of this process."""
    return orjson.dumps(asdict(plan)).decode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
