"""Connection state recovery of a server: a log for each namespace that wants one."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stretto_core.eio.actions import CloseReason
from stretto_core.eio.recovery import Departed, RecoveryLog, RecoverySettings
from stretto_server.engine.encoded import Encoded
from stretto_server.engine.members import Member
from stretto_server.engine.timers import Timers

RECOVERABLE: Final = frozenset(
    {CloseReason.TRANSPORT_CLOSE, CloseReason.TRANSPORT_ERROR, CloseReason.PING_TIMEOUT}
)
"""Ends that nobody wanted: those of the reference server (``RECOVERABLE_DISCONNECT_REASONS``)."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """How a namespace brings back clients whose connection was lost.

    Within ``max_disconnection_s`` seconds a client gets its sid, its rooms, its session and
    the events that it missed, as long as these are among the last ``max_bytes`` that the
    namespace sent. Its ``connect`` handler runs as for any other.
    """

    max_disconnection_s: float = 120.0
    max_bytes: int = 1024 * 1024
    max_sessions: int = 10_000


@dataclass(frozen=True, slots=True)
class Returning:
    """A client that came back, and what it missed."""

    departed: Departed
    missed: list[Encoded]


class Recoveries:
    """The logs of one server, and the members whose connections may be lost."""

    def __init__(self, settings: Mapping[str, Recovery], timers: Timers) -> None:
        self._timers = timers
        self._live: dict[str, Member] = {}
        self._logs: dict[str, RecoveryLog[Encoded]] = {
            namespace: RecoveryLog(
                RecoverySettings(
                    round(one.max_disconnection_s * 1000), one.max_bytes, one.max_sessions
                ),
                secrets.token_urlsafe(6),
            )
            for namespace, one in settings.items()
        }

    def log(self, namespace: str) -> RecoveryLog[Encoded] | None:
        """Return the log of a namespace, if it has one."""
        return self._logs.get(namespace)

    def add(self, namespace: str, encoded: Encoded, room: Any, skipped: frozenset[str]) -> None:
        """Keep an event that was sent to a room, to several, or to everybody (None)."""
        several = isinstance(room, list | tuple | set | frozenset)
        rooms = room if several or room is None else (room,)
        self._logs[namespace].add(encoded, encoded.size, rooms, skipped, self._timers.now())

    def returning(self, namespace: str, auth: Any) -> Returning | None:
        """Return who comes back with a CONNECT packet, if anybody does: only once.

        A client that has several connections at the same time is one of them.
        """
        log = self._logs.get(namespace)
        if log is None or not isinstance(auth, dict):
            return None
        pid, offset = auth.get("pid"), auth.get("offset")
        if not isinstance(pid, str) or not isinstance(offset, str | None):
            return None
        member = self._live.get(pid)
        if member is not None and member.namespace == namespace:
            # The client knows already that its old connection is lost.
            self.depart(member, CloseReason.TRANSPORT_ERROR)
            member.client.socket.abort()
        found = log.find(pid, offset, self._timers.now())
        if found is None:
            return None
        log.forget(pid)
        return Returning(*found)

    def give_back(self, namespace: str, returning: Returning) -> None:
        """Let a client come back another time: now it was not told that it is connected."""
        log = self._logs.get(namespace)
        if log is not None:
            log.depart(returning.departed, self._timers.now())

    def welcome(self, member: Member, returning: Returning | None) -> str | None:
        """Note that a member is connected; return the private id that it is told."""
        log = self._logs.get(member.namespace)
        if log is None:
            return None
        member.pid = returning.departed.pid if returning is not None else secrets.token_urlsafe(15)
        self._live[member.pid] = member
        return member.pid

    def depart(self, member: Member, reason: CloseReason) -> None:
        """Remember a member whose connection was lost; forget one that left."""
        pid, member.pid = member.pid, None
        log = self._logs.get(member.namespace)
        if pid is None or log is None:
            return
        if self._live.get(pid) is member:
            del self._live[pid]
        if reason in RECOVERABLE:
            session = (member.client.socket.session or {}).get(member.namespace)
            rooms = frozenset(member.rooms or ())
            log.depart(Departed(pid, member.sid, rooms, member.since, session), self._timers.now())


def without_recovery(auth: Any) -> Any:
    """Return the auth payload of an application: without the keys of the protocol."""
    if not isinstance(auth, dict):
        return auth
    return {key: value for key, value in auth.items() if key not in ("pid", "offset")} or None
