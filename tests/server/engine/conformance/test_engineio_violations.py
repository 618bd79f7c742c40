"""Engine.IO 4 and RFC 6455: each violation closes the connection at once, counted and quietly."""

import asyncio
import zlib
from collections.abc import Sequence
from typing import Any

import pytest

from stretto_server.engine import EngineServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.frames import Frame, Opcode, close, message
from tests.server.engine.conformance.host import Host, eventually
from tests.server.engine.conformance.peer import WebSocketPeer
from tests.server.engine.conformance.polling import Polling
from tests.server.engine.conformance.strictness import closes
from tests.server.engine.conformance.websocket import WebSocket

LIMIT = 10_000
ECHO = ("hello", "hello")


async def echo(serve: Serve, **options: Any) -> Host:
    """Serve an engine that sends back whatever it gets."""
    host = await serve(EngineServer(max_http_buffer_size=LIMIT, **options))
    host.server.on("message", host.server.send)
    return host


def text(data: bytes, **more: Any) -> Frame:
    return Frame(Opcode.TEXT, data, **more)


def more(data: bytes, **more: Any) -> Frame:
    return Frame(Opcode.CONTINUATION, data, **more)


Row = tuple[str, str, Sequence[Frame | bytes]]

PACKETS: list[Row] = [
    # Packet encoding, "WebSocket": a type, then data.
    ("empty", "empty", [message("")]),
    ("letters", "unknown_type", [message("abc")]),
    ("type 7", "unknown_type", [message("7")]),
    ("negative", "unknown_type", [message("-1")]),
    ("space first", "unknown_type", [message(" 4a")]),
    ("digit of another script", "unknown_type", [message("٤a")]),
    ("base64 in a frame", "unknown_type", [message("bAQID")]),
    ("JSON", "unknown_type", [message('{"type":4}')]),
    # Packet types: which side sends them, and what with.
    ("open", "unexpected_type", [message("0{}")]),
    ("ping", "unexpected_type", [message("2")]),
    ("probe", "unexpected_type", [message("2probe")]),
    ("pong of a probe", "unexpected_type", [message("3probe")]),
    ("upgrade", "unexpected_type", [message("5")]),
    ("noop", "unexpected_type", [message("6")]),
    ("ping with data", "unexpected_data", [message("2x")]),
    ("pong with data", "unexpected_data", [message("3x")]),
    ("close with data", "unexpected_data", [message("1x")]),
    ("noop with data", "unexpected_data", [message("6x")]),
    ("upgrade with data", "unexpected_data", [message("5x")]),
]

