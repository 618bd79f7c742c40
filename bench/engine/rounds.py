"""Interleaved rounds: whatever slows the machine down for a while meets every contender."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from subprocess import SubprocessError
from typing import Any, Final

from bench.report import progress

Figures = Mapping[str, float]
"""What one run of one contender gave; ``generator_share`` is the generator's share of its core,
``waited_share`` how long the server could have run while another process had its core,
``foreign_share`` how many cores processes had that are none of ours."""

DISTURBED: Final = 0.15
USED: Final = 0.85
KEPT: Final = 3
REPEATS: Final = 2
"""How often a turn that others disturbed is taken again."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What contenders do in turns; ``measure`` takes a contender's name."""

    name: str
    contenders: tuple[str, ...]
    measure: Callable[[str], Figures]


@dataclass(slots=True)
class Found:
    """The figures of one measurement, round by round, and what went wrong."""

    rounds: list[dict[str, Figures]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def counting(self) -> list[dict[str, Figures]]:
        """Return the rounds that count: without those that other processes disturbed.

        All of them when fewer than three would be left.
        """
        quiet = [one for one in self.rounds if not any(map(is_disturbed, one.values()))]
        return quiet if len(quiet) >= KEPT else self.rounds

    def to_payload(self) -> dict[str, Any]:
        """Return it as JSON."""
        rounds = [{name: dict(one) for name, one in each.items()} for each in self.rounds]
        return {"rounds": rounds, "errors": list(self.errors)}


def is_disturbed(figures: Figures) -> bool:
    """Whether the server or the generator lost much of its core to a process of somebody else.

    A server that uses its core waits for its own threads at most.
    """
    if any(figures.get(f"{who}_share", 0.0) > DISTURBED for who in ("generator_waited", "foreign")):
        return True
    is_full = figures.get("server_share", 1.0) >= USED
    return figures.get("waited_share", 0.0) > DISTURBED and not is_full


def run_rounds(measurements: Sequence[Measurement], rounds: int) -> dict[str, Found]:
    """Make every measurement ``rounds`` times with each contender; return what was found.

    A run that fails is an error of its measurement, and the others go on.
    """
    found = {one.name: Found() for one in measurements}
    for number in range(rounds):
        for measurement in measurements:
            where = f"round {number + 1} of {rounds}, {measurement.name}"
            figures = dict(_turns(measurement, number, where, found[measurement.name].errors))
            found[measurement.name].rounds.append(figures)
    return found


def _turns(
    measurement: Measurement, number: int, where: str, errors: list[str]
) -> Iterator[tuple[str, Figures]]:
    """Let each contender run once; who begins changes from round to round."""
    shift = number % len(measurement.contenders)
    for name in measurement.contenders[shift:] + measurement.contenders[:shift]:
        try:
            yield name, _turn(measurement, name, where)
        except (RuntimeError, OSError, SubprocessError) as error:
            errors.append(f"{where}, {name}: {error}")
            progress(errors[-1])


def _turn(measurement: Measurement, name: str, where: str) -> Figures:
    """Measure, again while others disturb it; the last one counts, whatever it found."""
    for _ in range(1 + REPEATS):
        # Rounded as they are kept, so that a table can be made again from what was kept.
        figures = {key: round(value, 4) for key, value in measurement.measure(name).items()}
        progress(f"{where}, {name}: {_shown(figures)}")
        if not is_disturbed(figures):
            break
        progress("disturbed by other processes")
    return figures


def _shown(figures: Figures) -> str:
    return ", ".join(f"{key} {value:,.4g}" for key, value in figures.items())
