"""The messages of a room, waiting for whoever reads them."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, Self

WAITING_MESSAGES: Final = 1_000
"""So many messages wait for a reader; then the oldest are dropped."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a member, or the server, sent to a room. ``at_ms`` is the server's clock."""

    room: str
    event: str
    data: Any
    member_id: str
    user: dict[str, str]
    at_ms: int


class Messages:
    """The messages of a room from now on, as an async iterator; it ends with the room."""

    def __init__(self) -> None:
        self._waiting: deque[Message] = deque(maxlen=WAITING_MESSAGES)
        self._news = asyncio.Event()
        self._ended = False

    def put(self, message: Message) -> None:
        """Add a message."""
        self._waiting.append(message)
        self._news.set()

    def end(self) -> None:
        """Add no more."""
        self._ended = True
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """Return the next message; cancelling loses none."""
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()