FRAMES: list[Row] = [
    # RFC 6455, 5.1: a server MUST close the connection upon receiving a frame without a mask.
    ("unmasked text", "unmasked", [text(b"4a", masked=False)]),
    ("unmasked binary", "unmasked", [Frame(Opcode.BINARY, b"a", masked=False)]),
    ("unmasked ping", "unmasked", [Frame(Opcode.PING, masked=False)]),
    ("unmasked close", "unmasked", [Frame(Opcode.CLOSE, b"\x03\xe8", masked=False)]),
    ("no frame", "unmasked", [b"GET / HTTP/1.1\r\n\r\n"]),
    # 5.2: reserved bits without an extension, reserved opcodes.
    *((f"RSV {bits:03b}", "invalid_frame", [text(b"4a", rsv=bits)]) for bits in range(1, 8)),
    *((f"opcode {code}", "invalid_frame", [Frame(code, b"4a")]) for code in (3, 4, 5, 6, 7)),
    *((f"opcode {code}", "invalid_frame", [Frame(code)]) for code in range(11, 16)),
    # 5.2: the minimal number of bytes MUST be used for the length.
    ("125 in two bytes", "invalid_frame", [text(b"").head(bytes([126, 0, 125])) + bytes(125)]),
    ("126 in eight bytes", "invalid_frame", [text(b"").head(bytes([127, *[0] * 7, 126]))]),
    ("a length of 2**63", "invalid_frame", [text(b"").head(bytes([127, 128, *[0] * 7]))]),
    # 5.4: fragments.
    ("continuation of nothing", "invalid_frame", [more(b"4a")]),
    ("continuation of a whole message", "invalid_frame", [message("4"), more(b"a")]),
    ("text within text", "invalid_frame", [text(b"4a", fin=False), text(b"4b")]),
    ("binary within text", "invalid_frame", [text(b"4a", fin=False), message(b"b")]),
    (
        "a message after a control frame within one",
        "invalid_frame",
        [text(b"4a", fin=False), Frame(Opcode.PING), text(b"4b", fin=False)],
    ),
    ("RSV in a continuation", "invalid_frame", [text(b"4", fin=False), more(b"a", rsv=4)]),
    # 5.5: control frames are of 125 bytes at most, and never fragmented.
    ("ping of 126 bytes", "invalid_frame", [Frame(Opcode.PING, bytes(126))]),
    ("pong of 126 bytes", "invalid_frame", [Frame(Opcode.PONG, bytes(126))]),
    ("close of 126 bytes", "invalid_frame", [close(1000, "a" * 124)]),
    ("fragmented ping", "invalid_frame", [Frame(Opcode.PING, b"a", fin=False)]),
    ("fragmented close", "invalid_frame", [Frame(Opcode.CLOSE, b"\x03\xe8", fin=False)]),
    ("ping with RSV", "invalid_frame", [Frame(Opcode.PING, rsv=4)]),
    # 5.5.1 and 7.4: the body of a close frame.
    ("close of one byte", "invalid_frame", [Frame(Opcode.CLOSE, b"\x03")]),
    *(
        (f"close {code}", "invalid_frame", [close(code)])
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    ),
    ("close without UTF-8", "invalid_utf8", [Frame(Opcode.CLOSE, b"\x03\xe8\xff")]),
    # 8.1: text that is no UTF-8.
    ("a byte that is none", "invalid_utf8", [text(b"4\xff")]),
    ("cut off", "invalid_utf8", [text(b"4\xe2\x82")]),
    ("a surrogate", "invalid_utf8", [text(b"4\xed\xa0\x80")]),
    ("overlong", "invalid_utf8", [text(b"4\xc0\x80")]),
    ("beyond Unicode", "invalid_utf8", [text(b"4\xf4\x90\x80\x80")]),
    ("in fragments", "invalid_utf8", [text(b"4\xe2", fin=False), more(b"\x82")]),
]

