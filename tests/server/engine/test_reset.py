"""Connections that end for both sides, whatever the kernel still holds."""

import asyncio
import select
import socket
from collections.abc import Callable

import pytest
import uvloop

from stretto_server.engine.reset import reset
from tests.server.engine.fakes import FakeTransport

PATIENCE = 5.0


async def _end(peer: socket.socket) -> None:
    """Fill a connection whose peer reads nothing, and reset it: the peer is told."""
    accepted: asyncio.Queue[asyncio.Transport] = asyncio.Queue()

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.put_nowait(transport)  # type: ignore[arg-type]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0)
    async with server:
        await loop.sock_connect(peer, server.sockets[0].getsockname())
        transport = await accepted.get()
        transport.write(bytes(20_000_000))
        await asyncio.sleep(0.05)
        reset(transport)
        reset(transport)
        poll = select.poll()
        poll.register(peer, 0)
        async with asyncio.timeout(PATIENCE):
            while not poll.poll(0):
                await asyncio.sleep(0.01)
        reset(transport)


def read_all(peer: socket.socket) -> None:
    while peer.recv(1 << 20):
        pass


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_peer_that_reads_nothing_is_told(run: Callable[..., None]) -> None:
    with socket.socket() as peer:
        peer.setblocking(False)
        run(_end(peer))
        with pytest.raises(ConnectionResetError):
            read_all(peer)


def test_a_transport_without_a_socket() -> None:
    transport = FakeTransport()
    reset(transport)
    assert transport.aborted
