"""Packets that wait for a transport, counted in bytes.

The reference server's ``writeBuffer`` is unbounded, so one slow reader can take all memory.
Here the volatile packets go first; what remains above the limit is told, not dropped:
only the application knows whether to stop its broadcasts or to close the connection.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum

from stretto_core.eio.packets import Packet


class Level(Enum):
    """What a change of the buffer crossed."""

    SAME = "same"
    OVER = "over"
    UNDER = "under"


class SendBuffer:
    """A queue of packets, ``size`` bytes in all, with a limit that is only a mark."""

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit
        self._over = False
        self._queue: deque[tuple[Packet, bool]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def append(self, packet: Packet, *, volatile: bool = False) -> Level:
        """Queue a packet. Drops volatile ones, oldest first and itself last, to stay below.

        Raises UnicodeEncodeError for text with a lone surrogate, before anything changes.
        """
        size = packet.size
        if self.size + size > self._limit:
            self._drop_volatile(self.size + size - self._limit)
            if volatile and self.size + size > self._limit:
                return self._crossed()
        self._queue.append((packet, volatile))
        self.size += size
        return self._crossed()

    def take(self, most: int | None = None) -> tuple[tuple[Packet, ...], Level]:
        """Remove and return the first packets, all of them when ``most`` is None."""
        count = len(self._queue) if most is None else min(most, len(self._queue))
        packets = tuple(self._queue.popleft()[0] for _ in range(count))
        self.size -= sum(packet.size for packet in packets)
        return packets, self._crossed()

    def put_back(self, packets: Sequence[Packet]) -> Level:
        """Queue packets before all others: they were taken and did not arrive."""
        self._queue.extendleft((packet, False) for packet in reversed(packets))
        self.size += sum(packet.size for packet in packets)
        return self._crossed()

    def clear(self) -> None:
        """Forget everything."""
        self._queue.clear()
        self.size = 0
        self._over = False

    def _drop_volatile(self, excess: int) -> None:
        kept: deque[tuple[Packet, bool]] = deque()
        for packet, volatile in self._queue:
            if volatile and excess > 0:
                excess -= packet.size
                self.size -= packet.size
            else:
                kept.append((packet, volatile))
        self._queue = kept

    def _crossed(self) -> Level:
        over = self.size > self._limit
        if over is self._over:
            return Level.SAME
        self._over = over
        return Level.OVER if over else Level.UNDER
