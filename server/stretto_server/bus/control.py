"""Requests from node to node: who asks, who answers, and how long that may take."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

from stretto_core.errors import Unavailable
from stretto_server.bus.messages import Control, encode_control
from stretto_server.redis_client.names import PREFIX

ANSWER_S: Final = 2.0
"""So long an answer is awaited."""
_SID: Final = re.compile(r"([A-Za-z0-9_.-]{1,64})~[A-Za-z0-9_-]{16,}")
_NODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def node_channel(node: str) -> str:
    """Return the channel that one node hears."""
    return f"{PREFIX}:node:{node}"


def sid_on(node: str, name: str) -> str:
    """Return the sid of a client of ``node``: it tells the other nodes whom to ask."""
    return f"{node}~{name}"


def node_of(sid: object) -> str | None:
    """Return whose client ``sid`` is; None for what is no sid."""
    found = _SID.fullmatch(sid) if isinstance(sid, str) else None
    return found[1] if found is not None else None


def check_node(name: str) -> str:
    """Return the name of a node. Raises ValueError where it does not go into a sid."""
    if not _NODE.fullmatch(name):
        raise ValueError("a node is named by up to 64 letters, digits, and . _ -")
    return name


@dataclass(slots=True)
class _Asked:
    """A request that answers are awaited to; ``expected`` is known once it was sent."""

    done: "asyncio.Future[None]"
    answers: list[Control] = field(default_factory=list)
    expected: int | None = None

    def look(self) -> None:
        """Look whether all have answered."""
        is_whole = self.expected is not None and len(self.answers) >= self.expected
        if is_whole and not self.done.done():
            self.done.set_result(None)


class Inquiries:
    """Asks other nodes. ``publish`` sends to a channel and returns how many got it."""

    def __init__(
        self,
        publish: Callable[[str, bytes], Awaitable[int]],
        *,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._publish = publish
        self._answer_s = answer_s
        self._last = 0
        self._asked: dict[int, _Asked] = {}

    async def tell(self, channel: str, control: Control) -> int:
        """Send a request that is not answered. Raises Unavailable."""
        return await self._publish(channel, encode_control(control))

    async def ask(self, channel: str, control: Control) -> tuple[list[Control], bool]:
        """Ask all who hear ``channel``.

        Return what they answered, and whether all did in time. Raises Unavailable.
        """
        self._last += 1
        number = self._last
        asked = self._asked[number] = _Asked(asyncio.get_running_loop().create_future())
        try:
            asked.expected = await self.tell(channel, replace(control, id=number))
            asked.look()
            await asyncio.wait([asked.done], timeout=self._answer_s)
            return asked.answers, asked.done.done()
        finally:
            del self._asked[number]

    async def ask_node(self, node: str, control: Control) -> None:
        """Ask one node; one that is gone has no clients any more.

        Raises Unavailable when it does not answer.
        """
        _, answered = await self.ask(node_channel(node), control)
        if not answered:
            raise Unavailable(f"the node {node} does not answer")

    def answered(self, control: Control) -> None:
        """Take an answer; one that nobody waits for is passed over."""
        asked = self._asked.get(control.id)
        if asked is not None:
            asked.answers.append(control)
            asked.look()
