"""Rooms: people, a status of each, messages and a small shared state; nothing is durable.

Rights are settled when a room is joined or a token refreshed, and kept on the
:class:`~stretto_server.live_room.Place`. What a room holds is its store's business; who of
this node is in it, that of :class:`~stretto_server.live_room.LiveRoom`.
"""

import asyncio
import secrets
from collections.abc import Coroutine, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from stretto_core.errors import (
    InvalidRequest,
    NotFound,
    NotJoined,
    ShuttingDown,
    TooLarge,
    Unavailable,
)
from stretto_core.protocol import (
    FIND_DEFAULT,
    FIND_MAX,
    ROOMS,
    Limits,
    ServerEvent,
    is_resource_id,
)
from stretto_core.room import check_status
from stretto_core.roster import NO_STATUS, Member
from stretto_server.auth import Action, Role, authorize
from stretto_server.bus.interface import Bus
from stretto_server.connections import Connection
from stretto_server.live_room import LiveRoom, Place, say
from stretto_server.presence.interface import Presence
from stretto_server.room_feed import SERVER, SERVER_USER
from stretto_server.room_store.interface import (
    Author,
    Founding,
    RoomQuery,
    RoomSnapshot,
    RoomStore,
)
from stretto_server.room_store.memory import MemoryRoomStore
from stretto_server.roster_service import LiveRoster


@dataclass(frozen=True, slots=True)
class RoomState:
    """A room's state at one revision."""

    revision: int
    values: dict[str, Any]


