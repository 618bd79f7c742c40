"""Connection state recovery: what one namespace sent, and who may come back for it.

As the JavaScript client speaks it since 4.6: the CONNECT packet tells a private id, each event
carries an offset as its last argument, and a client that comes back says both. Beyond the
reference server a client that got no event yet can come back too, and the log is bounded in
bytes. Times are milliseconds of any monotonic clock; nothing here knows of connections.
"""

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Packet = TypeVar("Packet")


@dataclass(frozen=True, slots=True)
class RecoverySettings:
    """For how long and with how much a namespace can bring a client back.

    ``max_disconnection`` in milliseconds, ``max_bytes`` for the packets of the namespace;
    ``max_sessions`` clients at the most are remembered. Raises ValueError below 1.
    """

    max_disconnection: int = 120_000
    max_bytes: int = 1024 * 1024
    max_sessions: int = 10_000

    def __post_init__(self) -> None:
        if min(self.max_disconnection, self.max_bytes, self.max_sessions) < 1:
            raise ValueError("times and sizes of recovery are at least 1")


@dataclass(frozen=True, slots=True)
class Departed:
    """A client that may come back. ``since`` is the log's position when it connected."""

    pid: str
    sid: str
    rooms: frozenset[Hashable]
    since: int
    data: object = None


@dataclass(frozen=True, slots=True)
class _Sent(Generic[Packet]):
    packet: Packet
    size: int
    rooms: frozenset[Hashable] | None
    skipped: frozenset[str]
    at: int

    def is_for(self, departed: Departed) -> bool:
        if departed.sid in self.skipped:
            return False
        return self.rooms is None or bool(self.rooms & (departed.rooms | {departed.sid}))


class RecoveryLog(Generic[Packet]):
    """The log of one namespace; ``epoch`` tells its offsets from those of another process."""

    def __init__(self, settings: RecoverySettings, epoch: str) -> None:
        self._settings = settings
        self._epoch = epoch
        self._sent: deque[_Sent[Packet]] = deque()
        self._departed: dict[str, tuple[Departed, int]] = {}
        self.position = 0
        """How many packets were added."""
        self.size = 0
        """The bytes of those that are kept."""

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def next_offset(self) -> str:
        """The offset of the packet that is added next; its last argument."""
        return f"{self._epoch}-{self.position + 1}"

    def add(
        self,
        packet: Packet,
        size: int,
        rooms: Iterable[Hashable] | None,
        skipped: frozenset[str],
        now: int,
    ) -> None:
        """Keep a packet that was sent to ``rooms``, None for everybody, but ``skipped``."""
        self.position += 1
        kept = None if rooms is None else frozenset(rooms)
        self._sent.append(_Sent(packet, size, kept, skipped, now))
        self.size += size
        self.expire(now)

    def expire(self, now: int) -> None:
        """Forget what nobody may ask for anymore, and what there is no room for."""
        since = now - self._settings.max_disconnection
        while self._sent and (self.size > self._settings.max_bytes or self._sent[0].at < since):
            self.size -= self._sent.popleft().size
        # In the order of departure: whoever is first in the dictionary goes first.
        while self._departed:
            pid, (_, until) = next(iter(self._departed.items()))
            if until >= now and len(self._departed) <= self._settings.max_sessions:
                break
            del self._departed[pid]

    def depart(self, departed: Departed, now: int) -> None:
        """Remember a client whose connection was lost."""
        self._departed.pop(departed.pid, None)
        self._departed[departed.pid] = (departed, now + self._settings.max_disconnection)
        self.expire(now)

    def find(self, pid: str, offset: str | None, now: int) -> tuple[Departed, list[Packet]] | None:
        """Return a client and what it missed; None when that cannot be known anymore.

        ``offset`` is that of the last packet it got, None if there was none.
        """
        self.expire(now)
        departed, _ = self._departed.get(pid, (None, 0))
        if departed is None:
            return None
        position = departed.since if offset is None else self._position_of(offset)
        missed = self.position - position
        if position < departed.since or not 0 <= missed <= len(self._sent):
            return None
        behind = list(self._sent)[len(self._sent) - missed :]
        return departed, [one.packet for one in behind if one.is_for(departed)]

    def forget(self, pid: str) -> None:
        """Forget a client: it came back, or is not to."""
        self._departed.pop(pid, None)

    def _position_of(self, offset: str) -> int:
        """Return the number in an offset of this log, -1 for what is none."""
        epoch, _, digits = offset.rpartition("-")
        plain = digits.isascii() and digits.isdigit() and len(digits) < 16
        return int(digits) if epoch == self._epoch and plain else -1
