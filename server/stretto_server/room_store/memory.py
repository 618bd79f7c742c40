"""Rooms of one node. Nothing here suspends, so callers may rely on the order of their calls."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stretto_core.errors import NotFound
from stretto_core.protocol import ROOMS, Limits, ServerEvent
from stretto_core.room import RoomAuthority
from stretto_core.roster import Member
from stretto_server.bus.interface import Bus
from stretto_server.room_store.interface import (
    Author,
    Entered,
    Founding,
    FoundRoom,
    RoomQuery,
    RoomSnapshot,
)


@dataclass(slots=True)
class _KeptRoom:
    authority: RoomAuthority
    members: dict[str, Member] = field(default_factory=dict)
    ending: asyncio.TimerHandle | None = None


class MemoryRoomStore:
    """A :class:`~stretto_server.room_store.interface.RoomStore` for a node that is alone."""

    def __init__(self, bus: Bus, limits: Limits, *, idle_ttl: float) -> None:
        self._bus = bus
        self._limits = limits
        self._idle_ttl = idle_ttl
        self._rooms: dict[str, _KeptRoom] = {}

    async def enter(
        self, room: str, member: Member, founding: Founding | None, *, list_members: bool
    ) -> Entered:
        """Give a member a place. Raises NotFound, RoomFull, TooLarge."""
        kept = self._rooms.get(room) or self._made(founding)
        if member.id not in kept.members:
            kept.authority.require_place(len(kept.members))
        kept.members[member.id] = member
        self._rooms[room] = kept
        if kept.ending is not None:
            kept.ending.cancel()
            kept.ending = None
        return Entered(_snapshot(kept))

    async def leave(self, room: str, member_id: str) -> None:
        """Take a place away."""
        kept = self._rooms.get(room)
        if kept is not None and kept.members.pop(member_id, None) is not None:
            self._end_when_idle(room, kept)

    async def snapshot(self, room: str) -> RoomSnapshot:
        """Return what a room holds. Raises NotFound."""
        return _snapshot(self._found(room))

    async def set_state(
        self,
        room: str,
        changes: Mapping[str, Any],
        if_revision: int | None,
        author: Author,
        founding: Founding | None = None,
    ) -> int:
        """Change the state, tell the members and return the revision."""
        found = self._rooms.get(room)
        kept = found or self._made(founding)
        revision = kept.authority.set_state(changes, if_revision)
        if found is None:
            self._rooms[room] = kept
            self._end_when_idle(room, kept)
        told = {"room": room, "revision": revision, "changes": changes, "by": author.by}
        await self._tell(room, ServerEvent.STATE, told, author)
        return revision

    async def set_metadata(
        self, room: str, changes: Mapping[str, Any], author: Author
    ) -> dict[str, Any]:
        """Replace keys of the metadata, tell the members and return the whole."""
        metadata = self._found(room).authority.set_metadata(changes)
        told = {"room": room, "metadata": metadata}
        await self._tell(room, ServerEvent.METADATA, told, author)
        return metadata

    async def find(self, query: RoomQuery) -> AsyncIterator[FoundRoom]:
        """Give the rooms that ``query`` asks for, oldest first."""
        for room, kept in list(self._rooms.items()):
            if _is_found(kept, query):
                yield FoundRoom(room, len(kept.members), kept.authority.metadata)

    async def members(self, room: str) -> list[Member]:
        """Return who is in a room, each as when it came."""
        kept = self._rooms.get(room)
        return list(kept.members.values()) if kept is not None else []

    def close(self) -> None:
        """Forget every room."""
        for kept in self._rooms.values():
            if kept.ending is not None:
                kept.ending.cancel()
        self._rooms.clear()

    def _found(self, room: str) -> _KeptRoom:
        kept = self._rooms.get(room)
        if kept is None:
            raise NotFound
        return kept

    def _made(self, founding: Founding | None) -> _KeptRoom:
        if founding is None:
            raise NotFound
        return _KeptRoom(RoomAuthority(founding.creator, self._limits, founding.metadata))

    async def _tell(
        self, room: str, event: ServerEvent, payload: dict[str, Any], author: Author
    ) -> None:
        await self._bus.broadcast(ROOMS, f"room:{room}", event, payload, skip=author.skip)

    def _end_when_idle(self, room: str, kept: _KeptRoom) -> None:
        if kept.members:
            return
        if self._idle_ttl > 0:
            loop = asyncio.get_running_loop()
            kept.ending = loop.call_later(self._idle_ttl, self._rooms.pop, room, None)
        else:
            self._rooms.pop(room, None)


def _snapshot(kept: _KeptRoom) -> RoomSnapshot:
    authority = kept.authority
    return RoomSnapshot(authority.creator, authority.revision, authority.state, authority.metadata)


def _is_found(kept: _KeptRoom, query: RoomQuery) -> bool:
    present = len(kept.members)
    asked = {
        key: value
        for key, value in (
            ("owner", query.owner),
            ("tags", query.tags),
            ("min_members", query.min_members),
            ("max_members", query.max_members),
        )
        if value is not None
    }
    if not present or not kept.authority.is_found_by(asked, present):
        return False
    return not kept.authority.metadata.get("private") or any(
        member.user.id == query.user for member in kept.members.values()
    )
