"""What a benchmark found: tables for people, the same as JSON for programs."""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Value = float | int | str
Row = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with the same keys."""

    title: str
    rows: Sequence[Row]

    def text(self) -> str:
        """Return the table as aligned text."""
        if not self.rows:
            return self.title
        lines = [
            list(self.rows[0]),
            *([_shown(cell) for cell in row.values()] for row in self.rows),
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = [_aligned(line, widths) for line in lines]
        return "\n".join([self.title, *aligned])


@dataclass(frozen=True, slots=True)
class Promise:
    """A ratio that must not be larger than ``limit``."""

    what: str
    ratio: float
    limit: float

    @property
    def is_kept(self) -> bool:
        """Whether this run kept it."""
        return self.ratio <= self.limit

    def text(self) -> str:
        """Return one line."""
        verdict = "kept" if self.is_kept else "NOT KEPT"
        return f"{verdict}: {self.what}: {self.ratio:.2f} (at most {self.limit:g})"


@dataclass(slots=True)
class Report:
    """Everything that one suite found."""

    tables: list[Table] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)

    def text(self) -> str:
        """Return the whole report for a terminal."""
        promises = "\n".join(promise.text() for promise in self.promises)
        return "\n\n".join([*(table.text() for table in self.tables), promises]).rstrip()

    def to_payload(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "tables": [
                {"title": one.title, "rows": [dict(row) for row in one.rows]} for one in self.tables
            ],
            "promises": [
                {"what": one.what, "ratio": one.ratio, "limit": one.limit, "kept": one.is_kept}
                for one in self.promises
            ],
        }


def interleaved(runs: int, contenders: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Call each contender in turn, ``runs`` times over; return what each gave.

    Whatever slows the machine down for a while meets all of them.
    """
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, measure in contenders.items():
            found[name].append(measure())
    return found


def median_ratio(values: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the median of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(values, baseline, strict=True))


def progress(text: str) -> None:
    """Tell people what is going on, without touching the output."""
    print(text, file=sys.stderr, flush=True)


def _shown(cell: Value) -> str:
    if isinstance(cell, float):
        digits = 0 if abs(cell) >= 1000 else 1 if abs(cell) >= 100 else 2
        return f"{cell:,.{digits}f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])
