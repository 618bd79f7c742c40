"""From rounds to verdicts: the rows of a table, its JSON, and the README that is made from it.

``results.json`` holds one object per table, each with the machine, the versions and every
round of its own run, so that tables can be measured one at a time.
"""

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.engine.rounds import Figures, Found

FOLDER: Final = Path(__file__).parent
RESULTS: Final = FOLDER / "results.json"
README: Final = FOLDER.parent / "README.md"
BOUND: Final = 0.85
"""A generator that used more of its core than this was measured itself."""

MET: Final = "met"
MISSED: Final = "missed"
STATED: Final = "stated"
GENERATOR_BOUND: Final = "generator-bound"
FAILED: Final = "failed"
NOT_MEASURED: Final = "not measured"


@dataclass(frozen=True, slots=True)
class Claim:
    """One row: a figure of one contender, against another's or on its own."""

    what: str
    measurement: str
    figure: str
    unit: str
    limit: float | None
    """None: the figures are stated, and nothing is promised."""
    is_upper: bool = True
    """Whether ``limit`` is the most that the ratio may be; otherwise it is the least."""
    contender: str = "ours"
    baseline: str | None = "socket.io"
    """Whose figure is 1; None: the figure itself is compared with the limit."""
    load: str = "generator_share"
    """The figure that says how busy the generator was."""
    strict: bool = False
    """Whether the limit itself is too much."""

    def holds(self, value: float) -> bool:
        """Whether a ratio (or a figure without a baseline) is within the limit."""
        if self.limit is None:
            return True
        if value == self.limit:
            return not self.strict
        return (value < self.limit) is self.is_upper

    @property
    def target(self) -> str:
        """The limit as the table shows it."""
        if self.limit is None:
            return ""
        sign = {(True, True): "<", (True, False): "≤", (False, True): ">", (False, False): "≥"}
        times = "×" if self.baseline else ""
        return f"{sign[self.is_upper, self.strict]} {self.limit:,g}{times}"


def row_of(claim: Claim, found: Found | None) -> dict[str, Any]:
    """Return a claim's row: medians, the median of the rounds' ratios, and the verdict."""
    row: dict[str, Any] = {
        "what": claim.what,
        "measurement": claim.measurement,
        "figure": claim.figure,
        "unit": claim.unit,
        "contender": claim.contender,
        "baseline": claim.baseline,
        "target": claim.target,
        "verdict": NOT_MEASURED,
    }
    names = [claim.contender, *([claim.baseline] if claim.baseline else [])]
    if found is None or not found.rounds:
        return row
    if not all(name in one for one in found.rounds for name in names):
        return {**row, "verdict": FAILED}
    rounds = found.counting()
    value = _value(claim, rounds)
    everyone = dict.fromkeys(name for one in rounds for name in one)
    row["rounds"] = len(rounds)
    row["medians"] = {name: _median(name, claim.figure, rounds) for name in everyone}
    row["value"] = round(value, 4)
    row["generator_share"] = max(_median(name, claim.load, rounds) for name in names)
    if row["generator_share"] > BOUND:
        return {**row, "verdict": GENERATOR_BOUND}
    if claim.limit is None:
        return {**row, "verdict": STATED}
    return {**row, "verdict": MET if claim.holds(value) else MISSED}


def _value(claim: Claim, rounds: Sequence[Mapping[str, Figures]]) -> float:
    figures = [one[claim.contender][claim.figure] for one in rounds]
    if claim.baseline is None:
        return statistics.median(figures)
    baseline = [one[claim.baseline][claim.figure] for one in rounds]
    return statistics.median(a / b for a, b in zip(figures, baseline, strict=True))


def _median(name: str, figure: str, rounds: Sequence[Mapping[str, Figures]]) -> float:
    values = [one[name][figure] for one in rounds if name in one]
    return round(statistics.median(values), 4)


def table_of(
    title: str,
    claims: Sequence[Claim],
    found: Mapping[str, Found],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a table's JSON; ``about`` is what its figures mean nothing without."""
    machine = {**about["machine"], "system": _kernel(about["machine"]["system"])}
    return {
        "title": title,
        **about,
        "machine": machine,
        "rows": [row_of(claim, found.get(claim.measurement)) for claim in claims],
        "measurements": {name: one.to_payload() for name, one in found.items()},
    }


def _kernel(system: str) -> str:
    """Return a system's name and version, without what a distributor appends."""
    return re.sub(r"(\d+\.\d+).*", r"\1", system)


def markdown(table: Mapping[str, Any]) -> str:
    """Return a table's JSON as the README shows it."""
    ours, theirs = table.get("columns", ("ours", "theirs"))
    lines = [
        f"## {table['title']}",
        "",
        _about(table),
        "",
        f"| what | figure | {ours} | {theirs} | ratio | target | generator | verdict |",
        "|---|---|---|---|---|---|---|---|",
        *(_line(row) for row in table["rows"]),
    ]
    notes = [error for one in table["measurements"].values() for error in one["errors"]]
    notes += [
        f"{row['what']}: {row['rounds']} rounds count, other processes disturbed the rest"
        for row in table["rows"]
        if row.get("rounds", table["rounds"]) < table["rounds"]
    ]
    return "\n".join([*lines, *(["", *(f"- {note}" for note in notes)] if notes else [])])


def _about(table: Mapping[str, Any]) -> str:
    machine = table["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in table["versions"].items())
    return (
        f"{machine['date'][:10]}, interleaved rounds: {table['rounds']}; {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['system']}; {versions}."
    )


def _line(row: Mapping[str, Any]) -> str:
    medians = row.get("medians", {})
    ours, theirs = medians.get(row["contender"]), medians.get(row["baseline"])
    ratio = f"{row['value']:.2f}×" if "value" in row and row["baseline"] else ""
    share = f"{100 * row['generator_share']:.0f} %" if "generator_share" in row else ""
    what = row["what"] if row["baseline"] is None else f"{row['what']}, against {row['baseline']}"
    verdict = row["verdict"] if row["verdict"] in (MET, STATED) else f"**{row['verdict']}**"
    cells = [what, row["unit"], _shown(ours), _shown(theirs), ratio, row["target"], share, verdict]
    return f"| {' | '.join(cells)} |"


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    return f"{value:,.{digits}f}"


def with_table(text: str, name: str, table: Mapping[str, Any]) -> str:
    """Return a README's text with one table, between its markers, made anew.

    Raises ValueError when the text has no such markers.
    """
    maker = table.get("maker", "bench-engine")
    begin, end = f"<!-- {name}: made by make {maker} -->", f"<!-- end of {name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    made, count = pattern.subn(lambda _: f"{begin}\n{markdown(table)}\n{end}", text)
    if count != 1:
        raise ValueError(f"the text needs {begin} and {end} once, and has them {count} times")
    return made


def write(tables: Mapping[str, Mapping[str, Any]], path: Path, readme: Path | None) -> None:
    """Put tables into a file of results, keeping its others, and into the README."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"tables": {}}
    content["tables"].update(tables)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if readme is not None:
        text = readme.read_text(encoding="utf-8")
        for name, table in tables.items():
            text = with_table(text, name, table)
        readme.write_text(text, encoding="utf-8")
