"""Waiting for the answers of clients."""

import asyncio
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RoomAnswers:
    """What a room answered: by sid, as :meth:`SocketServer.call` returns an answer.

    ``missing`` are those who did not answer in time, or left.
    """

    answers: dict[str, Any]
    missing: frozenset[str]


class Answer:
    """A callback that one task waits for; ``gone`` when the client cannot answer anymore."""

    def __init__(self) -> None:
        self.future: asyncio.Future[list[Any] | None] = asyncio.get_running_loop().create_future()

    def __call__(self, *data: Any) -> None:
        """Take the answer."""
        if not self.future.done():
            self.future.set_result(list(data))

    def gone(self) -> None:
        """Note that there will be none."""
        if not self.future.done():
            self.future.set_result(None)


def unwrap(data: list[Any]) -> Any:
    """Return an answer as python-socketio does: nothing, one value, or a tuple."""
    return tuple(data) if len(data) > 1 else data[0] if data else None
