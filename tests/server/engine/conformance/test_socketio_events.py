"""Socket.IO 5: "Sending and receiving data" and "Acknowledgement"."""

import asyncio
import json
from typing import Any

import pytest
from socketio.exceptions import TimeoutError as NoAnswer

from stretto_server.engine import SocketServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.host import Host, eventually
from tests.server.engine.conformance.peer import KINDS, Peer, WebSocketPeer, join

ZERO = '{"_placeholder":true,"num":0}'
ONE = '{"_placeholder":true,"num":1}'


async def talk(serve: Serve, kind: str, namespace: str = "/") -> tuple[Host, Peer, str]:
    """Serve what the official test suite asks of a server, with one client that is connected."""
    sio = SocketServer()

    async def back(sid: str, *data: Any) -> None:
        await sio.emit("message-back", data, to=sid, namespace=namespace)

    sio.on("message", back, namespace=namespace)
    sio.on("message-with-ack", lambda sid, *data: data, namespace=namespace)
    host = await serve(sio)
    peer = await join(host, kind)
    return host, peer, await peer.enter(namespace)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_event(serve: Serve, kind: str) -> None:
    """Sending and receiving data: an EVENT packet with any JSON."""
    _, peer, _ = await talk(serve, kind)
    await peer.send('2["message",1,"2",{"3":[true]}]')
    assert await peer.receive() == '2["message-back",1,"2",{"3":[true]}]'


@pytest.mark.parametrize("kind", KINDS)
async def test_an_event_with_binary(serve: Serve, kind: str) -> None:
    """Sending and receiving data: BINARY_EVENT, then its attachments in order."""
    _, peer, _ = await talk(serve, kind)
    await peer.send(f'52-["message",{ZERO},{ONE}]', b"\x01\x02\x03", b"\x04\x05\x06")
    answer = await peer.take(3)
    assert answer == [f'52-["message-back",{ZERO},{ONE}]', b"\x01\x02\x03", b"\x04\x05\x06"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_ack(serve: Serve, kind: str) -> None:
    """Acknowledgement: the receiver MUST respond with an ACK packet with the same event ID."""
    _, peer, _ = await talk(serve, kind)
    await peer.send('2456["message-with-ack",1,"2",{"3":[false]}]')
    assert await peer.receive() == '3456[1,"2",{"3":[false]}]'


@pytest.mark.parametrize("kind", KINDS)
async def test_an_ack_with_binary(serve: Serve, kind: str) -> None:
    """Acknowledgement: BINARY_ACK for an answer that holds binary data."""
    _, peer, _ = await talk(serve, kind)
    await peer.send(f'52-789["message-with-ack",{ZERO},{ONE}]', b"\x01", b"")
    assert await peer.take(3) == [f"62-789[{ZERO},{ONE}]", b"\x01", b""]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_custom_namespace(serve: Serve, kind: str) -> None:
    """Format: the namespace before the id, both in events and in acks, with binary or without."""
    _, peer, _ = await talk(serve, kind, "/custom")
    await peer.send('2/custom,["message",1]', '2/custom,13["message-with-ack"]')
    assert sorted(map(str, await peer.take(2))) == ['2/custom,["message-back",1]', "3/custom,13[]"]
    await peer.send(f'51-/custom,14["message-with-ack",{ZERO}]', b"\x01")
    assert await peer.take(2) == [f"61-/custom,14[{ZERO}]", b"\x01"]


@pytest.mark.parametrize(
    "payload",
    [
        '["message",null,true,false,0,-1,1.5,1e-7,"",[],{}]',
        '["message","\\u0000\\u001e\\u2028\\"\\\\/"]',
        '["message","é\U0001f600\\ud83d\\ude00"]',
        '["message",9007199254740993,18446744073709551616,1.7976931348623157e308]',
        '["message",{"":{"a":[[[{"b":null}]]]},"__proto__":1,"constructor":2}]',
        '["message",{"_placeholder":true,"num":0}]',
        '["message",{"_placeholder":true,"num":5},{"_placeholder":false}]',
        ' [ "message" , 1 ] ',
    ],
)
async def test_values_come_back_as_they_went(serve: Serve, payload: str) -> None:
    """Format: JSON, whatever is in it; placeholders mean something in binary packets only."""
    _, peer, _ = await talk(serve, "websocket")
    await peer.send(f"2{payload}")
    answer = str(await peer.receive())
    assert json.loads(answer[1:])[1:] == json.loads(payload)[1:]


@pytest.mark.parametrize("data", ['["message",{"a":[%s],"b":%s}]', '["message",%s,[[%s]]]'])
async def test_binary_anywhere(serve: Serve, data: str) -> None:
    """Format: attachments are extracted from any depth and put back in their places."""
    _, peer, _ = await talk(serve, "websocket")
    await peer.send("52-" + data % (ONE, ZERO), b"zero", b"one")
    header, *attachments = await peer.take(3)
    assert str(header) == "52-" + data.replace("message", "message-back") % (ZERO, ONE)
    assert attachments == [b"one", b"zero"]


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        (None, ""),
        ("text", ',"text"'),
        (7, ",7"),
        (["a", 1], ',["a",1]'),
        ({"a": None}, ',{"a":null}'),
        (("a", 1), ',"a",1'),
        ((), ""),
        (({"a": (1, 2)},), ',{"a":[1,2]}'),
        ([("a", 1)], ',[["a",1]]'),
        ({"n": {1: "a"}}, ',{"n":{"1":"a"}}'),
        (2**70, ",1180591620717411303424"),
        (False, ",false"),
    ],
)
async def test_what_an_application_may_send(serve: Serve, given: Any, arguments: str) -> None:
    """Sending data: a tuple is several arguments, None is none, anything else is one."""
    host, peer, sid = await talk(serve, "websocket")
    await host.server.emit("e", given, to=sid)
    assert await peer.receive() == f'2["e"{arguments}]'
    host.server.on("give", lambda _: given)
    await peer.send('21["give"]')
    assert await peer.receive() == f"31[{arguments[1:]}]"


