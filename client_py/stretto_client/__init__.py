"""The asyncio client of Stretto."""

from stretto_client.client import RealtimeClient
from stretto_client.cursors import Cursor
from stretto_client.document import LiveDocument, Status
from stretto_client.messages import Message
from stretto_client.room import LiveRoom
from stretto_client.tokens import TokenProvider
from stretto_core.errors import StrettoError
from stretto_core.replica import Changed, Closed, Origin, Returned

__all__ = [
    "Changed",
    "Closed",
    "Cursor",
    "LiveDocument",
    "LiveRoom",
    "Message",
    "Origin",
    "RealtimeClient",
    "Returned",
    "Status",
    "StrettoError",
    "TokenProvider",
]
