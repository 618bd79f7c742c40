"""A WebSocket that wants to replace polling ("Upgrade"): ``2probe``, ``3probe``, ``5``."""

from dataclasses import dataclass
from enum import Enum

from stretto_core.eio.packets import PROBE, Packet, PacketType
from stretto_core.eio.violations import Violation

PING_PROBE = Packet(PacketType.PING, PROBE)
PONG_PROBE = Packet(PacketType.PONG, PROBE)
UPGRADE = Packet(PacketType.UPGRADE)


class Outcome(Enum):
    """What a frame means for the trial."""

    WORKS = "answer with the probe's pong, and release the waiting poll"
    UPGRADE = "move to the WebSocket"
    BROKEN = "close the WebSocket, keep polling"


@dataclass(slots=True)
class Trial:
    """A WebSocket on trial until ``by``; it ``works`` once its probe has arrived.

    From then on a waiting poll is answered with noop, so that the client can stop polling;
    not before ``release_at``, or a client that never sends ``5`` polls as fast as it can.
    """

    websocket: int
    by: int
    works: bool = False
    release_at: int = 0

    def take(self, packet: Packet | Violation, now: int) -> Outcome:
        """Take a frame. Nothing but the probe and then ``5`` has a place here."""
        if packet == PING_PROBE and not self.works:
            self.works = True
            self.release_at = now
            return Outcome.WORKS
        if packet == UPGRADE and self.works:
            return Outcome.UPGRADE
        return Outcome.BROKEN
