"""What rooms ask of a store: their state, metadata and places, for all nodes together.

Every method happens wholly or not at all. Changes are told to the members by the store,
which alone knows their order. With several nodes a store publishes them on the room's
channel, see :mod:`~stretto_server.room_store.messages`; there they also tell the caller of
:meth:`RoomStore.set_state` when all changes before its own have been heard.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stretto_core.roster import Member
from stretto_server.presence.interface import RosterSnapshot


@dataclass(frozen=True, slots=True)
class Founding:
    """How a room is made where there is none: by whom, and with which metadata."""

    creator: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Author:
    """Whom a change is by. The Socket.IO id ``skip`` is not told of it.

    ``mark`` names the change on the room's channel.
    """

    by: Mapping[str, Any]
    skip: str | None = None
    mark: str = ""


@dataclass(slots=True)
class RoomSnapshot:
    """What a room holds beside its members. ``last`` is the newest ``state`` event as JSON.

    Whoever asks may not change what is in it.
    """

    creator: str
    revision: int
    state: dict[str, Any]
    metadata: dict[str, Any]
    last: str | None = None


@dataclass(frozen=True, slots=True)
class Entered:
    """What a new member finds; ``roster`` where other nodes may have members too."""

    snapshot: RoomSnapshot
    roster: RosterSnapshot | None = None


@dataclass(frozen=True, slots=True)
class RoomQuery:
    """What a ``find`` looks for; None is anything. Private rooms are for ``user`` if inside."""

    user: str
    owner: str | None = None
    tags: frozenset[str] = frozenset()
    min_members: int | None = None
    max_members: int | None = None


@dataclass(frozen=True, slots=True)
class FoundRoom:
    """A room that a ``find`` asked for, with how many are in it."""

    room: str
    members: int
    metadata: dict[str, Any]


class RoomStore(Protocol):
    """Keeps rooms while somebody is in them, and ``idle_ttl`` seconds longer.

    Every method raises Unavailable where the store cannot be reached.
    """

    async def enter(
        self, room: str, member: Member, founding: Founding | None, *, list_members: bool
    ) -> Entered:
        """Give a member a place; one that has it keeps it.

        Where there is no room it is made as ``founding`` says, or NotFound raised without.
        Raises RoomFull, TooLarge; then nothing was made.
        """

    async def leave(self, room: str, member_id: str) -> None:
        """Take a place away whose member has left the roster."""

    async def snapshot(self, room: str) -> RoomSnapshot:
        """Return what a room holds. Raises NotFound."""

    async def set_state(
        self,
        room: str,
        changes: Mapping[str, Any],
        if_revision: int | None,
        author: Author,
        founding: Founding | None = None,
    ) -> int:
        """Change the state, tell the members and return the revision.

        Raises RevisionConflict, TooLarge, InvalidRequest for what is not JSON, NotFound.
        """

    async def set_metadata(
        self, room: str, changes: Mapping[str, Any], author: Author
    ) -> dict[str, Any]:
        """Replace keys of the metadata, tell the members and return the whole.

        Raises TooLarge, NotFound.
        """

    def find(self, query: RoomQuery) -> AsyncIterator[FoundRoom]:
        """Give the rooms that ``query`` asks for, oldest first."""

    async def members(self, room: str) -> list[Member]:
        """Return who is in a room on any node; nobody is in one that does not exist."""

    def close(self) -> None:
        """Stop every timer."""
