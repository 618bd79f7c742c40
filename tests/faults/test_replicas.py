"""Clients that crash, are doubled, or come back behind a fence."""

import asyncio
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.faults.evidence import marker
from tests.faults.points import AFTER_SCRIPT, BEFORE_SCRIPT, UNDER_WAY, Order
from tests.faults.stage import DOC, SLACK, Stage, staged
from tests.faults.writers import Writer

ROOT = Path(__file__).parents[2]
FAR = 50_000
"""The markers of processes that crash begin here, beyond those of the crowd."""


class Crasher:
    """A user's process that is killed."""

    def __init__(self, url: str, name: str, outbox: Path, first: int, edits: int) -> None:
        self._command = ["-m", "tests.faults.crashing", url, DOC, name, str(outbox)]
        self._command += [str(first), str(edits)]
        self._process: asyncio.subprocess.Process | None = None
        self.numbers: list[int] = []

    async def open(self) -> None:
        """Return once it has the document open."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, *self._command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        assert await self._line() == b"open\n"

    async def edit(self, count: int) -> None:
        """Let it edit; return once so many edits are in its outbox."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        while len(self.numbers) < count:
            self.numbers.append(int(await self._line()))

    async def kill(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGKILL)
        rest = await self._process.stdout.read()
        await self._process.wait()
        # What was printed is stored, also where the kill was faster than we read.
        whole = rest.decode().rpartition("\n")[0]
        self.numbers += [int(line) for line in whole.split()]

    async def _line(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(20 * SLACK):
            line = await self._process.stdout.readline()
        assert line, "the process ended by itself"
        return line


def heir(stage: Stage, name: str, outbox: Path, numbers: list[int]) -> Writer:
    """Add the process that goes on from the outbox of one that was killed."""
    writer = stage.crowd.add(stage.front.url, DOC, name, outbox=outbox)
    writer.log.made = [marker(number) for number in numbers]
    return writer


@pytest.mark.soak
async def test_clients_crash_with_edits_unsent(tmp_path: Path) -> None:
    async with staged(tmp_path, seed=22) as stage:
        stage.add_writers(3)
        await stage.begin()
        outbox = tmp_path / "outbox"
        numbers: list[int] = []
        for run in range(3):
            crasher = Crasher(stage.front.url, "crasher", outbox, FAR + 1_000 * run, 1_000)
            await crasher.open()
            await crasher.edit(20)
            await crasher.kill()
            numbers += crasher.numbers
        heir(stage, "crasher", outbox, numbers)
        await stage.crowd.open()
        stage.crowd.begin()
        stage.healed()
        await stage.recover()
        await stage.finish("22 a client killed three times with edits unsent")


async def test_an_outbox_is_copied(tmp_path: Path) -> None:
    """Two go on from one operation in flight: the node that has it, and a process with a copy."""
    async with staged(tmp_path, seed=22) as stage:
        stage.add_writers(2)
        await stage.begin()
        outbox, copied = tmp_path / "outbox", tmp_path / "copied"
        crasher = Crasher(stage.front.url, "doubled", outbox, FAR, 1)
        await crasher.open()
        stage.nodes[0].hang()
        await crasher.edit(1)
        await crasher.kill()
        copy(outbox, copied)
        stage.nodes[0].wake()
        heir(stage, "doubled", copied, crasher.numbers)
        await stage.crowd.open()
        stage.crowd.begin()
        stage.healed()
        await stage.recover()
        await stage.finish("22 an outbox copied")


def copy(outbox: Path, copied: Path) -> None:
    """Copy an outbox with whatever lies beside it."""
    for path in outbox.parent.glob(f"{outbox.name}*"):
        shutil.copy(path, copied.with_name(path.name.replace(outbox.name, copied.name)))


@pytest.mark.parametrize(
    "point",
    [
        UNDER_WAY,
        *(pytest.param(one, marks=pytest.mark.soak) for one in (BEFORE_SCRIPT, AFTER_SCRIPT)),
    ],
)
async def test_a_replica_moves_behind_a_fence_while_its_old_node_hangs(
    tmp_path: Path, point: str
) -> None:
    """The operation that the hung node holds commits there or with the new client, never twice."""
    async with staged(tmp_path, seed=22, nodes=2) as stage:
        old, new = stage.nodes
        stage.crowd.add(new.url, DOC)
        mover = stage.crowd.add(stage.front.url, DOC)
        stage.front.targets = [old.port]
        await stage.begin()
        old.trigger.arm(Order(point, 2, int(signal.SIGSTOP)))
        await stage.crowd.until(lambda: not old.trigger.armed, 20 * SLACK, point)
        stage.front.targets = [new.port]
        stage.front.reset()
        assert mover.document is not None
        mover.document.replica._astray()  # it comes with nothing that can be continued
        await stage.crowd.committed(5)
        old.wake()
        stage.healed()
        await stage.recover()
        await stage.finish(f"22 fenced while the old node hung {point}")
