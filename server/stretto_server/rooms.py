"""Rooms: people, a status of each, messages and a small shared state; nothing is durable.

Rights are settled when a room is joined or a token refreshed, and kept on the
:class:`Place`. What a room holds is :class:`~stretto_core.room.RoomAuthority`'s business;
here are those who hear of it, and its end when nobody came back.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeAlias

from stretto_core.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    NotJoined,
    ShuttingDown,
    TooLarge,
)
from stretto_core.protocol import (
    FIND_DEFAULT,
    FIND_MAX,
    ROOMS,
    Limits,
    ServerEvent,
    is_resource_id,
)
from stretto_core.room import RoomAuthority, check_status
from stretto_core.roster import NO_STATUS, Member
from stretto_server.auth import Action, Role, authorize, user_of
from stretto_server.bus.interface import Bus
from stretto_server.connections import Connection
from stretto_server.roster_service import LiveRoster

SERVER_USER: Final = "server"
"""Whom messages and changes from this process are by; as a member id too, which nobody has."""
_SERVER: Final = {"id": SERVER_USER, "user": user_of(SERVER_USER).to_payload()}

Payload: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RoomState:
    """A room's state at one revision."""

    revision: int
    values: dict[str, Any]


class LiveRoom:
    """A room in memory: its authority, the connections in it, and when it ends."""

    def __init__(self, room: str, authority: RoomAuthority, bus: Bus) -> None:
        self.id = room
        self.authority = authority
        self.places: dict[Connection, Place] = {}
        self.ending: asyncio.TimerHandle | None = None
        self._bus = bus
        self._channel = f"room:{room}"
        self.roster = LiveRoster(bus, ROOMS, self._channel, {"room": room})

    async def seat(self, connection: Connection, role: Role, status: object) -> "Place":
        """Give a connection a place. Nothing suspends where the bus does not."""
        place = Place(self, connection, secrets.token_urlsafe(9), role)
        self.places[connection] = place
        connection.rooms.add(self.id)
        self.roster.members.join(Member(place.member_id, connection.who.user, status=status))
        self.roster.changed()
        await self._bus.join(ROOMS, connection.sids[ROOMS], self._channel)
        return place

    async def unseat(self, connection: Connection) -> None:
        """Take a connection's place away; no frame of the room follows."""
        place = self.places.pop(connection)
        connection.rooms.discard(self.id)
        self.roster.members.leave(place.member_id)
        self.roster.changed()
        sid = connection.sids.get(ROOMS)
        if sid is not None:
            await self._bus.leave(ROOMS, sid, self._channel)

    async def say(self, by: Payload, event: str, data: Any, *, skip: str | None = None) -> None:
        """Send a message of the application to the members."""
        message = {"event": event, "data": data, "from": by, "at_ms": int(time.time() * 1000)}
        await self.announce(ServerEvent.MESSAGE, message, skip=skip, binary=True)

    async def change(
        self, by: Payload, changes: Payload, if_revision: int | None, *, skip: str | None = None
    ) -> int:
        """Change the state and tell of it; return the revision.

        Raises RevisionConflict, TooLarge.
        """
        revision = self.authority.set_state(changes, if_revision)
        told = {"revision": revision, "changes": changes, "by": by}
        await self.announce(ServerEvent.STATE, told, skip=skip)
        return revision

    async def announce(
        self,
        event: ServerEvent,
        payload: Payload,
        *,
        skip: str | None = None,
        binary: bool = False,
    ) -> None:
        """Send an event to every member but the one whose Socket.IO id is ``skip``."""
        about = {"room": self.id, **payload}
        await self._bus.broadcast(ROOMS, self._channel, event, about, skip=skip, binary=binary)

    async def tell(self, connection: Connection, event: ServerEvent, payload: Payload) -> None:
        """Send an event to one connection, if it still has this namespace."""
        sid = connection.sids.get(ROOMS)
        if sid is not None:
            await self._bus.send(ROOMS, sid, event, {"room": self.id, **payload})

    def close(self) -> None:
        """Stop every timer."""
        self.roster.close()
        self.keep()

    def keep(self) -> None:
        """Forget that the room was about to end."""
        if self.ending is not None:
            self.ending.cancel()
            self.ending = None


