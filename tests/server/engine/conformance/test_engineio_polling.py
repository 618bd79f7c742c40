"""Engine.IO 4: "HTTP long-polling", what is sent and received."""

import asyncio
import contextlib
from typing import Any

import pytest

from stretto_server.engine import EngineServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.exchange import Response
from tests.server.engine.conformance.host import Host, eventually
from tests.server.engine.conformance.peer import PollingPeer
from tests.server.engine.conformance.polling import SEPARATOR, Polling


async def echo(serve: Serve, **options: Any) -> Host:
    """Serve an engine that sends back whatever it gets."""
    host = await serve(EngineServer(**options))
    host.server.on("message", host.server.send)
    return host


def ok(response: Response) -> bool:
    return (response.status, response.text) == (200, "ok")


@pytest.mark.parametrize(
    "body",
    [
        "4hello",
        "4test1\x1e4test2\x1e4test3",
        "4hello\x1ebAQIDBA==",
        "4",
        "b",
        "4€\x1e4\U0001f600\x1e4é",
        "4 \n\t\x00\x7f",
        "bAA==\x1e4\x1ebAAA=\x1ebAAAA",
        "44\x1e4b\x1e4bAQ==",
        "4" + "x" * 100_000,
    ],
)
async def test_packets_come_back_as_they_went(serve: Serve, body: str) -> None:
    """Packet encoding: ``4`` and text, or ``b`` and base64, joined by U+001E."""
    session = await Polling.open(await echo(serve, max_http_buffer_size=200_000))
    posted = await session.post(body)
    assert ok(posted)
    polled = await session.poll()
    assert (polled.status, polled.text) == (200, body)
    assert polled.header("Content-Type") == "text/plain; charset=UTF-8"


@pytest.mark.parametrize("kind", [None, "text/plain;charset=UTF-8", "text/plain"])
async def test_a_body_is_plain_text(serve: Serve, kind: str | None) -> None:
    """Headers: without a ``Content-Type`` the receiver SHOULD infer that it is plaintext."""
    session = await Polling.open(await echo(serve))
    headers = [] if kind is None else [("Content-Type", kind)]
    assert ok(await session.post("4a\x1e4é", headers=headers))
    assert await session.packets() == ["4a", "4é"]


def split(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [1, 2, 7, 33])
async def test_a_body_in_many_segments(serve: Serve, size: int, chunked: bool) -> None:
    """Sending data: the packets are the request's body, however it travels (RFC 9112, 6)."""
    session = await Polling.open(await echo(serve))
    body = "4one\x1e4€\U0001f600\x1ebAQIDBA==\x1e4last".encode()
    assert ok(await session.post(split(body, size), chunked=chunked))
    assert await session.packets() == ["4one", "4€\U0001f600", "bAQIDBA==", "4last"]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_large_body(serve: Serve, chunked: bool) -> None:
    """Sending data: half a megabyte takes many segments."""
    session = await Polling.open(await echo(serve))
    text = "4" + "0123456789" * 50_000
    assert ok(await session.post(split(text.encode(), 60_000), chunked=chunked))
    assert await session.packets() == [text]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_body_of_exactly_the_limit(serve: Serve, chunked: bool) -> None:
    """Handshake: ``maxPayload`` bytes are allowed."""
    session = await Polling.open(await echo(serve, max_http_buffer_size=10_000))
    body = "4" + "a" * 9_999
    assert ok(await session.post([body.encode()], chunked=chunked))
    assert await session.packets() == [body]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_body_beyond_the_limit(serve: Serve, chunked: bool) -> None:
    """Handshake: a chunk of more than ``maxPayload`` bytes closes the session."""
    host = await echo(serve, max_http_buffer_size=10_000)
    session = await Polling.open(host)
    response = await session.post([b"4" + b"a" * 10_000], chunked=chunked)
    assert response.status in (400, 413)
    await session.gone()
    assert host.violations == {"too_large": 1}


async def test_a_length_beyond_the_limit_is_not_waited_for(serve: Serve) -> None:
    """Handshake: ``maxPayload`` is judged by the head of a request already."""
    host = await echo(serve, max_http_buffer_size=10_000)
    session = await Polling.open(host)
    exchange = await host.dial()
    await exchange.start("POST", session.target, b"4", length=10_001)
    assert (await exchange.response()).status in (400, 413)
    await session.gone()
    assert host.violations == {"too_large": 1}


async def test_an_endless_body_is_cut(serve: Serve) -> None:
    """Handshake: ``maxPayload`` holds for a body that does not tell its length, while it comes."""
    host = await echo(serve, max_http_buffer_size=10_000)
    session = await Polling.open(host)
    exchange = await host.dial()
    head = f"POST {session.target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    await exchange.write(head.encode())
    chunk = b"400\r\n" + b"4" * 1024 + b"\r\n"
    # Who goes on writing may find the connection reset before the answer was read.
    with contextlib.suppress(ConnectionError):
        for _ in range(20):
            await exchange.write(chunk)
        assert (await exchange.response()).status in (400, 413)
    await session.gone()


