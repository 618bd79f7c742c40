"""``python -m bench.cluster``: measure several nodes on one Redis, in interleaved rounds."""

import argparse
import platform
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from bench.__main__ import RESULTS as UNCOMMITTED
from bench.cluster import suite
from bench.cluster.load import build
from bench.engine.process import allow_descriptors, version_of
from bench.engine.report import README, markdown, table_of, write
from bench.engine.rounds import KEPT, run_rounds
from bench.machine import describe
from bench.report import progress

RESULTS: Final = Path(__file__).parent / "results.json"
NAME: Final = "cluster"
DESCRIPTORS: Final = 4_000


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what was asked for; a claim that does not hold is printed, not an error."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _leave)  # as an exception, so that children are stopped
    sizes = suite.QUICK if arguments.quick else suite.FULL
    sizes = replace(
        sizes, rounds=arguments.rounds or sizes.rounds, appendfsync=arguments.appendfsync
    )
    try:
        allow_descriptors(DESCRIPTORS)
        build()
    except RuntimeError as error:
        parser.exit(1, f"{error}\n")
    names = [suite.NAMES[name] for name in arguments.rows or suite.NAMES]
    chosen = [one for one in suite.measurements(sizes) if one.name in names]
    found = run_rounds(chosen, sizes.rounds)
    table = table_of(suite.TITLE, suite.claims(), found, about(sizes, arguments.quick))
    print(markdown(table))
    _write(table, arguments, sizes)
    return 0


def about(sizes: suite.Sizes, is_quick: bool) -> dict[str, Any]:
    """Return what the figures mean nothing without."""
    return {
        "maker": "bench-cluster",
        "columns": [suite.TWO, suite.ONE],
        "machine": describe(UNCOMMITTED),
        "versions": {
            "Stretto": metadata.version("stretto"),
            "Python": platform.python_version(),
            "Redis": redis_version(version_of(["redis-server", "--version"])),
            "appendfsync": sizes.appendfsync,
        },
        "rounds": sizes.rounds,
        "quick": is_quick,
    }


def redis_version(line: str) -> str:
    """Return the version in what ``redis-server --version`` says."""
    found = [word.removeprefix("v=") for word in line.split() if word.startswith("v=")]
    return found[0] if found else line


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, metavar="N", help="interleaved rounds (5)")
    parser.add_argument("--quick", action="store_true", help="one short round, less certain")
    parser.add_argument(
        "--appendfsync", default="always", choices=("always", "everysec", "no"), help="of Redis"
    )
    parser.add_argument(
        "--rows", type=_names, metavar="NAME,…", help=f"only these: {', '.join(suite.NAMES)}"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the JSON goes")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in suite.NAMES:
            raise argparse.ArgumentTypeError(f"there is no {name}")
    return names


def _write(table: dict[str, Any], arguments: argparse.Namespace, sizes: suite.Sizes) -> None:
    """Write the committed results and the README only of a whole run."""
    is_whole = not (arguments.quick or arguments.rows or arguments.output)
    if is_whole and sizes.rounds >= KEPT:
        path, readme = RESULTS, README
    else:
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path, readme = arguments.output or UNCOMMITTED / f"cluster-{now}.json", None
        path.parent.mkdir(exist_ok=True)
    write({NAME: table}, path, readme)
    progress(f"written to {path}")


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
