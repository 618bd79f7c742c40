"""One timer of the event loop for the deadlines of all sessions."""

import asyncio
import heapq
from itertools import count
from typing import Final, Protocol

NEVER: Final = 1 << 62
FEW: Final = 64
"""So many entries without a deadline are left alone."""


class Timed(Protocol):
    """What has a deadline. Both times are in milliseconds of :meth:`Timers.now`.

    ``due`` is when to tick, ``watched`` when the owner is looked at next: at ``due`` or
    before. Both begin as ``NEVER``.
    """

    due: int
    watched: int

    def tick(self, now: int) -> None:
        """Do what is due, and ask for the next deadline."""


class Timers:
    """A heap with one entry per owner, whatever becomes of its deadline.

    A deadline that moves away costs nothing: its entry finds out when it comes up. One that
    is given up costs little: its entry is dropped together with others.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timed]] = []
        self._given_up = 0
        """How many entries, at the most, are of owners without a deadline."""
        self._order = count()
        self._handle: asyncio.TimerHandle | None = None
        self._set_for = NEVER
        self._loop: asyncio.AbstractEventLoop | None = None

    def now(self) -> int:
        """Return the clock of the loop in whole milliseconds."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return int(self._loop.time() * 1000)

    def set(self, owner: Timed, due: int | None) -> None:
        """Let ``owner`` tick at ``due``, which replaces what was set before."""
        owner.due = NEVER if due is None else due
        if due is None:
            if owner.watched < NEVER:
                self._give_up()
        elif owner.due < owner.watched:
            owner.watched = owner.due
            heapq.heappush(self._heap, (owner.due, next(self._order), owner))
            if owner.due < self._set_for:
                self._arm()

    def stop(self) -> list[Timed]:
        """Forget every deadline; return who waited for one."""
        waiting = [owner for _, _, owner in self._heap if owner.due < NEVER]
        self._heap.clear()
        self._arm()
        return waiting

    def _give_up(self) -> None:
        """Count an entry that waits for nothing; drop all of them when they are most of the heap.

        Else every client that came and went would be kept until its first ping were due.
        """
        self._given_up += 1
        if self._given_up <= max(FEW, len(self._heap) // 2):
            return
        self._given_up = 0
        kept = []
        for entry in self._heap:
            at, _, owner = entry
            if owner.due < NEVER and at == owner.watched:
                kept.append(entry)
            elif at == owner.watched:
                owner.watched = NEVER
        self._heap[:] = kept
        heapq.heapify(self._heap)

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._set_for = self._heap[0][0] if self._heap else NEVER
        if self._heap:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            # Deadlines are rounded down by `now`; one millisecond later they are over.
            self._handle = self._loop.call_at((self._set_for + 1) / 1000, self._run)

    def _run(self) -> None:
        self._handle = None
        try:
            self._tick(self.now())
        finally:
            self._arm()  # an owner that fails stops nobody else

    def _tick(self, now: int) -> None:
        while self._heap and self._heap[0][0] <= now:
            at, _, owner = heapq.heappop(self._heap)
            if at != owner.watched:
                continue  # an earlier deadline took this one's place
            owner.watched = NEVER
            if owner.due <= now:
                owner.due = NEVER
                owner.tick(now)
            elif owner.due < NEVER:
                self.set(owner, owner.due)
