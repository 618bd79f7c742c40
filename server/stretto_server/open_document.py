"""A document in memory: its actor, the connections that have it open, and their cursors."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stretto_core.entries import Entry, next_hash
from stretto_core.errors import (
    EpochChanged,
    NotFound,
    RoomFull,
    StrettoError,
    TooLarge,
    Unavailable,
    VersionAhead,
    VersionGone,
)
from stretto_core.following import Frame
from stretto_core.protocol import (
    DOCS,
    PAGE_BYTES,
    PAGE_ENTRIES,
    Limits,
    ServerEvent,
)
from stretto_core.roster import Member
from stretto_server.auth import Role
from stretto_server.bus.interface import Bus
from stretto_server.connections import Connection
from stretto_server.document_actor import DocumentActor
from stretto_server.document_hearing import ANEW_MS
from stretto_server.document_log import HistoryLost
from stretto_server.journal.frames import LOST_RACE, read_frame
from stretto_server.journal.interface import Journal
from stretto_server.metrics import Metrics
from stretto_server.presence.interface import Presence
from stretto_server.roster_service import LiveRoster


@dataclass(eq=False, slots=True)
class Seat:
    """One connection's place at a document; ``role`` is what was settled for it last."""

    connection: Connection
    member_id: str
    client: str
    role: Role


def _nothing(_document: object) -> None:
    """Let nobody know."""


