"""A cluster with clients on it, to which a test does something, and the judgement afterwards."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tests.faults.evidence import ClientLog, Death, Evidence, JournalCopy
from tests.faults.nodes import NodeProcess, Sample, environ_of
from tests.faults.oracle import Bounds, Verdict, judge
from tests.faults.proxy import FaultProxy, proxied
from tests.faults.writers import Crowd
from tests.services.postgres_server import PostgresServer, running_postgres
from tests.services.processes import running
from tests.services.redis_server import RedisServer

SLACK: Final = 3.0
"""How much more time a test leaves than what is aimed at, on a machine that does much else."""
SAMPLE_EVERY_S: Final = 0.5
DOC: Final = "notes"
READING: Final = Path(__file__).with_name("reading.py")
REPORTED: Final[list[str]] = []
"""What every test found, for the summary of the run."""


class Stage:
    """What there is: the store behind a proxy, nodes, a proxy before them, and a crowd."""

    def __init__(self, folder: Path, journal: str, seed: int) -> None:
        self.folder = folder
        self.journal = journal
        self.redis: RedisServer | None = None
        self.postgres: PostgresServer | None = None
        self.lines: list[FaultProxy] = []
        """Between each node and the store."""
        self.front: FaultProxy
        """Between clients and nodes; each connection goes to the next node that answers."""
        self.nodes: list[NodeProcess] = []
        self.crowd = Crowd(seed)
        self.strangers: list[ClientLog] = []
        self.deaths: list[Death] = []
        self.samples: list[Sample] = []
        self.calm: list[Sample] = []
        self.healed_at: float | None = None
        self.may_lose = False
        self.earlier: dict[str, JournalCopy] = {}
        """What was read of documents before their logs were cut."""
        self.figures: dict[str, float | int | None] = {}

    # What nodes and the command line connect to.

    @property
    def journal_url(self) -> str:
        """The journal itself, without a proxy on the way."""
        if self.journal == "sqlite":
            return f"sqlite:///{self.folder / 'stretto.db'}"
        server = self.redis if self.journal == "redis" else self.postgres
        assert server is not None
        return server.url

    @property
    def store_proxy(self) -> FaultProxy:
        """The line of the first node."""
        return self.lines[0]

    def node_environ(self, settings: Mapping[str, str], number: int = 0) -> dict[str, str]:
        """Return the environment of a node, which reaches the store over its line."""
        if self.journal == "sqlite":
            return environ_of(self.journal_url, **settings)
        journal = self.journal_url
        if self.lines:
            port = self.lines[number].port
            journal = journal.replace(f":{self._store_port}/", f":{port}/")
        shared = {}
        if self.redis is not None:
            url = journal if self.journal == "redis" else self.redis.url
            shared = {"STRETTO_REDIS_URL": url}
        return environ_of(journal, **shared, **settings)

    @property
    def _store_port(self) -> int:
        server = self.redis if self.journal == "redis" else self.postgres
        assert server is not None
        return server.port

    @property
    def store(self) -> RedisServer | PostgresServer:
        """The process that holds the journal."""
        server = self.redis if self.journal == "redis" else self.postgres
        assert server is not None
        return server

    # The course of a test.

    def add_writers(self, count: int, *docs: str, **options: Any) -> None:
        for number in range(count):
            self.crowd.add(
                self.front.url, (docs or (DOC,))[number % len(docs or (DOC,))], **options
            )

    async def clear(self, seed: int) -> None:
        """Send everybody home, for another crowd on the same processes."""
        await self.crowd.close()
        self.crowd = Crowd(seed)
        self.strangers, self.deaths, self.figures = [], [], {}
        self.healed_at = None

    def growth(self) -> str:
        """Tell how much memory the nodes had at first and at last."""
        rows = []
        for node in self.nodes:
            sizes = [one.resident_bytes >> 20 for one in self.samples if one.node == node.name]
            if sizes:
                rows.append(f"{node.name} {sizes[0]} to {sizes[-1]} MiB, at most {max(sizes)}")
        return f"memory: {'; '.join(rows)}"

    async def begin(self, *, each: int = 5) -> None:
        """Let everybody open, write and be acknowledged, before anything goes wrong."""
        await self.crowd.open()
        self.strangers.append(await self.crowd.spy(self.front.url))
        self.crowd.begin()
        await self.crowd.committed(each)
        if not self.calm:
            self.calm = [s for node in self.nodes if (s := node.sample(time.monotonic()))]

    def healed(self) -> None:
        """Say that the last fault is over."""
        self.healed_at = time.monotonic()

    async def within(self, seconds: float) -> None:
        """Let the fault last."""
        await asyncio.sleep(seconds)

    async def recover(self, *, each: int = 12, within_s: float = 60.0) -> None:
        """Let everybody write on for a while after the faults."""
        if self.healed_at is None:
            self.healed()
        await self.crowd.committed(each, within_s)

    async def finish(
        self, title: str, bounds: Bounds | None = None, *, within_s: float = 60.0
    ) -> Verdict:
        """Wait for quiet, read the journal in a fresh process, and judge.

        Raises AssertionError where something does not hold.
        """
        self.figures["quiet_s"] = await self.crowd.quiesce(within_s)
        evidence = await self.evidence()
        verdict = judge(evidence, bounds or Bounds().times(SLACK))
        verdict.figures.update(self.figures)
        REPORTED.append(f"{title}: {verdict}")
        assert verdict.holds, f"{title}: {verdict}"
        return verdict

    async def evidence(self) -> Evidence:
        logs = [writer.log for writer in self.crowd.writers]
        docs = sorted({log.doc for log in logs})
        copies = await read_journal(self.journal_url, docs)
        for doc, earlier in self.earlier.items():
            copies[doc] = replace(copies[doc], earlier=earlier.lines)
        return Evidence(
            copies,
            logs,
            self.strangers,
            self.samples,
            self.calm,
            self.healed_at,
            time.monotonic(),
            self.deaths,
            self.may_lose,
        )

    async def close(self) -> None:
        await self.crowd.close()

    async def watch(self) -> None:
        """Look at what the nodes hold, until cancelled."""
        while True:
            now = time.monotonic()
            self.samples += [sample for node in self.nodes if (sample := node.sample(now))]
            await asyncio.sleep(SAMPLE_EVERY_S)


@asynccontextmanager
async def staged(
    folder: Path,
    journal: str = "redis",
    *,
    nodes: int = 1,
    seed: int = 0,
    store: dict[str, str] | None = None,
    before: Sequence[str] = (),
    program: Sequence[str] = (),
    lines: bool = True,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Stage]:
    """Give a stage whose processes run meanwhile; ``store`` are settings of the store.

    Without ``lines`` nodes reach it without a proxy, which so many clients would slow down.
    """
    async with AsyncExitStack() as stack:
        stage = Stage(folder, journal, seed)
        await _start_store(stage, stack, nodes, store or {}, lines=lines)
        for number in range(nodes):
            environ = stage.node_environ(settings or {}, number)
            place = folder / f"n{number}"
            node = NodeProcess(f"n{number}", place, environ, before=before, program=program)
            stage.nodes.append(node)
        if journal == "postgres":
            await operate("migrate", "--journal", stage.journal_url)
        for node in stage.nodes:
            stack.callback(node.stop)
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in stage.nodes))
        ports = [node.port for node in stage.nodes]
        stage.front = await stack.enter_async_context(proxied(*ports))
        watching = asyncio.ensure_future(stage.watch())
        stack.callback(watching.cancel)
        stack.push_async_callback(stage.close)
        yield stage


async def _start_store(
    stage: Stage, stack: AsyncExitStack, nodes: int, settings: dict[str, str], *, lines: bool
) -> None:
    if stage.journal == "redis" or nodes > 1:
        stage.redis = RedisServer(
            stage.folder / "redis", port=None, **(settings if stage.journal == "redis" else {})
        )
        stack.enter_context(running(stage.redis))
    if stage.journal == "postgres":
        stage.postgres = stack.enter_context(running_postgres(**settings))
    if stage.journal != "sqlite":
        for _ in range(nodes if lines else 0):
            line = await stack.enter_async_context(proxied(stage._store_port))
            stage.lines.append(line)


# The journal, read by processes that know nothing of the test.


async def output_of(*command: str) -> str:
    """Run a command; return what it printed. Raises AssertionError where it failed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, complaints = await process.communicate()
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        raise
    assert process.returncode == 0, complaints.decode()
    return output.decode()


async def operate(*arguments: str) -> str:
    """Run the command line as an operator does; return what it printed."""
    return await output_of(sys.executable, "-m", "stretto_server", *arguments)


async def read_journal(url: str, docs: Sequence[str]) -> dict[str, JournalCopy]:
    """Return what a fresh process reads of documents; the server may run meanwhile."""
    output = await output_of(sys.executable, "-P", str(READING), url, *docs)
    copies = {}
    for doc, line in zip(docs, output.splitlines(), strict=True):
        told = json.loads(line)
        for name in ("history", "export"):
            code, _, complaints = told[name]
            assert code == 0, complaints
        rows = [json.loads(row) for row in told["history"][1].split("\n") if row]
        failed, _, complaints = told["verify"]
        copies[doc] = JournalCopy(doc, rows, told["export"][1], complaints if failed else "")
    return copies
