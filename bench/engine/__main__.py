"""``python -m bench.engine``: measure the engine and its peers in interleaved rounds."""

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.__main__ import RESULTS as UNCOMMITTED
from bench.engine import contenders, generator, suite
from bench.engine.process import allow_descriptors
from bench.engine.report import README, RESULTS, markdown, table_of, write
from bench.engine.rounds import Measurement, run_rounds
from bench.machine import describe
from bench.report import progress

DESCRIPTORS: Final = 12_000
ROUNDS: Final = 5
"""How many rounds a result needs that is kept."""
NAME: Final = "engine"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what was asked for; a claim that does not hold is printed, not an error."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _leave)  # as an exception, so that children are stopped
    try:
        allow_descriptors(DESCRIPTORS)
        generator.build()
        contenders.check_peers()
    except RuntimeError as error:
        parser.exit(1, f"{error}\n")
    rounds = arguments.rounds or (1 if arguments.quick else ROUNDS)
    about = {
        "machine": describe(Path(__file__).parent),
        "versions": contenders.versions(),
        "rounds": rounds,
        "quick": arguments.quick,
    }
    found = run_rounds(_chosen(arguments), rounds)
    table = table_of(suite.TITLE, suite.CLAIMS, found, about)
    print(markdown(table))
    _write(table, arguments)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--rounds", type=int, metavar="N", help=f"interleaved rounds ({ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="one short round, less certain")
    parser.add_argument("--stock", action="store_true", help="python-engineio's server as well")
    parser.add_argument(
        "--rows",
        type=_names,
        metavar="NAME,…",
        help=f"only these: {', '.join(suite.WORKS)}",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the JSON goes")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in suite.WORKS:
            raise argparse.ArgumentTypeError(f"there is no {name}")
    return names


def _chosen(arguments: argparse.Namespace) -> list[Measurement]:
    names = (contenders.OURS, contenders.SOCKETIO)
    everyone = (*names, contenders.STOCK) if arguments.stock else names
    everything = suite.measurements(everyone, is_quick=arguments.quick)
    return [one for one in everything if one.name in (arguments.rows or suite.WORKS)]


def _write(table: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Write the committed results and the README only of a whole run."""
    is_whole = not (arguments.quick or arguments.rows or arguments.output)
    if is_whole and table["rounds"] >= ROUNDS:
        path, readme = RESULTS, README
    else:
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path, readme = arguments.output or UNCOMMITTED / f"engine-{now}.json", None
        path.parent.mkdir(exist_ok=True)
    write({NAME: table}, path, readme)
    progress(f"written to {path}")


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
