"""Named points on the way of a commit, at which a fault is placed to the line.

A test arms a point by writing a file; the node that :mod:`tests.faults.launcher` runs
looks for it at every passage. Nothing of this is known to the server itself.
"""

import json
import os
import random
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


class Mischief:
    """What happens to a part of a node's messages from other nodes, while a file says so."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, seed: int, part: float) -> None:
        self.path.write_text(json.dumps({"seed": seed, "part": part}))

    def end(self) -> None:
        self.path.unlink(missing_ok=True)


class Unreliable:
    """Loses, doubles and reorders messages in the node."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._dice: random.Random | None = None
        self._part = 0.0
        self._late: list[tuple[bytes, bytes]] = []

    def pass_on(self, channel: bytes, message: bytes) -> list[tuple[bytes, bytes]]:
        """Return what is heard instead of this message."""
        late, self._late = self._late, []
        if not self._active():
            return [*late, (channel, message)]
        assert self._dice is not None
        if self._dice.random() >= self._part:
            return [(channel, message), *late]
        kind = self._dice.randrange(3)
        if kind == 0:
            return [(channel, message), (channel, message), *late]
        if kind == 1:
            self._late = [(channel, message)]
        return late

    def _active(self) -> bool:
        try:
            order = json.loads(self._path.read_text())
        except (OSError, ValueError):
            self._dice = None
            return False
        if self._dice is None:
            self._dice, self._part = random.Random(order["seed"]), order["part"]
        return True


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