class OpenDocument:
    """What this node knows of one document while somebody needs it."""

    def __init__(
        self,
        actor: DocumentActor,
        bus: Bus,
        journal: Journal,
        limits: Limits,
        metrics: Metrics,
        presence: Presence | None = None,
    ) -> None:
        self.actor = actor
        self.seats: dict[Connection, Seat] = {}
        self.roster = LiveRoster(bus, DOCS, actor.room, {"doc": actor.doc}, presence)
        """Who has it open, on all nodes; of this one those who have a seat."""
        self.editing = asyncio.Lock()
        """Held by an in-process edit: the seqs of this process's own client are consecutive."""
        self.on_missed: Callable[[OpenDocument], None] = _nothing
        """Called when other nodes may have committed what was not heard of."""
        self._metrics = metrics
        self._bus = bus
        self._journal = journal
        self._limits = limits

    async def seat(self, connection: Connection, client: str, role: Role, member_id: str) -> Seat:
        """Give a connection a seat, or its seat another client. Does not suspend.

        Raises RoomFull.
        """
        seat = self.seats.get(connection)
        if seat is not None:
            seat.client, seat.role = client, role
            self.roster.update(seat.member_id, {"client": client}, silent=True)
            return seat
        if len(self.roster.members) >= self._limits.document_members:
            raise RoomFull(f"at most {self._limits.document_members} members")
        seat = self.seats[connection] = Seat(connection, member_id, client, role)
        connection.documents.add(self.actor.doc)
        self.actor.audience = len(self.seats)
        self.roster.join(Member(member_id, connection.who.user, client=client))
        await self._bus.join(DOCS, connection.sids[DOCS], self.actor.room)
        return seat

    async def unseat(self, connection: Connection) -> None:
        """Take a connection's seat away, if it has one."""
        seat = self.seats.pop(connection, None)
        connection.documents.discard(self.actor.doc)
        if seat is None:
            return
        self.actor.audience = len(self.seats)
        self.roster.leave(seat.member_id)
        sid = connection.sids.get(DOCS)
        if sid is not None:
            await self._bus.leave(DOCS, sid, self.actor.room)

    async def dismiss(self, connection: Connection, error: StrettoError) -> None:
        """Take a seat away and tell why."""
        await self.unseat(connection)
        await self.tell(
            connection, ServerEvent.CLOSED, {"doc": self.actor.doc, "error": error.to_payload()}
        )

    def hear(self, message: bytes) -> None:
        """Take a message of the document's channel; what is none is counted. Never raises."""
        if message[:1] == b"p":
            self.roster.hear(message)
            return
        if message == LOST_RACE:
            self.actor.hear_waiting()
            return
        if self.actor.log.knows(message):
            return
        try:
            told = read_frame(message)
        except ValueError:
            self._metrics.bus_garbage.inc()
            return
        if isinstance(told, Frame):
            self.actor.hear(told)
        elif (told.epoch == self.actor.authority.epoch) is told.deleted:
            self.actor.look_later()

    def missed(self) -> None:
        """Look anew at everything that other nodes may have changed. Never raises."""
        self.roster.resync()
        self.on_missed(self)

    async def reach(self, epoch: str, version: int) -> None:
        """Have at least ``version``, which somebody has seen on another node, if there is one.

        Raises Unavailable.
        """
        authority = self.actor.authority
        if self._bus.shared and version > authority.version and epoch == authority.epoch:
            await self.actor.look()

    def tell_all(self, event: ServerEvent, **about: Any) -> None:
        """Send an event about the document to every member on this node."""
        self._bus.deliver(DOCS, self.actor.room, event, {"doc": self.actor.doc, **about})

    def announce_reset(self) -> None:
        """Tell every member here that another history has replaced theirs, cursors included."""
        authority = self.actor.authority
        self.roster.clear_cursors()
        self.tell_all(
            ServerEvent.RESET,
            epoch=authority.epoch,
            version=authority.version,
            hash=authority.hash,
        )

    async def tell(
        self, connection: Connection, event: ServerEvent, payload: dict[str, Any]
    ) -> None:
        """Send to one member."""
        sid = connection.sids.get(DOCS)
        if sid is not None:
            await self._bus.send(DOCS, sid, event, payload)

    async def continued(self, since: dict[str, Any] | None) -> Sequence[Entry] | None:
        """Return entries that continue what a replica has; None when it needs the content.

        They may stop short of the head: the client fetches on. Raises Unavailable, also
        where the journal has another history by now.
        """
        if since is not None:
            await self.reach(since["epoch"], since["version"])
        authority = self.actor.authority
        if (
            since is None
            or since["epoch"] != authority.epoch
            or not authority.floor <= since["version"] <= authority.version
        ):
            return None
        version = since["version"]
        known = authority.hash_at(version)
        if known is not None:
            matches = known == since["hash"]
            return authority.entries(version + 1, PAGE_ENTRIES, PAGE_BYTES) if matches else None
        try:
            page = await self._journal.read(
                self.actor.doc, authority.epoch, version + 1, PAGE_ENTRIES, PAGE_BYTES
            )
        except VersionGone as gone:  # compacted since the document was loaded
            authority.floor = (gone.details or {})["floor"]
            return None
        except (EpochChanged, NotFound, VersionAhead) as error:
            raise self._elsewhere() from error
        reached: str = since["hash"]
        for entry in page.entries:
            reached = next_hash(reached, entry)
        return page.entries if reached == page.hash else None

    async def page(self, first: int, limit: int) -> tuple[Sequence[Entry], str]:
        """Return entries from version ``first`` on, with the hash at the last of them."""
        authority = self.actor.authority
        if first > authority.horizon:
            entries = authority.entries(first, limit, PAGE_BYTES)
            reached = authority.hash_at(first - 1 + len(entries))
            if reached is not None:
                return entries, reached
        try:
            page = await self._journal.read(
                self.actor.doc, authority.epoch, first, limit, PAGE_BYTES
            )
        except (EpochChanged, NotFound, VersionAhead) as error:
            raise self._elsewhere() from error
        return page.entries, page.hash

    async def reach_back(self, version: int) -> None:
        """Have the entries after ``version`` in memory. Raises VersionGone, Unavailable."""
        try:
            await self.actor.log.reach_back_to(version)
        except HistoryLost as error:
            raise self._elsewhere() from error

    def _elsewhere(self) -> Unavailable:
        """Look at a journal that has another history; return what to tell who asked for it."""
        self.actor.look_later()
        return Unavailable("the document is being loaded anew", retry_after_ms=ANEW_MS)

    async def cursor(
        self, seat: Seat, ranges: Sequence[tuple[int, int]] | None, version: int
    ) -> None:
        """Keep a member's cursor and tell the others.

        Raises TooLarge, VersionAhead, VersionGone.
        """
        if ranges is not None:
            await self.reach(self.actor.authority.epoch, version)
        authority = self.actor.authority
        if ranges is None:
            changes: dict[str, Any] = {"ranges": None, "version": None}
        else:
            if len(ranges) > self._limits.cursor_ranges:
                raise TooLarge(f"at most {self._limits.cursor_ranges} ranges")
            if version > authority.version:
                raise VersionAhead(details={"version": authority.version})
            if version < authority.floor:
                raise VersionGone(details={"floor": authority.floor})
            await self.reach_back(version)
            mapped = authority.map_ranges(ranges, version, seat.client)
            changes = {"ranges": tuple(mapped), "version": authority.version}
        if self.seats.get(seat.connection) is seat and self.actor.authority is authority:
            self.roster.update(seat.member_id, changes)

    def map_cursors(self) -> None:
        """Carry every cursor to the head, so that a snapshot of the roster is of one version.

        A member of another node may be ahead of this one: its cursor stays as it is.
        """
        authority = self.actor.authority
        for member in list(self.roster.members):
            if member.ranges is None or member.version is None:
                continue
            if member.version >= authority.version:
                continue
            if member.version < authority.horizon:  # older than memory: its next one heals it
                changes: dict[str, Any] = {"ranges": None, "version": None}
            else:
                ranges = authority.map_ranges(member.ranges, member.version, member.client)
                changes = {"ranges": tuple(ranges), "version": authority.version}
            self.roster.members.update(member.id, changes, silent=True)
