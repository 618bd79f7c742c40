"""When to try again: pure arithmetic, with randomness as an argument.

The first retry is spread evenly over 0.2 to 3 seconds, because a server that was killed
could not spread its clients itself; the following ones use full jitter under a bound
that doubles. What the server asked for (``shutdown.reconnect_after_ms``,
``retry_after_ms``) is respected: nobody comes back earlier than told.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

Random: TypeAlias = Callable[[], float]
"""Returns a number from 0 (included) to 1 (excluded), as :func:`random.random` does."""

FIRST_LEAST_S: Final = 0.2
FIRST_MOST_S: Final = 3.0
CAP_S: Final = 30.0
REPEAT_FIRST_S: Final = 0.1
REPEAT_CAP_S: Final = 5.0
"""A request on a standing connection costs little: it is repeated soon after an outage ends."""


class Backoff:
    """The delays between attempts to connect; :meth:`reset` after one that succeeded."""

    def __init__(self, random: Random, *, scale: float = 1.0) -> None:
        self._random = random
        self._scale = scale
        self._attempts = 0

    def reset(self) -> None:
        """Forget the failed attempts."""
        self._attempts = 0

    def next_delay(self, asked_ms: int | None = None) -> float:
        """Return the seconds to wait before the next attempt, and count it.

        ``asked_ms`` is the least time that the server asked for. Where it drew that time
        for this client alone (a shutdown), use :func:`asked_delay` instead.
        """
        if self._attempts == 0:
            delay = FIRST_LEAST_S + self._random() * (FIRST_MOST_S - FIRST_LEAST_S)
        else:
            bound = min(CAP_S, FIRST_MOST_S * 2.0 ** min(self._attempts, 16))
            delay = max(FIRST_LEAST_S, self._random() * bound)
        self._attempts += 1
        return max(delay * self._scale, asked_delay(asked_ms))


def asked_delay(asked_ms: int | None) -> float:
    """Return the seconds that the server asked to wait, 0 when it asked for nothing."""
    return max(0, asked_ms) / 1000 if asked_ms is not None else 0.0


def repeat_delay(attempt: int, random: Random, asked_ms: int | None = None) -> float:
    """Return the seconds before a refused request is sent again on the same connection.

    ``attempt`` counts from 0. A little jitter on top of what the server asked for keeps
    clients that were refused together from coming back together.
    """
    bound = min(REPEAT_CAP_S, REPEAT_FIRST_S * 2.0 ** min(attempt, 16))
    return asked_delay(asked_ms) + random() * bound
