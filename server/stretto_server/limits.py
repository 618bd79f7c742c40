"""Rates per user, and how many connections a user or an address may have.

All connections of a user spend from the same buckets, so each alone is limited as well.
Before it is known whose it is, a connection has buckets of its own.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from stretto_core.errors import RateLimited
from stretto_core.protocol import BURST_S, Budget, Limits
from stretto_core.ratelimit import SharedBucket, TokenBucket

ABUSE_REFUSALS = 400
"""A connection that was refused this often in a row, slowly forgiven, is disconnected."""
ABUSE_FORGIVEN_PER_S = 20.0
FORGET_S: Final = 60.0
"""So long the buckets of a user without connections are kept, or coming back would fill them."""

HERE, EVERYWHERE = "node", "cluster"
"""Where too much was spent: here, or on all nodes together."""


class Allowance:
    """What one user may do on this node: a bucket for each budget that was used.

    ``on_worth`` is called when a second's worth was spent that other nodes must hear of,
    ``on_refused`` with :data:`HERE` or :data:`EVERYWHERE`.
    """

    __slots__ = ("_limits", "buckets", "connections", "on_refused", "on_worth", "user")

    def __init__(
        self,
        user: str,
        limits: Limits,
        on_worth: "Callable[[Allowance], None] | None" = None,
        on_refused: Callable[[str], None] | None = None,
    ) -> None:
        self.user = user
        self.buckets: dict[Budget, SharedBucket] = {}
        self.connections = 0
        self.on_worth = on_worth
        self.on_refused = on_refused
        self._limits = limits

    def open(self, budget: Budget, now: float) -> SharedBucket:
        """Return a new bucket."""
        rate = getattr(self._limits, budget)
        bucket = self.buckets[budget] = SharedBucket.full(rate, rate * BURST_S, now)
        return bucket

    def claim(self, bucket: SharedBucket, now: float) -> None:
        """Count a second's worth that was spent."""
        if bucket.claim(now) and self.on_worth is not None:
            self.on_worth(self)

    def refuse(self, bucket: SharedBucket, wait: float) -> None:
        """Raise RateLimited."""
        if self.on_refused is not None:
            # A node never gives more than it has; below nothing is what others gave.
            self.on_refused(EVERYWHERE if bucket.tokens < 0 else HERE)
        raise RateLimited(retry_after_ms=int(wait * 1000) + 1)


class Allowances:
    """The users of this node. Those who are gone are forgotten after a while."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._users: dict[str, Allowance] = {}
        self._idle: dict[str, float] = {}
        """Users without connections, and since when, in that order."""
        self.on_worth: Callable[[Allowance], None] | None = None
        self.on_refused: Callable[[str], None] | None = None

    def __len__(self) -> int:
        return len(self._users)

    def enter(self, user: str) -> Allowance:
        """Return the allowance of a user who has one connection more."""
        self._forget(time.monotonic())
        self._idle.pop(user, None)
        allowance = self._users.get(user)
        if allowance is None:
            allowance = Allowance(user, self._limits, self.on_worth, self.on_refused)
            self._users[user] = allowance
        allowance.connections += 1
        return allowance

    def leave(self, user: str) -> None:
        """Note that a user has one connection less."""
        allowance = self._users[user]
        allowance.connections -= 1
        now = time.monotonic()
        if allowance.connections == 0:
            self._idle[user] = now
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._idle:
            user, since = next(iter(self._idle.items()))
            if now - since < FORGET_S:
                return
            del self._idle[user], self._users[user]


class Rates:
    """What one connection may do."""

    __slots__ = ("_abuse", "_allowance", "_buckets")

    def __init__(self, limits: Limits | None) -> None:
        """Take ``None`` for limits to let everything through."""
        self._abuse: TokenBucket | None = None
        self._allowance = None if limits is None else Allowance("", limits)
        self._buckets = {} if self._allowance is None else self._allowance.buckets

    def share(self, allowance: Allowance) -> None:
        """Spend from now on what a user has for all connections."""
        self._allowance = allowance
        self._buckets = allowance.buckets

    def spend(self, budget: Budget) -> None:
        """Count one request. Raises RateLimited with the time until the next one fits."""
        allowance = self._allowance
        if allowance is None:
            return
        now = time.monotonic()
        bucket = self._buckets.get(budget) or allowance.open(budget, now)
        wait = bucket.take(now)
        if wait:
            allowance.refuse(bucket, wait)
        if bucket.taken >= bucket.rate:
            allowance.claim(bucket, now)

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