@dataclass(eq=False, slots=True)
class Place:
    """One connection's place in a room, and what may be done from there.

    ``role`` is what was settled for it last.
    """

    room: LiveRoom
    connection: Connection
    member_id: str
    role: Role

    def joined(self) -> dict[str, Any]:
        """Return the answer to ``join``."""
        authority = self.room.authority
        return {
            "room": self.room.id,
            "member_id": self.member_id,
            "members": self.room.roster.members.snapshot(self.member_id),
            "state": authority.state,
            "revision": authority.revision,
            "metadata": authority.metadata,
        }

    async def send(self, event: str, data: Any) -> None:
        """Send a message to the others. Raises Forbidden."""
        self._require_editor()
        await self.room.say(self._by, event, data, skip=self._sid)

    async def set_state(self, changes: Payload, if_revision: int | None) -> int:
        """Change the state and tell the others; return the revision.

        Raises Forbidden, RevisionConflict, TooLarge.
        """
        self._require_editor()
        return await self.room.change(self._by, changes, if_revision, skip=self._sid)

    @property
    def status(self) -> object:
        """What this member shows; NO_STATUS before anything."""
        return self.room.roster.members[self.member_id].status

    def set_status(self, status: object) -> None:
        """Keep this member's status and tell all. Raises TooLarge."""
        check_status(status, self.room.authority.limits)
        self.room.roster.members.update(self.member_id, {"status": status})
        self.room.roster.changed()

    async def set_metadata(self, changes: Payload) -> dict[str, Any]:
        """Change the metadata, tell the others and return the whole.

        Raises Forbidden, TooLarge.
        """
        authority = self.room.authority
        if self.connection.who.user.id != authority.creator and self.role < Role.OWNER:
            raise Forbidden("only an owner may change the metadata")
        metadata = authority.set_metadata(changes)
        await self.room.announce(ServerEvent.METADATA, {"metadata": metadata}, skip=self._sid)
        return metadata

    @property
    def _by(self) -> dict[str, Any]:
        return {"id": self.member_id, "user": self.connection.who.user.to_payload()}

    @property
    def _sid(self) -> str | None:
        return self.connection.sids.get(ROOMS)

    def _require_editor(self) -> None:
        if self.role < Role.EDITOR:
            raise Forbidden("a viewer may not do this")


