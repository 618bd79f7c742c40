"""The recorded editing histories in ``bench/traces``, as operations."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stretto_core.ot import Operation, normalize

TRACES: Final = Path(__file__).parent / "traces"

Patch = tuple[int, int, str]
"""Position, characters deleted, text inserted."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One author's edits in order, and the texts before and after them."""

    name: str
    start: str
    end: str
    patches: tuple[Patch, ...]

    @property
    def ops(self) -> list[Operation]:
        """One canonical operation for each edit."""
        return [splice(*patch) for patch in self.patches]


def load(name: str) -> Recording:
    """Read a recording."""
    with gzip.open(TRACES / f"{name}.json.gz", "rt", encoding="utf-8") as file:
        data = json.load(file)
    patches = tuple(
        (patch[0], patch[1], patch[2]) for edit in data["txns"] for patch in edit["patches"]
    )
    return Recording(name, data["startContent"], data["endContent"], patches)


def splice(position: int, deleted: int, inserted: str) -> Operation:
    """Return the operation that replaces a span."""
    return normalize([position, -deleted, inserted])
