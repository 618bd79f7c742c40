"""A server of the replayer's own, started as a child process and killed on purpose."""

import asyncio
import os
import random
import shlex
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp

from stretto_core.errors import StrettoError, Unavailable

READY_S: Final = 20.0
STOP_S: Final = 30.0


class Child:
    """A server process on a free port, with its journal in a folder of its own."""

    def __init__(self, command: str | None, folder: Path, environ: Mapping[str, str]) -> None:
        given = (
            shlex.split(command) if command else [sys.executable, "-m", "stretto_server", "serve"]
        )
        if given[0] == "stretto":  # the command of this very installation
            given[:1] = [sys.executable, "-m", "stretto_server"]
        self.journal = _option(given, "--journal") or f"sqlite:///{folder / 'stretto.db'}"
        self.port = int(_option(given, "--port") or free_port())
        for name, value in (("--port", str(self.port)), ("--journal", self.journal)):
            if _option(given, name) is None:
                given += [name, value]
        if _option(given, "--data") is None:
            given += ["--data", str(folder)]
        if "--dev" not in given:
            given.append("--dev")
        self._command = given
        self._environ = {**environ, "STRETTO_LIMITS": "off"}
        self._log = folder / "server.log"
        self._process: asyncio.subprocess.Process | None = None
        self.kills = 0

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the process and wait until it is ready. Raises Unavailable with its log."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdout=log, stderr=log, env=self._environ
            )
        async with aiohttp.ClientSession() as session:
            deadline = asyncio.get_running_loop().time() + READY_S
            while asyncio.get_running_loop().time() < deadline:
                if self._process.returncode is not None:
                    break
                if await _is_ready(session, self.url):
                    return
                await asyncio.sleep(0.05)
        tail = self._log.read_text(errors="replace")[-2_000:]
        await self.kill()
        raise Unavailable(f"the server did not start:\n{tail}")

    async def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
            self.kills += 1

    async def stop(self) -> int:
        """Send SIGTERM and wait; return the exit code."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_S):
                    await self._process.wait()
            except TimeoutError:
                await self.kill()
        return self._process.returncode or 0


class Killer:
    """Kills the server at seeded moments while a submit is in flight, and starts it again."""

    def __init__(self, child: Child, times: int, patches: int, seed: int) -> None:
        self._child = child
        self._random = random.Random(seed)
        low, high = patches // 20, max(patches * 19 // 20, 1)
        self._moments = sorted(self._random.randint(low, high) for _ in range(times))
        self._killing = False
        self.played = 0
        self.failure: asyncio.Future[StrettoError] = asyncio.get_running_loop().create_future()
        """Set to the reason when the server did not come back."""

    async def submitted(self, answering: "asyncio.Future[dict[str, Any]]") -> None:
        """Be told of a submit that was just sent; perhaps kill before its answer comes."""
        if self._killing or not self._moments or self.played < self._moments[0]:
            return
        self._killing = True
        try:
            await asyncio.wait([answering], timeout=self._random.uniform(0, 0.003))
            if answering.done():
                return  # answered already: the next submit is the one
            self._moments.pop(0)
            await self._child.kill()
            await self._child.start()
        except StrettoError as error:
            # Not raised here: to the client it would be one more passing loss.
            if not self.failure.done():
                self.failure.set_result(error)
        finally:
            self._killing = False

    @property
    def left(self) -> int:
        """How many kills are still to come."""
        return len(self._moments)


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def run_stretto(*arguments: str, environ: Mapping[str, str]) -> tuple[int, str]:
    """Run the ``stretto`` command in a fresh process; return its exit code and output."""
    with tempfile.TemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stretto_server", *arguments),
            stdout=output,
            stderr=output,
            env=dict(environ),
        )
        try:
            code = await process.wait()
        except BaseException:
            process.kill()
            raise
        output.seek(0)
        return code, output.read().decode(errors="replace")


def _option(command: Sequence[str], name: str) -> str | None:
    for index, word in enumerate(command):
        if word == name and index + 1 < len(command):
            return command[index + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/readyz") as response:
            return response.status == 200
    except (aiohttp.ClientError, OSError):
        return False


def process_environ() -> dict[str, str]:
    """Return the environment that children get."""
    return dict(os.environ)
