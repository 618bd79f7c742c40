"""Ping and pong ("Heartbeat"): in protocol 4 the server pings and the client answers."""

from dataclasses import dataclass


@dataclass(slots=True)
class Heartbeat:
    """``at`` is when :meth:`beat` is due, in milliseconds."""

    interval: int
    timeout: int
    at: int
    _pinged: bool = False

    @classmethod
    def start(cls, interval: int, timeout: int, now: int) -> "Heartbeat":
        """Ping ``interval`` from now."""
        return cls(interval, timeout, now + interval)

    def beat(self, now: int) -> bool:
        """Return whether to ping; False when the last ping was not answered in time."""
        if self._pinged:
            return False
        self._pinged = True
        self.at = now + self.timeout
        return True

    def postpone(self, now: int) -> None:
        """Give an answer under way more time: it was this side that did not read."""
        if self._pinged:
            self.at = now + self.timeout

    def pong(self, now: int) -> None:
        """Count the next interval from a pong. One that nobody asked for changes nothing."""
        if self._pinged:
            self._pinged = False
            self.at = now + self.interval
