"""The GETs of a polling session: at most one waits, and at most one answer is under way.

Neither reference implementation keeps what it answered: a connection that breaks under an
answer loses messages (python-engineio) or the whole session (engine.io). Here an answer is
kept until the shell knows that it was written.
"""

from stretto_core.eio.actions import Respond
from stretto_core.eio.packets import Packet, PacketType, encode_payload


class Polls:
    """``waiting`` is the GET that is not answered yet."""

    __slots__ = ("_packets", "_sending", "waiting")

    def __init__(self, waiting: int | None = None) -> None:
        self.waiting = waiting
        self._sending: int | None = None
        self._packets: tuple[Packet, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether a GET can be answered: one waits, and nothing is under way before it."""
        return self.waiting is not None and self._sending is None

    @property
    def settled(self) -> bool:
        """Whether all that was answered has arrived or come back."""
        return self._sending is None

    def answer(self, *packets: Packet) -> Respond:
        """Return the answer to the waiting GET, under way from now on."""
        if self.waiting is None:
            raise AssertionError("no poll waits")
        body, _ = encode_payload(packets, len(packets))
        self._sending, self.waiting = self.waiting, None
        # A noop is of the moment: nobody misses it.
        self._packets = tuple(one for one in packets if one.type is not PacketType.NOOP)
        return Respond(self._sending, body)

    def sent(self, poll: int) -> bool:
        """Forget an answer that was written; tell whether it was the one under way."""
        if poll != self._sending:
            return False
        self.settle()
        return True

    def aborted(self, poll: int) -> tuple[Packet, ...] | None:
        """Return what the answer to a broken GET held; None when none was under way."""
        if poll == self.waiting:
            self.waiting = None
        if poll != self._sending:
            return None
        packets = self._packets
        self.settle()
        return packets

    def settle(self) -> None:
        """Take the answer under way for arrived."""
        self._sending, self._packets = None, ()
