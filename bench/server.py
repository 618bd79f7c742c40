"""End to end: a server and a load generator, each a process on a CPU of its own.

Journals take turns within one run, so that their ratio holds on a machine that is busy
with other things as well. Every measurement starts a fresh server.
"""

import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import operations
from bench.load import Plan, argument_of
from bench.machine import available_cpus, disk_of
from bench.report import Report, Row, Table, median_ratio, progress

ROOT: Final = Path(__file__).parent.parent
JOURNALS: Final = ("memory", "sqlite")
START_S: Final = 30.0
STOP_S: Final = 10.0
ENDING_S: Final = 60.0
"""How long the generator may take to connect, settle and check, beside the measuring."""

JSON_COUNT: Final = 10_000
"""A tenth of a second of what every machine does, before and after each measurement."""

FOREIGN: Final = ("STRETTO_", "REDIS_URL", "DATABASE_URL", "PORT", "WEB_CONCURRENCY", "DYNO")
"""What an environment must not tell the server."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Clients that edit in a closed loop, one operation in flight each."""

    documents: int
    clients: int
    chars: int

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.documents} × {self.clients}"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    runs: int = 3
    warm_up_s: float = 1.0
    measured_s: float = 4.0
    workloads: tuple[Workload, ...] = (Workload(1, 20, 5_000), Workload(100, 2, 500))


QUICK: Final = Sizes(runs=1, warm_up_s=0.3, measured_s=1.0)

Figures = Mapping[str, float]
Found = dict[tuple[Workload, str], list[Figures]]


def run(sizes: Sizes, folder: Path) -> Report:
    """Measure every workload on every journal; journals with files are put in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    found: Found = {(workload, journal): [] for workload in sizes.workloads for journal in JOURNALS}
    for number in range(sizes.runs):
        for (workload, journal), figures in found.items():
            progress(f"server: run {number + 1} of {sizes.runs}, {workload.name}, {journal}")
            figures.append(measure(workload, journal, sizes, folder))
    return _report(found, folder)


def measure(workload: Workload, journal: str, sizes: Sizes, folder: Path) -> Figures:
    """Return what the generator saw of one fresh server."""
    secret = secrets.token_hex(32)
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="journal-") as data,
        serving(journal, secret, Path(data)) as (url, pid),
    ):
        plan = Plan(
            url=url,
            secret=secret,
            server_pid=pid,
            documents=workload.documents,
            clients=workload.clients,
            chars=workload.chars,
            warm_up_s=sizes.warm_up_s,
            measured_s=sizes.measured_s,
        )
        before = json_us()
        figures = generate(plan)
        return {**figures, "json_us": (before + json_us()) / 2}


def json_us() -> float:
    """Return the microseconds of a submit's JSON, both ways, on the server's CPU just now."""
    with pinned(0):
        return operations.seconds_of_json(JSON_COUNT) / JSON_COUNT * 1e6


@contextmanager
def serving(
    journal: str, secret: str, data: Path, engine: str | None = None
) -> Iterator[tuple[str, int]]:
    """Run a server as a child process; yield its URL and process id.

    ``engine`` is what runs its sockets; None: what it takes by itself.
    """
    journal_url = "memory://" if journal == "memory" else f"sqlite:///{data / 'bench.db'}"
    environment = {"STRETTO_SECRET": secret, "STRETTO_JOURNAL": journal_url}
    if engine is not None:
        environment["STRETTO_ENGINE"] = engine
    with node(data, environment, 0) as (url, pid):
        yield url, pid


@contextmanager
def node(data: Path, environment: Mapping[str, str], cpu: int | None) -> Iterator[tuple[str, int]]:
    """Run a server on one CPU (the first or the last; None: any); yield its URL and process id.

    It has the environment given instead of whatever there is, and no limits.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "stretto_server", "serve", "--dev"]
    command += ["--port", str(port), "--data", str(data)]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    complete = inherited | {"STRETTO_LIMITS": "off", **environment}
    log = data / "server.log"
    with log.open("w") as stderr, child(command, cpu, complete, stderr.fileno()) as process:
        _wait_until_ready(url, process, log)
        yield url, process.pid


def generate(plan: Plan) -> Figures:
    """Run the generator as a child process.

    Raises RuntimeError when it fails: the server broke the contract, or lost an operation.
    """
    command = [sys.executable, "-m", "bench.load", argument_of(plan)]
    limit = plan.warm_up_s + plan.measured_s + ENDING_S
    with child(command, -1, dict(os.environ), None) as process:
        output, _ = process.communicate(timeout=limit)
    if process.returncode:
        raise RuntimeError("the load generator failed; it said why above")
    figures: Figures = json.loads(output)
    return figures


@contextmanager
def child(
    command: Sequence[str],
    cpu: int | None,
    environment: Mapping[str, str],
    stderr: int | None,
    *,
    stdin: int | None = None,
) -> "Iterator[subprocess.Popen[str]]":
    """Run a process on one CPU (the first or the last; None: any), and stop it in the end."""
    with ExitStack() as stack:
        with _uninterrupted(), pinned(cpu):  # a child starts where its parent is
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
            stack.callback(_stop, process)
        yield process


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off what would end this process, so that no child is forgotten."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        for number in came:
            signal.raise_signal(number)


def _stop(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """Bind this process to one of its CPUs for a moment, where there are several."""
    cpus = available_cpus()
    if cpu is None or len(cpus) < 2 or not hasattr(os, "sched_setaffinity"):
        yield
        return
    os.sched_setaffinity(0, {cpus[cpu]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(url: str, process: "subprocess.Popen[str]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


def _report(found: Found, folder: Path) -> Report:
    disk = disk_of(folder)
    where = f"{disk['device']} ({disk['filesystem']}; {disk['kind']}; sync {disk['sync_us']} µs)"
    rows = [_row(workload, journal, runs) for (workload, journal), runs in found.items()]
    workloads = list(dict.fromkeys(workload for workload, _ in found))
    prices = [_price(one.name, found[one, "sqlite"], found[one, "memory"]) for one in workloads]
    return Report(
        [
            Table("End to end (documents × clients of each), medians of the runs", rows),
            Table(f"Price of durability, SQLite / memory, on {where}", prices),
        ]
    )


def _row(workload: Workload, journal: str, runs: Sequence[Figures]) -> Row:
    def median(key: str) -> float:
        return statistics.median(run[key] for run in runs)

    return {
        "workload": workload.name,
        "journal": journal,
        "runs": len(runs),
        "ops/s": median("ops_per_s"),
        "ack p50 ms": median("ack_p50_ms"),
        "ack p99 ms": median("ack_p99_ms"),
        "server CPU µs/op": median("server_cpu_us_per_op"),
        "CPU per op / JSON": statistics.median(
            run["server_cpu_us_per_op"] / run["json_us"] for run in runs
        ),
        "server CPU %": 100 * median("server_cpu_share"),
        "waited for CPU %": 100 * median("server_waited_share"),
        "generator CPU %": 100 * median("generator_cpu_share"),
        "operations": int(median("operations")),
        "frames received": int(median("frames")),
    }


def _price(name: str, sqlite: Sequence[Figures], memory: Sequence[Figures]) -> Row:
    def ratio(key: str) -> float:
        return median_ratio([run[key] for run in sqlite], [run[key] for run in memory])

    return {
        "workload": name,
        "ops/s": ratio("ops_per_s"),
        "ack p50": ratio("ack_p50_ms"),
        "ack p99": ratio("ack_p99_ms"),
        "server CPU/op": ratio("server_cpu_us_per_op"),
    }
