"""Documents end to end: Stretto, which answers when an edit is on the disk, and its peers.

``python -m bench.engine.documents`` measures this table alone. Everybody types, one character
in flight each; ShareDB and Hocuspocus keep documents in memory only. One generator in C drives
all three over their own wire protocols, and every text is checked in the end.
"""

import argparse
import json
import platform
import secrets
import signal
import sqlite3
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from bench import server
from bench.engine.compiling import compiled
from bench.engine.contenders import OURS, PEERS, check_peers, node_package
from bench.engine.process import generate, serving, version_of
from bench.engine.report import README, RESULTS, Claim, markdown, table_of, write
from bench.engine.rounds import Figures, Measurement, run_rounds
from bench.machine import describe
from bench.server import Workload
from stretto_server.auth import issue_token

JOURNALS: Final = server.ROOT / "bench" / "results"
SOURCES: Final = ("documents_load.c", "documents_wire.c", "websocket_client.c", "measuring.c")
NAME: Final = "documents"
TITLE: Final = "Documents end to end, one server process on one core"
ENDING_S: Final = 90.0
"""How long the generator may take to connect and to settle, beside the measuring."""

ONE: Final = Workload(1, 20, 5_000)
MANY: Final = Workload(100, 2, 500)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured, with which of Stretto's engines, and where its journal is."""

    rounds: int = 5
    warm_up_s: float = 2.0
    measured_s: float = 5.0
    engine: str | None = None
    journals: Path = JOURNALS


FULL: Final = Sizes()
"""What a table that is kept needs at least."""
QUICK: Final = Sizes(rounds=1, warm_up_s=1.0, measured_s=2.0)
CONTENDERS: Final = (OURS, "sharedb", "hocuspocus")


def named(workload: Workload) -> str:
    """Return what the table calls a workload."""
    plural = "" if workload.documents == 1 else "s"
    return f"{workload.documents} document{plural} × {workload.clients} clients"


def claims() -> Sequence[Claim]:
    """Return the rows of the table."""
    ops = partial(Claim, figure="ops_per_s", unit="ops/s", is_upper=False)
    seen = partial(Claim, figure="seen_p99_us", unit="p99 µs to all", limit=1, strict=True)
    cpu = partial(Claim, figure="cpu_us", unit="CPU µs/op", limit=0.5)
    one, many = named(ONE), named(MANY)
    return (
        ops(one, one, limit=5, baseline="sharedb"),
        ops(one, one, limit=2.5, baseline="hocuspocus"),
        *(seen(one, one, baseline=peer) for peer in ("sharedb", "hocuspocus")),
        *(cpu(many, many, baseline=peer) for peer in ("sharedb", "hocuspocus")),
        *(ops(many, many, limit=None, baseline=peer) for peer in ("sharedb", "hocuspocus")),
    )


