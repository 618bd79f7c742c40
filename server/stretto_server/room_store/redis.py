"""Rooms that several nodes share, in Redis; each method is one Lua script.

A room lives as long as a node has members in it, which
:class:`~stretto_server.presence.redis.RedisPresence` sees to, and ``idle_ttl`` longer.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from stretto_core.errors import (
    NotFound,
    RevisionConflict,
    RoomFull,
    TooLarge,
    Unavailable,
)
from stretto_core.protocol import ROOM_MEMBERS_MAX, Limits, ServerEvent
from stretto_core.room import RoomAuthority, json_size
from stretto_core.roster import Member
from stretto_server import wire_json
from stretto_server.presence.interface import RosterSnapshot
from stretto_server.presence.records import member_record
from stretto_server.presence.redis import FUNCTIONS as PRESENCE_FUNCTIONS
from stretto_server.presence.redis import RedisPresence, keys_of, read_members
from stretto_server.presence.redis_session import RedisSession
from stretto_server.redis_client.names import ROOMS_TAG
from stretto_server.redis_client.resp import Argument
from stretto_server.redis_client.scripts import load_script, load_text
from stretto_server.room_store.interface import (
    Author,
    Entered,
    Founding,
    FoundRoom,
    RoomQuery,
    RoomSnapshot,
)
from stretto_server.room_store.messages import message_head

PACKAGE: Final = "stretto_server.room_store"
FUNCTIONS: Final = PRESENCE_FUNCTIONS + load_text(PACKAGE, "functions.lua")
SCRIPTS: Final = {
    name: load_script(PACKAGE, f"{name}.lua", functions=FUNCTIONS)
    for name in ("enter", "load", "set_state", "set_metadata", "find", "reap")
}
INDEXES: Final = [f"{ROOMS_TAG}:rooms", f"{ROOMS_TAG}:listed"]

FIND_PAGE: Final = 200
"""Rooms looked at by one script: others wait meanwhile."""
REAP_PAGE: Final = 200
FIND_TAGS: Final = 50
"""Tags that the script looks for; further ones are compared here."""


class RedisRoomStore:
    """A :class:`~stretto_server.room_store.interface.RoomStore` for the nodes of a cluster."""

    def __init__(self, session: RedisSession, presence: RedisPresence, limits: Limits) -> None:
        self._session = session
        self._presence = presence
        self._limits = limits
        self._reaped = 0
        presence.chores.append(self.reap)

    async def enter(
        self, room: str, member: Member, founding: Founding | None, *, list_members: bool
    ) -> Entered:
        """Give a member a place. Raises NotFound, RoomFull, TooLarge."""
        metadata: Mapping[str, Any] = {}
        if founding is not None:
            # Its checks are the same for a room that is to be made.
            metadata = RoomAuthority(founding.creator, self._limits, founding.metadata).metadata
        answer = await self._run(
            "enter",
            room,
            member.id,
            member_record(member),
            founding.creator if founding is not None else "",
            self._limits.room_members,
            int(list_members),
            *_changes(metadata),
        )
        if answer[0] == b"full":
            raise RoomFull(f"at most {int(answer[1])} members")
        _, fields, state, kept_metadata, seq, flat = answer
        snapshot = _read_snapshot(fields, state, kept_metadata)
        if not list_members:
            return Entered(snapshot)
        members, own = read_members(flat, self._presence.node)
        members.pop(member.id, None)
        return Entered(snapshot, RosterSnapshot(int(seq), members, own - {member.id}))

    async def leave(self, room: str, member_id: str) -> None:
        """Do nothing: the roster has told Redis of it."""

    async def snapshot(self, room: str) -> RoomSnapshot:
        """Return what a room holds. Raises NotFound."""
        answer = await self._session.run(SCRIPTS["load"], keys_of(f"room:{room}")[3:])
        if answer[0] == b"missing":
            raise NotFound
        return _read_snapshot(*answer[1:])

    async def set_state(
        self,
        room: str,
        changes: Mapping[str, Any],
        if_revision: int | None,
        author: Author,
        founding: Founding | None = None,
    ) -> int:
        """Change the state, tell the members and return the revision."""
        rows = _changes(changes, removing=True)
        event_head = f'{{"room":{wire_json.dumps(room)},"revision":'
        told = wire_json.dumps({"changes": changes, "by": author.by})
        answer = await self._run(
            "set_state",
            room,
            "" if if_revision is None else if_revision,
            self._limits.room_state_bytes,
            founding.creator if founding is not None else "",
            message_head(ServerEvent.STATE, author),
            event_head,
            f",{told[1:]}",
            *rows,
        )
        if answer[0] == b"conflict":
            raise RevisionConflict(details={"revision": int(answer[1])})
        self._require_fit("state", answer)
        return int(answer[1])

    async def set_metadata(
        self, room: str, changes: Mapping[str, Any], author: Author
    ) -> dict[str, Any]:
        """Replace keys of the metadata, tell the members and return the whole."""
        answer = await self._run(
            "set_metadata",
            room,
            self._limits.room_state_bytes,
            message_head(ServerEvent.METADATA, author),
            f'{{"room":{wire_json.dumps(room)},"metadata":',
            *_changes(changes),
        )
        self._require_fit("metadata", answer)
        return _read_values(answer[1])

    async def find(self, query: RoomQuery) -> AsyncIterator[FoundRoom]:
        """Give the rooms that ``query`` asks for, oldest first."""
        ended = b"-1"
        while ended:
            ended, rows = await self._session.run(
                SCRIPTS["find"],
                INDEXES,
                self._presence.node,
                self._session.publish_command,
                ROOMS_TAG,
                query.user,
                query.owner or "",
                query.min_members or 0,
                ROOM_MEMBERS_MAX if query.max_members is None else query.max_members,
                ended,
                FIND_PAGE,
                *islice(query.tags, FIND_TAGS),
            )
            for room, count, flat in rows:
                metadata = _read_values(flat)
                if query.tags.issubset(metadata.get("tags", ())):
                    yield FoundRoom(room.decode(), count, metadata)

    async def members(self, room: str) -> list[Member]:
        """Return who is in a room on any node."""
        return list((await self._presence.snapshot(f"room:{room}")).members.values())

    async def reap(self) -> None:
        """Take some of the rooms that are gone out of the indexes."""
        self._reaped = await self._session.run(
            SCRIPTS["reap"], INDEXES, ROOMS_TAG, self._reaped, REAP_PAGE
        )

    def close(self) -> None:
        """Do nothing: connections are the session's."""

    async def _run(self, name: str, room: str, *arguments: Argument) -> Sequence[Any]:
        """Run a script on one room. Raises NotFound, Unavailable."""
        answer: Sequence[Any] = await self._session.run(
            SCRIPTS[name],
            [*keys_of(f"room:{room}"), *INDEXES],
            *self._presence.lease,
            *self._session.publishing(f"room:{room}"),
            room,
            *arguments,
        )
        if answer[0] == b"missing":
            raise NotFound
        return answer

    def _require_fit(self, what: str, answer: Sequence[Any]) -> None:
        if answer[0] == b"large":
            most = self._limits.room_state_bytes
            raise TooLarge(f"the {what} takes at most {most} bytes in a room, not {int(answer[1])}")


def _changes(values: Mapping[str, Any], *, removing: bool = False) -> list[Argument]:
    """Return key, size and JSON of each value, as scripts take them. Raises InvalidRequest."""
    rows: list[Argument] = []
    for key, value in values.items():
        if removing and value is None:
            json_size(key)  # a key that is not JSON is refused here as well
            rows += (key, 0, "")
        else:
            size = json_size(key) + len(":") + json_size(value)
            rows += (key, size, json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return rows


def _read_snapshot(
    fields: Sequence[bytes | None], state: Sequence[bytes], metadata: Sequence[bytes]
) -> RoomSnapshot:
    """Return what a room holds, from its hashes. Raises Unavailable for what is no room."""
    creator, revision, *rest = fields
    if creator is None or revision is None:
        raise Unavailable("the room is damaged")
    last = rest[0].decode() if rest and rest[0] is not None else None
    return RoomSnapshot(
        creator.decode(), int(revision), _read_values(state), _read_values(metadata), last
    )


def _read_values(flat: Sequence[bytes]) -> dict[str, Any]:
    return {
        key.decode(): wire_json.loads(value.partition(b" ")[2])
        for key, value in zip(flat[::2], flat[1::2], strict=True)
    }
