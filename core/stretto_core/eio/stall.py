"""A transport whose peer reads nothing: how long it may hold what was written to it."""

from dataclasses import dataclass


@dataclass(slots=True)
class Stall:
    """From the moment a transport asks to pause until it has room again.

    ``size`` is what it holds in bytes, ``by`` when it must hold less, in milliseconds.
    """

    timeout: int
    size: int
    by: int

    def is_over(self, size: int, now: int) -> bool:
        """Tell whether the peer took nothing for ``timeout``; any progress starts it anew."""
        if size < self.size:
            self.size = size
            self.by = now + self.timeout
        return now >= self.by
