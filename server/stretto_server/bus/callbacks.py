"""Callbacks that wait for answers from other nodes: so many, and so long."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

MOST_CALLBACKS: Final = 10_000
CALLBACK_S: Final = 300.0

Callback = Callable[..., Any]


class Callbacks:
    """Callbacks by number; ``forget`` is told of each that will not be called (again)."""

    def __init__(
        self,
        forget: Callable[[Callback], None],
        *,
        most: int = MOST_CALLBACKS,
        seconds: float = CALLBACK_S,
    ) -> None:
        self._forget = forget
        self._most = most
        self._seconds = seconds
        self._last = 0
        self._waiting: dict[int, tuple[float, Callback, bool]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, callback: Callback, *, once: bool) -> int:
        """Keep a callback, for one answer or for those of a room; return its number."""
        while len(self._waiting) >= self._most:
            self.drop(next(iter(self._waiting)))
        loop = asyncio.get_running_loop()
        self._last += 1
        self._waiting[self._last] = (loop.time() + self._seconds, callback, once)
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._expire)
        return self._last

    def take(self, number: int) -> Callback | None:
        """Return the callback that an answer is for, if it still waits."""
        found = self._waiting.get(number)
        if found is None:
            return None
        if found[2]:
            del self._waiting[number]
        return found[1]

    def drop(self, number: int) -> None:
        """Forget a callback: there will be no answer."""
        found = self._waiting.pop(number, None)
        if found is not None:
            self._forget(found[1])

    def close(self) -> None:
        """Forget all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for number in list(self._waiting):
            self.drop(number)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for number, (due, _, _) in list(self._waiting.items()):
            if due > loop.time():
                self._timer = loop.call_at(due, self._expire)
                return
            self.drop(number)
