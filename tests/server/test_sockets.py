"""Packets and transports: what is malformed closes its own transport and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from stretto_core.protocol import Limits
from stretto_server.addresses import parse_networks
from stretto_server.app import NODE
from stretto_server.server import RealtimeServer
from tests.server.conftest import Connect, Serve
from tests.server.wire import Wire, client_id, token

PATH = "/socket.io/?EIO=4&transport="

Raw = Callable[..., Awaitable[ClientWebSocketResponse]]


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
async def raw(server: RealtimeServer, session: ClientSession) -> Raw:
    """Connect WebSockets that send packets as the test writes them."""

    async def start(to: RealtimeServer | None = None, join: str | None = "/docs") -> Any:
        socket = await session.ws_connect((to or server).url + PATH + "websocket")
        assert (await receive(socket)).startswith('0{"sid":')
        if join is not None:
            await socket.send_str(connect_packet(join))
            assert (await receive(socket)).startswith(f'40{join},{{"sid":')
        return socket

    return start


def connect_packet(namespace: str = "/docs") -> str:
    return f"40{namespace},{json.dumps({'token': token()})}"


def event(number: int, name: str = "close", payload: str = '{"doc":"notes"}') -> str:
    return f'42/docs,{number}["{name}",{payload}]'


async def receive(socket: ClientWebSocketResponse) -> str:
    """Return the next text; pings are answered."""
    while True:
        message = await socket.receive(timeout=3)
        assert message.type is WSMsgType.TEXT, message
        if message.data != "2":
            return str(message.data)
        await socket.send_str("3")


async def is_closed(socket: ClientWebSocketResponse) -> bool:
    """Wait for the end of a transport; tell whether nothing but its end was said."""
    said: list[str] = []
    while True:
        message = await socket.receive(timeout=3)
        if message.type is not WSMsgType.TEXT:
            return message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED) and set(said) <= {"1"}
        said.append(message.data)


async def test_compression_is_not_negotiated(
    server: RealtimeServer, session: ClientSession
) -> None:
    socket = await session.ws_connect(server.url + PATH + "websocket", compress=15)
    assert "Sec-WebSocket-Extensions" in socket._response.request_info.headers
    assert "Sec-WebSocket-Extensions" not in socket._response.headers
    await socket.close()


async def test_compression_may_be_asked_for(serve: Serve, session: ClientSession) -> None:
    server = await serve(compression=True)
    socket = await session.ws_connect(server.url + PATH + "websocket", compress=15)
    assert "permessage-deflate" in socket._response.headers["Sec-WebSocket-Extensions"]
    await socket.close()


@pytest.mark.parametrize("namespace", ["/elsewhere", "/docs/x", "/Docs", "/" + "x" * 1000])
async def test_an_unknown_namespace_is_refused_and_the_others_go_on(
    raw: Raw, namespace: str
) -> None:
    socket = await raw()
    await socket.send_str(connect_packet(namespace))
    assert await receive(socket) == f'44{namespace},{{"message":"Invalid namespace"}}'
    await socket.send_str(event(1))
    assert (await receive(socket)).startswith('43/docs,1[{"ok":false')


MALFORMED: dict[str, str | bytes] = {
    "empty": "",
    "no Engine.IO type": "9",
    "a type of the server": "0{}",
    "not a digit": "x",
    "a digit of another script": "²",
    "base64 in a text frame": "b!",
    "no Socket.IO type": "4",
    "an unknown Socket.IO type": "49",
    "a CONNECT_ERROR": "44/docs,{}",
    "JSON that is none": '42/docs,["open",{]',
    "NaN": '42/docs,["open",NaN]',
    "a number beyond floats": '42/docs,["open",1e999]',
    "nested too deep": '42/docs,["open",' + "[" * 100 + "]" * 100 + "]",
    "nested without end": "42/docs," + "[" * 100_000,
    "an event that is an object": '42/docs,{"open":1}',
    "an event that is empty": "42/docs,[]",
    "an event without data": "42/docs,",
    "an event with a number as its name": "42/docs,[1,2]",
    "an id that is too long": "42/docs," + "1" * 200 + '["open"]',
    "binary from nowhere": b"\x00\x01",
    "binary that looks like a packet": b"2/docs,[]",
    "an attachment count beyond all numbers": "4599999999999-/docs,[]",
    "too many attachments": '4511-/docs,["open",{"_placeholder":true,"num":0}]',
    "attachments for nobody": '451-/rooms,["send",{"_placeholder":true,"num":0}]',
    "a second CONNECT": connect_packet(),
    "an auth payload that is no object": '40/rooms,"x"',
    "a ping, which only servers send": "2",
    "a probe on a session's own WebSocket": "2probe",
}


@pytest.mark.parametrize("packet", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_packet_closes_its_transport_quietly(
    server: RealtimeServer,
    raw: Raw,
    packet: str | bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bystander, socket = await raw(), await raw()
    if isinstance(packet, bytes):
        await socket.send_bytes(packet)
    else:
        await socket.send_str(packet)
    assert await is_closed(socket)
    await bystander.send_str(event(1))
    assert (await receive(bystander)).startswith('43/docs,1[{"ok":false')
    assert len(server._app[NODE].connections) == 1
    assert len(server._app[NODE].sockets.eio.sockets) == 1
    assert caplog.records == []


ATTACHED: dict[str, tuple[str, list[str | bytes]]] = {
    "another place than there is": ('451-/docs,["x",{"_placeholder":true,"num":7}]', [b"x"]),
    "a place that is no number": ('451-/docs,["x",{"_placeholder":true,"num":"0"}]', [b"x"]),
    "text in its place": ('451-/docs,["x",{"_placeholder":true,"num":0}]', ["2/docs,[]"]),
    "one where none was announced": ('450-/docs,["x"]', [b"x"]),
    "too much of it": ('453-/docs,["x"]', [b"x" * 900] * 3),
}


@pytest.mark.parametrize(("packet", "attachments"), ATTACHED.values(), ids=ATTACHED)
async def test_malformed_attachments_close_the_transport(
    serve: Serve, raw: Raw, packet: str, attachments: list[str | bytes]
) -> None:
    server = await serve(limits=Limits(message_bytes=2_000))
    socket = await raw(server)
    await socket.send_str(packet)
    for attachment in attachments:
        if isinstance(attachment, bytes):
            await socket.send_bytes(attachment)
        else:
            await socket.send_str(f"4{attachment}")
    assert await is_closed(socket)


async def test_binary_where_none_is_taken_is_a_malformed_payload(raw: Raw) -> None:
    socket = await raw()
    await socket.send_str('451-/docs,1["close",{"doc":{"_placeholder":true,"num":0}}]')
    await socket.send_bytes(b"notes")
    assert '"code":"invalid_request"' in await receive(socket)


async def test_a_message_that_is_too_large_closes_the_transport(serve: Serve, raw: Raw) -> None:
    server = await serve(limits=Limits(message_bytes=2_000))
    socket = await raw(server)
    await socket.send_str(event(1, payload='"' + "x" * 3_000 + '"'))
    message = await socket.receive(timeout=3)
    assert message.type is not WSMsgType.TEXT


async def test_unasked_pongs_and_acks_do_no_harm(raw: Raw) -> None:
    socket = await raw()
    for packet in ("3", '43/docs,9["never asked"]', "41/elsewhere,", "41/"):
        await socket.send_str(packet)
    await socket.send_str(event(1))
    assert (await receive(socket)).startswith("43/docs,1")


async def test_a_namespace_may_be_left_and_joined_again(raw: Raw) -> None:
    socket = await raw()
    await socket.send_str("41/docs,")
    await socket.send_str(event(1))  # not there any more: passed over
    await socket.send_str(connect_packet())
    assert (await receive(socket)).startswith('40/docs,{"sid"')
    await socket.send_str(event(2))
    assert (await receive(socket)).startswith("43/docs,2")


async def test_who_joins_no_namespace_in_time_is_closed(serve: Serve, raw: Raw) -> None:
    server = await serve(connect_timeout=0.05)
    assert await is_closed(await raw(server, join=None))
    joined = await raw(server)
    await asyncio.sleep(0.1)
    await joined.send_str(event(1))
    assert (await receive(joined)).startswith("43/docs,1")


async def test_an_address_with_too_many_connections_is_turned_away(
    serve: Serve, raw: Raw, session: ClientSession
) -> None:
    server = await serve(limits=Limits(address_connections=1))
    first = await raw(server)
    async with session.get(server.url + PATH + "polling") as answer:
        assert answer.status == 401
    await first.close()
    async with asyncio.timeout(3):
        await server._app[NODE].connections.empty()
    await raw(server)


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_pages_of_other_origins_are_turned_away(
    server: RealtimeServer, session: ClientSession, origin: str
) -> None:
    async with session.get(server.url + PATH + "polling", headers={"Origin": origin}) as answer:
        assert answer.status == 403
    async with session.get(server.url + PATH + "polling", headers={"Origin": server.url}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_each_transport_does_a_whole_round(connect: Connect, transport: str) -> None:
    ann = await connect("ann", transport=transport)
    bob = await connect("bob", transport=transport)
    assert ann.sio.transport() == transport
    await ann.hear("ready")
    one, two = await ann.open(), await bob.open()
    assert await one.submit(["Hello 😀"], 0) == 1
    heard = await bob.hear("ops")
    assert heard["ops"][0]["op"] == ["Hello 😀"]
    assert await two.submit([7, "!"], 1) == 2
    assert (await ann.hear("ops", 2))["from"] == 2
    third = await bob.open("another")
    assert third.answer["content"] == ""


async def test_polling_is_upgraded_to_websocket(server: RealtimeServer) -> None:
    wire = Wire()
    wire.sio.on("*", wire._listener("/docs"), namespace="/docs")
    await wire.sio.connect(server.url, auth={"token": token()}, namespaces=["/docs"])
    assert wire.sio.transport() == "websocket"
    paper = await wire.open()
    assert await paper.submit(["Hello"], 0) == 1
    await wire.hear("ops")
    assert await server.documents.read("notes") == "Hello"
    await wire.close()


class Poller:
    """A long-polling client that sends bodies as the test writes them."""

    def __init__(self, session: ClientSession, server: RealtimeServer) -> None:
        self._session = session
        self._url = server.url + PATH + "polling"
        self._kept: list[str] = []

    async def start(self) -> "Poller":
        (opened,) = await self._packets()
        self.sid: str = json.loads(opened[1:])["sid"]
        self._url += "&sid=" + self.sid
        assert await self.post(connect_packet()) == 200
        assert (await self.next()).startswith('40/docs,{"sid"')
        return self

    async def _packets(self) -> list[str]:
        async with self._session.get(self._url) as answer:
            assert answer.status == 200
            return (await answer.text()).split("\x1e")

    async def next(self) -> str:
        """Return the next packet that is no ping."""
        async with asyncio.timeout(3):
            while not self._kept:
                self._kept = [one for one in await self._packets() if one not in ("2", "6")]
        return self._kept.pop(0)

    async def post(self, body: str | bytes | AsyncIterator[bytes], **headers: str) -> int:
        async with self._session.post(self._url, data=body, headers=headers) as answer:
            return answer.status


async def test_one_body_may_carry_many_packets(
    server: RealtimeServer, session: ClientSession
) -> None:
    poller = await Poller(session, server).start()
    assert await poller.post("\x1e".join(event(number) for number in range(100, 150))) == 200
    answered = [(await poller.next())[8:11] for _ in range(50)]
    assert answered == [str(number) for number in range(100, 150)]


async def test_a_body_may_arrive_in_pieces(server: RealtimeServer, session: ClientSession) -> None:
    poller = await Poller(session, server).start()
    client = client_id()
    await poller.post(event(1, "open", json.dumps({"doc": "notes", "client": client})))
    epoch = json.loads((await poller.next())[9:])[0]["epoch"]
    text = "x" * 200_000
    submit = {"doc": "notes", "epoch": epoch, "client": client, "seq": 1, "base": 0, "op": [text]}
    body = event(2, "submit", json.dumps(submit)).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 20_000):
            yield body[start : start + 20_000]
            await asyncio.sleep(0.001)

    assert await poller.post(pieces(), **{"Content-Length": str(len(body))}) == 200
    assert await server.documents.read("notes") == text


@pytest.mark.parametrize(
    "body",
    ["9", "x", "4", "42/docs,[", "4\x1e\x1e4", b"\xff\xff", "b!!!!", "d=42", event(1) + "\x1e9"],
    ids=repr,
)
async def test_a_malformed_body_closes_its_transport_quietly(
    server: RealtimeServer, session: ClientSession, body: str | bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    poller = await Poller(session, server).start()
    hanging = asyncio.create_task(session.get(poller._url).__aenter__())
    await asyncio.sleep(0.02)
    await poller.post(body)
    async with asyncio.timeout(3):
        await server._app[NODE].connections.empty()
        (await hanging).release()
    assert await poller.post(event(1)) == 400
    assert caplog.records == []


async def test_a_client_that_closes_is_not_kept_waiting(
    server: RealtimeServer, session: ClientSession
) -> None:
    poller = await Poller(session, server).start()
    hanging = asyncio.create_task(session.get(poller._url).__aenter__())
    await asyncio.sleep(0.02)
    await poller.post("1")
    async with asyncio.timeout(3):
        (await hanging).release()
        await server._app[NODE].connections.empty()


async def test_an_upgrade_that_fails_leaves_polling_as_it_was(
    server: RealtimeServer, session: ClientSession
) -> None:
    poller = await Poller(session, server).start()
    for said in ([], ["2probe"], ["2probe", "6"], ["4"]):
        socket = await session.ws_connect(server.url + PATH + "websocket&sid=" + poller.sid)
        for packet in said:
            await socket.send_str(packet)
            if packet == "2probe":
                assert await receive(socket) == "3probe"
        await socket.close()
        await poller.post(event(1))
        assert (await poller.next()).startswith("43/docs,1")


async def test_limits_count_the_address_before_our_proxies(serve: Serve) -> None:
    server = await serve(
        trusted_proxies=parse_networks("127.0.0.0/8"), limits=Limits(address_connections=1)
    )
    path = f"{server.url}/socket.io/?EIO=4&transport=polling"

    async def status(client: str) -> int:
        async with (
            ClientSession() as session,
            session.get(path, headers={"X-Forwarded-For": f"1.1.1.1, {client}"}) as response,
        ):
            return response.status

    assert await status("198.51.100.1") == 200
    assert await status("198.51.100.1") == 401
    assert await status("198.51.100.2") == 200
