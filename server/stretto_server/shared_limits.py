"""What users spend on all nodes together, kept in Redis.

Nobody waits for it: a node spends from its own buckets (:mod:`~stretto_server.limits`),
tells Redis afterwards, and learns when to give nothing for a while. So a user gets on n
nodes n bursts at first, and then as much as on one. Without Redis each node is alone.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from stretto_core.errors import Unavailable
from stretto_server.limits import Allowance
from stretto_server.redis_client.names import tag_of
from stretto_server.redis_client.resp import Argument
from stretto_server.redis_client.scripts import Script, load_script

logger = logging.getLogger(__name__)

SPEND: Final = load_script("stretto_server", "shared_limits.lua")
PAUSE_S: Final = 1.0
"""After Redis was away, before it is told anything again."""


class Scripts(Protocol):
    """Where scripts run."""

    async def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        """Return what a script answers. Raises Unavailable."""


def key_of(user: str) -> str:
    """Return where the buckets of a user lie."""
    return f"{tag_of(user)}:rates:{user}"


class SharedLimits:
    """Tells Redis what users of this node spend."""

    def __init__(self, redis: Scripts) -> None:
        self._redis = redis
        self._due: dict[str, Allowance] = {}
        self._telling: asyncio.Task[None] | None = None
        self._away = False

    def report(self, allowance: Allowance) -> None:
        """Tell of what a user spent, soon. Never waits."""
        self._due[allowance.user] = allowance
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def stop(self) -> None:
        """Tell nothing more."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])

    async def _tell(self) -> None:
        """Tell of all who are due, at the same time, until nobody is."""
        try:
            while self._due:
                due, self._due = self._due, {}
                reached = await asyncio.gather(*map(self._tell_of, due.values()))
                if not all(reached):
                    await asyncio.sleep(PAUSE_S)
        finally:
            self._telling = None

    async def _tell_of(self, allowance: Allowance) -> bool:
        """Tell what one user spent; return whether there was an answer."""
        buckets = [(name, one) for name, one in allowance.buckets.items() if one.owed]
        arguments: list[Argument] = []
        for name, bucket in buckets:
            arguments += [name, repr(bucket.rate), repr(bucket.burst), repr(bucket.pay())]
        try:
            waits = await self._redis.run(SPEND, [key_of(allowance.user)], *arguments)
        except Unavailable as error:
            if not self._away:
                logger.warning("rates are limited on this node alone: %s", error.message)
            self._away = True
            return False
        self._away = False
        now = time.monotonic()
        for (_, bucket), wait_ms in zip(buckets, waits, strict=True):
            if wait_ms:
                bucket.hold(now, wait_ms / 1000)
        return True
