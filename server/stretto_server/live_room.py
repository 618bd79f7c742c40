"""A room as one node sees it: the connections that are in it from here, and who is there.

What the room holds is in the :mod:`~stretto_server.room_store`. Where several nodes share
that, a :class:`~stretto_server.room_feed.RoomFeed` hears of the changes, and a snapshot is
made as new as what was heard while it was on its way: whoever joins misses nothing.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from stretto_core.errors import Forbidden, NotFound, RoomFull, TooLarge, Unavailable
from stretto_core.protocol import ROOMS, Limits, ServerEvent
from stretto_core.room import check_status
from stretto_core.roster import Member
from stretto_server.auth import Role
from stretto_server.bus.interface import Bus
from stretto_server.connections import Connection
from stretto_server.presence.interface import Presence
from stretto_server.room_feed import RoomFeed
from stretto_server.room_store.interface import Author, Founding, RoomSnapshot, RoomStore
from stretto_server.room_store.messages import Told, bring_up
from stretto_server.roster_service import LiveRoster

Payload: TypeAlias = Mapping[str, Any]

ENTER_S: Final = 1.8
"""A ``join`` that takes longer is ``unavailable``."""


class LiveRoom:
    """A room that has members on this node, or is about to."""

    def __init__(
        self,
        room: str,
        store: RoomStore,
        bus: Bus,
        limits: Limits,
        presence: Presence | None = None,
    ) -> None:
        self.id = room
        self.store = store
        self.limits = limits
        self.places: dict[Connection, Place] = {}
        self.joining = 0
        """How many are on their way in."""
        self.channel = f"room:{room}"
        self.roster = LiveRoster(bus, ROOMS, self.channel, {"room": room}, presence)
        self._bus = bus
        # Without presence the store is this node's own, and tells the members by itself.
        self._feed = RoomFeed(room, store, bus, self.roster) if presence is not None else None
        self._following: asyncio.Future[None] | None = None

    @property
    def needed(self) -> bool:
        """Whether somebody of this node is in it, or about to be."""
        return bool(self.places) or self.joining > 0

    async def enter(self, member: Member, founding: Founding | None) -> RoomSnapshot:
        """Give a member a place on all nodes; return what the room holds.

        Raises NotFound, RoomFull, TooLarge, Unavailable.
        """
        feed = self._feed
        if feed is None:
            return (await self.store.enter(self.id, member, founding, list_members=False)).snapshot
        self.roster.expect(member.id)
        try:
            async with asyncio.timeout(ENTER_S):
                await self._follow(feed)
                with feed.recording() as heard:
                    entered = await self.store.enter(
                        self.id, member, founding, list_members=not self.roster.is_synced
                    )
        except (NotFound, RoomFull, TooLarge):
            self.roster.expect_no_longer(member.id)
            raise
        except TimeoutError:
            self.roster.leave(member.id)
            raise Unavailable("the rooms do not answer") from None
        except BaseException:
            self.roster.leave(member.id)  # it may have entered all the same
            raise
        if entered.roster is not None:
            self.roster.take_snapshot(entered.roster)
        bring_up(entered.snapshot, heard)
        feed.revision = max(feed.revision, entered.snapshot.revision)
        return entered.snapshot

    async def turn_back(self, member: Member) -> None:
        """Take a member away that has entered, but can have no place here."""
        self.roster.leave(member.id)
        await self.store.leave(self.id, member.id)

    async def snapshot(self, place: "Place", founding: Founding | None) -> RoomSnapshot:
        """Return what the room holds for one that is in it; made anew where it was lost.

        Raises NotFound, Unavailable.
        """
        feed = self._feed
        if feed is None:
            return await self.store.snapshot(self.id)
        try:
            async with asyncio.timeout(ENTER_S):
                with feed.recording() as heard:
                    snapshot = await self.store.snapshot(self.id)
        except TimeoutError:
            raise Unavailable("the rooms do not answer") from None
        except NotFound:
            return await self.enter(place.member, founding)
        bring_up(snapshot, heard)
        feed.revision = max(feed.revision, snapshot.revision)
        return snapshot

    async def seat(
        self, connection: Connection, member: Member, role: Role, creator: str
    ) -> "Place":
        """Give a connection the place of ``member``. Nothing suspends once it is followed."""
        place = Place(self, connection, member.id, role, creator)
        self.places[connection] = place
        connection.rooms.add(self.id)
        self.roster.entered(member)
        await self._bus.join(ROOMS, connection.sids[ROOMS], self.channel)
        return place

    async def unseat(self, connection: Connection) -> None:
        """Take a connection's place away; no frame of the room follows."""
        place = self.places.pop(connection)
        connection.rooms.discard(self.id)
        self.roster.leave(place.member_id)
        sid = connection.sids.get(ROOMS)
        if sid is not None:
            await self._bus.leave(ROOMS, sid, self.channel)
        await self.roster.written()
        await self.store.leave(self.id, place.member_id)

    async def say(self, by: Payload, event: str, data: Any, *, skip: str | None = None) -> None:
        """Send a message of the application to the members. Raises Unavailable."""
        await say(self._bus, self.id, by, event, data, skip=skip)

    async def set_state(self, changes: Payload, if_revision: int | None, author: Author) -> int:
        """Change the state and tell of it; return the revision once it is told.

        Raises RevisionConflict, TooLarge, Unavailable.
        """
        feed = self._feed
        work = self.store.set_state(self.id, changes, if_revision, author)
        if feed is None:
            return await work
        return await feed.in_order(author.mark, work, lambda told: told.revision)

    async def set_metadata(self, changes: Payload, author: Author) -> dict[str, Any]:
        """Change the metadata and tell of it; return the whole once it is told.

        Raises TooLarge, Unavailable.
        """
        feed = self._feed
        work = self.store.set_metadata(self.id, changes, author)
        if feed is None:
            return await work
        return await feed.in_order(author.mark, work, _metadata_of)

    async def tell(self, connection: Connection, event: ServerEvent, payload: Payload) -> None:
        """Send an event to one connection, if it still has this namespace."""
        sid = connection.sids.get(ROOMS)
        if sid is not None:
            await self._bus.send(ROOMS, sid, event, {"room": self.id, **payload})

    async def settled(self) -> None:
        """Wait until the other nodes know who left, and every change was answered."""
        await self.roster.written()
        if self._feed is not None:
            await self._feed.answered()

    async def end(self) -> None:
        """Stop all that is for this room here."""
        self.close()
        if self._feed is not None:
            await self._bus.unfollow(self.channel, self._feed)

    def close(self) -> None:
        """Stop every timer and task."""
        self.roster.close()
        if self._feed is not None:
            self._feed.close()
        if self._following is not None:
            self._following.cancel()

    async def _follow(self, feed: RoomFeed) -> None:
        """Hear the room's channel, or know that the feed will be told of what it missed."""
        if self._following is None:
            self._following = asyncio.ensure_future(self._bus.follow(self.channel, feed))
        if not self._following.done():
            await asyncio.wait([self._following])


