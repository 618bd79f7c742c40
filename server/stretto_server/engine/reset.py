"""The end of a connection whose peer does not take what it gets."""

import asyncio
import contextlib
import socket
import struct
from typing import Final

_AT_ONCE: Final = struct.pack("ii", 1, 0)


def reset(transport: asyncio.Transport) -> None:
    """End a connection at once, for the kernel too: what its peer did not take is dropped.

    Without it the kernel keeps what was written, and the connection, for minutes.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # A socket that is closed already is told by uvloop as a ValueError.
        with contextlib.suppress(OSError, ValueError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()
