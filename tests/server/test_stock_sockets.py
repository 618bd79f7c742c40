"""The rules of the contract on python-engineio's server: ``STRETTO_ENGINE=stock``."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from stretto_core.protocol import Limits
from stretto_server.app import NODE
from stretto_server.bus.stock import StockBus
from stretto_server.server import RealtimeServer
from stretto_server.stock_sockets import StockSockets
from tests.server.conftest import Connect, Serve
from tests.server.wire import client_id, token

PATH = "/socket.io/?EIO=4&transport="

Raw = Callable[..., Awaitable[ClientWebSocketResponse]]


@pytest.fixture(autouse=True)
def _no_waiting_for_those_who_do_not_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stretto_server.stock_sockets.CLOSE_S", 0.1)


@pytest.fixture
async def server(serve: Serve) -> RealtimeServer:
    return await serve(engine="stock")


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


def sockets_of(server: RealtimeServer) -> StockSockets:
    sockets = server._app[NODE].sockets
    assert isinstance(sockets, StockSockets)
    return sockets


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


async def test_a_setting_chooses_it(server: RealtimeServer, serve: Serve) -> None:
    assert isinstance(sockets_of(server).manager, StockBus)
    assert not isinstance((await serve())._app[NODE].sockets, StockSockets)


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
    assert await bob.code("open", {"doc": "notes"}) == "invalid_request"


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_each_transport_does_a_round_of_a_room(connect: Connect, transport: str) -> None:
    ann, bob = [
        await connect(name, namespaces=("/", "/rooms"), transport=transport)
        for name in ("ann", "bob")
    ]
    for wire in (ann, bob):
        await wire.ok("join", {"room": "lobby"}, "/rooms")
    await ann.ok("send", {"room": "lobby", "event": "blob", "data": {"bytes": b"\x00"}}, "/rooms")
    heard = await bob.hear("message")
    assert heard["data"] == {"bytes": b"\x00"}
    await ann.ok("set_state", {"room": "lobby", "changes": {"a": 1}}, "/rooms")
    assert (await bob.hear("state"))["changes"] == {"a": 1}


async def test_compression_is_not_negotiated_unless_asked_for(
    server: RealtimeServer, serve: Serve, session: ClientSession
) -> None:
    asked = await serve(engine="stock", compression=True)
    answers = []
    for each in (server, asked):
        socket = await session.ws_connect(each.url + PATH + "websocket", compress=15)
        answers.append("Sec-WebSocket-Extensions" in socket._response.headers)
        await socket.close()
    assert answers == [False, True]


async def test_an_unknown_namespace_is_refused_and_the_others_go_on(raw: Raw) -> None:
    socket = await raw()
    await socket.send_str(connect_packet("/elsewhere"))
    assert await receive(socket) == '44/elsewhere,{"message":"Invalid namespace"}'
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
    "an attachment count beyond all numbers": "4599999999999-/docs,[]",
    "too many attachments": '4511-/docs,["open",{"_placeholder":true,"num":0}]',
    "a second CONNECT": connect_packet(),
}


@pytest.mark.parametrize("packet", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_packet_closes_its_transport_quietly(
    server: RealtimeServer, raw: Raw, packet: str | bytes, caplog: pytest.LogCaptureFixture
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
    assert caplog.records == []


ATTACHED: dict[str, tuple[str, list[str | bytes]]] = {
    "another place than there is": ('451-/docs,["x",{"_placeholder":true,"num":7}]', [b"x"]),
    "text in its place": ('451-/docs,["x",{"_placeholder":true,"num":0}]', ["2/docs,[]"]),
    "one where none was announced": ('450-/docs,["x"]', [b"x"]),
    "too much of it": ('453-/docs,["x"]', [b"x" * 900] * 3),
}


@pytest.mark.parametrize(("packet", "attachments"), ATTACHED.values(), ids=ATTACHED)
async def test_malformed_attachments_close_the_transport(
    serve: Serve, raw: Raw, packet: str, attachments: list[str | bytes]
) -> None:
    server = await serve(engine="stock", limits=Limits(message_bytes=2_000))
    socket = await raw(server)
    await socket.send_str(packet)
    for attachment in attachments:
        if isinstance(attachment, bytes):
            await socket.send_bytes(attachment)
        else:
            await socket.send_str(f"4{attachment}")
    assert await is_closed(socket)
    assert not sockets_of(server)._binary_packet


async def test_a_namespace_may_be_left_and_joined_again(raw: Raw) -> None:
    socket = await raw()
    await socket.send_str("41/docs,")
    await socket.send_str(event(1))  # not there any more: passed over
    await socket.send_str(connect_packet())
    assert (await receive(socket)).startswith('40/docs,{"sid"')
    await socket.send_str(event(2))
    assert (await receive(socket)).startswith("43/docs,2")


async def test_who_joins_no_namespace_in_time_is_closed(serve: Serve, raw: Raw) -> None:
    server = await serve(engine="stock", connect_timeout=0.05)
    assert await is_closed(await raw(server, join=None))


async def test_an_address_with_too_many_connections_is_turned_away(
    serve: Serve, raw: Raw, session: ClientSession
) -> None:
    server = await serve(engine="stock", limits=Limits(address_connections=1))
    first = await raw(server)
    async with session.get(server.url + PATH + "polling") as answer:
        assert answer.status == 401
    await first.close()
    async with asyncio.timeout(3):
        await server._app[NODE].connections.empty()
    await raw(server)


class Poller:
    """A long-polling client that sends bodies as the test writes them."""

    def __init__(self, session: ClientSession, server: RealtimeServer) -> None:
        self._session = session
        self.url = server.url + PATH + "polling"
        self._kept: list[str] = []

    async def start(self) -> "Poller":
        (opened,) = await self._packets()
        self.sid: str = json.loads(opened[1:])["sid"]
        self.url += "&sid=" + self.sid
        assert await self.post(connect_packet()) == 200
        assert (await self.next()).startswith('40/docs,{"sid"')
        return self

    async def _packets(self) -> list[str]:
        async with self._session.get(self.url) as answer:
            assert answer.status == 200
            return (await answer.text()).split("\x1e")

    async def next(self) -> str:
        """Return the next packet that is no ping."""
        async with asyncio.timeout(3):
            while not self._kept:
                self._kept = [one for one in await self._packets() if one not in ("2", "6")]
        return self._kept.pop(0)

    async def post(self, body: str | bytes | AsyncIterator[bytes], **headers: str) -> int:
        async with self._session.post(self.url, data=body, headers=headers) as answer:
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
    async with asyncio.timeout(3):
        while await server.documents.read("notes") != text:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "body", ["9", "x", "4", b"\xff\xff", "b!!!!", event(1) + "\x1e9"], ids=repr
)
async def test_a_malformed_body_closes_its_transport_quietly(
    server: RealtimeServer, session: ClientSession, body: str | bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    poller = await Poller(session, server).start()
    hanging = asyncio.create_task(session.get(poller.url).__aenter__())
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
    hanging = asyncio.create_task(session.get(poller.url).__aenter__())
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


async def test_stopping_ends_everything(serve: Serve, raw: Raw) -> None:
    server = await serve(engine="stock")
    socket = await raw(server)
    stopping = asyncio.ensure_future(server.stop())
    assert (await socket.receive(timeout=5)).type in (
        *(WSMsgType.TEXT, WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING),
    )
    await socket.close()
    async with asyncio.timeout(10):
        await stopping
