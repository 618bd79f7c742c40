"""Who is measured: the commands that start each server, and the versions they are made of."""

import json
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.engine.process import Server, serving, version_of

PEERS: Final = Path(__file__).parent.parent / "peers"
PYTHON_PACKAGES: Final = ("stretto", "aiohttp", "python-socketio", "uvloop", "orjson")

OURS: Final = "ours"
SOCKETIO: Final = "socket.io"
STOCK: Final = "stock"
"""python-socketio with python-engineio's own server."""


@contextmanager
def contender(name: str, options: Mapping[str, Any]) -> Iterator[Server]:
    """Run one of the servers until the block ends."""
    if name == SOCKETIO:
        command = ["node", str(PEERS / "socketio.mjs"), json.dumps(dict(options))]
    else:
        settings = json.dumps({**options, "engine": name})
        command = [sys.executable, "-m", "bench.engine.application", settings]
    with serving(command, NODE_ENV="production") as server:
        yield server


def check_peers() -> None:
    """Raise RuntimeError when Node or its packages are not installed."""
    if shutil.which("node") is None:
        raise RuntimeError("node is missing: Node.js 20 or newer runs the peers")
    if not (PEERS / "node_modules").is_dir():
        raise RuntimeError(f"the peers are not installed: (cd {PEERS} && npm ci)")


def node_package(name: str) -> str:
    """Return the version of an installed package of Node's."""
    description = json.loads((PEERS / "node_modules" / name / "package.json").read_text())
    return str(description["version"])


def versions() -> dict[str, str]:
    """Return the versions of everything that runs in a measurement."""
    return {
        "Python": platform.python_version(),
        **{name: version(name) for name in PYTHON_PACKAGES},
        "Node": version_of(["node", "--version"]).removeprefix("v"),
        "socket.io": node_package("socket.io"),
        "ws": node_package("ws"),
        "gcc": version_of(["gcc", "-dumpfullversion"]),
    }
