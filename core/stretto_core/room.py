"""A room: the authority that the server keeps, and the replica that a client keeps.

A room is memory that people share while they are there: members with a status, a small
state whose every change has a revision, and metadata by which it is found. Nothing of it
is durable. A replica heals itself: whatever it missed, the answer to another ``join`` is
a whole snapshot.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from stretto_core.errors import InvalidRequest, RevisionConflict, RoomFull, TooLarge
from stretto_core.protocol import Limits, ServerEvent

Payload: TypeAlias = Mapping[str, Any]


def json_size(value: object) -> int:
    """Return the bytes of ``value`` as compact JSON. Raises InvalidRequest if it is not JSON."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return len(text.encode())
    except (TypeError, ValueError, RecursionError):
        raise InvalidRequest("not a value that JSON can hold") from None


class RoomAuthority:
    """What a room knows beside its members. What raises changes nothing.

    ``creator`` is the user id of whoever made it, its owner while it lasts.
    """

    def __init__(self, creator: str, limits: Limits, metadata: Payload | None = None) -> None:
        """Raise TooLarge for metadata beyond its limit."""
        self.creator = creator
        self.revision = 0
        self.state: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.limits = limits
        self._sizes: dict[str, int] = {}
        self._bytes = 0
        self._tags: frozenset[str] = frozenset()
        self.set_metadata(metadata or {})

    @property
    def most_members(self) -> int:
        """How many members the room takes."""
        most: int = self.metadata.get("max_members", self.limits.room_members)
        return most

    def require_place(self, present: int) -> None:
        """Raise RoomFull unless one more fits beside those ``present``."""
        if present >= self.most_members:
            raise RoomFull(f"at most {self.most_members} members")

    def set_state(self, changes: Payload, if_revision: int | None = None) -> int:
        """Set keys, take those away whose value is None, and return the new revision.

        Raises RevisionConflict where the state is not at ``if_revision``, TooLarge where
        the whole of it would pass its limit.
        """
        if if_revision is not None and if_revision != self.revision:
            raise RevisionConflict(details={"revision": self.revision})
        sizes = {
            key: json_size(key) + len(":") + json_size(value)
            for key, value in changes.items()
            if value is not None
        }
        # Sizes are kept per key, so that a change costs as much as itself and not the state.
        total = self._bytes + sum(sizes.values()) - sum(self._sizes.get(key, 0) for key in changes)
        count = len((self._sizes.keys() - changes.keys()) | sizes.keys())
        _require_size("state", len("{}") + total + max(0, count - 1), self.limits)
        for key, value in changes.items():
            if value is None:
                self.state.pop(key, None)
                self._sizes.pop(key, None)
            else:
                self.state[key] = value
        self._sizes |= sizes
        self._bytes = total
        self.revision += 1
        return self.revision

    def set_metadata(self, changes: Payload) -> dict[str, Any]:
        """Replace the given keys and return the whole. Raises TooLarge."""
        merged = {**self.metadata, **changes}
        _require_size("metadata", json_size(merged), self.limits)
        self.metadata = merged
        self._tags = frozenset(merged.get("tags", ()))
        return merged

    def is_found_by(self, query: Payload, present: int) -> bool:
        """Tell whether a ``find`` asks for this room with so many members."""
        return (
            query.get("owner", self.creator) == self.creator
            and self._tags.issuperset(query.get("tags", ()))
            and query.get("min_members", present) <= present <= query.get("max_members", present)
        )


def check_status(status: object, limits: Limits) -> None:
    """Raise TooLarge for a member's status beyond its limit."""
    _require_size("status", json_size(status), limits)


def _require_size(what: str, size: int, limits: Limits) -> None:
    most = limits.room_state_bytes
    if size > most:
        raise TooLarge(f"the {what} takes at most {most} bytes in a room, not {size}")


class Change(NamedTuple):
    """Something that became of a room by others: the event of the SDKs that tells of it."""

    event: str
    payload: dict[str, Any]


MEMBER_JOINED: Final = "room.member_joined"
MEMBER_LEFT: Final = "room.member_left"
MEMBER_UPDATED: Final = "room.member_updated"
STATE_CHANGED: Final = "room.state"
METADATA_CHANGED: Final = "room.metadata"