async def test_any_number_of_packets(serve: Serve) -> None:
    """Sending data: the client decides how many packets are in a payload, by ``maxPayload``."""
    host = await echo(serve, max_send_buffer=1_000_000)
    session = await Polling.open(host)
    packets = [f"4{number}" for number in range(2_000)]
    assert ok(await session.post(SEPARATOR.join(packets)))
    received: list[str] = []
    while len(received) < len(packets):
        received += await session.packets()
    assert received == packets


async def test_responses_hold_sixteen_packets(serve: Serve) -> None:
    """Receiving data: python-engineio's client takes no more, so the rest waits."""
    session = await Polling.open(await echo(serve))
    packets = [f"4{number}" for number in range(40)]
    assert ok(await session.post(SEPARATOR.join(packets)))
    assert await session.packets() == packets[:16]
    assert await session.packets() == packets[16:32]
    assert await session.packets() == packets[32:]


async def test_a_poll_waits_for_a_packet(serve: Serve) -> None:
    """Receiving data: the server MAY not respond right away."""
    host = await echo(serve)
    session = await Polling.open(host)
    poll = await session.start_poll()
    assert ok(await session.post("4late"))
    assert (await poll.response()).text == "4late"


async def test_one_connection_for_everything(serve: Serve) -> None:
    """HTTP long-polling consists of successive requests, over one connection or many."""
    host = await echo(serve)
    session = await Polling.open(host)
    exchange = await host.dial()
    for number in range(5):
        assert ok(await exchange.request("POST", session.target, f"4{number}"))
        assert (await exchange.request("GET", session.target)).text == f"4{number}"


async def test_packets_of_overlapping_sends_keep_their_order(serve: Serve) -> None:
    """Sending data: "to ensure packet ordering"."""
    host = await echo(serve)
    peer = await PollingPeer.open(host)
    for number in range(0, 60, 3):
        await peer.send(*map(str, range(number, number + 3)))
    assert await peer.take(60) == [str(number) for number in range(60)]


async def test_two_polls_at_once(serve: Serve) -> None:
    """Receiving data: on a second active GET the server MUST return 400 and close the session."""
    host = await echo(serve)
    session = await Polling.open(host)
    first = await session.start_poll()
    second = await session.poll()
    answer = await first.response()
    assert (answer.status, answer.text) == (200, "1")
    assert second.status == 400
    await session.gone()


async def test_two_posts_at_once(serve: Serve) -> None:
    """Sending data: on a second active POST the server MUST return 400 and close the session."""
    host = await echo(serve)
    heard: list[Any] = []
    host.server.on("message", lambda sid, data: heard.append(data))
    session = await Polling.open(host)
    first = await host.dial()
    await first.start("POST", session.target, b"4fi", length=6)
    assert (await session.post("4second")).status == 400
    await first.write(b"rst")
    assert (await first.response()).status == 400
    await session.gone()
    assert heard == []


async def test_a_poll_and_a_post_at_once(serve: Serve) -> None:
    """HTTP long-polling: one GET and one POST may be active together."""
    host = await echo(serve)
    session = await Polling.open(host)
    poll = await session.start_poll()
    post = await host.dial()
    await post.start("POST", session.target, b"4he", length=6)
    await host.server.send(session.sid, "news")
    assert (await poll.response()).text == "4news"
    await post.write(b"llo")
    assert ok(await post.response())
    assert await session.packets() == ["4hello"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_session(serve: Serve, method: str) -> None:
    """Sending and receiving data: the server MUST return 400 for an unknown session ID."""
    host = await echo(serve)
    response = await host.request(method, host.target(sid="unknown"), "4a" * (method == "POST"))
    assert response.status == 400
    assert response.json["code"] == 1


@pytest.mark.parametrize("body", ["abc", "4a\x1eabc", ""])
async def test_a_body_that_is_no_payload(serve: Serve, body: str) -> None:
    """Packet encoding: a body that is none gets 400 and closes the session."""
    host = await echo(serve)
    session = await Polling.open(host)
    poll = await session.start_poll()
    assert (await session.post(body)).status == 400
    assert (await poll.response()).status in (200, 400)
    await session.gone()
    assert host.violations.total() == 1


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_post_that_breaks(serve: Serve, how: str) -> None:
    """Sending data: what a broken POST held is lost, so its session ends, and no other."""
    host = await echo(serve)
    reasons: list[str] = []
    host.server.on("disconnect", lambda sid, reason: reasons.append(reason))
    session, bystander = await Polling.open(host), await Polling.open(host)
    post = await host.dial()
    await post.start("POST", session.target, b"4unfin", length=100)
    if how == "close":
        await post.close()
    else:
        post.abort()
    await eventually(lambda: reasons == ["transport error"])
    await session.gone()
    await bystander.send("4on")
    assert await bystander.packets() == ["4on"]


async def test_messages_are_handled_in_order(serve: Serve) -> None:
    """Sending data: "to ensure packet ordering", handlers see what comes first at first."""
    host = await serve(EngineServer())
    heard: list[str] = []

    async def hear(sid: str, data: str) -> None:
        heard.append(data)
        await asyncio.sleep(0)

    host.server.on("message", hear)
    session = await Polling.open(host)
    await session.send(*(f"4{number}" for number in range(50)))
    await eventually(lambda: len(heard) == 50)
    assert heard == [str(number) for number in range(50)]