@pytest.mark.parametrize("binary", [b"\x01", bytearray(b"\x01"), memoryview(b"\x01")])
async def test_what_counts_as_binary(serve: Serve, binary: Any) -> None:
    """Sending data: bytes and what is like them."""
    host, peer, sid = await talk(serve, "websocket")
    await host.server.emit("e", {"a": [binary]}, to=sid)
    assert await peer.take(2) == [f'51-["e",{{"a":[{ZERO}]}}]', b"\x01"]


async def test_an_event_that_nobody_handles(serve: Serve) -> None:
    """Sending data: no handler, no ack, no offence; names may be anything but reserved."""
    _, peer, _ = await talk(serve, "websocket")
    await peer.send('21["nobody"]', '22[""]', "23[7]", '24["*"]', '25["message-with-ack"]')
    assert await peer.receive() == "35[]"


async def test_a_handler_that_raises(serve: Serve, expected_errors: list[str]) -> None:
    """Acknowledgement: a mistake of the application answers nothing and ends nothing."""
    host, peer, _ = await talk(serve, "websocket")
    expected_errors.append("a mistake")

    async def mistake(sid: str) -> None:
        raise RuntimeError("a mistake")

    def plain_mistake(sid: str) -> None:
        raise RuntimeError("a mistake")

    host.server.on("mistake", mistake)
    host.server.on("plain", plain_mistake)
    await peer.send('21["mistake"]', '22["plain"]', '23["message-with-ack"]')
    assert await peer.receive() == "33[]"


async def test_send_is_an_event_named_message(serve: Serve) -> None:
    """``send`` emits ``message``."""
    host, peer, sid = await talk(serve, "websocket")
    await host.server.send("hello", to=sid)
    assert await peer.receive() == '2["message","hello"]'


@pytest.mark.parametrize("kind", KINDS)
async def test_a_callback(serve: Serve, kind: str) -> None:
    """Acknowledgement: the server asks by an id, and each answer finds its callback."""
    host, peer, sid = await talk(serve, kind)
    answers: list[Any] = []

    async def slow(*data: Any) -> None:
        answers.append(("slow", *data))

    await host.server.emit("q", 1, to=sid, callback=lambda *data: answers.append(data))
    await host.server.emit("q", b"2", to=sid, callback=slow)
    assert await peer.take(3) == ['21["q",1]', f'51-2["q",{ZERO}]', b"2"]
    await peer.send('32["b",2]')
    await peer.send(f"61-1[{ZERO}]", b"\x01")
    await eventually(lambda: len(answers) == 2)
    assert answers == [("slow", "b", 2), (b"\x01",)]


