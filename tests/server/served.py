"""``stretto serve`` as a process of a test's own."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Self

from tests.server.wire import SECRET

PATIENCE_S = 15.0


class Process:
    """A server in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.log: list[str] = []
        self.url = ""

    @classmethod
    async def start(cls, data: Path, *arguments: str, **environ: str) -> Self:
        given = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "stretto_server", "serve",
            "--port", "0", "--host", "127.0.0.1", "--data", str(data), *arguments,
            env=given | {"STRETTO_SECRET": SECRET, "STRETTO_DRAIN_S": "4"} | environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return cls(process)

    async def wait_for(self, text: str) -> str:
        """Wait for a line of the log."""
        assert self._process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            while not any(text in line for line in self.log):
                line = await self._process.stderr.readline()
                assert line, "\n".join(self.log)
                self.log.append(line.decode().rstrip())
        return next(line for line in self.log if text in line)

    async def listening(self) -> Self:
        line = await self.wait_for("listens on")
        self.url = line.partition("listens on ")[2].partition(",")[0]
        return self

    @property
    def pid(self) -> int:
        return self._process.pid

    def children(self) -> list[int]:
        """Return the ids of the processes that it started and that still run."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(word) for word in path.read_text().split()]

    def send(self, name: signal.Signals) -> None:
        self._process.send_signal(name)

    async def ended(self) -> int:
        """Return the exit code once the process has ended."""
        assert self._process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            rest = await self._process.stderr.read()
            self.log += rest.decode().splitlines()
            return await self._process.wait()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self.ended()
