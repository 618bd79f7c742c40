"""Real nodes under a supervisor: each is a process of `stretto serve`, on a port that it keeps."""

import asyncio
import http.client
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.points import Mischief, Trigger
from tests.services.processes import ServerProcess, free_port

SECRET: Final = "the fault tests' own key, long enough for HS256"
LAUNCHER: Final = Path(__file__).with_name("launcher.py")
KEPT: Final = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Sample:
    """What a node held at one moment."""

    at: float
    node: str
    files: int
    threads: int
    resident_bytes: int


def environ_of(journal: str, **settings: str) -> dict[str, str]:
    """Return the environment of a node; nothing of the tests' own leaks into it."""
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        "STRETTO_HOST": "127.0.0.1",
        "STRETTO_SECRET": SECRET,
        "STRETTO_JOURNAL": journal,
        "STRETTO_LIMITS": "off",
        "STRETTO_DRAIN_S": "8",
        **settings,
    }


class NodeProcess(ServerProcess):
    """One node, started again as often as a test likes, on the same port."""

    def __init__(
        self,
        name: str,
        folder: Path,
        environ: Mapping[str, str],
        *,
        before: Sequence[str] = (),
        program: Sequence[str] = (),
    ) -> None:
        """``before`` is put before the command; ``program`` serves instead of the launcher."""
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.name = name
        self.trigger = Trigger(folder / "order.json")
        self.mischief = Mischief(folder / "mischief.json")
        self._before = list(before)
        self._program = list(program) or [str(LAUNCHER), str(self.trigger.path)]
        super().__init__([], folder, port)
        self.set_environ(environ)

    def set_environ(self, environ: Mapping[str, str]) -> None:
        """Let it start with another environment from now on."""
        # `env` becomes the node: the process is the same.
        pairs = [f"{key}={value}" for key, value in environ.items()]
        self._command = [
            *("env", "-i", *pairs, *self._before, sys.executable, "-P", *self._program),
            *("serve", "--port", str(self.port), "--data", str(self.folder)),
        ]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def listens(self) -> bool:
        return self.says("/readyz") == 200

    def says(self, path: str) -> int:
        """Return the status of a probe; 0 where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def hang(self) -> None:
        self.signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.runs():  # it may have killed itself, at a point
            super().kill()
        self.trigger.disarm()

    async def restart(self) -> None:
        """Start it again, while the clients go on."""
        self.trigger.disarm()
        await asyncio.to_thread(self.start)

    async def died(self, within_s: float) -> bool:
        """Wait until it has ended by itself; tell whether it did in time."""
        deadline = asyncio.get_running_loop().time() + within_s
        while self.runs():
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    def sample(self, at: float) -> Sample | None:
        """Return what it holds now; None while it does not run."""
        try:
            place = Path(f"/proc/{self.pid}")
            status = dict(
                line.split(":", 1) for line in (place / "status").read_text().splitlines()
            )
            return Sample(
                at,
                self.name,
                len(os.listdir(place / "fd")),
                int(status["Threads"]),
                int(status["VmRSS"].split()[0]) * 1024,
            )
        except (AssertionError, OSError, KeyError):
            return None