def _metadata_of(told: Told) -> dict[str, Any]:
    metadata: dict[str, Any] = told.values["metadata"]
    return metadata


async def say(
    bus: Bus, room: str, by: Payload, event: str, data: Any, *, skip: str | None = None
) -> None:
    """Send a message of the application to the members of a room. Raises Unavailable."""
    message = {
        "room": room,
        "event": event,
        "data": data,
        "from": by,
        "at_ms": int(time.time() * 1000),
    }
    channel = f"room:{room}"
    await bus.broadcast(ROOMS, channel, ServerEvent.MESSAGE, message, skip=skip, binary=True)


@dataclass(eq=False, slots=True)
class Place:
    """One connection's place in a room, and what may be done from there.

    ``role`` is what was settled for it last, ``creator`` the user who owns the room.
    """

    room: LiveRoom
    connection: Connection
    member_id: str
    role: Role
    creator: str

    @property
    def member(self) -> Member:
        """The member that the others see."""
        return self.room.roster.members[self.member_id]

    def joined(self, snapshot: RoomSnapshot) -> dict[str, Any]:
        """Return the answer to ``join``."""
        return {
            "room": self.room.id,
            "member_id": self.member_id,
            "members": self.room.roster.members.snapshot(self.member_id),
            "state": snapshot.state,
            "revision": snapshot.revision,
            "metadata": snapshot.metadata,
        }

    async def send(self, event: str, data: Any) -> None:
        """Send a message to the others. Raises Forbidden, Unavailable."""
        self._require_editor()
        author = self._author()
        await self.room.say(author.by, event, data, skip=author.skip)

    async def set_state(self, changes: Payload, if_revision: int | None) -> int:
        """Change the state and tell the others; return the revision.

        Raises Forbidden, RevisionConflict, TooLarge, Unavailable.
        """
        self._require_editor()
        return await self.room.set_state(changes, if_revision, self._author())

    def set_status(self, status: object) -> None:
        """Keep this member's status and tell all. Raises TooLarge."""
        check_status(status, self.room.limits)
        self.room.roster.update(self.member_id, {"status": status})

    async def set_metadata(self, changes: Payload) -> dict[str, Any]:
        """Change the metadata, tell the others and return the whole.

        Raises Forbidden, TooLarge, Unavailable.
        """
        if self.connection.who.user.id != self.creator and self.role < Role.OWNER:
            raise Forbidden("only an owner may change the metadata")
        return await self.room.set_metadata(changes, self._author())

    def _author(self) -> Author:
        by = {"id": self.member_id, "user": self.connection.who.user.to_payload()}
        return Author(by, self.connection.sids.get(ROOMS), secrets.token_urlsafe(9))

    def _require_editor(self) -> None:
        if self.role < Role.EDITOR:
            raise Forbidden("a viewer may not do this")
