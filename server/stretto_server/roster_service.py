"""Sends a roster's changes to its room: at once when it was quiet, else gathered."""

import asyncio
from typing import Any, Final

from stretto_core.protocol import ServerEvent
from stretto_core.roster import Roster
from stretto_server.bus.interface import Bus

DIFF_INTERVAL_S: Final = 0.1
"""A room hears of its members at most ten times a second, however many move."""


class LiveRoster:
    """A roster and the room that hears of it.

    ``about`` is what every diff names: ``{"doc": id}`` or ``{"room": id}``.
    """

    def __init__(self, bus: Bus, namespace: str, room: str, about: dict[str, Any]) -> None:
        self.members = Roster()
        self._bus = bus
        self._namespace = namespace
        self._room = room
        self._about = about
        self._timer: asyncio.TimerHandle | None = None
        self._next_at = 0.0

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

    def hear(self, message: bytes) -> None:
        """Take in what another node says of its members. Never raises."""

    def resync(self) -> None:
        """Learn anew who is there on other nodes. Never raises."""

    def close(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self) -> None:
        self._timer = None
        self._next_at = asyncio.get_running_loop().time() + DIFF_INTERVAL_S
        diff = self.members.take_diff()
        if diff is not None:
            self._bus.deliver(
                self._namespace, self._room, ServerEvent.PRESENCE, {**self._about, **diff}
            )
