"""What services need of delivery: rooms to be in, and frames to those in them.

A room name is ours (``doc:<id>``, ``room:<id>``), never a client's. ``sid`` is the id of one
connection in one namespace. With several nodes each room has a channel on which all of them
hear the same messages in the same order: packets for its members, and what concerns those
who keep the thing behind the room (:class:`Follower`).
"""

from typing import Any, Protocol


class Follower(Protocol):
    """Whoever keeps on this node what lies behind a room: a document, a roster."""

    def hear(self, message: bytes) -> None:
        """Take a message of the room's channel, in the channel's order. Never raises."""

    def missed(self) -> None:
        """Learn that messages may have been lost, and look anew. Never raises."""


class Bus(Protocol):
    """Delivers events to members of rooms, on this node and on others.

    Frames of one room arrive at every member in the order of the calls.
    """

    shared: bool
    """Whether there may be other nodes, with members of the same rooms."""

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
        """Send to everyone in ``room`` but ``skip``, on all nodes.

        ``binary`` when it may hold attachments. Raises Unavailable when the other nodes
        cannot be told; then nobody was.
        """

    def deliver(self, namespace: str, room: str, event: str, payload: dict[str, Any]) -> None:
        """Send to those in ``room`` whose connections are on this node. Never waits."""

    def deliver_json(
        self, namespace: str, room: str, event: str, payload: str, *, skip: str | None = None
    ) -> None:
        """Do as :meth:`deliver` with a payload that is JSON already, without attachments."""

    async def send(self, namespace: str, sid: str, event: str, payload: dict[str, Any]) -> None:
        """Send to one connection of this node; one that is gone is passed over."""

    async def join(self, namespace: str, sid: str, room: str) -> None:
        """Let a connection of this node into ``room``."""

    async def leave(self, namespace: str, sid: str, room: str) -> None:
        """Take a connection out of ``room``; no frame of the room reaches it afterwards."""

    async def publish(self, room: str, message: bytes) -> None:
        """Send a message to the followers of ``room`` on every node, this one included.

        Raises Unavailable when it could not be sent. Without other nodes nothing happens.
        """

    async def follow(self, room: str, follower: Follower) -> None:
        """Let ``follower`` hear the channel of ``room`` from now on.

        Returns once it does, or after a second in which that was not possible: then it is
        told that it :meth:`~Follower.missed` something as soon as it is. Never raises.
        """

    async def unfollow(self, room: str, follower: Follower) -> None:
        """Let ``follower`` hear nothing more. Never raises."""
