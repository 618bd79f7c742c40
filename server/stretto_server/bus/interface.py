"""What services need of delivery: rooms to be in, and frames to those in them."""

from collections.abc import Awaitable
from typing import Any, Protocol


class Bus(Protocol):
    """Delivers events to members of rooms, on this node and on others.

    Frames of one room arrive at every member in the order of the calls. A room name is
    ours (``doc:<id>``, ``room:<id>``), never a client's. ``sid`` is the id of one
    connection in one namespace.
    """

    async def broadcast(
        self,
        namespace: str,
        room: str,
        event: str,
        payload: dict[str, Any],
        *,
        skip: str | None = None,
        binary: bool = False,
    ) -> None:
        """Send to everyone in ``room`` but ``skip``; ``binary`` when it may hold attachments."""

    def broadcast_json(
        self, namespace: str, room: str, event: str, payload: str
    ) -> Awaitable[None] | None:
        """Send to everyone in ``room`` a payload that is JSON already, without attachments.

        A bus where this never waits answers None, and is no coroutine function: then a
        document's batch needs no task.
        """

    async def send(self, namespace: str, sid: str, event: str, payload: dict[str, Any]) -> None:
        """Send to one connection of this node; one that is gone is passed over."""

    async def join(self, namespace: str, sid: str, room: str) -> None:
        """Let a connection of this node into ``room``."""

    async def leave(self, namespace: str, sid: str, room: str) -> None:
        """Take a connection out of ``room``; no frame of the room reaches it afterwards."""