def measurements(sizes: Sizes, generator: Path) -> Sequence[Measurement]:
    """Return what takes turns in each round."""
    return [
        Measurement(
            named(workload),
            CONTENDERS,
            partial(measure, workload=workload, sizes=sizes, generator=generator),
        )
        for workload in (ONE, MANY)
    ]


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that runs, and how to read what it made of a document."""

    port: int
    pid: int
    tokens: Sequence[str]
    text_of: Callable[[str], str]


def measure(contender: str, *, workload: Workload, sizes: Sizes, generator: Path) -> Figures:
    """Let clients type at one fresh server.

    Raises RuntimeError when a text in the end is not what was typed.
    """
    with running(contender, workload, sizes) as one:
        command = [str(generator), _protocol(contender), f"port={one.port}", f"pid={one.pid}"]
        command += [f"documents={workload.documents}", f"clients={workload.clients}"]
        command += [f"chars={workload.chars}", f"warm={sizes.warm_up_s}"]
        command += [f"seconds={sizes.measured_s}", "--", *one.tokens]
        figures = generate(command, sizes.warm_up_s + sizes.measured_s + ENDING_S)
        for number, accepted in enumerate(figures.pop("accepted")):
            text = one.text_of(f"bench-{number}")
            if text != expected_text(workload.chars, accepted):
                raise RuntimeError(f"document {number} is not what its {len(accepted)} typed")
    return figures


def expected_text(chars: int, typed: Sequence[int], first: str = "a") -> str:
    """Return the initial text with what each client typed at its place, in one run each.

    The first client types the letter ``first``, each other one the next.
    """
    initial = "".join(str(place % 10) for place in range(chars))
    places = [chars * (number + 1) // (len(typed) + 1) for number in range(len(typed))]
    pieces = [initial[start:end] for start, end in pairwise([0, *places, chars])]
    runs = [chr(ord(first) + number) * count for number, count in enumerate(typed)]
    return "".join(piece + run for piece, run in zip(pieces, [*runs, ""], strict=True))


@contextmanager
def running(contender: str, workload: Workload, sizes: Sizes) -> Iterator[Contender]:
    """Run one contender's server; Stretto with SQLite, on the disk that holds the journals."""
    with ExitStack() as stack:
        if contender != OURS:
            command = ["node", str(PEERS / f"{contender}.mjs")]
            peer = stack.enter_context(serving(command, NODE_ENV="production"))
            url = f"http://127.0.0.1:{peer.port}"
            yield Contender(peer.port, peer.pid, ["nobody asks"], lambda doc: _get(f"{url}/{doc}"))
            return
        sizes.journals.mkdir(parents=True, exist_ok=True)
        data = stack.enter_context(
            tempfile.TemporaryDirectory(dir=sizes.journals, prefix="journal-")
        )
        secret = secrets.token_hex(32)
        started = server.serving("sqlite", secret, Path(data), sizes.engine)
        url, pid = stack.enter_context(started)
        tokens = _tokens(secret, workload)

        def text_of(doc: str) -> str:
            text: str = json.loads(_get(f"{url}/api/docs/{doc}", tokens[0]))["text"]
            return text

        yield Contender(int(url.rpartition(":")[2]), pid, tokens, text_of)


def _protocol(contender: str) -> str:
    return "stretto" if contender == OURS else contender


def _tokens(secret: str, workload: Workload) -> list[str]:
    """Return a token of a user of its own for each client."""
    return [
        issue_token(secret, f"user-{number}", grants={"docs/*": "editor"}, ttl_s=3600)
        for number in range(workload.documents * workload.clients)
    ]


def _get(url: str, token: str = "") -> str:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        body: bytes = answer.read()
    return body.decode()


def table(sizes: Sizes) -> dict[str, Any]:
    """Measure, and return the table's JSON."""
    generator = compiled("documents_load", SOURCES)
    found = run_rounds(measurements(sizes, generator), sizes.rounds)
    about = {
        "machine": describe(sizes.journals),
        "versions": versions(),
        "rounds": sizes.rounds,
        "engine": sizes.engine,
    }
    return table_of(TITLE, claims(), found, about)


def versions() -> dict[str, str]:
    """Return what was measured."""
    return {
        "Stretto": metadata.version("stretto"),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "ShareDB": node_package("sharedb"),
        "Hocuspocus": node_package("@hocuspocus/server"),
        "ws": node_package("ws"),
        "Node": version_of(["node", "--version"]).removeprefix("v"),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure this table alone and print it; a claim that does not hold is no error."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    sizes = QUICK if arguments.quick else FULL
    sizes = replace(sizes, rounds=arguments.rounds or sizes.rounds, engine=arguments.engine)
    try:
        check_peers()
        made = table(sizes)
    except RuntimeError as error:
        parser.exit(1, f"{error}\n")
    print(markdown(made))
    if arguments.output is not None or arguments.quick or sizes.rounds < FULL.rounds:
        output = arguments.output or JOURNALS / "documents.json"
        write({NAME: made}, output, None)
    else:
        write({NAME: made}, RESULTS, README)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.engine.documents", description=TITLE)
    parser.add_argument("--rounds", type=int, metavar="N", help="interleaved rounds (5)")
    parser.add_argument("--quick", action="store_true", help="one short round, less certain")
    parser.add_argument("--engine", metavar="NAME", help="what runs Stretto's sockets")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where the JSON goes, instead of the README"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