class RoomReplica:
    """A client's copy of a room, fed with answers and events in their order of arrival.

    An application learns of an answer a little later than of the events behind it, since
    the call that waits for it has to wake up first. So what arrives while a ``join`` is
    under way is kept and applied to its snapshot, and a revision that seems to be skipped
    may be that of an own change whose answer is still to be taken: only without such a
    change is it lost (:attr:`must_join`).
    """

    def __init__(self, room: str) -> None:
        self.room = room
        self.member_id: str | None = None
        self.members: dict[str, dict[str, Any]] = {}
        self.state: dict[str, Any] = {}
        self.revision = 0
        self.metadata: dict[str, Any] = {}
        self._known = False
        self._kept: list[tuple[ServerEvent, Payload]] | None = []
        self._ahead: dict[int, Payload] = {}
        self._writes = 0
        self._writing_metadata = 0
        self._doubtful = False

    @property
    def must_join(self) -> bool:
        """Whether only another ``join`` can tell what the room holds now."""
        if self._kept is not None:
            return False
        return self._doubtful or (bool(self._ahead) and not self._writes)

    def joining(self) -> None:
        """Expect a snapshot: a ``join`` is about to be sent."""
        self._kept = []
        self._ahead.clear()
        self._doubtful = False

    def joined(self, answer: Payload) -> list[Change]:
        """Take the answer to a ``join``; return how it differs from what was known before."""
        kept, self._kept = self._kept or [], None
        members = {member["id"]: dict(member) for member in answer["members"]}
        changes = self._differences(answer, members) if self._known else []
        self._known = True
        self.member_id = answer["member_id"]
        self.members = members
        self.state = dict(answer["state"])
        self.revision = answer["revision"]
        self.metadata = dict(answer["metadata"])
        for event, payload in kept:
            changes += self.receive(event, payload)
        return changes

    def receive(self, event: str, payload: Payload) -> list[Change]:
        """Take an event of the server; return what changed by it. Others change nothing."""
        if event not in _COPIED:
            return []
        if event == ServerEvent.METADATA and self._writing_metadata:
            self._doubtful = True
        if self._kept is not None:
            self._kept.append((ServerEvent(event), payload))
            return []
        if event == ServerEvent.PRESENCE:
            return self._presence(payload)
        if event == ServerEvent.METADATA:
            return self._metadata(payload["metadata"])
        self._ahead[payload["revision"]] = payload
        return self._catch_up()

    def writing(self, *, metadata: bool = False) -> None:
        """Expect the answer to an own change; :meth:`written` or :meth:`not_written` follows."""
        self._writes += 1
        self._writing_metadata += metadata

    def written(self, revision: int, changes: Payload) -> list[Change]:
        """Take the answer to an own ``set_state``; return what waited for it."""
        self._writes -= 1
        own = {"revision": revision, "changes": changes, "own": True}
        if self._kept is not None:
            self._kept.append((ServerEvent.STATE, own))
            return []
        self._ahead[revision] = own
        return self._catch_up()

    def described(self, metadata: Payload) -> None:
        """Take the answer to an own ``set_metadata``.

        Metadata has no revision, so where others changed it meanwhile, nobody here can
        tell whose change came last: :attr:`must_join` says so.
        """
        self._writes -= 1
        self._writing_metadata -= 1
        self.metadata = dict(metadata)

    def not_written(self, *, metadata: bool = False, unknown: bool = False) -> None:
        """Expect that answer no more; ``unknown`` when the change may have been made."""
        self._writes -= 1
        self._writing_metadata -= metadata
        self._doubtful = self._doubtful or unknown

    def _differences(self, answer: Payload, members: Payload) -> list[Change]:
        """Return the changes from what is known to a snapshot, oneself left out."""
        own = (self.member_id, answer["member_id"])
        gone = [id for id in self.members if id not in members and id not in own]
        came = [member for id, member in members.items() if id not in self.members]
        same = [member for id, member in members.items() if id in self.members]
        changes = [Change(MEMBER_LEFT, self._about(member=self.members[id])) for id in gone]
        changes += [
            Change(event, self._about(member=member))
            for event, some in ((MEMBER_JOINED, came), (MEMBER_UPDATED, same))
            for member in some
            if member["id"] not in own and self.members.get(member["id"]) != member
        ]
        state = state_difference(self.state, answer["state"])
        if state:
            payload = self._about(revision=answer["revision"], changes=state, by=None)
            changes.append(Change(STATE_CHANGED, payload))
        if answer["metadata"] != self.metadata:
            changes.append(Change(METADATA_CHANGED, self._about(metadata=answer["metadata"])))
        return changes

    def _presence(self, diff: Payload) -> list[Change]:
        changes = []
        for id in diff["left"]:
            member = self.members.pop(id, None)
            if member is not None and id != self.member_id:
                changes.append(Change(MEMBER_LEFT, self._about(member=member)))
        for member in [*diff["joined"], *diff["updated"]]:
            before = self.members.get(member["id"])
            self.members[member["id"]] = dict(member)
            if before != member and member["id"] != self.member_id:
                event = MEMBER_JOINED if before is None else MEMBER_UPDATED
                changes.append(Change(event, self._about(member=member)))
        return changes

    def _catch_up(self) -> list[Change]:
        """Apply what comes next, in the order of revisions."""
        changes = []
        for revision in sorted(self._ahead):
            if revision > self.revision + 1:
                break
            payload = self._ahead.pop(revision)
            if revision <= self.revision:
                continue  # in the snapshot already
            self.revision = revision
            for key, value in payload["changes"].items():
                if value is None:
                    self.state.pop(key, None)
                else:
                    self.state[key] = value
            if "own" not in payload:
                changes.append(Change(STATE_CHANGED, dict(payload)))
        return changes

    def _metadata(self, metadata: Payload) -> list[Change]:
        if metadata == self.metadata:
            return []
        self.metadata = dict(metadata)
        return [Change(METADATA_CHANGED, self._about(metadata=self.metadata))]

    def _about(self, **values: Any) -> dict[str, Any]:
        return {"room": self.room, **values}


_COPIED: Final = (ServerEvent.PRESENCE, ServerEvent.STATE, ServerEvent.METADATA)
"""The events that a copy consists of."""


def state_difference(before: Payload, after: Payload) -> dict[str, Any]:
    """Return the ``changes`` that lead from one state to another; None removes."""
    removed = {key: None for key in before if key not in after}
    return removed | {
        key: value for key, value in after.items() if key not in before or before[key] != value
    }