class Rooms:
    """``send``, ``set_state``, ``state`` and ``members`` are for code in this process.

    The other methods serve the ``/rooms`` namespace and take its decoded payloads.
    """

    def __init__(self, bus: Bus, limits: Limits, *, idle_ttl: float) -> None:
        self._bus = bus
        self._limits = limits
        self._idle_ttl = idle_ttl
        self._rooms: dict[str, LiveRoom] = {}
        self._draining = False

    async def send(self, room: str, event: str, data: Any) -> None:
        """Send a message to everyone in a room; where nobody is, nobody hears it."""
        live = self._rooms.get(room)
        if live is not None:
            await live.say(_SERVER, event, data)

    async def set_state(
        self, room: str, changes: Mapping[str, Any], *, if_revision: int | None = None
    ) -> int:
        """Change a room's state, live for everyone in it; return the revision.

        ``None`` takes a key away. Makes the room where there is none; like any other it
        ends when nobody comes. Raises InvalidRequest for an id that no room can have and
        for what is not JSON, RevisionConflict, TooLarge.
        """
        if not is_resource_id(room):
            raise InvalidRequest(details={"room": ["not a valid id"]})
        live = self._rooms.get(room)
        if live is not None:
            return await live.change(_SERVER, deepcopy(dict(changes)), if_revision)
        authority = RoomAuthority(SERVER_USER, self._limits)
        revision = authority.set_state(deepcopy(dict(changes)), if_revision)
        self._end_when_idle(self._make(room, authority))
        return revision

    async def state(self, room: str) -> RoomState:
        """Return a copy of a room's state. Raises NotFound."""
        live = self._rooms.get(room)
        if live is None:
            raise NotFound
        return RoomState(live.authority.revision, deepcopy(live.authority.state))

    async def members(self, room: str) -> list[Member]:
        """Return who is in a room; nobody is in one that does not exist."""
        live = self._rooms.get(room)
        return list(live.roster.members) if live is not None else []

    async def join(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        """Answer ``join``. Nothing suspends between taking the place and returning.

        So the answer precedes every frame of the room.
        """
        room = request["room"]
        connection.require_live_token()
        role = authorize(connection.who, f"rooms/{room}", Action.SEE)
        if self._draining:
            raise ShuttingDown
        live = self._rooms.get(room)
        place = live.places.get(connection) if live is not None else None
        if place is None:
            most = self._limits.joined_rooms
            if len(connection.rooms) >= most:
                raise TooLarge(f"at most {most} joined rooms per connection")
            place = await self._enter(live, connection, role, request)
        elif "status" in request and request["status"] != place.status:
            place.set_status(request["status"])
        place.role = role
        return place.joined()

    def roster(self, room: str) -> LiveRoster | None:
        """Return who is in a room, live."""
        live = self._rooms.get(room)
        return live.roster if live is not None else None

    def place(self, connection: Connection, room: str) -> Place:
        """Return the place of a connection in a room. Raises NotJoined."""
        live = self._rooms.get(room)
        place = live.places.get(connection) if live is not None else None
        if place is None:
            raise NotJoined
        return place

    async def leave(self, connection: Connection, room: str) -> None:
        """Give up a place. Raises NotJoined."""
        live = self.place(connection, room).room
        await live.unseat(connection)
        self._end_when_idle(live)

    async def leave_all(self, connection: Connection) -> None:
        """Give up every place of a connection that is gone."""
        for room in list(connection.rooms):
            if room in self._rooms:
                await self.leave(connection, room)

    async def rights_changed(self, connection: Connection) -> None:
        """Apply a token just accepted to every place of its connection."""
        for room in list(connection.rooms):
            place = self.place(connection, room)
            role = connection.who.role_on(f"rooms/{room}")
            if role is None:
                await self.leave(connection, room)
                error = NotFound("the right to see it is gone").to_payload()
                await place.room.tell(connection, ServerEvent.CLOSED, {"error": error})
            elif role is not place.role:
                place.role = role
                await place.room.tell(connection, ServerEvent.ROLE, {"role": role.word})

    def find(self, connection: Connection, query: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the rooms that a ``find`` asks for and that the user may know of."""
        limit = min(query.get("limit", FIND_DEFAULT), FIND_MAX)
        query = {**query, "tags": frozenset(query.get("tags", ()))}
        shown = (live for live in self._rooms.values() if _is_shown(live, connection, query))
        return [
            {
                "room": live.id,
                "members": len(live.places),
                "metadata": live.authority.metadata,
            }
            for live in islice(shown, limit)
        ]

    def drain(self) -> None:
        """Let nobody join anymore."""
        self._draining = True

    def stop(self) -> None:
        """Forget every room."""
        for live in self._rooms.values():
            live.close()
        self._rooms.clear()

    async def _enter(
        self,
        live: LiveRoom | None,
        connection: Connection,
        role: Role,
        request: dict[str, Any],
    ) -> Place:
        """Give a place in a room, which is made where there is none.

        Raises NotFound, RoomFull, TooLarge; then nothing was made.
        """
        status = request.get("status", NO_STATUS)
        if status is not NO_STATUS:
            check_status(status, self._limits)
        if live is None:
            if role < Role.EDITOR:
                raise NotFound
            creator = connection.who.user.id
            authority = RoomAuthority(creator, self._limits, request.get("metadata"))
            live = self._make(request["room"], authority)
        live.authority.require_place(len(live.places))
        live.keep()
        return await live.seat(connection, role, status)

    def _make(self, room: str, authority: RoomAuthority) -> LiveRoom:
        live = self._rooms[room] = LiveRoom(room, authority, self._bus)
        return live

    def _end_when_idle(self, live: LiveRoom) -> None:
        if live.places:
            return
        if self._idle_ttl > 0:
            loop = asyncio.get_running_loop()
            live.ending = loop.call_later(self._idle_ttl, self._end, live)
        else:
            self._end(live)

    def _end(self, live: LiveRoom) -> None:
        live.close()
        self._rooms.pop(live.id, None)


def _is_shown(live: LiveRoom, connection: Connection, query: dict[str, Any]) -> bool:
    if not live.places or not live.authority.is_found_by(query, len(live.places)):
        return False
    user = connection.who.user.id
    if live.authority.metadata.get("private") and all(
        member.user.id != user for member in live.roster.members
    ):
        return False
    return connection.who.role_on(f"rooms/{live.id}") is not None
