"""Token buckets: arithmetic only, the clock is an argument."""

from dataclasses import dataclass
from typing import Final, Self

LIGHT_S: Final = 10.0
"""Who takes longer for one second's worth is far from any limit, and nobody else is told."""


@dataclass(slots=True)
class TokenBucket:
    """A bucket that gains ``rate`` tokens a second and holds ``burst`` of them.

    ``tokens`` is what it held at ``at`` (seconds on any monotonic clock).
    """

    rate: float
    burst: float
    tokens: float
    at: float
    taken: float = 0.0
    """What was taken, until somebody sets it back."""

    @classmethod
    def full(cls, rate: float, burst: float, now: float) -> Self:
        """Return a bucket that nothing was taken from yet."""
        return cls(rate, burst, burst, now)

    def take(self, now: float, cost: float = 1.0) -> float:
        """Take ``cost`` tokens and return 0.0; or take none and return the seconds to wait."""
        if now > self.at:
            self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
            self.at = now
        if self.tokens >= cost:
            self.tokens -= cost
            self.taken += cost
            return 0.0
        return (cost - self.tokens) / self.rate


@dataclass(slots=True)
class SharedBucket(TokenBucket):
    """A user's bucket on one of several nodes.

    Each is spent from without asking; what was taken is told to all after each second's
    worth (``taken`` has reached ``rate``), and they answer how long to wait when all nodes
    together gave too much. A user who takes little is never told of.
    """

    claimed_at: float = float("-inf")
    owed: float = 0.0
    """What was taken and is still to be told."""

    def claim(self, now: float) -> bool:
        """Count a second's worth that was taken; tell whether others must hear of it."""
        heavy = now - self.claimed_at < LIGHT_S
        if heavy:
            # While nobody can be told it does not pile up.
            self.owed = min(self.owed + self.taken, self.burst)
        self.taken = 0.0
        self.claimed_at = now
        return heavy

    def pay(self) -> float:
        """Return what is to be told now, and owe nothing more."""
        owed, self.owed = self.owed, 0.0
        return owed

    def hold(self, now: float, wait: float) -> None:
        """Give nothing for ``wait`` seconds."""
        self.take(now, 0.0)
        self.tokens = min(self.tokens, -wait * self.rate)
