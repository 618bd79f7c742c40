"""Which frames are compressed where permessage-deflate (RFC 7692) was negotiated.

aiohttp compresses all of them, and keeps a window of what it sent per connection. Most of
our frames are a few dozen bytes long, and grow by it.
"""

from typing import Any, Final

import aiohttp

WINDOW_BITS: Final = 15
"""What we offer; the server may answer with a smaller window."""
COMPRESSED_FROM: Final = 1024
"""Shorter texts are sent as they are: the default of Socket.IO's clients and servers."""


class ThriftyWebSocket(aiohttp.ClientWebSocketResponse):
    """A WebSocket that compresses long frames only, each on its own."""

    def __init__(self, reader: Any, writer: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(reader, writer, *arguments, **options)
        writer.compress = 0  # else it compresses every frame, whatever a call says

    async def send_str(self, data: str, compress: int | None = None) -> None:
        """Send a text. Raises ConnectionResetError, as aiohttp does."""
        # Characters are counted: encoding a text only to measure it would cost more.
        await super().send_str(data, compress or self._window(len(data)))

    async def send_bytes(self, data: bytes, compress: int | None = None) -> None:
        """Send bytes. Raises ConnectionResetError, as aiohttp does."""
        await super().send_bytes(data, compress or self._window(len(data)))

    def _window(self, size: int) -> int:
        """Return the negotiated window for a long message, 0 to send it as it is."""
        return self.compress if size >= COMPRESSED_FROM else 0
