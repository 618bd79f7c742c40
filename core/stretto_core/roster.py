"""Who is in a document or room: a snapshot for those who come, diffs for those who are there.

The habit is Phoenix Presence's: members are told apart by an id of their own, so one
user may be there several times, and a diff that repeats what a snapshot already said
does no harm.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class User:
    """A person or program: ``id`` is the token's ``sub``, ``color`` is ``#rrggbb``."""

    id: str
    name: str
    color: str

    def to_payload(self) -> dict[str, str]:
        """Return the user as the wire contract writes it."""
        return {"id": self.id, "name": self.name, "color": self.color}


NO_STATUS: Final = object()
"""A member that never set a status, which is another thing than one that set ``None``."""


@dataclass(frozen=True, slots=True)
class Member:
    """One presence of a user. ``ranges`` count in the text at ``version``, in code points.

    ``client`` is the replica whose operations a cursor rides on; nobody is told of it.
    """

    id: str
    user: User
    ranges: tuple[tuple[int, int], ...] | None = None
    version: int | None = None
    status: object = NO_STATUS
    client: str = ""

    def to_payload(self) -> dict[str, Any]:
        """Return the member as the wire contract writes it: only what it has."""
        payload: dict[str, Any] = {"id": self.id, "user": self.user.to_payload()}
        if self.ranges is not None:
            payload["ranges"] = [list(pair) for pair in self.ranges]
            payload["version"] = self.version
        if self.status is not NO_STATUS:
            payload["status"] = self.status
        return payload


@dataclass(slots=True)
class Roster:
    """The members, and what changed since :meth:`take_diff` was last called."""

    _members: dict[str, Member] = field(default_factory=dict)
    _joined: dict[str, None] = field(default_factory=dict)
    _left: dict[str, None] = field(default_factory=dict)
    _updated: dict[str, None] = field(default_factory=dict)
    _shown: set[str] = field(default_factory=set)
    """Those of ``_joined`` that somebody else knows from a snapshot already."""

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __contains__(self, member_id: str) -> bool:
        return member_id in self._members

    def __getitem__(self, member_id: str) -> Member:
        return self._members[member_id]

    def join(self, member: Member) -> None:
        """Add a member; one of an id that the others still know counts as changed."""
        known = member.id in self._left or member.id in self._members
        self._members[member.id] = member
        self._left.pop(member.id, None)
        if member.id not in self._joined:
            (self._updated if known else self._joined)[member.id] = None

    def leave(self, member_id: str) -> None:
        """Take a member away.

        Nobody is told of one who came and went between two diffs, unless a snapshot taken
        meanwhile showed that member to somebody else.
        """
        if self._members.pop(member_id, None) is None:
            return
        self._updated.pop(member_id, None)
        known = member_id not in self._joined or member_id in self._shown
        self._joined.pop(member_id, None)
        self._shown.discard(member_id)
        if known:
            self._left[member_id] = None

    def update(self, member_id: str, changes: Mapping[str, Any], *, silent: bool = False) -> None:
        """Replace fields of a member; ``silent`` keeps the change out of the diff.

        A member that joined since the last diff is told of twice, as joined and as updated:
        whoever listens for one of the two hears of it.
        """
        self._members[member_id] = replace(self._members[member_id], **changes)
        if not silent:
            self._updated[member_id] = None

    def snapshot(self, viewer: str | None = None) -> list[dict[str, Any]]:
        """Return all members as the wire contract writes them, for the member ``viewer``."""
        self._shown.update(member_id for member_id in self._joined if member_id != viewer)
        return [member.to_payload() for member in self]

    def announced(self) -> frozenset[str]:
        """Return the ids of those who are here for whoever heard every diff so far."""
        return frozenset((self._members.keys() - self._joined.keys()) | self._left.keys())

    def take_diff(self) -> dict[str, Any] | None:
        """Return ``{joined, left, updated}`` since the last call; None when nothing changed."""
        if not (self._joined or self._left or self._updated):
            return None
        diff = {
            "joined": [self._members[member_id].to_payload() for member_id in self._joined],
            "left": list(self._left),
            "updated": [self._members[member_id].to_payload() for member_id in self._updated],
        }
        self._joined.clear()
        self._shown.clear()
        self._left.clear()
        self._updated.clear()
        return diff
