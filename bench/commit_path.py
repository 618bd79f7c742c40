"""``python -m bench.commit_path``: what one operation costs a server, sockets left out.

One process and one CPU: writers in a closed loop hand decoded payloads to
:class:`~stretto_server.documents.Documents` and send their next operation once the last
one is acknowledged; a bus that delivers to nobody takes the frames as text. The writers
themselves cost about a microsecond per operation and are counted in.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.machine import available_cpus, describe
from bench.report import Row, Table, progress
from stretto_core.errors import StrettoError
from stretto_core.protocol import DOCS, REQUESTS, Limits, decode_request
from stretto_core.roster import User
from stretto_server import wire_json
from stretto_server.auth import Grant, Principal, Role
from stretto_server.bus.interface import Follower
from stretto_server.connections import Connection
from stretto_server.documents import Documents
from stretto_server.journal.interface import Journal
from stretto_server.journal.memory import MemoryJournal
from stretto_server.journal.sqlite import SqliteJournal
from stretto_server.limits import Rates

RESULTS: Final = Path(__file__).parent / "results"
JOURNALS: Final = ("memory", "sqlite")
PLACES: Final = 4_096
"""Positions drawn ahead, so that drawing them costs nothing while the clock runs."""

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Workload:
    """Writers of single characters, one operation in flight each."""

    documents: int
    writers: int
    """Per document."""
    chars: int

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.documents} × {self.writers}"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    runs: int = 5
    warm_up: int = 4_000
    operations: int = 40_000
    workloads: tuple[Workload, ...] = (Workload(1, 20, 5_000), Workload(100, 2, 500))


QUICK: Final = Sizes(runs=2, warm_up=1_000, operations=8_000)


class CountingBus:
    """Delivers to nobody, but encodes every frame once, as a bus must."""

    shared = False

    def __init__(self) -> None:
        self.frames = 0
        self.characters = 0

    async def broadcast(
        self,
        namespace: str,
        room: str,
        event: str,
        payload: dict[str, Any],
        *,
        skip: str | None = None,
        binary: bool = False,
    ) -> None:
        """Count a frame."""
        self.deliver(namespace, room, event, payload)

    def deliver(self, namespace: str, room: str, event: str, payload: dict[str, Any]) -> None:
        """Count a frame."""
        self.frames += 1
        self.characters += len(wire_json.dumps([event, payload]))

    def deliver_json(
        self, namespace: str, room: str, event: str, payload: str, *, skip: str | None = None
    ) -> None:
        """Count a frame."""
        self.frames += 1
        self.characters += len(f'["{event}",{payload}]'.encode())

    async def send(self, namespace: str, sid: str, event: str, payload: dict[str, Any]) -> None:
        """Send nothing."""

    async def join(self, namespace: str, sid: str, room: str) -> None:
        """Count nobody."""

    async def leave(self, namespace: str, sid: str, room: str) -> None:
        """Forget nobody."""

    async def publish(self, room: str, message: bytes) -> None:
        """Tell nobody."""

    async def follow(self, room: str, follower: Follower) -> None:
        """Hear nobody."""

    async def unfollow(self, room: str, follower: Follower) -> None:
        """Hear nobody."""


@dataclass(slots=True)
class Feed:
    """What the writers of one document have seen of it."""

    doc: str
    epoch: str = ""
    version: int = 0


class Loop:
    """All writers together: whoever was answered writes again in the loop's next turn."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self.left = 0
        self._in_flight = 0
        self._error: StrettoError | None = None
        self.finished = asyncio.Event()
        self._ready: list[Writer] = []
        self._loop = asyncio.get_running_loop()

    async def run(self, writers: "Sequence[Writer]", operations: int) -> None:
        """Commit ``operations`` and wait for the last answer."""
        self.left = operations
        self._in_flight = len(writers)
        self.finished.clear()
        for writer in writers:
            writer.submit()
        await self.finished.wait()
        if self._error is not None:
            raise self._error

    def failed(self, error: StrettoError) -> None:
        """End a run."""
        self._error = error
        self.finished.set()

    def answered(self, writer: "Writer") -> None:
        """Let ``writer`` go on, unless enough was written."""
        self.left -= 1
        if self.left < self._in_flight:
            self._in_flight -= 1
            if not self._in_flight:
                self.finished.set()
            return
        if not self._ready:
            self._loop.call_soon(self._go_on)
        self._ready.append(writer)

    def _go_on(self) -> None:
        ready, self._ready = self._ready, []
        for writer in ready:
            writer.submit()


