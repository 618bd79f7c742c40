"""Sends a roster's changes to its room: at once when it was quiet, else gathered.

With several nodes the roster has the members of all of them: see
:mod:`~stretto_server.presence.share`.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from stretto_core.protocol import ServerEvent
from stretto_core.roster import Member, Roster
from stretto_server.bus.interface import Bus
from stretto_server.presence.interface import Presence, RosterSnapshot
from stretto_server.presence.share import RosterShare

DIFF_INTERVAL_S: Final = 0.1
"""A room hears of its members at most ten times a second, however many move."""


class LiveRoster:
    """A roster and the room that hears of it.

    ``about`` is what every diff names: ``{"doc": id}`` or ``{"room": id}``. ``members``
    are those of all nodes; own ones change by the methods here, others by :meth:`hear`.
    """

    def __init__(
        self,
        bus: Bus,
        namespace: str,
        room: str,
        about: dict[str, Any],
        presence: Presence | None = None,
    ) -> None:
        self.members = Roster()
        self._bus = bus
        self._namespace = namespace
        self._room = room
        self._about = about
        self._timer: asyncio.TimerHandle | None = None
        self._next_at = 0.0
        self._share: RosterShare | None = None
        if presence is not None:
            self._share = RosterShare(presence, room, self.members, self.changed)

    # Members of this node.

    def join(self, member: Member) -> None:
        """Add a member of this node and tell all."""
        self.members.join(member)
        if self._share is not None:
            self._share.own(member.id)
        self.changed()

    def expect(self, member_id: str) -> None:
        """Know that a member of this node is on its way in; it enters, or leaves."""
        if self._share is not None:
            self._share.expect(member_id)

    def expect_no_longer(self, member_id: str) -> None:
        """Know that a member that was expected did not enter."""
        if self._share is not None:
            self._share.expect_no_longer(member_id)

    def entered(self, member: Member) -> None:
        """Add a member of this node that the other nodes know already."""
        self.members.join(member)
        if self._share is not None:
            self._share.own(member.id, is_written=True)
        self.changed()

    def update(self, member_id: str, changes: Mapping[str, Any], *, silent: bool = False) -> None:
        """Change a member of this node and tell all; ``silent``: only the other nodes."""
        self.members.update(member_id, changes, silent=silent)
        if self._share is not None:
            self._share.own(member_id)
        if not silent:
            self.changed()

    def clear_cursors(self) -> None:
        """Take every cursor away: the text is another one, on all nodes."""
        for member in list(self.members):
            if member.ranges is not None:
                self.members.update(member.id, {"ranges": None, "version": None})
                self.changed()
        if self._share is not None:
            self._share.lapsed()

    def leave(self, member_id: str) -> None:
        """Take a member of this node away and tell all; also one that may have come."""
        self.members.leave(member_id)
        if self._share is not None:
            self._share.disown(member_id)
        self.changed()

    async def written(self) -> None:
        """Wait until the other nodes were told of own changes, or could not be."""
        if self._share is not None:
            await self._share.written()

    # Members of other nodes.

    @property
    def is_synced(self) -> bool:
        """Whether everybody is in it, as far as this node has heard."""
        return self._share is None or self._share.is_synced

    def hear(self, message: bytes) -> None:
        """Take a message of the room's channel; what is not about presence is passed over."""
        if self._share is not None:
            self._share.hear(message)

    def resync(self) -> None:
        """Find out who is there, in a task of its own, after messages may have been lost."""
        if self._share is not None:
            self._share.resync()

    async def ready(self) -> None:
        """Wait until members of other nodes are in it, or cannot be known now."""
        if self._share is not None:
            await self._share.ready()

    def take_snapshot(self, snapshot: RosterSnapshot) -> None:
        """Take in who is there on all nodes."""
        if self._share is not None:
            self._share.take_snapshot(snapshot)

    # What members hear.

    def changed(self) -> None:
        """Send what changed, after this turn of the loop or at the next interval."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(self._next_at, loop.time()), self._send)

    def known(self) -> frozenset[str]:
        """Return the ids of those whom members have heard of."""
        return self.members.announced()

    def since(self, known: frozenset[str]) -> dict[str, Any]:
        """Return a diff that brings somebody who knew of ``known`` up to date."""
        members = {member.id: member.to_payload() for member in self.members}
        return {
            **self._about,
            "joined": [each for id, each in members.items() if id not in known],
            "left": sorted(known - members.keys()),
            "updated": [each for id, each in members.items() if id in known],
        }

    def close(self) -> None:
        """Send nothing more."""
        if self._share is not None:
            self._share.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self) -> None:
        self._timer = None
        diff = self.members.take_diff()
        if diff is not None:
            self._next_at = asyncio.get_running_loop().time() + DIFF_INTERVAL_S
            self._bus.deliver(
                self._namespace, self._room, ServerEvent.PRESENCE, {**self._about, **diff}
            )
