"""The changes of a document's text as an async iterator."""

import asyncio
from collections import deque
from typing import Final, Self

from stretto_core.effects import Changed
from stretto_core.errors import Busy

WAITING_CHANGES: Final = 10_000
"""So many changes wait for a reader, and then none: a hole would make its text a wrong one."""


class Changes:
    """Every change from the moment this was made, until the document is closed."""

    def __init__(self, most: int = WAITING_CHANGES) -> None:
        self._most = most
        self._waiting: deque[Changed] = deque()
        self._news = asyncio.Event()
        self._overrun = False
        self._ended = False

    def put(self, change: Changed) -> None:
        """Add a change."""
        if len(self._waiting) >= self._most:
            self._waiting.clear()
            self._overrun = True
        if not self._overrun:
            self._waiting.append(change)
        self._news.set()

    def end(self) -> None:
        """Add no more."""
        self._ended = True
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Changed:
        """Return the next change; cancelling loses none.

        Raises Busy when the reader was so slow that changes had to be dropped: take the
        document's text and ask for its changes anew.
        """
        while not self._waiting:
            if self._overrun:
                raise Busy("changes were read too slowly; start again from the text")
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()
