"""Clients that come back after a lost connection, as the JavaScript client asks for it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, web

from stretto_server.engine import Recovery, SocketServer
from stretto_server.engine.recovery import without_recovery

Dial = Callable[..., Awaitable["Line"]]
SPACE = "/chat"


class Line:
    """A raw client: sends packets as written and keeps what it gets."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket

    async def next(self) -> str:
        while True:
            text = await self.socket.receive_str(timeout=3)
            if text == "2":
                await self.socket.send_str("3")
            elif not text.startswith("0"):
                return text

    async def event(self) -> list[Any]:
        text = await self.next()
        assert text.startswith(f"42{SPACE},"), text
        return list(json.loads(text.partition(",")[2]))

    async def connect(self, **auth: Any) -> dict[str, Any]:
        await self.socket.send_str(f"40{SPACE},{json.dumps(auth)}")
        text = await self.next()
        assert text.startswith(f"40{SPACE},"), text
        return dict(json.loads(text.partition(",")[2]))

    def drop(self) -> None:
        """Lose the connection without a word."""
        self.socket._writer.transport.abort()


@pytest.fixture
def sio() -> SocketServer:
    server = SocketServer(recovery={SPACE: Recovery()}, namespaces=[SPACE, "/plain"])
    server.seen = []

    async def connect(sid: str, environ: Any, auth: Any) -> None:
        if auth == {"refuse": True}:
            raise ConnectionRefusedError
        server.seen.append(("connect", server.is_recovered(sid, SPACE), auth))

    def disconnect(sid: str, reason: str) -> None:
        server.seen.append(("disconnect", reason))

    server.on("connect", connect, namespace=SPACE)
    server.on("disconnect", disconnect, namespace=SPACE)
    return server


@pytest.fixture
async def dial(sio: SocketServer) -> AsyncIterator[Dial]:
    app = web.Application()
    sio.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    session = ClientSession()

    async def start() -> Line:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/socket.io/?EIO=4&transport=websocket"
        return Line(await session.ws_connect(url))

    yield start
    await session.close()
    await runner.cleanup()


async def gone(sio: SocketServer) -> None:
    async with asyncio.timeout(3):
        while sio._clients:
            await asyncio.sleep(0.005)


async def test_who_comes_back_is_who_it_was(sio: SocketServer, dial: Dial) -> None:
    line = await dial()
    told = await line.connect(token=1)
    sid = told["sid"]
    await sio.enter_room(sid, "lobby", namespace=SPACE)
    await sio.save_session(sid, {"user": "ann"}, namespace=SPACE)
    await sio.emit("said", 1, room="lobby", namespace=SPACE)
    *_, offset = await line.event()
    line.drop()
    await gone(sio)
    await sio.emit("said", 2, room="lobby", namespace=SPACE)
    await sio.emit("said", 3, room="elsewhere", namespace=SPACE)
    await sio.emit("said", b"4", namespace=SPACE)

    line = await dial()
    await line.socket.send_str(
        f"40{SPACE},{json.dumps({'token': 2, 'pid': told['pid'], 'offset': offset})}"
    )
    assert (await line.event())[:2] == ["said", 2]
    header = await line.next()
    assert header.startswith(f"451-{SPACE},")
    assert await line.socket.receive_bytes(timeout=3) == b"4"
    assert json.loads((await line.next()).partition(",")[2]) == told
    assert sio.seen == [
        ("connect", False, {"token": 1}),
        ("disconnect", "transport close"),
        ("connect", True, {"token": 2}),
    ]
    assert await sio.get_session(sid, namespace=SPACE) == {"user": "ann"}
    assert sorted(sio.rooms(sid, SPACE)) == sorted([sid, "lobby"])
    await sio.emit("said", 5, room="lobby", namespace=SPACE)
    assert (await line.event())[:2] == ["said", 5]


async def test_it_works_before_the_first_event(sio: SocketServer, dial: Dial) -> None:
    line = await dial()
    told = await line.connect()
    line.drop()
    await gone(sio)
    await sio.emit("said", 1, namespace=SPACE)
    line = await dial()
    await line.socket.send_str(f"40{SPACE},{json.dumps({'pid': told['pid']})}")
    assert (await line.event())[:2] == ["said", 1]
    assert json.loads((await line.next()).partition(",")[2]) == told