class Rooms:
    """``send``, ``set_state``, ``state`` and ``members`` are for code in this process.

    The other methods serve the ``/rooms`` namespace and take its decoded payloads. With a
    ``store`` and ``presence`` rooms are shared with other nodes; without, they are kept in
    memory, and nothing here suspends where the bus does not.
    """

    def __init__(
        self,
        bus: Bus,
        limits: Limits,
        *,
        idle_ttl: float,
        store: RoomStore | None = None,
        presence: Presence | None = None,
    ) -> None:
        self._bus = bus
        self._limits = limits
        self._store = store or MemoryRoomStore(bus, limits, idle_ttl=idle_ttl)
        self._presence = presence
        self._rooms: dict[str, LiveRoom] = {}
        self._joining: dict[tuple[Connection, str], asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    async def send(self, room: str, event: str, data: Any) -> None:
        """Send a message to everyone in a room; where nobody is, nobody hears it."""
        await say(self._bus, room, SERVER, event, data)

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
        return await self._store.set_state(
            room, deepcopy(dict(changes)), if_revision, Author(SERVER), Founding(SERVER_USER, {})
        )

    async def state(self, room: str) -> RoomState:
        """Return a copy of a room's state. Raises NotFound."""
        snapshot = await self._store.snapshot(room)
        return RoomState(snapshot.revision, deepcopy(snapshot.state))

    async def members(self, room: str) -> list[Member]:
        """Return who is in a room; nobody is in one that does not exist."""
        live = self._rooms.get(room)
        if live is not None and live.roster.is_synced:
            return list(live.roster.members)
        return await self._store.members(room)

    async def join(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        """Answer ``join``. Nothing suspends between taking the place and returning.

        So the answer precedes every frame of the room.
        """
        room = request["room"]
        await self.joined(connection, room)
        connection.require_live_token()
        role = authorize(connection.who, f"rooms/{room}", Action.SEE)
        if self._draining:
            raise ShuttingDown
        joining = asyncio.get_running_loop().create_future()
        self._joining[connection, room] = joining
        try:
            live = self._rooms.get(room)
            place = live.places.get(connection) if live is not None else None
            if place is None:
                place, snapshot = await self._enter(connection, role, request)
            else:
                snapshot = await self._enter_again(place, role, request)
            return place.joined(snapshot)
        finally:
            joining.set_result(None)
            del self._joining[connection, room]

    async def joined(self, connection: Connection, room: str) -> None:
        """Wait for a ``join`` of this connection that arrived before and is under way."""
        while (joining := self._joining.get((connection, room))) is not None:
            await asyncio.wait([joining])

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
        self._retire(live)

    async def leave_all(self, connection: Connection) -> None:
        """Give up every place of a connection that is gone."""
        rooms = [room for room in connection.rooms if room in self._rooms]
        if self._presence is not None:
            await asyncio.gather(*(self.leave(connection, room) for room in rooms))
        else:
            for room in rooms:
                await self.leave(connection, room)

    async def rights_changed(self, connection: Connection) -> None:
        """Apply a token just accepted to every place of its connection."""
        for room in list(connection.rooms):
            if room not in connection.rooms:
                continue  # it left while another was given up
            place = self.place(connection, room)
            role = connection.who.role_on(f"rooms/{room}")
            if role is None:
                await self.leave(connection, room)
                error = NotFound("the right to see it is gone").to_payload()
                await place.room.tell(connection, ServerEvent.CLOSED, {"error": error})
            elif role is not place.role:
                place.role = role
                await place.room.tell(connection, ServerEvent.ROLE, {"role": role.word})

    async def find(self, connection: Connection, query: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the rooms that a ``find`` asks for and that the user may know of."""
        limit = min(query.get("limit", FIND_DEFAULT), FIND_MAX)
        asked = RoomQuery(
            connection.who.user.id,
            query.get("owner"),
            frozenset(query.get("tags", ())),
            query.get("min_members"),
            query.get("max_members"),
        )
        rows: list[dict[str, Any]] = []
        async for found in self._store.find(asked):
            if connection.who.role_on(f"rooms/{found.room}") is not None:
                rows.append(
                    {"room": found.room, "members": found.members, "metadata": found.metadata}
                )
                if len(rows) >= limit:
                    break
        return rows

    def drain(self) -> None:
        """Let nobody join anymore."""
        self._draining = True

    def stop(self) -> None:
        """Forget every room."""
        for task in self._tasks:
            task.cancel()
        for live in self._rooms.values():
            live.close()
        self._rooms.clear()
        self._store.close()

    async def _enter(
        self, connection: Connection, role: Role, request: dict[str, Any]
    ) -> tuple[Place, RoomSnapshot]:
        """Give a place in a room, which is made where there is none.

        Raises NotFound, RoomFull, TooLarge, Unavailable; then nothing was made.
        """
        room, status = request["room"], request.get("status", NO_STATUS)
        self._require_room(connection)
        if status is not NO_STATUS:
            check_status(status, self._limits)
        member = Member(secrets.token_urlsafe(9), connection.who.user, status=status)
        live = self._rooms.get(room)
        if live is None:
            live = LiveRoom(room, self._store, self._bus, self._limits, self._presence)
            self._rooms[room] = live
        live.joining += 1
        try:
            snapshot = await live.enter(member, _founding(connection, role, request))
            try:
                place = await self._seat(live, connection, member, snapshot)
            except BaseException:
                await live.turn_back(member)
                raise
        finally:
            live.joining -= 1
            self._retire(live)
        return place, snapshot

    async def _seat(
        self, live: LiveRoom, connection: Connection, member: Member, snapshot: RoomSnapshot
    ) -> Place:
        """Give the place, unless that cannot be any longer."""
        if connection.closed or ROOMS not in connection.sids:
            raise Unavailable("the connection was lost")
        # Meanwhile a refresh may have changed the right, and other rooms been joined.
        role = authorize(connection.who, f"rooms/{live.id}", Action.SEE)
        self._require_room(connection)
        return await live.seat(connection, member, role, snapshot.creator)

    async def _enter_again(self, place: Place, role: Role, request: dict[str, Any]) -> RoomSnapshot:
        """Answer one who is in a room already; only a status counts."""
        if "status" in request and request["status"] != place.member.status:
            place.set_status(request["status"])
        place.role = role
        live, connection = place.room, place.connection
        snapshot = await live.snapshot(place, _founding(connection, role, request))
        if live.places.get(connection) is not place:
            raise Unavailable("the connection was lost")
        place.creator = snapshot.creator
        return snapshot

    def _require_room(self, connection: Connection) -> None:
        most = self._limits.joined_rooms
        if len(connection.rooms) >= most:
            raise TooLarge(f"at most {most} joined rooms per connection")

    def _retire(self, live: LiveRoom) -> None:
        """Give up a room that nobody of this node is in."""
        if live.needed or self._rooms.get(live.id) is not live:
            return
        if self._presence is None:
            live.close()
            del self._rooms[live.id]
        else:
            self._run(self._end(live))

    async def _end(self, live: LiveRoom) -> None:
        await live.settled()
        if not live.needed and self._rooms.get(live.id) is live:
            del self._rooms[live.id]
            await live.end()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _founding(connection: Connection, role: Role, request: dict[str, Any]) -> Founding | None:
    """Return how the room is made; None for those who may not make one."""
    if role < Role.EDITOR:
        return None
    return Founding(connection.who.user.id, request.get("metadata") or {})
