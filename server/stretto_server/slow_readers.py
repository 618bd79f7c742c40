"""What a connection hears once it has caught up, after it read too slowly.

While more than ``unsent_bytes`` waited for it, it got answers but no broadcasts. Documents
are told by ``behind``; rosters by the difference between what it knew and what is; of a
room's state and metadata it gets the last change again, from whose revision it sees whether
it missed others. Messages were at most once anyway.
"""

from stretto_core.protocol import DOCS, ROOMS, ServerEvent
from stretto_server.bus.local import LocalBus, Missed
from stretto_server.connections import Connection, Connections
from stretto_server.documents import Documents
from stretto_server.rooms import Rooms
from stretto_server.roster_service import LiveRoster

AGAIN = (ServerEvent.STATE, ServerEvent.METADATA, ServerEvent.RESET)
"""Broadcasts of which the last one is worth sending again."""


class SlowReaders:
    """Remembers what slow connections knew of who is where."""

    def __init__(
        self, bus: LocalBus, connections: Connections, documents: Documents, rooms: Rooms
    ) -> None:
        self._bus = bus
        self._connections = connections
        self._documents = documents
        self._rooms = rooms
        self._known: dict[str, dict[LiveRoster, frozenset[str]]] = {}

    def slowed(self, engine_sid: str) -> None:
        """Note what a connection knows, now that it gets no broadcasts."""
        connection = self._connections.of_engine(engine_sid)
        if connection is not None:
            rosters = self._rosters(connection)
            self._known[engine_sid] = {roster: roster.known() for roster in rosters.values()}

    def gone(self, engine_sid: str) -> None:
        """Forget a connection."""
        self._known.pop(engine_sid, None)

    async def caught_up(self, engine_sid: str, missed: Missed) -> None:
        """Tell a connection what it missed."""
        connection = self._connections.of_engine(engine_sid)
        if connection is None:
            return
        known = self._known.pop(engine_sid, {})
        rosters = self._rosters(connection)
        for (namespace, room), frames in missed.items():
            for event in AGAIN:
                if event in frames:
                    self._bus.resend(engine_sid, frames[event])
            if namespace == DOCS and ServerEvent.OPS in frames:
                await self._documents.tell_behind(connection, room.removeprefix("doc:"))
            roster = rosters.get((namespace, room))
            sid = connection.sids.get(namespace)
            if roster is not None and sid is not None and ServerEvent.PRESENCE in frames:
                difference = roster.since(known.get(roster, frozenset()))
                await self._bus.send(namespace, sid, ServerEvent.PRESENCE, difference)

    def _rosters(self, connection: Connection) -> dict[tuple[str, str], LiveRoster]:
        """Return the rosters that a connection hears of, by namespace and room."""
        rosters: dict[tuple[str, str], LiveRoster] = {}
        for doc in connection.documents:
            roster = self._documents.roster(doc)
            if roster is not None:
                rosters[DOCS, f"doc:{doc}"] = roster
        for room in connection.rooms:
            roster = self._rooms.roster(room)
            if roster is not None:
                rosters[ROOMS, f"room:{room}"] = roster
        return rosters
