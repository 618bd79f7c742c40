"""The Stretto server: aiohttp and python-socketio around the pure core."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stretto_server.server import RealtimeServer

__all__ = ["RealtimeServer"]


def __getattr__(name: str) -> object:
    """Import the server when it is asked for: the command explains itself without it."""
    if name == "RealtimeServer":
        from stretto_server.server import RealtimeServer

        return RealtimeServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
