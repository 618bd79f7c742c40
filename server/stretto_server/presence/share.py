"""Merges what other nodes tell of a room's members into a roster, and tells them of ours.

Own changes are gathered and written at most ten times a second. Messages of others are
applied in the order of their numbers; where one is missing, a snapshot is taken and only
what differs is told. While Redis is away the roster keeps what it has.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from stretto_core.errors import Unavailable
from stretto_core.roster import Member, Roster
from stretto_server.presence.interface import Presence, RosterSnapshot
from stretto_server.presence.records import PresenceMessage, read_message

logger = logging.getLogger(__name__)

WRITE_INTERVAL_S: Final = 0.1
RETRY_S: Final = 1.0
READY_S: Final = 0.5
"""Whoever opens a document waits so long for who is there on other nodes."""
MOST_KEPT: Final = 10_000
"""Messages kept while a snapshot is on its way; beyond them another one is taken."""


class RosterShare:
    """One roster's part in the presence of all nodes. ``changed`` is told of others' changes."""

    def __init__(
        self, presence: Presence, room: str, members: Roster, changed: Callable[[], None]
    ) -> None:
        self.room = room
        self._presence = presence
        self._members = members
        self._changed = changed
        self._own: set[str] = set()
        self._expected: set[str] = set()
        self._unwritten: set[str] = set()
        self._told: dict[str, Member] = {}
        """Members of other nodes as they were heard, before any mapping of their cursors."""
        self._seq: int | None = None
        """The newest message in the roster; None before the first snapshot."""
        self._kept: list[PresenceMessage] | None = None
        """What was heard while a snapshot is on its way."""
        self._writer: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._read_again = False
        """Whether something may have been missed since the snapshot under way was asked for."""
        self._timers: set[asyncio.TimerHandle] = set()
        self._next_at = 0.0
        self._closed = False
        presence.keep(self)

    @property
    def occupied(self) -> bool:
        """Whether this node has members in it."""
        return bool(self._own)

    @property
    def is_settled(self) -> bool:
        """Whether nobody of this node is known to be there, nor may be."""
        return not (self._own or self._unwritten or self._expected)

    @property
    def is_synced(self) -> bool:
        """Whether the roster has everybody, as far as this node has heard."""
        return self._seq is not None and self._kept is None

    # Own members.

    def expect(self, member_id: str) -> None:
        """Know that an own member may be on its way in."""
        self._expected.add(member_id)

    def expect_no_longer(self, member_id: str) -> None:
        """Know that it is not."""
        self._expected.discard(member_id)

    def own(self, member_id: str, *, is_written: bool = False) -> None:
        """Take a member of the roster as this node's own, or note that it changed."""
        self._expected.discard(member_id)
        self._own.add(member_id)
        if not is_written:
            self._unwritten.add(member_id)
            self._write_soon()

    def disown(self, member_id: str) -> None:
        """Note that an own member has left, or never came."""
        self._expected.discard(member_id)
        self._own.discard(member_id)
        self._unwritten.add(member_id)
        self._write_soon()

    def lapsed(self) -> None:
        """Enter all own members again: others were told that they are gone."""
        self._unwritten |= self._own
        if self._unwritten:
            self._write_soon()

    async def written(self) -> None:
        """Wait until own changes are written, or could not be."""
        if self._writer is not None:
            await asyncio.wait([self._writer])

    def _write_soon(self) -> None:
        if self._writer is None and not self._closed:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._unwritten:
                await asyncio.sleep(max(0.0, self._next_at - loop.time()))
                self._next_at = loop.time() + WRITE_INTERVAL_S
                await self._write_once()
        except Unavailable as error:
            logger.info("presence in %s was not written: %s", self.room, error)
            self._later(self._write_soon)
        finally:
            self._writer = None

    async def _write_once(self) -> None:
        changed, self._unwritten = self._unwritten, set()
        entered = [self._members[one] for one in changed if one in self._own]
        left = [one for one in changed if one not in self._own]
        try:
            alive = await self._presence.write(self.room, entered, left, stays=bool(self._own))
        except BaseException:
            self._unwritten |= changed
            raise
        if not alive:
            self._unwritten |= self._own - changed

    # Members of other nodes.

    def hear(self, message: bytes) -> None:
        """Take a message of the room's channel; what is not about presence is passed over."""
        told = read_message(message, self._presence.node)
        if told is None or self._closed:
            return
        if self._kept is not None:
            self._kept.append(told)
            if len(self._kept) > MOST_KEPT:
                self._kept.clear()
        elif self._seq is not None:
            self._take(told)

    def resync(self) -> None:
        """Ask Redis who is there, and tell what differs."""
        if self._closed:
            return
        if self._kept is None:
            self._kept = []
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        else:
            self._read_again = True

    async def ready(self) -> None:
        """Wait for the first snapshot, or until it is clear that there is none now."""
        if self._seq is None:
            self.resync()
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=READY_S)

    def take_snapshot(self, snapshot: RosterSnapshot) -> None:
        """Make the roster that of the snapshot and of what was heard since."""
        if self._seq is not None and self._kept is None and self._seq >= snapshot.seq:
            return
        kept, self._kept = self._kept or [], None
        self._seq = snapshot.seq
        for member in snapshot.members.values():
            if member.id not in self._own and member.id not in snapshot.own:
                self._enter(member)
        for member_id in self._told.keys() - snapshot.members.keys():
            self._remove(member_id)
        ghosts = snapshot.own - self._own - self._expected
        missing = self._own - snapshot.own
        if ghosts or missing:
            self._unwritten |= ghosts | missing
            self._write_soon()
        for told in kept:
            self._take(told)
        self._changed()

    async def _read(self) -> None:
        try:
            snapshot = await self._presence.snapshot(self.room)
        except Unavailable as error:
            logger.info("presence in %s was not read: %s", self.room, error)
            self._kept = None
            self._seq = None
            self._later(self.resync)
            return
        finally:
            self._reader = None
            again, self._read_again = self._read_again, False
        self.take_snapshot(snapshot)
        if again:
            self.resync()

    def _take(self, told: PresenceMessage) -> None:
        if self._seq is None or told.seq <= self._seq:
            return
        if told.seq > self._seq + 1:
            self.resync()
            if self._kept is not None:
                self._kept.append(told)
            return
        self._seq = told.seq
        for member_id in told.left:
            if member_id in self._own and told.by != self._presence.node:
                self._unwritten.add(member_id)
                self._write_soon()
            elif member_id not in self._own:
                self._remove(member_id)
        if told.by != self._presence.node:
            for member in told.entered:
                if member.id not in self._own:
                    self._enter(member)
        self._changed()

    def _enter(self, member: Member) -> None:
        before = self._told.get(member.id)
        self._told[member.id] = member
        if before == member and member.id in self._members:
            return
        self._members.join(member)

    def _remove(self, member_id: str) -> None:
        self._told.pop(member_id, None)
        self._members.leave(member_id)

    def _later(self, act: Callable[[], None]) -> None:
        """Do something in about a second."""
        if self._closed:
            return

        def do() -> None:
            self._timers.discard(timer)
            act()

        delay = random.uniform(RETRY_S / 2, RETRY_S)
        timer = asyncio.get_running_loop().call_later(delay, do)
        self._timers.add(timer)

    def close(self) -> None:
        """Stop every timer and task."""
        self._closed = True
        self._presence.forget(self)
        for timer in self._timers:
            timer.cancel()
        for task in (self._writer, self._reader):
            if task is not None:
                task.cancel()
