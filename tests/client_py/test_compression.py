"""permessage-deflate (RFC 7692): offered on request, and for long frames only."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from stretto_client import RealtimeClient
from stretto_client.compression import COMPRESSED_FROM, WINDOW_BITS, ThriftyWebSocket
from stretto_server.server import RealtimeServer
from tests.recording_proxy import BINARY, TEXT, Recorder, recording
from tests.server.wire import SECRET, token

LONG = "Much ado about nothing. " * 500
CLIENT_SIZES = [COMPRESSED_FROM - 1, COMPRESSED_FROM, 100_000]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RealtimeServer]:
    async with RealtimeServer(
        port=0,
        secret=SECRET,
        host="127.0.0.1",
        journal="memory://",
        data=tmp_path,
        drain=1.0,
        compression=True,
    ) as server:
        yield server


@pytest.mark.parametrize("compression", [False, True])
async def test_it_is_offered_on_request_only(compression: bool) -> None:
    heads: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        client = RealtimeClient(url, "token", compression=compression)
        connecting = asyncio.ensure_future(client.connect())
        async with asyncio.timeout(5):
            while not heads:
                await asyncio.sleep(0.01)
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await client.close()
    offered = b"\r\nsec-websocket-extensions: permessage-deflate" in heads[0].lower()
    assert b"\r\nupgrade: websocket" in heads[0].lower()
    assert offered is compression
    assert (b"sec-websocket-extensions" in heads[0].lower()) is compression


async def edit(recorder: Recorder, *, compression: bool) -> None:
    """Insert a short and a long text through the proxy."""
    async with RealtimeClient(recorder.url, token(), compression=compression) as client:
        doc = await client.open("notes")
        await doc.insert(0, "short")
        await doc.saved()
        await doc.insert(0, LONG)
        await doc.saved()
        assert doc.text == LONG + "short"


async def test_long_frames_are_compressed_both_ways(server: RealtimeServer) -> None:
    async with recording(server.url) as recorder:
        await edit(recorder, compression=True)
        assert "permessage-deflate" in recorder.server.head["sec-websocket-extensions"]
        sent, heard = recorder.client.frames(), recorder.server.frames()
        for frames in (sent, heard):
            assert [frame.is_compressed for frame in frames] == [
                len(frame.payload) >= COMPRESSED_FROM for frame in frames
            ]
        assert any('["short"]' in frame.payload.decode() for frame in sent)
        (long,) = [frame for frame in sent if frame.is_compressed]
        assert LONG in long.payload.decode()
        assert long.size < 400
        (answer,) = [frame for frame in heard if f'["{LONG}' in frame.payload.decode()]
        assert answer.is_compressed
        assert answer.size < 400


async def test_nothing_is_compressed_unless_it_is_asked_for(server: RealtimeServer) -> None:
    async with recording(server.url) as recorder:
        await edit(recorder, compression=False)
        assert "sec-websocket-extensions" not in recorder.server.head
        for side in (recorder.client, recorder.server):
            frames = side.frames()
            assert any(LONG in frame.payload.decode() for frame in frames)
            assert not any(frame.is_compressed for frame in frames)


@pytest.mark.parametrize("compression", [False, True])
async def test_a_server_may_decline(tmp_path: Path, compression: bool) -> None:
    async with (
        RealtimeServer(
            port=0, secret=SECRET, host="127.0.0.1", journal="memory://", data=tmp_path, drain=1.0
        ) as server,
        recording(server.url) as recorder,
    ):
        await edit(recorder, compression=compression)
        assert ("sec-websocket-extensions" in recorder.client.head) is compression
        assert "sec-websocket-extensions" not in recorder.server.head
        assert not any(frame.is_compressed for frame in recorder.client.frames())


async def test_texts_and_bytes_from_the_least_size_on() -> None:
    """Against a plain WebSocket server, which keeps a window of its own."""
    arrived: list[str | bytes] = []

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            arrived.append(message.data)
            await (
                socket.send_str if message.type is aiohttp.WSMsgType.TEXT else socket.send_bytes
            )(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/", echo)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with (
            recording(f"http://127.0.0.1:{runner.addresses[0][1]}") as recorder,
            aiohttp.ClientSession(ws_response_class=ThriftyWebSocket) as session,
            session.ws_connect(recorder.url, compress=WINDOW_BITS) as socket,
        ):
            for size in [*CLIENT_SIZES, 5]:
                await socket.send_str("é" * size)
                assert await socket.receive_str(timeout=5) == "é" * size
                await socket.send_bytes(b"b" * size)
                assert await socket.receive_bytes(timeout=5) == b"b" * size
            frames = recorder.client.frames()
    finally:
        await runner.cleanup()
    assert len(arrived) == 2 * len(CLIENT_SIZES) + 2
    assert [frame.opcode for frame in frames] == [TEXT, BINARY] * (len(CLIENT_SIZES) + 1)
    assert [frame.is_compressed for frame in frames] == [False] * 2 + [True] * 4 + [False] * 2
