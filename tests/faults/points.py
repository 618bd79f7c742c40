"""Named points on the way of a commit, at which a fault is placed to the line.

A test arms a point by writing a file; the node that :mod:`tests.faults.launcher` runs
looks for it at every passage. Nothing of this is known to the server itself.
"""

import json
import os
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

BEFORE_SCRIPT: Final = "before-script"
"""The batch is staged, and nothing was sent to the journal."""
UNDER_WAY: Final = "under-way"
"""The journal was told, and has not answered."""
AFTER_SCRIPT: Final = "after-script"
"""The journal has answered: it is durable, and nobody knows."""
BEFORE_ACK: Final = "before-ack"
"""The frame was sent to the members, the acknowledgements were not."""
BEFORE_COMPACTION: Final = "before-compaction"
"""The snapshot is written, the log not yet cut."""
AFTER_COMPACTION: Final = "after-compaction"

COMMIT_POINTS: Final = (BEFORE_SCRIPT, UNDER_WAY, AFTER_SCRIPT, BEFORE_ACK)


@dataclass(frozen=True)
class Order:
    """Send ``signal`` to ``pid``, 0 for the node, at that ``passage`` of ``point`` from now on."""

    point: str
    passage: int = 1
    signal: int = int(signal.SIGKILL)
    pid: int = 0


class Trigger:
    """The file through which a test arms one point of one node."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def arm(self, order: Order) -> None:
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(order)))
        draft.replace(self.path)

    @property
    def armed(self) -> bool:
        """Whether the point was not reached yet."""
        return self.path.exists()

    def disarm(self) -> None:
        self.path.unlink(missing_ok=True)


class Passages:
    """Counts passages in the node, and carries the order out when its time has come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counted_for = 0
        self._count = 0

    def passed(self, point: str) -> bool:
        """Note a passage of ``point``; tell whether an order was carried out."""
        try:
            written = self._path.stat().st_mtime_ns
            order = Order(**json.loads(self._path.read_text()))
        except (OSError, ValueError):
            return False
        if order.point != point:
            return False
        if written != self._counted_for:
            self._counted_for, self._count = written, 0
        self._count += 1
        if self._count < order.passage:
            return False
        self._path.unlink(missing_ok=True)
        with suppress(ProcessLookupError):
            os.kill(order.pid or os.getpid(), order.signal)
        return True