async def test_acks_that_nobody_waits_for(serve: Serve) -> None:
    """Acknowledgement: an answer given twice, or to nothing, is passed over."""
    host, peer, sid = await talk(serve, "websocket")
    answers: list[Any] = []
    await host.server.emit("q", to=sid, callback=lambda *data: answers.append(data))
    assert await peer.receive() == '21["q"]'
    await peer.send("31[]", "31[]", "399[]", "30[]", '27["message-with-ack"]')
    assert await peer.receive() == "37[]"
    assert answers == [()]


async def test_a_callback_that_raises(serve: Serve, expected_errors: list[str]) -> None:
    """Acknowledgement: a mistake of the application ends nothing."""
    host, peer, sid = await talk(serve, "websocket")
    expected_errors.append("a mistake")

    def mistake() -> None:
        raise RuntimeError("a mistake")

    await host.server.emit("q", to=sid, callback=mistake)
    assert await peer.receive() == '21["q"]'
    await peer.send("31[]", '27["message-with-ack"]')
    assert await peer.receive() == "37[]"


@pytest.mark.parametrize(
    ("data", "answer"),
    [("[]", None), ('["a"]', "a"), ('["a",1]', ("a", 1)), ("[[1,2]]", [1, 2]), ("[null]", None)],
)
async def test_call(serve: Serve, data: str, answer: Any) -> None:
    """``call`` waits for the acknowledgement and returns it."""
    host, peer, sid = await talk(serve, "websocket")
    call = asyncio.create_task(host.server.call("q", ("x", 1), to=sid, timeout=5))
    assert await peer.receive() == '21["q","x",1]'
    await peer.send(f"31{data}")
    assert await call == answer


async def test_call_gives_up(serve: Serve) -> None:
    """``call`` raises TimeoutError, and a late answer is passed over."""
    host, peer, sid = await talk(serve, "websocket")
    with pytest.raises(NoAnswer):
        await host.server.call("q", to=sid, timeout=0.05)
    assert await peer.receive() == '21["q"]'
    await peer.send("31[]", '27["message-with-ack"]')
    assert await peer.receive() == "37[]"
    with pytest.raises(ValueError):
        await host.server.call("q", timeout=0.05)


async def test_call_ends_with_its_client(serve: Serve) -> None:
    """``call`` does not wait out its time for a client that is gone."""
    host, peer, sid = await talk(serve, "websocket")
    call = asyncio.create_task(host.server.call("q", to=sid, timeout=60))
    assert await peer.receive() == '21["q"]'
    await peer.close()
    with pytest.raises(NoAnswer):
        await asyncio.wait_for(call, 5)


async def test_call_room(serve: Serve) -> None:
    """``call_room`` gathers the answers of a room, and names those who did not give one."""
    host, peer, sid = await talk(serve, "websocket")
    silent = await join(host, "polling")
    binary = await WebSocketPeer.open(host)
    sids = [sid, await silent.enter(), await binary.enter()]
    for one in sids:
        await host.server.enter_room(one, "hall")
    call = asyncio.create_task(host.server.call_room("q", b"?", room="hall", timeout=0.5))
    for each in (peer, silent, binary):
        question = str(await each.receive())
        assert question == f'51-1["q",{ZERO}]'
        assert await each.receive() == b"?"
    await peer.send('31["yes",1]')
    await binary.send(f"61-1[{ZERO}]", b"\x01")
    answers = await call
    assert answers.answers == {sids[0]: ("yes", 1), sids[2]: b"\x01"}
    assert answers.missing == {sids[1]}
    assert (await host.server.call_room("q", room="nobody", timeout=5)).answers == {}


async def test_many_events_in_one_segment(serve: Serve) -> None:
    """Sending data: each event has its answer, however they travel."""
    _, peer, _ = await talk(serve, "websocket")
    await peer.send(*(f'2{number}["message-with-ack",{number}]' for number in range(90)))
    assert await peer.take(90) == [f"3{number}[{number}]" for number in range(90)]
