"""Engine.IO 4: "WebSocket", and RFC 6455 below it as far as well-behaved clients go."""

from typing import Any

import pytest

from stretto_server.engine import EngineServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.frames import Frame, Opcode, close, message
from tests.server.engine.conformance.host import Host, eventually
from tests.server.engine.conformance.peer import WebSocketPeer
from tests.server.engine.conformance.websocket import WebSocket

WHOLE = "42[" + "0123456789" * 100 + "]"


async def echo(serve: Serve, **options: Any) -> Host:
    """Serve an engine that sends back whatever it gets."""
    host = await serve(EngineServer(**options))
    host.server.on("message", host.server.send)
    return host


async def opened(host: Host, **options: Any) -> WebSocket:
    websocket = await WebSocket.open(host, **options)
    assert str(await websocket.receive()).startswith("0")
    return websocket


@pytest.mark.parametrize(
    "data",
    [
        *("4hello", "4", "4€\U0001f600", "4\x1e4", "4\x00", "4bAQID"),
        *("4" + "x" * size for size in (124, 125, 126, 65_533, 65_534, 65_535, 99_999)),
        *(b"\x01\x02\x03\x04", b"", b"4", bytes(125), bytes(126), bytes(65_536), bytes(100_000)),
    ],
    ids=lambda data: f"{type(data).__name__} of {len(data)}",
)
async def test_packets_come_back_as_they_went(serve: Serve, data: str | bytes) -> None:
    """Packet encoding, "WebSocket": a type and text in a text frame; binary "as is"."""
    websocket = await opened(await echo(serve, max_http_buffer_size=100_000))
    await websocket.send(data)
    assert await websocket.receive() == data


async def test_each_packet_has_its_frame(serve: Serve) -> None:
    """WebSocket: each packet is sent in its own frame, unfragmented, however many go at once."""
    websocket = await opened(await echo(serve))
    sent: list[str | bytes] = ["4one", b"two", "4three", b"", "4"] * 20
    await websocket.send(*sent)
    assert [await websocket.receive() for _ in sent] == sent
    assert all(frame.fin and frame.rsv == 0 for frame in websocket.frames)


@pytest.mark.parametrize("size", [1, 3])
async def test_frames_in_many_segments(serve: Serve, size: int) -> None:
    """RFC 6455, 5.4: frames have nothing to do with what TCP makes of them."""
    websocket = await opened(await echo(serve))
    wire = message("4hé").wire + message(b"\x01\x02").wire + message("4" + "x" * 130).wire
    for at in range(0, len(wire), size):
        await websocket.write(wire[at : at + size])
    assert await websocket.receive() == "4hé"
    assert await websocket.receive() == b"\x01\x02"
    assert await websocket.receive() == "4" + "x" * 130


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
async def test_a_message_in_fragments(serve: Serve, binary: bool) -> None:
    """RFC 6455, 5.4: fragments make one message, and control frames may come between."""
    websocket = await opened(await echo(serve))
    opcode = Opcode.BINARY if binary else Opcode.TEXT
    # The euro sign is cut in two.
    data = "4a€b".encode()
    await websocket.write(Frame(opcode, data[:3], fin=False))
    await websocket.write(Frame(Opcode.PING, b"between"))
    await websocket.write(Frame(Opcode.CONTINUATION, b"", fin=False))
    await websocket.write(Frame(Opcode.CONTINUATION, data[3:]), message("4next"))
    assert await websocket.receive() == (data if binary else data.decode())
    assert await websocket.receive() == "4next"
    pong, *_ = websocket.frames[1:]
    assert (pong.opcode, pong.payload) == (Opcode.PONG, b"between")


@pytest.mark.parametrize("payload", [b"", b"hello", bytes(range(125))])
async def test_a_ping_frame_is_answered(serve: Serve, payload: bytes) -> None:
    """RFC 6455, 5.5.3: a pong has the application data of its ping."""
    websocket = await opened(await echo(serve))
    await websocket.write(Frame(Opcode.PING, payload), message("4after"))
    assert await websocket.receive() == "4after"
    pong = next(frame for frame in websocket.frames if frame.opcode == Opcode.PONG)
    assert pong.payload == payload


async def test_a_pong_frame_that_nobody_asked_for(serve: Serve) -> None:
    """RFC 6455, 5.5.3: an unsolicited pong is no offence."""
    websocket = await opened(await echo(serve))
    await websocket.write(Frame(Opcode.PONG, b"hello"), message("4after"))
    assert await websocket.receive() == "4after"


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4000, 4999])
async def test_a_close_frame_is_answered(serve: Serve, code: int) -> None:
    """RFC 6455, 5.5.1: a close frame gets one back, and then the server ends the connection."""
    host = await echo(serve)
    reasons: list[str] = []
    host.server.on("disconnect", lambda sid, reason: reasons.append(reason))
    websocket = await opened(host)
    await websocket.write(close(code, "because é"))
    # "typically echos the status code it received"
    assert await websocket.ended() in (code, 1000)
    await eventually(lambda: reasons == ["transport close"])
    assert not host.engine.sockets
    assert not host.violations


