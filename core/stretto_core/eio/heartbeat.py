"""Ping and pong ("Heartbeat"): in protocol 4 the server pings and the client answers."""

from dataclasses import dataclass


@dataclass(slots=True)
class Heartbeat:
    """``at`` is when :meth:`beat` is due, in milliseconds."""

    interval: int
    timeout: int
    at: int
    _answer_by: int | None = None

    @classmethod
    def start(cls, interval: int, timeout: int, now: int) -> "Heartbeat":
        """Ping ``interval`` from now."""
        return cls(interval, timeout, now + interval)

    @property
    def pinged(self) -> bool:
        """Whether an answer is to come."""
        return self._answer_by is not None

    def beat(self, now: int) -> bool:
        """Return whether to ping; False when the last ping was not answered in time.

        While an answer has more time than usual there are more pings: where nobody reads,
        only writing finds out that a peer is gone.
        """
        if self._answer_by is None:
            self._answer_by = now + self.timeout
        elif now >= self._answer_by:
            return False
        self.at = min(now + self.timeout, self._answer_by)
        return True

    def postpone(self, now: int) -> None:
        """Give an answer under way more time: it was this side that did not read."""
        if self._answer_by is not None:
            self._answer_by = now + self.timeout

    def pong(self, now: int) -> None:
        """Count the next interval from a pong. One that nobody asked for changes nothing."""
        if self._answer_by is not None:
            self._answer_by = None
            self.at = now + self.interval
