"""Socket.IO 5: "Connection to a namespace"."""

import asyncio
import json
from typing import Any

import pytest
from socketio.exceptions import ConnectionRefusedError as Refusal

from stretto_server.engine import SocketServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.host import Host, eventually
from tests.server.engine.conformance.peer import KINDS, PollingPeer, WebSocketPeer, join
from tests.server.engine.conformance.websocket import Ended


async def greeting(serve: Serve, *namespaces: str, **options: Any) -> Host:
    """Serve namespaces whose connect handlers send back what they were told."""
    sio = SocketServer(**options)
    for namespace in namespaces or ("/", "/custom"):

        async def greet(sid: str, _: Any, auth: Any, space: str = namespace) -> None:
            await sio.emit("auth", {} if auth is None else auth, to=sid, namespace=space)

        sio.on("connect", greet, namespace=namespace)
    return await serve(sio)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("auth", ["", '{"token":"123"}', "{}"])
@pytest.mark.parametrize("namespace", ["", "/custom,"])
async def test_a_namespace(serve: Serve, kind: str, auth: str, namespace: str) -> None:
    """Connection to a namespace: a CONNECT packet with the sid, and nothing before it."""
    peer = await join(await greeting(serve), kind)
    await peer.send(f"0{namespace}{auth}")
    answer = await peer.receive()
    assert isinstance(answer, str)
    assert answer.startswith(f"0{namespace}{{")
    data = json.loads(answer.removeprefix(f"0{namespace}"))
    assert set(data) == {"sid"}
    assert isinstance(data["sid"], str)
    assert data["sid"] != peer.sid
    assert await peer.receive() == f'2{namespace}["auth",{auth or "{}"}]'


@pytest.mark.parametrize("text", ["0/custom", "0/custom,"])
async def test_a_namespace_without_payload(serve: Serve, text: str) -> None:
    """Format: the comma belongs to the namespace; older clients leave it out."""
    peer = await WebSocketPeer.open(await greeting(serve))
    await peer.send(text)
    assert str(await peer.receive()).startswith('0/custom,{"sid":"')


async def test_several_namespaces(serve: Serve) -> None:
    """Connection to a namespace: a client MAY be in several at the same time, one sid each."""
    host = await greeting(serve)
    peer, other = await WebSocketPeer.open(host), await PollingPeer.open(host)
    sids = []
    for one in (peer, other):
        for namespace in ("/", "/custom"):
            sids.append(await one.enter(namespace))
            await one.receive()
    assert len({*sids, peer.sid, other.sid}) == 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["0/random", "0/random,", '0/random,{"token":"x"}'])
async def test_an_unknown_namespace(serve: Serve, kind: str, text: str) -> None:
    """Connection to a namespace: CONNECT_ERROR with an object, and the connection stays."""
    peer = await join(await greeting(serve), kind)
    await peer.send(text)
    assert await peer.receive() == '4/random,{"message":"Invalid namespace"}'
    await peer.enter()


async def test_an_unknown_main_namespace(serve: Serve) -> None:
    """Connection to a namespace: the main one is served unless another list is given."""
    peer = await WebSocketPeer.open(await greeting(serve, "/custom", namespaces=["/listed"]))
    await peer.send("0")
    assert await peer.receive() == '4{"message":"Invalid namespace"}'
    await peer.enter("/listed")
    await peer.enter("/custom")


async def test_all_namespaces(serve: Serve) -> None:
    """``namespaces="*"`` serves whatever is asked for."""
    peer = await WebSocketPeer.open(await serve(SocketServer(namespaces="*")))
    for namespace in ("/", "/a", "/é\U0001f600", "/a b/c?d=e"):
        await peer.enter(namespace)


