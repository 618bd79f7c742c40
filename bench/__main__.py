"""``python -m bench``: measure, print tables, and write the figures as JSON."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench import operations, server
from bench.machine import describe
from bench.report import Report, progress

RESULTS: Final = Path(__file__).parent / "results"


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; a promise that is not kept is printed, not an error."""
    arguments = build_parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _leave)  # as an exception, so that children are stopped
    RESULTS.mkdir(exist_ok=True)
    folder = arguments.folder or RESULTS
    machine = describe(folder)
    progress(f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']}")
    reports: dict[str, Report] = {}
    if arguments.suite in ("operations", "all"):
        reports["operations"] = operations.run(_operation_sizes(arguments))
    if arguments.suite in ("server", "all"):
        reports["server"] = server.run(_server_sizes(arguments), folder)
    print("\n\n".join(report.text() for report in reports.values()))
    progress(f"written to {_write(arguments.output, machine, reports)}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "suite",
        nargs="?",
        choices=["operations", "server", "all"],
        default="all",
        help="operations: this process only; server: end to end over sockets (all)",
    )
    parser.add_argument("--quick", action="store_true", help="half a minute, and less certain")
    parser.add_argument("--runs", type=_positive, metavar="N", help="interleaved runs")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the JSON goes")
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="where the SQLite journals go: their disk is measured (bench/results)",
    )
    return parser


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _operation_sizes(arguments: argparse.Namespace) -> operations.Sizes:
    sizes = operations.QUICK if arguments.quick else operations.Sizes()
    return replace(sizes, runs=arguments.runs or sizes.runs)


def _server_sizes(arguments: argparse.Namespace) -> server.Sizes:
    sizes = server.QUICK if arguments.quick else server.Sizes()
    return replace(sizes, runs=arguments.runs or sizes.runs)


def _write(output: Path | None, machine: dict[str, Any], reports: dict[str, Report]) -> Path:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = output or RESULTS / f"{now}.json"
    content = {
        "machine": machine,
        **{name: report.to_payload() for name, report in reports.items()},
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
