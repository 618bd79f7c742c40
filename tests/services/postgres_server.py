"""A private PostgreSQL in a folder of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.processes import ServerProcess, as_user, found_program, free_port, running

USER = "postgres"
INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


class PostgresServer(ServerProcess):
    """A PostgreSQL with the settings given; it refuses to run as root, so it does not."""

    def __init__(self, folder: Path, **settings: str) -> None:
        port = free_port()
        self._data = folder / "data"
        self._prefix = as_user(USER)
        rows = {
            "port": str(port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "shared_buffers": "32MB",
            **settings,
        }
        options = [part for name, value in rows.items() for part in ("-c", f"{name}={value}")]
        program = found_program("postgres", *INSTALLED)
        super().__init__([*self._prefix, program, "-D", str(self._data), *options], folder, port)

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def create(self) -> None:
        """Make the empty database."""
        if self._prefix:
            shutil.chown(self.folder, USER)
        command = [found_program("initdb", *INSTALLED), "-D", str(self._data), "-U", USER]
        command += ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run(
            [*self._prefix, *command], cwd=self.folder, check=True, capture_output=True, text=True
        )

    def listens(self) -> bool:
        command = [found_program("pg_isready", *INSTALLED), "-q", "-h", "127.0.0.1"]
        return subprocess.run([*command, "-p", str(self.port)], check=False).returncode == 0

    def hang(self) -> None:
        """Stop every process of it, as a machine that hangs does."""
        self._signal_all(signal.SIGSTOP)

    def wake(self) -> None:
        self._signal_all(signal.SIGCONT)

    def kill(self) -> None:
        """Kill all of it (-9), as a power cut does, but for the page cache."""
        processes = list(self._processes())
        self.signal(signal.SIGKILL)
        for process in processes:
            _signal(process, signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        if self.runs():
            self.wake()
        super().stop()

    def cpu_s(self) -> float:
        return sum(map(self.cpu_of, self._processes()))

    def _signal_all(self, number: int) -> None:
        for process in list(self._processes()):
            _signal(process, number)

    def _processes(self) -> Iterator[int]:
        """Give the ids of the postmaster and its children."""
        yield self.pid
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(path.read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue  # it ended meanwhile
            if parent == self.pid:
                yield int(path.parent.name)


@contextmanager
def running_postgres(**settings: str) -> Iterator[PostgresServer]:
    """Give a new PostgreSQL that runs meanwhile.

    Its folder is none of pytest's: those are closed to the user that PostgreSQL runs as.
    """
    with tempfile.TemporaryDirectory(prefix="stretto-postgres-") as folder:
        server = PostgresServer(Path(folder), **settings)
        server.create()
        with running(server):
            yield server


def _signal(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)