async def test_an_old_connection_that_still_seems_alive_ends(sio: SocketServer, dial: Dial) -> None:
    old = await dial()
    told = await old.connect()
    await sio.emit("said", 1, namespace=SPACE)
    line = await dial()
    await line.socket.send_str(f"40{SPACE},{json.dumps({'pid': told['pid']})}")
    assert (await line.event())[:2] == ["said", 1]
    assert json.loads((await line.next()).partition(",")[2]) == told
    assert [entry[:2] for entry in sio.seen] == [
        ("connect", False),
        ("disconnect", "transport error"),
        ("connect", True),
    ]
    async with asyncio.timeout(3):
        while len(sio._clients) > 1:
            await asyncio.sleep(0.005)


async def test_authentication_is_never_skipped(sio: SocketServer, dial: Dial) -> None:
    line = await dial()
    told = await line.connect()
    line.drop()
    await gone(sio)
    line = await dial()
    auth = {"pid": told["pid"], "refuse": True}
    await line.socket.send_str(f"40{SPACE},{json.dumps(auth)}")
    assert (await line.next()).startswith(f"44{SPACE},")


@pytest.mark.parametrize(
    "auth",
    [{"pid": "guessed"}, {"pid": 5}, {"pid": None, "offset": "x"}, {"offset": "x"}],
    ids=repr,
)
async def test_who_is_not_known_is_somebody_new(
    sio: SocketServer, dial: Dial, auth: dict[str, Any]
) -> None:
    first = await (await dial()).connect()
    told = await (await dial()).connect(**auth)
    assert told["sid"] != first["sid"]
    assert told["pid"] != first["pid"]
    assert sio.seen[-1] == ("connect", False, None)


@pytest.mark.parametrize("leaving", ["client", "server"])
async def test_who_left_on_purpose_does_not_come_back(
    sio: SocketServer, dial: Dial, leaving: str
) -> None:
    line = await dial()
    told = await line.connect()
    if leaving == "client":
        await line.socket.send_str(f"41{SPACE},")
    else:
        await sio.disconnect(told["sid"], namespace=SPACE)
        assert await line.next() == f"41{SPACE},"
    again = await line.connect(pid=told["pid"])
    assert again["sid"] != told["sid"]


async def test_volatile_events_and_those_with_acks_have_no_offset(
    sio: SocketServer, dial: Dial
) -> None:
    line = await dial()
    told = await line.connect()
    await sio.emit("said", 1, namespace=SPACE, volatile=True)
    assert await line.event() == ["said", 1]
    await sio.emit("said", 2, to=told["sid"], namespace=SPACE, callback=lambda *_: None)
    assert (await line.next()).startswith(f'42{SPACE},1["said",2]')
    await sio.emit("said", 3, namespace=SPACE)
    assert len(await line.event()) == 3


async def test_other_namespaces_have_no_offsets(sio: SocketServer, dial: Dial) -> None:
    line = await dial()
    await line.socket.send_str("40/plain,")
    assert list(json.loads((await line.next()).partition(",")[2])) == ["sid"]
    await sio.emit("said", 1, namespace="/plain")
    assert await line.next() == '42/plain,["said",1]'


def test_an_application_sees_its_own_auth() -> None:
    assert without_recovery({"pid": "p", "offset": "o", "token": 1}) == {"token": 1}
    assert without_recovery({"pid": "p"}) is None
    assert without_recovery(None) is None


async def test_who_was_refused_may_come_back_with_a_better_token(
    sio: SocketServer, dial: Dial
) -> None:
    line = await dial()
    told = await line.connect()
    line.drop()
    await gone(sio)
    line = await dial()
    await line.socket.send_str(f"40{SPACE},{json.dumps({'refuse': True, 'pid': told['pid']})}")
    assert (await line.next()).startswith(f"44{SPACE},")
    assert (await line.connect(pid=told["pid"]))["sid"] == told["sid"]


async def test_who_comes_back_twice_at_once_is_one_of_them(sio: SocketServer, dial: Dial) -> None:
    line = await dial()
    told = await line.connect()
    line.drop()
    await gone(sio)
    admitted = asyncio.Event()

    async def connect(sid: str, environ: Any, auth: Any) -> None:
        await admitted.wait()

    sio.on("connect", connect, namespace=SPACE)
    lines = [await dial() for _ in range(3)]
    entering = [asyncio.create_task(line.connect(pid=told["pid"])) for line in lines]
    while len(sio.manager._members.get(SPACE, ())) < 3:
        await asyncio.sleep(0.005)
    admitted.set()
    sids = [(await each)["sid"] for each in entering]
    assert len(set(sids)) == 3
    assert sids.count(told["sid"]) == 1
    for line in lines:
        line.drop()
    await gone(sio)
    assert not sio.manager._members
    assert not sio.recoveries._live