@dataclass(slots=True, eq=False)
class Writer:
    """One connection that inserts a character wherever, as soon as its last one is in."""

    loop: Loop
    feed: Feed
    connection: Connection
    client: str
    places: Sequence[int]
    seq: int = 0
    spec: Any = field(default_factory=lambda: REQUESTS[DOCS]["submit"])

    async def open(self) -> None:
        """Open the document and learn where it stands."""
        answer = await self.loop.documents.open(
            self.connection, {"doc": self.feed.doc, "client": self.client}
        )
        self.feed.epoch, self.feed.version = answer["epoch"], answer["version"]

    def submit(self) -> None:
        """Send the next operation, based on what was last seen."""
        self.seq += 1
        payload = {
            "doc": self.feed.doc,
            "epoch": self.feed.epoch,
            "client": self.client,
            "seq": self.seq,
            "base": self.feed.version,
            "op": [self.places[self.seq % PLACES], "x"],
        }
        request = decode_request(self.spec, [payload])
        self.loop.documents.submit_for(self.connection, request, self)

    # As the answer that the actor tells.

    def done(self) -> bool:
        """Tell that somebody waits."""
        return False

    def set_result(self, version: int) -> None:
        """Go on."""
        self.feed.version = max(self.feed.version, version)
        self.loop.answered(self)

    def set_exception(self, error: StrettoError) -> None:
        """End the measurement: nothing is refused in it."""
        self.loop.failed(error)


def connection_of(name: str) -> Connection:
    """Return a connection that may edit everything and is not limited."""
    principal = Principal(
        User(name, name, "#000000"), (Grant("docs/*", Role.EDITOR),), time.time() + 86_400
    )
    return Connection(name, "127.0.0.1", Rates(None), principal, {DOCS: name})


def journal_of(kind: str, folder: Path) -> Journal:
    """Return a journal that is not started."""
    return MemoryJournal() if kind == "memory" else SqliteJournal(folder / "bench.db")


async def fill(loop: Loop, workload: Workload) -> list[Writer]:
    """Return the writers of every document, all opened, the documents filled."""
    dice = random.Random(20)
    places = [dice.randrange(1, workload.chars) for _ in range(PLACES)]
    writers: list[Writer] = []
    for number in range(workload.documents):
        feed = Feed(f"bench-{number}")
        await loop.documents.edit(feed.doc, ["0123456789" * (workload.chars // 10)])
        for turn in range(workload.writers):
            name = f"user-{number}-{turn}"
            first = dice.randrange(PLACES)
            writer = Writer(
                loop,
                feed,
                connection_of(name),
                f"bench-client-{number:04d}-{turn:04d}",
                places[first:] + places[:first],
            )
            await writer.open()
            writers.append(writer)
    return writers


async def drive(workload: Workload, journal: Journal, sizes: Sizes) -> Figures:
    """Return what a run on a journal that was started costs per operation."""
    bus = CountingBus()
    documents = Documents(journal, bus, Limits(), history_hours=1.0)
    loop = Loop(documents)
    try:
        writers = await fill(loop, workload)
        await loop.run(writers, sizes.warm_up)
        frames, commits = bus.frames, getattr(journal, "commits", 0)
        wall, cpu, own = time.perf_counter(), time.process_time(), time.thread_time()
        await loop.run(writers, sizes.operations)
        wall = time.perf_counter() - wall
        cpu = time.process_time() - cpu
        own = time.thread_time() - own
        frames = bus.frames - frames
        commits = getattr(journal, "commits", 0) - commits
    finally:
        await documents.stop()
    count = sizes.operations
    return {
        "ops/s": count / wall,
        "CPU µs/op": cpu / count * 1e6,
        "loop µs/op": own / count * 1e6,
        "other threads µs/op": (cpu - own) / count * 1e6,
        "ops per frame": count / frames if frames else 0.0,
        "ops per commit": count / commits if commits else 0.0,
    }


async def measure(workload: Workload, kind: str, sizes: Sizes, folder: Path) -> Figures:
    """Return the figures of one workload on a fresh journal."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="journal-") as place:
        journal = journal_of(kind, Path(place))
        await journal.start()
        try:
            return await drive(workload, journal, sizes)
        finally:
            await journal.close()


def run(sizes: Sizes, folder: Path, journals: Sequence[str] = JOURNALS) -> Table:
    """Measure every workload on every journal, in turns, on one CPU."""
    cases = [(workload, kind) for workload in sizes.workloads for kind in journals]
    found: dict[tuple[Workload, str], list[Figures]] = {case: [] for case in cases}
    cpus = available_cpus()
    thresholds = gc.get_threshold()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cpus[-1]})
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as a server does
    try:
        for number in range(sizes.runs):
            for workload, kind in cases:
                progress(f"run {number + 1} of {sizes.runs}, {workload.name}, {kind}")
                found[workload, kind].append(uvloop.run(measure(workload, kind, sizes, folder)))
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cpus)
    rows = [_row(workload, kind, found[workload, kind]) for workload, kind in cases]
    return Table("The way of an operation without sockets, medians of the runs", rows)


def _row(workload: Workload, kind: str, runs: Sequence[Figures]) -> Row:
    medians = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return {"workload": workload.name, "journal": kind, "runs": len(runs), **medians}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, and write the same as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.commit_path", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds, and less certain")
    parser.add_argument("--runs", type=int, metavar="N", help="interleaved runs")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the JSON goes")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where the journals go")
    arguments = parser.parse_args(argv)
    sizes = QUICK if arguments.quick else Sizes()
    if arguments.runs:
        sizes = Sizes(arguments.runs, sizes.warm_up, sizes.operations)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    table = run(sizes, arguments.folder)
    print(table.text())
    if arguments.output:
        content = {"machine": describe(arguments.folder), "rows": [dict(one) for one in table.rows]}
        arguments.output.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
