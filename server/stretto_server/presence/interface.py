"""Who is in a document or room on all nodes: what a roster needs to know of the others.

A room's presence has a number (``seq``) that grows by one with each message about it, so
whoever hears them all has the same roster, and notices a gap.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from stretto_core.roster import Member

PRESENCE_TTL_S: Final = 15.0
"""The members of a node that has said nothing for so long are gone."""


@dataclass(frozen=True, slots=True)
class RosterSnapshot:
    """All members of a room at one ``seq``, and which of them are of this node."""

    seq: int
    members: Mapping[str, Member]
    own: frozenset[str] = field(default=frozenset())


class Sharing(Protocol):
    """A roster that shares its own members with other nodes."""

    room: str

    @property
    def occupied(self) -> bool:
        """Whether this node has members in it."""

    @property
    def is_settled(self) -> bool:
        """Whether nobody of this node is known to be there, nor may be."""

    def lapsed(self) -> None:
        """Learn that others were told that the members of this node are gone."""


class Presence(Protocol):
    """Keeps the members of rooms for all nodes; the methods raise Unavailable.

    ``node`` names this one. Rooms are named as on the bus (``doc:<id>``, ``room:<id>``).
    """

    node: str

    async def write(
        self, room: str, entered: Collection[Member], left: Collection[str], *, stays: bool
    ) -> bool:
        """Enter members of this node or change them, and take others out; tell all nodes.

        ``stays`` says whether this node has members in the room afterwards. Returns whether
        its lease was alive, so that all other members of it are still known.
        """

    async def snapshot(self, room: str) -> RosterSnapshot:
        """Return who is there on all nodes."""

    def keep(self, sharing: Sharing) -> None:
        """Renew the lease of a roster while it is occupied."""

    def forget(self, sharing: Sharing) -> None:
        """Renew it no longer."""
