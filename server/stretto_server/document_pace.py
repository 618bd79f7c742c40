"""When a document's next batch begins: at once, but for two reasons to wait a moment.

Frames to many members shall not follow too fast. And where other nodes commit to the document
as well, they get the next turn after an own batch: whoever appended at once would meet their
append every time, and one of the two had been made in vain.
"""

from typing import Final

FANOUT_PER_S: Final = 20_000
"""Frames times members that one document may send a second before it starts to gather."""
GATHER_S: Final = 0.02
GATHER_OPS: Final = 64
SHORTEST_S: Final = 0.001
"""It is not worth gathering for less."""
TURN_APPENDS: Final = 4
"""So many times what an append took, others have to be heard: about two of theirs."""


class Pace:
    """What happened last to one document. Times are of one clock, in seconds."""

    __slots__ = ("_began_at", "_own", "_turn_ends_at")

    def __init__(self, version: int) -> None:
        """Start at ``version``, whoever committed that."""
        self._own = version
        self._began_at = 0.0
        self._turn_ends_at = 0.0

    def began(self, now: float) -> None:
        """Note that an append begins."""
        self._began_at = now

    def committed(self, base: int, version: int, now: float) -> None:
        """Note that it committed ``version`` on top of ``base``."""
        others = base > self._own
        took = now - self._began_at
        self._turn_ends_at = now + min(GATHER_S, TURN_APPENDS * took) if others else 0.0
        self._own = version

    def wait(
        self, version: int, now: float, *, audience: int, queued: int, last_frame_at: float
    ) -> float:
        """Return how long to wait, at ``version``; 0 or less: not at all.

        ``queued`` operations are for ``audience`` members.
        """
        until = self._turn_ends_at if version == self._own else 0.0
        interval = audience / FANOUT_PER_S
        if interval > SHORTEST_S and queued < GATHER_OPS:
            until = max(until, last_frame_at + min(GATHER_S, interval))
        return until - now