@pytest.mark.parametrize(
    ("refuse", "told"),
    [
        (False, {"message": "Connection rejected by server"}),
        (Refusal(), {"message": "Connection rejected by server"}),
        (Refusal("no"), {"message": "no"}),
        (Refusal("no", 7), {"message": "no", "data": 7}),
        (Refusal("no", 7, "x"), {"message": "no", "data": [7, "x"]}),
        (Refusal("no", {"a": 1}), {"message": "no", "data": {"a": 1}}),
        (ConnectionRefusedError(), {"message": "Connection refused by server"}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("plain", [False, True], ids=["async def", "def"])
async def test_a_refusal(serve: Serve, refuse: Any, told: Any, plain: bool) -> None:
    """Connection to a namespace: "in case the connection is refused", told by an object."""
    sio = SocketServer()
    left: list[str] = []

    def connect(sid: str, environ: Any, auth: Any) -> Any:
        if auth:
            return None
        if isinstance(refuse, Exception):
            raise refuse
        return refuse

    async def slow_connect(sid: str, environ: Any, auth: Any) -> Any:
        return connect(sid, environ, auth)

    sio.on("connect", connect if plain else slow_connect)
    sio.on("disconnect", lambda sid, reason: left.append(sid))
    sio.on("ask", lambda sid: "answer")
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.send("0")
    answer = str(await peer.receive())
    assert answer.startswith("4")
    assert json.loads(answer[1:]) == told
    # Nobody was there, so nobody left; and the client may try again.
    await peer.send('21["ask"]')
    await peer.enter(auth={"try": "again"})
    await peer.send('22["ask"]')
    assert await peer.receive() == '32["answer"]'
    assert left == []


@pytest.mark.parametrize("plain", [False, True], ids=["async def", "def"])
async def test_a_handler_that_raises(serve: Serve, plain: bool, expected_errors: list[str]) -> None:
    """Connection to a namespace: the server MUST respond, whatever its application does."""
    expected_errors.append("a mistake")
    sio = SocketServer(namespaces=["/", "/other"])

    def connect(sid: str, environ: Any) -> None:
        raise RuntimeError("a mistake")

    async def slow_connect(sid: str, environ: Any) -> None:
        connect(sid, environ)

    sio.on("connect", connect if plain else slow_connect)
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.send("0")
    answer = str(await peer.receive())
    assert answer.startswith('4{"message":"')
    assert "mistake" not in answer
    await peer.enter("/other")


async def test_a_slow_handler(serve: Serve) -> None:
    """Connection to a namespace: while one decides, others go on and pongs are read."""
    gate = asyncio.Event()
    sio = SocketServer(ping_interval=0.1, ping_timeout=0.2, namespaces=["/", "/fast"])
    reasons: list[str] = []

    async def connect(sid: str, environ: Any) -> None:
        await gate.wait()

    sio.on("connect", connect)
    sio.on("disconnect", lambda sid, reason: reasons.append(reason))
    sio.on("ask", lambda sid: "answer", namespace="/fast")
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.send("0")
    await peer.enter("/fast")
    await peer.send('2/fast,1["ask"]')
    assert await peer.receive() == '3/fast,1["answer"]'
    await eventually(lambda: peer.websocket.pings >= 5)
    gate.set()
    assert str(await peer.receive()).startswith('0{"sid":"')
    assert reasons == []


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_sent_in_connect_follows_the_packet(serve: Serve, kind: str) -> None:
    """Connection to a namespace: the CONNECT packet is the first of it, also to rooms and acks."""
    sio = SocketServer()

    async def connect(sid: str, environ: Any) -> None:
        await sio.enter_room(sid, "hall")
        await sio.emit("direct", to=sid)
        await sio.emit("room", b"\x01", room="hall")
        await sio.emit("all", ("a", "b"))
        await sio.emit("ack", to=sid, callback=print)
        await asyncio.sleep(0)
        await sio.emit("later", to=sid)

    sio.on("connect", connect)
    peer = await join(await serve(sio), kind)
    await peer.send("0")
    packets = await peer.take(7)
    assert str(packets[0]).startswith('0{"sid":"')
    assert packets[1:] == [
        '2["direct"]',
        '51-["room",{"_placeholder":true,"num":0}]',
        b"\x01",
        '2["all","a","b"]',
        '21["ack"]',
        '2["later"]',
    ]


async def test_a_refused_client_hears_nothing_but_that(serve: Serve) -> None:
    """Connection to a namespace: events are for those who are connected."""
    sio = SocketServer()

    async def connect(sid: str, environ: Any) -> bool:
        await sio.emit("secret", to=sid)
        await sio.emit("news")
        return False

    sio.on("connect", connect)
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.send("0")
    assert str(await peer.receive()).startswith('4{"message":"')
    await peer.send("0/none")
    assert str(await peer.receive()).startswith("4/none,")


async def test_a_call_within_connect_fails_in_time(serve: Serve) -> None:
    """Acknowledgement: a client that is not connected yet cannot answer."""
    sio = SocketServer()

    async def connect(sid: str, environ: Any) -> bool:
        try:
            await sio.call("question", to=sid, timeout=0.05)
        except TimeoutError:
            return False
        except Exception as error:
            return type(error).__name__ != "TimeoutError"
        return True

    sio.on("connect", connect)
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.send("0")
    assert str(await peer.receive()).startswith("4{")


@pytest.mark.parametrize("accept", [True, False])
async def test_always_connect(serve: Serve, accept: bool) -> None:
    """``always_connect``: CONNECT comes first, and DISCONNECT if the handler refuses."""
    sio = SocketServer(always_connect=True)

    async def connect(sid: str, environ: Any) -> bool:
        await sio.emit("hello", to=sid)
        return accept

    sio.on("connect", connect)
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.enter()
    assert await peer.receive() == '2["hello"]'
    if not accept:
        assert await peer.receive() == "1"


async def test_handlers_of_two_and_three_arguments(serve: Serve) -> None:
    """Handlers from before ``auth`` existed take the sid and the environment."""
    sio = SocketServer()
    seen: list[Any] = []
    sio.on("connect", lambda sid, environ: seen.append(environ["PATH_INFO"]))
    sio.on("connect", lambda sid, environ, auth: seen.append(auth), namespace="/auth")
    peer = await WebSocketPeer.open(await serve(sio))
    for auth in (None, {"token": "x"}):
        await peer.enter("/", auth)
        await peer.enter("/auth", auth)
        await peer.send("1", "1/auth,")
    assert seen == ["/socket.io/", None, "/socket.io/", {"token": "x"}]


async def test_the_environment_of_a_client(serve: Serve) -> None:
    """``get_environ`` gives the request of the handshake, for as long as the client is there."""
    sio = SocketServer()
    host = await serve(sio)
    peer = await WebSocketPeer.open(host, headers=[("X-Real", "yes")], token="t")
    sid = await peer.enter()
    environ: Any = sio.get_environ(sid)
    assert environ["HTTP_X_REAL"] == "yes"
    assert "token=t" in environ["QUERY_STRING"]
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    await peer.close()
    await eventually(lambda: sio.get_environ(sid) is None)


EARLY = ['2["early"]', '21["early"]', '2/custom,["early"]', "1", "1/custom,", "31[]"]


@pytest.mark.parametrize("text", EARLY)
async def test_nothing_comes_before_connect(serve: Serve, text: str) -> None:
    """Connection to a namespace: without CONNECT first the server MUST close immediately."""
    host = await greeting(serve)
    peer, bystander = await WebSocketPeer.open(host), await WebSocketPeer.open(host)
    await peer.send(text)
    with pytest.raises(Ended):
        await peer.receive()
    assert host.violations.total() == 1
    await bystander.enter()


async def test_connecting_twice(serve: Serve) -> None:
    """Connection to a namespace: one connection to each, so a second CONNECT is a mistake."""
    host = await greeting(serve)
    peer = await WebSocketPeer.open(host)
    await peer.enter()
    await peer.receive()
    await peer.send("0")
    with pytest.raises(Ended):
        await peer.receive()
    assert host.violations.total() == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_that_never_connects(serve: Serve, kind: str) -> None:
    """Connection to a namespace: who pongs and never connects is closed in ``connect_timeout``."""
    host = await greeting(serve, connect_timeout=0.3, ping_interval=0.1, ping_timeout=0.2)
    peer = await join(host, kind)
    async with asyncio.timeout(3 * 0.3):
        await peer.ended()
    assert not host.violations


async def test_a_client_that_leaves_its_last_namespace(serve: Serve) -> None:
    """Disconnection: the connection MAY be kept alive for other namespaces, not for none."""
    host = await greeting(serve, connect_timeout=0.3)
    peer, stays = await WebSocketPeer.open(host), await WebSocketPeer.open(host)
    for one in (peer, stays):
        for namespace in ("/", "/custom"):
            await one.enter(namespace)
            await one.receive()
    await peer.send("1", "1/custom,")
    await stays.send("1")
    async with asyncio.timeout(3 * 0.3):
        await peer.ended()
    await stays.enter()
