"""``/`` over the wire: ready, refresh, expiry, one user per connection."""

import asyncio
import time

import pytest

from stretto_core.protocol import Limits
from stretto_server.server import RealtimeServer
from tests.server.conftest import Connect, Serve
from tests.server.wire import Wire, client_id, token


async def test_ready_tells_who_and_what(connect: Connect) -> None:
    wire = await connect("ann", namespaces=("/",))
    ready = await wire.hear("ready")
    assert ready["user"]["id"] == "ann"
    assert ready["protocol"] == 1
    assert ready["limits"] == Limits().to_payload()
    assert abs(ready["server_time_ms"] - time.time() * 1000) < 5_000
    assert 50 <= ready["token_ttl_s"] <= 60
    assert set(ready) == {
        *("session_id", "user", "protocol", "node", "server_time_ms", "token_ttl_s", "limits")
    }


async def test_refresh_takes_a_token_of_the_same_user_only(connect: Connect) -> None:
    wire = await connect("ann")
    answer = await wire.ok("refresh_token", {"token": token("ann", ttl_s=500)}, "/")
    assert 490 <= answer["token_ttl_s"] <= 500
    assert await wire.code("refresh_token", {"token": token("bob")}, "/") == "forbidden"
    assert await wire.code("refresh_token", {"token": "junk"}, "/") == "unauthenticated"
    expired = token("ann", ttl_s=-5)
    assert await wire.code("refresh_token", {"token": expired}, "/") == "token_expired"
    await wire.open()


async def test_an_expired_token_refuses_some_events_until_refreshed(
    serve: Serve, connect: Connect
) -> None:
    server = await serve(token_grace=30.0)
    wire = await connect("ann", ttl_s=1.2, to=server)
    paper = await wire.open()
    await paper.submit(["x"], 0)
    assert await wire.hear("token_expired") == {"grace_s": 30}
    assert await wire.code("submit", paper.payload(["y"], 1)) == "token_expired"
    ask = {"doc": "other", "client": client_id()}
    assert await wire.code("open", ask) == "token_expired"
    await wire.ok("fetch", {"doc": "notes", "epoch": paper.epoch, "from": 1})
    await wire.ok("cursor", {"doc": "notes", "version": 1, "ranges": [[0, 0]]})
    await wire.ok("refresh_token", {"token": token("ann")}, "/")
    assert await paper.submit(["y"], 1) == 2


async def test_the_grace_ends_the_connection(serve: Serve, connect: Connect) -> None:
    server = await serve(token_grace=0.2)
    wire = await connect("ann", ttl_s=1.1, to=server)
    await wire.hear("token_expired")
    await wire.closed()


async def test_an_expired_token_does_not_connect(server: RealtimeServer) -> None:
    with pytest.raises(Exception, match="namespaces"):
        await Wire.connect(server, ttl_s=-1, patience_s=2)


async def test_namespaces_of_one_connection_have_one_user(connect: Connect) -> None:
    wire = await connect("ann", namespaces=("/",))
    errors: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    wire.sio.on("connect_error", errors.put, namespace="/docs")
    packet = wire.sio.packet_class(0, {"token": token("bob")}, namespace="/docs")
    await wire.sio._send_packet(packet)
    refused = await asyncio.wait_for(errors.get(), 5)
    assert refused["message"] == "forbidden"
    await wire.ok("refresh_token", {"token": token("ann")}, "/")


async def test_a_user_has_only_so_many_connections(serve: Serve, connect: Connect) -> None:
    server = await serve(limits=Limits(user_connections=2))
    first, second = await connect(to=server), await connect(to=server)
    with pytest.raises(Exception, match=r"namespaces|connection error"):
        await Wire.connect(server, patience_s=0.3)
    await first.close()
    await asyncio.sleep(0.05)
    await connect(to=server)
    await second.open()


async def test_a_connection_that_joins_nothing_is_closed(serve: Serve) -> None:
    server = await serve(connect_timeout=0.2)
    wire = Wire()
    await wire.sio.eio.connect(server.url, transports=["websocket"], engineio_path="socket.io")
    async with asyncio.timeout(3):
        await wire.sio.eio.wait()
    await wire.sio.eio.disconnect()
