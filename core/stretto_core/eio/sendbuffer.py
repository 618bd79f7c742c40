"""Packets that wait for a transport, counted in bytes.

The reference server's ``writeBuffer`` is unbounded, so one slow reader can take all memory.
Here volatile packets go first; what remains above the limit is told, not dropped: only
the application knows whether to stop its broadcasts or to close the connection.
"""

from collections import deque
from collections.abc import Sequence

from stretto_core.eio.packets import Packet


class SendBuffer:
    """A queue of packets, ``size`` bytes in all; ``limit`` is a mark, not a wall."""

    __slots__ = ("_limit", "_queue", "_volatile", "size")

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit
        self._volatile = 0
        # Most connections never let anything wait, and a deque takes 600 bytes.
        self._queue: deque[tuple[Packet, bool]] | None = None

    def __len__(self) -> int:
        return len(self._queue) if self._queue is not None else 0

    @property
    def over(self) -> bool:
        """Whether more waits than the limit."""
        return self.size > self._limit

    def append(self, packet: Packet, *, volatile: bool = False) -> None:
        """Queue a packet. Drops volatile ones, oldest first and itself last, to stay below.

        Raises UnicodeEncodeError for text with a lone surrogate, before anything changes.
        """
        excess = self.size + packet.size - self._limit
        if excess > 0 and self._volatile:
            excess -= self._drop_volatile(excess)
        if volatile and excess > 0:
            return
        if self._queue is None:
            self._queue = deque()
        self._queue.append((packet, volatile))
        self._count(packet, volatile, 1)

    def take(self, most: int | None = None) -> tuple[Packet, ...]:
        """Remove and return the first packets, all of them when ``most`` is None."""
        queue = self._queue
        if queue is None:
            return ()
        packets = []
        for _ in range(len(queue) if most is None else min(most, len(queue))):
            packet, volatile = queue.popleft()
            self._count(packet, volatile, -1)
            packets.append(packet)
        if not queue:
            self._queue = None
        return tuple(packets)

    def put_back(self, packets: Sequence[Packet]) -> None:
        """Queue packets before all others: they were taken and did not arrive."""
        if self._queue is None:
            self._queue = deque()
        for packet in reversed(packets):
            self._queue.appendleft((packet, False))
            self._count(packet, False, 1)

    def drop_last(self) -> None:
        """Forget the packet that was queued last."""
        if self._queue:
            packet, volatile = self._queue.pop()
            self._count(packet, volatile, -1)

    def clear(self) -> None:
        """Forget everything."""
        self._queue = None
        self.size = self._volatile = 0

    def _count(self, packet: Packet, volatile: bool, sign: int) -> None:
        self.size += sign * packet.size
        self._volatile += sign * packet.size * volatile

    def _drop_volatile(self, excess: int) -> int:
        """Drop the oldest volatile packets of ``excess`` bytes; return the bytes freed."""
        before = self.size
        kept: deque[tuple[Packet, bool]] = deque()
        for packet, volatile in self._queue or ():
            if volatile and before - self.size < excess:
                self._count(packet, volatile, -1)
            else:
                kept.append((packet, volatile))
        self._queue = kept
        return before - self.size
