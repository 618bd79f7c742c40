"""``make run-cluster``: Redis, two nodes and nginx on this machine, to try many nodes out.

Everything listens on loopback and keeps its files in one folder. Ctrl-C stops all. The
proxy's configuration is ``deploy/nginx.conf`` with the ports put in.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
NGINX_CONF = ROOT / "deploy" / "nginx.conf"
FRONT, FIRST, SECOND = 8080, 8081, 8082
"""The ports in ``deploy/nginx.conf``: nginx and the nodes."""
REDIS = 6390
START_S = 30.0
STOP_S = 30.0


class Trouble(Exception):
    """Raised with what to tell the user."""


class Service:
    """One process of the cluster; what it says goes to a file of its name."""

    def __init__(
        self,
        name: str,
        folder: Path,
        command: Sequence[str],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                # Ctrl-C is for us, who stop all in the right order.
                process_group=0,
            )

    def wait_until_it_answers(self, port: int, path: str | None = None) -> None:
        """Return once it listens, and answers 200 where a path is given. Raises Trouble."""
        deadline = time.monotonic() + START_S
        while not _answers(port, path):
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace").splitlines()[-5:]
                raise Trouble("\n".join([f"{self.name} does not start; {self.log} ends:", *tail]))
            time.sleep(0.05)

    def stop(self) -> None:
        """End it; twice is fine."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def _answers(port: int, path: str | None) -> bool:
    try:
        if path is None:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, URLError):
        return False


def free_port(wished: int) -> int:
    """Return ``wished`` if nobody listens there, else another port."""
    for port in (wished, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise Trouble("no port is free")


def program(name: str) -> str:
    """Return where a program is; Debian keeps servers where not everybody looks."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if path is None:
        raise Trouble(f"{name} is not installed; `make run-cluster` installs it")
    return path


def nginx_conf(text: str, front: int, nodes: Sequence[int]) -> str:
    """Return the configuration with other ports."""
    ports = dict(zip((FRONT, FIRST, SECOND), (front, *nodes), strict=True))
    return re.sub(r"(?<=127\.0\.0\.1:)[0-9]+", lambda found: str(ports[int(found.group())]), text)


def start_all(services: list[Service], folder: Path, front: int) -> None:
    """Start one after the other, adding each to ``services``. Raises Trouble."""

    def start(
        name: str, command: Sequence[str], port: int, path: str | None = None, **env: str
    ) -> None:
        services.append(Service(name, folder, command, {**os.environ, **env}))
        services[-1].wait_until_it_answers(port, path)

    redis = free_port(REDIS)
    options = {"port": redis, "bind": "127.0.0.1", "dir": folder, "save": ""}
    options |= {"appendonly": "yes", "appendfsync": "always"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    start("redis", [program("redis-server"), *words], redis)
    url = f"redis://127.0.0.1:{redis}/0"
    show("Redis", url, services[-1])
    nodes: list[int] = []
    for wished in (FIRST, SECOND):
        nodes.append(free_port(wished))
        command = [sys.executable, "-m", "stretto_server", "serve", "--dev"]
        command += ["--port", str(nodes[-1]), "--data", str(folder), "--workers", "1"]
        environ = {"STRETTO_TRUSTED_PROXIES": "127.0.0.1/32"}
        environ |= {"STRETTO_JOURNAL": url, "STRETTO_REDIS_URL": url}
        start(f"node-{len(nodes)}", command, nodes[-1], "/readyz", **environ)
        show(f"node {len(nodes)}", f"http://127.0.0.1:{nodes[-1]}", services[-1])
    conf = folder / "nginx.conf"
    conf.write_text(nginx_conf(NGINX_CONF.read_text(), front, nodes))
    start("nginx", nginx_command(folder, conf), front, "/readyz")
    show("nginx", f"http://127.0.0.1:{front}", services[-1])


def nginx_command(folder: Path, conf: Path, *more: str) -> list[str]:
    """Return how to run nginx in a folder; as root its workers stay root to read there."""
    user = ["-g", "user root;"] if os.getuid() == 0 else []
    return [program("nginx"), "-p", str(folder), "-c", str(conf), "-e", "stderr", *user, *more]


def show(what: str, where: str, service: Service) -> None:
    """Say what runs where."""
    print(f"{what:8} {where:32} process {service.process.pid:<8} {service.log}", flush=True)


def watch(services: Sequence[Service]) -> int:
    """Wait until the user stops all, or nothing works any more; return the exit code."""
    left = list(services)
    while True:
        time.sleep(0.2)
        for service in [one for one in left if one.process.poll() is not None]:
            left.remove(service)
            print(f"{service.name} ended with {service.process.returncode}", flush=True)
            if service.name in ("redis", "nginx"):
                return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=FRONT, help="where nginx listens (8080)")
    parser.add_argument("--data", type=Path, default=Path("data/cluster"), help="./data/cluster")
    arguments = parser.parse_args(argv)
    folder: Path = arguments.data.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    front = free_port(arguments.port)
    services: list[Service] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments.port not in (0, front):
            raise Trouble(f"something listens on port {arguments.port} already: say --port")
        start_all(services, folder, front)
        print(f"Open http://127.0.0.1:{front} and edit; kill a node and go on. Ctrl-C ends all.")
        sys.stdout.flush()
        return watch(services)
    except Trouble as trouble:
        print(f"run-cluster: {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopping", flush=True)
        return 0
    finally:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        # Nodes first, so that their clients hear of it; Redis last, so that nothing is lost.
        for service in services[1:] + services[:1]:
            service.stop()


if __name__ == "__main__":
    sys.exit(main())