SIZES: list[Row] = [
    # Handshake, "maxPayload".
    ("text", "too_large", [message("4" * (LIMIT + 1))]),
    ("text of two bytes each", "too_large", [message("4" + "é" * (LIMIT // 2))]),
    ("binary", "too_large", [message(bytes(LIMIT + 1))]),
    ("a head alone", "too_large", [text(b"").head(bytes([127, *[0] * 4, 1, 0, 0, 0]))]),
    ("fragments", "too_large", [text(b"4" * LIMIT, fin=False), more(b"4")]),
    ("many fragments", "too_large", [text(b"4", fin=False), *[more(b"", fin=False)] * 20_000]),
]


def name(row: Row) -> str:
    return row[0]


@pytest.mark.parametrize("row", PACKETS + FRAMES + SIZES, ids=name)
async def test_a_websocket_is_closed(serve: Serve, row: Row) -> None:
    """Packet encoding; RFC 6455, 5 to 8: what MUST fail the connection fails it."""
    host = await echo(serve)
    peer, bystander = await WebSocketPeer.open(host), await WebSocketPeer.open(host)
    _, reason, frames = row
    await peer.websocket.write(*frames)
    await closes(host, peer, reason, bystander, ECHO)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        *((row, 1002) for row in FRAMES if row[1] in ("unmasked", "invalid_frame")),
        *((row, 1007) for row in FRAMES if row[1] == "invalid_utf8"),
        *((row, 1009) for row in SIZES),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
async def test_the_close_frame_says_why(serve: Serve, row: Row, code: int) -> None:
    """RFC 6455, 7.4.1: 1002 protocol error, 1007 inconsistent data, 1009 too big."""
    host = await echo(serve)
    peer = await WebSocketPeer.open(host)
    await peer.websocket.write(*row[2])
    assert await peer.websocket.ended() in (code, None)


@pytest.mark.parametrize("frame", [b"GET / HTTP/1.1\r\n\r\n", text(b"4\xff"), Frame(3)])
async def test_nobody_waits_for_an_answer_that_cannot_come(
    serve: Serve, frame: Frame | bytes
) -> None:
    """RFC 6455, 7.1.7: failing a connection ends it; what the peer sends now is not understood."""
    host = await echo(serve)
    peer = await WebSocketPeer.open(host)
    await peer.websocket.write(frame)
    async with asyncio.timeout(0.5):
        await peer.websocket.ended()


@pytest.mark.parametrize("row", PACKETS, ids=name)
async def test_an_upgraded_websocket_is_closed(serve: Serve, row: Row) -> None:
    """Upgrade: afterwards it is a WebSocket like any other."""
    host = await echo(serve)
    peer, bystander = await WebSocketPeer.upgrade(host), await WebSocketPeer.open(host)
    _, reason, frames = row
    await peer.websocket.write(*frames)
    await closes(host, peer, reason, bystander, ECHO)


@pytest.mark.parametrize("row", FRAMES, ids=name)
async def test_nothing_behind_it_counts(serve: Serve, row: Row) -> None:
    """RFC 6455, 7.1.7: a failed connection processes no more data; what came before counts."""
    host = await serve(EngineServer(max_http_buffer_size=LIMIT))
    heard: list[Any] = []
    host.server.on("message", lambda sid, data: heard.append(data))
    peer = await WebSocketPeer.open(host)
    await peer.websocket.write(message("4before"), *row[2], message("4behind"))
    await peer.ended()
    await eventually(lambda: not host.engine.sockets)
    before = [data for data in heard if data != ""]
    assert before == ["before"]
    assert host.violations == {row[1]: 1}


BODIES: list[tuple[str, str, bytes]] = [
    ("empty", "empty", b""),
    ("a separator", "empty", b"\x1e"),
    ("a separator at the end", "empty", b"4a\x1e"),
    ("a separator at the beginning", "empty", b"\x1e4a"),
    ("two separators", "empty", b"4a\x1e\x1e4b"),
    ("letters", "unknown_type", b"abc"),
    ("letters behind a packet", "unknown_type", b"4a\x1eabc"),
    ("revision 3", "unexpected_data", b"10:4abcdefgh"),
    ("a form", "unknown_type", b"d=4hello"),
    ("JSON", "unknown_type", b'["4"]'),
    ("no UTF-8", "invalid_utf8", b"4\xff"),
    ("a surrogate", "invalid_utf8", b"4\xed\xa0\x80"),
    ("overlong", "invalid_utf8", b"4\xc0\x80"),
    ("base64 cut off", "invalid_base64", b"bAQI"),
    ("base64 with a newline", "invalid_base64", b"bAQ=\n"),
    ("base64 for URLs", "invalid_base64", b"bA-_A"),
    ("base64 of another script", "invalid_base64", "bÁQID".encode()),
    ("nothing but padding", "invalid_base64", b"b===="),
    ("open", "unexpected_type", b"0{}"),
    ("ping", "unexpected_type", b"2"),
    ("probe", "unexpected_type", b"2probe"),
    ("upgrade", "unexpected_type", b"5"),
    ("noop", "unexpected_type", b"6"),
    ("pong with data", "unexpected_data", b"3x"),
    ("close with data", "unexpected_data", b"1x"),
    ("too long", "too_large", b"4" * (LIMIT + 1)),
    ("too many packets", "too_large", b"4\x1e" * (LIMIT // 2) + b"44"),
]


@pytest.mark.parametrize("polls", [False, True], ids=["alone", "while it polls"])
@pytest.mark.parametrize(("_", "reason", "body"), BODIES, ids=lambda value: str(value)[:20])
async def test_a_polling_session_is_closed(
    serve: Serve, _: str, reason: str, body: bytes, polls: bool
) -> None:
    """Packet encoding, "HTTP long-polling": a body that is none gets 400, and ends its session."""
    host = await echo(serve)
    session, bystander = await Polling.open(host), await WebSocketPeer.open(host)
    poll = await session.start_poll() if polls else None
    assert (await session.post(body)).status in (400, 413)
    if poll is not None:
        assert (await poll.response()).text in ("1", "6")
    await session.gone()
    assert host.violations == {reason: 1}
    await bystander.send("hello")
    assert await bystander.receive() == "hello"


@pytest.mark.parametrize(
    "head",
    [
        "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\n",
        "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "GET {} HTTP/9.9\r\n\r\n",
        "\r\n\r\n\r\n \x00",
        "GET " + "/" * 100_000,
    ],
    ids=range(6),
)
async def test_what_is_no_http(serve: Serve, head: str) -> None:
    """RFC 9112: a request that cannot be read is refused, and disturbs nobody."""
    host = await echo(serve)
    session, bystander = await Polling.open(host), await WebSocketPeer.open(host)
    exchange = await host.dial()
    await exchange.write(head.format(session.target).encode())
    await exchange.ended()
    await bystander.send("hello")
    assert await bystander.receive() == "hello"


OFFER = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


COMPRESSED: list[Row] = [
    # RFC 7692: what is wrong with a compressed message.
    ("no deflate", "invalid_deflate", [text(b"\xff\xff\xff\xff", rsv=4)]),
    ("too long inflated", "too_large", [text(deflated(b"4" * (LIMIT + 1)), rsv=4)]),
    ("a bomb", "too_large", [text(deflated(b"4" * 8_000_000), rsv=4)]),
    ("no UTF-8 inside", "invalid_utf8", [text(deflated(b"4\xff"), rsv=4)]),
    ("a compressed ping", "invalid_frame", [Frame(Opcode.PING, b"", rsv=4)]),
    ("RSV in a continuation", "invalid_frame", [text(b"4", fin=False), more(b"a", rsv=4)]),
    ("RSV2", "invalid_frame", [text(deflated(b"4a"), rsv=6)]),
    ("a packet that is none", "unknown_type", [text(deflated(b"abc"), rsv=4)]),
]


@pytest.mark.parametrize("row", COMPRESSED, ids=name)
async def test_a_compressed_message(serve: Serve, row: Row) -> None:
    """RFC 7692, 7.2.2: decompression fails the connection, and costs no memory."""
    host = await echo(serve, compression=True)
    peer = await WebSocketPeer.open(host, headers=[OFFER])
    bystander = await WebSocketPeer.open(host)
    _, reason, frames = row
    await peer.websocket.write(*frames)
    await closes(host, peer, reason, bystander, ECHO)


async def test_compression(serve: Serve) -> None:
    """RFC 7692, 7: negotiated without context takeover; short messages stay as they are."""
    host = await echo(serve, compression=True, compression_threshold=100)
    websocket = await WebSocket.open(host, headers=[OFFER])
    answer = websocket.response.header("Sec-WebSocket-Extensions") or ""
    assert answer.split(";")[0] == "permessage-deflate"
    assert {"server_no_context_takeover", "client_no_context_takeover"} <= {
        part.strip() for part in answer.split(";")
    }
    await websocket.receive()
    await websocket.write(text(deflated(b"4short"), rsv=4))
    assert await websocket.receive() == "4short"
    for _ in range(2):
        await websocket.write(text(deflated(b"4" + b"x" * 5_000), rsv=4))
        packed = await websocket.receive_frame()
        assert packed.rsv == 4
        assert len(packed.payload) < 100
        inflated = zlib.decompressobj(-15).decompress(packed.payload + b"\x00\x00\xff\xff")
        assert inflated == b"4" + b"x" * 5_000