async def test_an_empty_close_frame_is_answered(serve: Serve) -> None:
    """RFC 6455, 5.5.1: a close frame MAY contain a body."""
    host = await echo(serve)
    websocket = await opened(host)
    await websocket.write(Frame(Opcode.CLOSE))
    assert await websocket.ended() in (1000, 1005)
    assert not host.violations


async def test_nothing_after_a_close_frame_counts(serve: Serve) -> None:
    """RFC 6455, 5.5.1: after a close frame no more data is sent, so none is taken."""
    host = await serve(EngineServer())
    heard: list[Any] = []
    host.server.on("message", lambda sid, data: heard.append(data))
    websocket = await opened(host)
    await websocket.write(message("4before"), close(1000), message("4behind"))
    assert await websocket.ended() == 1000
    await eventually(lambda: not host.engine.sockets)
    assert heard == ["before"]


async def test_invalid_packets_close_the_session(serve: Serve) -> None:
    """Packet encoding: what has no known type closes the session, at once."""
    host = await echo(serve)
    websocket = await opened(host)
    await websocket.send("abc")
    await websocket.ended()
    assert not host.engine.sockets
    assert host.violations == {"unknown_type": 1}


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
async def test_a_message_beyond_the_limit(serve: Serve, binary: bool) -> None:
    """Handshake, ``maxPayload``: judged by the frame's head, before its bytes come."""
    host = await echo(serve, max_http_buffer_size=10_000)
    websocket = await opened(host)
    frame = Frame(Opcode.BINARY if binary else Opcode.TEXT)
    await websocket.write(frame.head(bytes([126]) + (10_001).to_bytes(2, "big")))
    assert await websocket.ended() in (1009, None)
    assert host.violations == {"too_large": 1}


async def test_fragments_beyond_the_limit(serve: Serve) -> None:
    """Handshake, ``maxPayload``: the fragments of a message count together."""
    host = await echo(serve, max_http_buffer_size=10_000)
    websocket = await opened(host)
    await websocket.write(Frame(Opcode.TEXT, b"4" * 6_000, fin=False))
    await websocket.write(Frame(Opcode.CONTINUATION, b"4" * 4_001, fin=False))
    assert await websocket.ended() in (1009, None)
    assert host.violations == {"too_large": 1}


async def test_a_second_websocket_of_a_session(serve: Serve) -> None:
    """WebSocket: on more than one per session the server MUST close the connection."""
    host = await echo(serve)
    first = await WebSocketPeer.open(host)
    second = await WebSocket.open(host, sid=first.sid)
    await second.ended()
    await first.send("on")
    assert await first.receive() == "on"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_requests_of_a_websockets_session(serve: Serve, method: str) -> None:
    """Upgrade: an HTTP request with the sid of a WebSocket is refused and changes nothing."""
    host = await echo(serve)
    peer = await WebSocketPeer.open(host)
    body = "4no" if method == "POST" else ""
    assert (await host.request(method, host.target(sid=peer.sid), body)).status == 400
    await peer.send("on")
    assert await peer.receive() == "on"


@pytest.mark.parametrize(
    "missing", ["Sec-WebSocket-Key", "Sec-WebSocket-Version", "Upgrade", "Connection"]
)
async def test_a_handshake_that_is_none(serve: Serve, missing: str) -> None:
    """RFC 6455, 4.2.1: a request without what makes it a handshake is refused."""
    host = await echo(serve)
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    del headers[missing]
    response = await host.request("GET", host.target("websocket"), headers=[*headers.items()])
    assert response.status in (400, 426)
    assert not host.engine.sockets


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Sec-WebSocket-Version", "12"),
        ("Sec-WebSocket-Key", "short"),
        ("Sec-WebSocket-Key", "!!!!!!!!!!!!!!!!!!!!!!=="),
    ],
)
async def test_a_handshake_with_a_wrong_value(serve: Serve, name: str, value: str) -> None:
    """RFC 6455, 4.2.1: version 13 and a key of sixteen bytes."""
    host = await echo(serve)
    headers = {
        "Connection": "keep-alive, Upgrade",
        "Upgrade": "WebSocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        name: value,
    }
    response = await host.request("GET", host.target("websocket"), headers=[*headers.items()])
    assert response.status in (400, 426)
    assert not host.engine.sockets


async def test_frames_in_the_segment_of_the_handshake(serve: Serve) -> None:
    """RFC 6455, 4.1: a frame may be right behind the request; none is lost."""
    host = await echo(serve)
    exchange = await host.dial()
    head = (
        f"GET {host.target('websocket')} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await exchange.write(head.encode() + message("4early").wire)
    response = await exchange.response()
    assert response.status == 101
    websocket = WebSocket(exchange, response, answers=True)
    host.clients.append(websocket)
    assert str(await websocket.receive()).startswith("0")
    assert await websocket.receive() == "4early"


OFFER = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")


async def test_no_extension_unless_it_is_on(serve: Serve) -> None:
    """RFC 6455, 9.1: the server chooses among the extensions offered, none by default."""
    websocket = await opened(await echo(serve), headers=[OFFER])
    assert websocket.response.header("Sec-WebSocket-Extensions") is None
    await websocket.send("4" + "x" * 5_000)
    assert await websocket.receive() == "4" + "x" * 5_000
    assert websocket.frames[-1].rsv == 0
