"""When a document's next batch begins: at once, but for two reasons to wait a moment.

Frames to many members shall not follow too fast. And where other nodes commit to the document
as well, they get the next turn after an own batch: whoever appended at once would meet their
append every time, and one of the two had been made in vain. Of a lost race the journal tells on
the document's channel, so that nodes faster than the loser leave it a turn that is long enough.
Nothing depends on it: these are delays, not locks.
"""

from typing import Final

FANOUT_PER_S: Final = 20_000
"""Frames times members that one document may send a second before it starts to gather."""
GATHER_S: Final = 0.02
GATHER_OPS: Final = 64
SHORTEST_S: Final = 0.001
"""It is not worth gathering for less."""
FEW: Final = int(FANOUT_PER_S * SHORTEST_S)
"""So many members never make a document wait by themselves."""
TURN_APPENDS: Final = 4
"""So many times what an append took, others have to be heard: about two of theirs."""
SLOW_TURN_S: Final = 0.005
"""The first turn for a node that said it waits; each time it says so again, it is doubled."""
LONGEST_TURN_S: Final = 0.25


class Pace:
    """What happened last to one document. Times are of one clock, in seconds."""

    __slots__ = (
        *("_began_at", "_own", "_is_owed"),
        *("_committed_at", "_turn_ends_at", "_turn_s", "_turn_was_owed"),
    )

    def __init__(self, version: int) -> None:
        """Start at ``version``, whoever committed that."""
        self._own = version
        self._began_at = 0.0
        self._committed_at = 0.0
        self._turn_ends_at = 0.0
        self._turn_s = 0.0
        """How long others needed, where an append or two were too short for them."""
        self._turn_was_owed = False
        self._is_owed = False
        """Whether somebody waits for a turn."""

    def began(self, now: float) -> None:
        """Note that an append begins."""
        self._began_at = now

    def committed(self, base: int, version: int, now: float) -> None:
        """Note that it committed ``version`` on top of ``base``."""
        others = base > self._own
        self._own = version
        if not others and self._turn_ends_at and not self._turn_was_owed:
            self._turn_s /= 2  # nobody took the last one
        self._committed_at, self._turn_ends_at = now, 0.0
        if others or self._is_owed:
            took = now - self._began_at
            self._turn_ends_at = now + max(self._turn_s, min(GATHER_S, TURN_APPENDS * took))
        self._turn_was_owed, self._is_owed = self._is_owed, False

    def heard(self, now: float) -> None:
        """Note that others committed: whoever waited has had a turn."""
        self._turn_s = min(self._turn_s, 2 * (now - self._committed_at))
        self._turn_ends_at = 0.0
        self._is_owed = False

    def somebody_waits(self, version: int) -> None:
        """Note that a node lost a race; if the winner was this one, it owes a turn."""
        if version == self._own:
            self._is_owed = True
            self._turn_s = min(LONGEST_TURN_S, max(SLOW_TURN_S, 2 * self._turn_s))

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
