"""Rates per connection, and how many connections a user or an address may have."""

import time
from collections import Counter

from stretto_core.errors import RateLimited
from stretto_core.protocol import BURST_S, Budget, Limits
from stretto_core.ratelimit import TokenBucket

ABUSE_REFUSALS = 400
"""A connection that was refused this often in a row, slowly forgiven, is disconnected."""
ABUSE_FORGIVEN_PER_S = 20.0


class Rates:
    """The buckets of one connection."""

    __slots__ = ("_abuse", "_buckets", "_limits")

    def __init__(self, limits: Limits | None) -> None:
        """Take ``None`` for limits to let everything through."""
        self._limits = limits
        self._buckets: dict[Budget, TokenBucket] = {}
        self._abuse: TokenBucket | None = None

    def spend(self, budget: Budget) -> None:
        """Count one request. Raises RateLimited with the time until the next one fits."""
        if self._limits is None:
            return
        now = time.monotonic()
        bucket = self._buckets.get(budget)
        if bucket is None:
            rate = getattr(self._limits, budget)
            bucket = self._buckets[budget] = TokenBucket.full(rate, rate * BURST_S, now)
        wait = bucket.take(now)
        if wait:
            raise RateLimited(retry_after_ms=int(wait * 1000) + 1)

    def is_abusive(self) -> bool:
        """Count one refusal; tell whether there were so many that the connection should end."""
        now = time.monotonic()
        if self._abuse is None:
            self._abuse = TokenBucket.full(ABUSE_FORGIVEN_PER_S, ABUSE_REFUSALS, now)
        return self._abuse.take(now) > 0


class Census:
    """Counts what must not grow without bound, by user or by address."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def enter(self, key: str, most: int) -> bool:
        """Count one more of ``key`` unless there are ``most`` already; tell whether it fit."""
        if self._counts[key] >= most:
            return False
        self._counts[key] += 1
        return True

    def leave(self, key: str) -> None:
        """Count one less of ``key``."""
        self._counts[key] -= 1
        if self._counts[key] <= 0:
            del self._counts[key]
