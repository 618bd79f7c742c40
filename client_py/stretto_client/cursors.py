"""Selections: the others' as they are shown, and the own one as it is sent."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from stretto_core.effects import Changed, Origin
from stretto_core.ot import Bias, map_position

CURSOR_INTERVAL_S: Final = 0.1
"""A moving cursor is told of at most ten times a second."""

Ranges: TypeAlias = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Another member's selections, as ``(anchor, head)`` in code points of the text shown."""

    member_id: str
    user: dict[str, str]
    ranges: Ranges


class OwnCursor:
    """The user's own selections: carried along with the text, and sent when they may be."""

    def __init__(
        self,
        may_send: Callable[[], bool],
        send: Callable[[Ranges | None], Awaitable[bool]],
        interval_s: float = CURSOR_INTERVAL_S,
    ) -> None:
        """``send`` tells whether it must be called again."""
        self._may_send = may_send
        self._send = send
        self._interval_s = interval_s
        self._ranges: Ranges | None = None
        self._stale = False
        self._sending: asyncio.Task[None] | None = None

    def set(self, ranges: Iterable[tuple[int, int]] | None) -> None:
        """Show these ranges, or none, from now on."""
        self._ranges = None if ranges is None else [(int(a), int(h)) for a, h in ranges]
        self._stale = True
        self.advance()

    def carry(self, change: Changed) -> None:
        """Follow a change of the text."""
        if self._ranges is not None:
            bias: Bias = 1 if change.origin is Origin.LOCAL else -1
            self._ranges = [
                (map_position(anchor, change.op, bias), map_position(head, change.op, bias))
                for anchor, head in self._ranges
            ]

    def reopened(self) -> None:
        """Tell again: the others see a new member."""
        self._stale = self._ranges is not None

    def advance(self) -> None:
        """Send the ranges if they are new and may be sent now."""
        if self._stale and self._sending is None and self._may_send():
            self._stale = False
            self._sending = asyncio.create_task(self._perform())

    async def stop(self) -> None:
        """Send nothing any more."""
        self._stale = False
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _perform(self) -> None:
        if not self._may_send() or await self._send(self._ranges):
            self._stale = True
        await asyncio.sleep(self._interval_s)
        self._sending = None
        self.advance()
