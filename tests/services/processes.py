"""Private servers for tests: on loopback, on free ports, in a folder of their own, always ended."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

START_S = 30.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def found_program(name: str, *folders: Path) -> str:
    """Return where a program is; what tests need is installed by one command."""
    places = [str(folder) for folder in folders]
    path = shutil.which(name, path=os.pathsep.join([*places, os.environ.get("PATH", "")]))
    if path is None:
        raise RuntimeError(f"the tests need {name}: run `make services`")
    return path


def as_user(name: str) -> list[str]:
    """Return what to put before a command to run it as the system user ``name``, if we may."""
    if os.getuid() != 0:
        return []
    user = pwd.getpwnam(name)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


class ServerProcess:
    """One server, started again as often as a test likes, in the same place."""

    def __init__(self, command: Sequence[str], folder: Path, port: int) -> None:
        self.port = port
        self.folder = folder
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return once it listens."""
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + START_S
        while not self.listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "server.log").read_text(errors="replace"))
            time.sleep(0.01)

    def listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it (-9), as a crash does."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """End it whatever state it is in; twice is fine."""
        if not self.runs():
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.kill()

    def wait(self) -> None:
        assert self._process is not None
        self._process.wait(timeout=START_S)
        self._process = None

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def cpu_s(self) -> float:
        """Return the processor time that it has used."""
        return self.cpu_of(self.pid)

    @staticmethod
    def cpu_of(process: int) -> float:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Runnable(Protocol):
    """Whatever can be started and stopped."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


@contextmanager
def running(*servers: Runnable) -> Iterator[None]:
    """Have ``servers`` run meanwhile."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.stop()
