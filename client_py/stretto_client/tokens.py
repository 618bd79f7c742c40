"""The token of a connection: fetched for it, and renewed before it expires."""

import asyncio
import inspect
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeAlias

from stretto_client.backoff import Random, repeat_delay
from stretto_core.errors import StrettoError, Unauthenticated, Unavailable

logger = logging.getLogger(__name__)

TokenProvider: TypeAlias = Callable[[], str | Awaitable[str]]

RENEW_AT: Final = 0.8
"""A token is renewed when this part of its life is over, a little earlier by chance."""
RENEW_LEAST_S: Final = 1.0
"""A provider that returns one token until it expires is not asked more often than this."""
RENEW_MOST_S: Final = 12 * 3600.0
PROVIDER_S: Final = 30.0
"""How long a provider may take."""


class Tokens:
    """Fetches tokens, and keeps the one of the connection at hand fresh."""

    def __init__(
        self,
        token: str | TokenProvider,
        *,
        rand: Random = random.random,
        provider_s: float = PROVIDER_S,
    ) -> None:
        self._token = token
        self._random = rand
        self._provider_s = provider_s
        self._refused = asyncio.Event()

    @property
    def can_renew(self) -> bool:
        """Whether there is a provider to ask for another one."""
        return callable(self._token)

    async def fetch(self) -> str:
        """Return a fresh token.

        Raises the StrettoError of the provider, and Unavailable when it fails otherwise or
        does not return in time: it may have lost the same network as we. Cancelling is safe.
        """
        if isinstance(self._token, str):
            return self._token
        try:
            async with asyncio.timeout(self._provider_s):
                token = self._token()
                if inspect.isawaitable(token):
                    token = await token
        except StrettoError:
            raise
        except TimeoutError:
            raise Unavailable("the token provider took too long", retry_after_ms=0) from None
        except Exception as error:
            logger.warning("the token provider failed", exc_info=True)
            raise Unavailable(f"the token provider failed: {error}", retry_after_ms=0) from error
        if not isinstance(token, str):
            raise Unauthenticated("the token provider did not return a token")
        return token

    def refused(self) -> None:
        """Renew the token now: the server no longer takes the one it has."""
        self._refused.set()

    async def keep(
        self,
        ttl_s: float,
        give: Callable[[str], Awaitable[float]],
        renewed: Callable[[], None],
    ) -> None:
        """Renew the connection's token until cancelled.

        ``ttl_s`` is how long the first one lives. ``give`` hands a token to the server and
        returns its life; ``renewed`` is called afterwards. What fails is tried again.
        """
        self._refused.clear()
        while self.can_renew:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._due(ttl_s)):
                    await self._refused.wait()
            ttl_s = await self._renew(give)
            self._refused.clear()
            renewed()

    def _due(self, ttl_s: float) -> float:
        delay = ttl_s * (RENEW_AT - 0.1 * self._random())
        return min(max(delay, RENEW_LEAST_S), RENEW_MOST_S)

    async def _renew(self, give: Callable[[str], Awaitable[float]]) -> float:
        failures = 0
        while True:
            try:
                return await give(await self.fetch())
            except StrettoError as error:
                logger.warning("the token was not renewed: %s", error.message)
                await asyncio.sleep(
                    RENEW_LEAST_S + repeat_delay(failures, self._random, error.retry_after_ms)
                )
                failures += 1
