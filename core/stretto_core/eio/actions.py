"""What a session asks its shell to do, in the order of the list.

Requests (of HTTP) and WebSockets are numbers that the shell chooses. A shell performs
actions and decides nothing.
"""

import json
from dataclasses import dataclass
from enum import StrEnum

from stretto_core.eio.handshake import Refusal
from stretto_core.eio.packets import PACKETS_PER_RESPONSE, Packet, PacketType
from stretto_core.eio.violations import Reason


class CloseReason(StrEnum):
    """Why a session ended; the values are those that python-engineio's handlers get."""

    CLIENT_DISCONNECT = "client disconnect"
    SERVER_DISCONNECT = "server disconnect"
    PING_TIMEOUT = "ping timeout"
    TRANSPORT_CLOSE = "transport close"
    TRANSPORT_ERROR = "transport error"
    PARSE_ERROR = "parse error"


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer an HTTP request with 200 and ``body`` (``text/plain; charset=UTF-8``).

    Of the answer to a poll, report :meth:`Session.poll_sent` or :meth:`Session.poll_aborted`.
    """

    request: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer an HTTP request with an error object."""

    request: int
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class WriteFrames:
    """Write one frame for each packet to a WebSocket: ``packet.frame``."""

    websocket: int
    packets: tuple[Packet, ...]


@dataclass(frozen=True, slots=True)
class CloseWebSocket:
    """Close a WebSocket: after its closing handshake, or at once when ``abort``.

    ``violation`` is what its peer did wrong, for the status code.
    """

    websocket: int
    abort: bool = False
    violation: Reason | None = None


@dataclass(frozen=True, slots=True)
class Deliver:
    """Give a message to the application."""

    data: str | bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """The session is open: tell the application."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The session moved to its WebSocket."""


@dataclass(frozen=True, slots=True)
class Overflowed:
    """More than the limit waits. Stop broadcasting or close; nothing but volatile was lost."""

    size: int


@dataclass(frozen=True, slots=True)
class Drained:
    """Nothing waits anymore, after more than the limit did."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The session ended for the application. Told once.

    ``violation`` goes with a parse error.
    """

    reason: CloseReason
    violation: Reason | None = None


@dataclass(frozen=True, slots=True)
class Discard:
    """Forget the sid: from now on it is unknown. The last action of a session."""


Action = (
    Respond
    | Refuse
    | WriteFrames
    | CloseWebSocket
    | Deliver
    | Opened
    | Upgraded
    | Overflowed
    | Drained
    | Closed
    | Discard
)


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Times in milliseconds, sizes in bytes; raises ValueError for what cannot work."""

    ping_interval: int = 25_000
    """From the opening or a pong to the next ping; engine.io ``pingInterval``."""
    ping_timeout: int = 20_000
    """From a ping to the end of a silent peer; engine.io ``pingTimeout``."""
    upgrade_timeout: int = 10_000
    """How long a WebSocket may take to replace polling; engine.io ``upgradeTimeout``."""
    close_timeout: int = 30_000
    """How long a closed session waits to say so; engine.io ``polling.closeTimeout``."""
    release_interval: int = 100
    """Between two empty answers to polls during an upgrade; engine.io ``check``."""
    max_payload: int = 1024 * 1024
    """Announced as ``maxPayload``: the largest frame or POST; Stretto's ``message_bytes``."""
    packets_per_response: int = PACKETS_PER_RESPONSE
    packets_per_turn: int = 128
    """Of a POST that are taken at once; then others have their turn."""
    unsent_bytes: int = 256 * 1024
    """What may wait for one peer; Stretto's ``unsent_bytes``."""
    upgrades: bool = True
    """Whether a polling session may move to a WebSocket."""

    def __post_init__(self) -> None:
        numbers = [
            *(self.ping_interval, self.ping_timeout, self.upgrade_timeout, self.close_timeout),
            *(self.release_interval, self.max_payload, self.packets_per_response),
            *(self.packets_per_turn, self.unsent_bytes),
        ]
        if min(numbers) < 1:
            raise ValueError("times and sizes of a session are at least 1")


def open_packet(sid: str, settings: SessionSettings, *, upgradable: bool) -> Packet:
    """Return the open packet ("Handshake"): its times are whole milliseconds."""
    upgrades = '["websocket"]' if upgradable else "[]"
    return Packet(
        PacketType.OPEN,
        f'{{"sid":{json.dumps(sid)},"upgrades":{upgrades},"pingInterval":{settings.ping_interval},'
        f'"pingTimeout":{settings.ping_timeout},"maxPayload":{settings.max_payload}}}',
    )
