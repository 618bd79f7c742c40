"""The two processes of a measurement: a server on the first CPU, a load generator on the last."""

import json
import os
import resource
import selectors
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

from bench.server import FOREIGN, child

START_S: Final = 30.0
READY: Final = "ready "
"""What a server prints, with its port, once it listens on 127.0.0.1."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens on 127.0.0.1."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its threads so far, to the nanosecond."""
        # The clock of another process, see clock_getcpuclockid(3): its number in the upper
        # bits, inverted; 2 asks for the scheduler's own count instead of that of timer ticks.
        return time.clock_gettime(((~self.pid) << 3) | 2)

    def waited_s(self) -> float:
        """Return how long its main thread could have run while another had its CPU."""
        return int(_read(f"/proc/{self.pid}/schedstat").split()[1]) / 1e9

    def rss_bytes(self) -> int:
        """Return its resident memory, counted exactly."""
        for line in _read(f"/proc/{self.pid}/smaps_rollup").splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"process {self.pid} has no memory")


@contextmanager
def serving(command: Sequence[str], **environment: str) -> Iterator[Server]:
    """Run a server on the first CPU until the block ends.

    The command must print ``ready <port>`` once it listens. Raises RuntimeError, with what it
    wrote to its standard error, when it does not.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    with (
        tempfile.TemporaryFile("w+") as log,
        child(command, 0, inherited | environment, log.fileno()) as process,
    ):
        yield Server(_port_of(process, log), process.pid)


def generate(command: Sequence[str], limit_s: float) -> dict[str, Any]:
    """Run a load generator on the last CPU; return the JSON object that it prints.

    Raises RuntimeError, with what it wrote to its standard error, when it fails: a message was
    lost, wrong or late. Raises TimeoutExpired when it is not done within ``limit_s``.
    """
    with (
        tempfile.TemporaryFile("w+") as log,
        child(command, -1, dict(os.environ), log.fileno()) as process,
    ):
        output, _ = process.communicate(timeout=limit_s)
        if process.returncode:
            raise RuntimeError(f"the load generator failed: {_text_of(log)}")
    figures: dict[str, Any] = json.loads(output)
    return figures


def allow_descriptors(count: int) -> None:
    """Let this process and its children open ``count`` files.

    Raises RuntimeError where the system forbids it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(count, hard)))
    except (OSError, ValueError) as error:
        raise RuntimeError(
            f"{count:,} open files are needed and the limit is {hard:,}; "
            f"raise it (ulimit -Hn {count}, as root)"
        ) from error


def version_of(command: Sequence[str]) -> str:
    """Return the first line that a command prints about itself."""
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=START_S)
    return output.stdout.splitlines()[0].strip()


def _port_of(process: "subprocess.Popen[str]", log: IO[str]) -> int:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if selector.select(START_S):
            line = process.stdout.readline()
            if line.startswith(READY):
                return int(line.removeprefix(READY))
    raise RuntimeError(f"the server did not start: {_text_of(log)}")


def _text_of(log: IO[str]) -> str:
    log.seek(0)
    return log.read().strip()[-2000:] or "it said nothing"


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
