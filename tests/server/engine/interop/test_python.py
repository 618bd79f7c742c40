"""python-socketio's AsyncClient against our server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import socketio

from tests.server.engine.interop.application import Application, options_of, serving
from tests.server.engine.interop.peer import MODES, Peers, modes_of, peers_of

CROWD = 200
LONG = {
    "70 kB": "x" * 70_000,
    "500 kB": "x" * 500_000,
    "of many bytes": "é🎻漢" * 30_000,
}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def options() -> dict[str, Any]:
    """What the server is made with; tests that need more have a parameter of this name."""
    return {}


@pytest.fixture
async def application(mode: str, options: dict[str, Any]) -> AsyncIterator[Application]:
    async with serving(**options_of(mode), **options) as application:
        yield application


@pytest.fixture
async def peers(application: Application, mode: str) -> AsyncIterator[Peers]:
    async with peers_of(application.url, mode) as peers:
        yield peers


async def test_connect_with_and_without_auth(peers: Peers) -> None:
    auth = {"token": "a ✓ 🎻", "nested": {"list": [1, 2.5, None, True]}}
    peer = await peers.connected(auth=auth)
    known = await peer.call("whoami")
    assert known["auth"] == auth
    assert known["sid"] == peer.sio.get_sid() != peer.sio.eio.sid
    other = await peers.connected()
    assert (await other.call("whoami"))["auth"] == {}  # what it sends for none


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (["no entry"], {"message": "no entry"}),
        (["no entry", {"code": 7}], {"message": "no entry", "data": {"code": 7}}),
        ([], {"message": "Connection rejected by server"}),
    ],
)
async def test_refusals(peers: Peers, refusal: list[Any], told: Any) -> None:
    peer = peers.make()
    with pytest.raises(socketio.exceptions.ConnectionError):
        await peer.connect(auth={"refuse": refusal})
    assert await peer.heard("connect_error") == (told,)
    await peer.connect()
    assert await peer.call("echo", 1) == 1


async def test_an_unknown_namespace(peers: Peers) -> None:
    peer = peers.make()
    with pytest.raises(socketio.exceptions.ConnectionError, match="/nowhere"):
        await peer.connect("/", "/nowhere")
    assert await peer.heard("connect_error", "/nowhere") == ({"message": "Invalid namespace"},)


async def test_a_connect_handler_that_fails(peers: Peers) -> None:
    peer = peers.make()
    with pytest.raises(socketio.exceptions.ConnectionError):
        await peer.connect(auth={"fail": True})
    (told,) = await peer.heard("connect_error")
    assert isinstance(told["message"], str)


async def test_several_namespaces(peers: Peers) -> None:
    names = ("/", "/chat", "/news")
    peer = await peers.connected(*names)
    assert len({peer.sio.get_sid(name) for name in names}) == 3
    for name in names:
        await peer.emit("back", name, namespace=name)
        assert await peer.heard("back", name) == (name,)
    for name in names:
        assert not peer.unheard("back", name)


async def test_what_is_emitted_in_connect(peers: Peers) -> None:
    peer = await peers.connected(auth={"greetings": 50})
    assert await peer.several("greeting", 50) == [(number,) for number in range(50)]


@pytest.mark.parametrize(
    "args",
    [
        (),
        (None,),
        (1, -1.5, 0, 2**53 - 1, 1e-300, True, False, "", []),
        ("žluťoučký kůň", "漢字かな", "🎻👩‍🚀🇨🇿", "\u2028\u0000\\\"/"),
        ({"": {"🎻": [[], {}, [[None]]]}},),
        (b"", bytes(range(256)), "text", {"nested": [b"\x00", {"more": b"more"}]}),
        tuple(bytes([number]) for number in range(10)),
        (b"xyz" * 60_000, "and", b"1" * 70_000),
    ],
    ids=[
        "none", "null", "numbers", "unicode", "nested", "bytes", "ten attachments", "large bytes"
    ],
)  # fmt: skip
async def test_arguments_there_and_back(peers: Peers, args: tuple[Any, ...]) -> None:
    peer = await peers.connected()
    await peer.emit("back", *args)
    assert await peer.heard("back") == args
    answer = await peer.call("echo", *args)
    assert answer == (None if args == () else args[0] if len(args) == 1 else args)


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
async def test_long_texts(peers: Peers, text: str) -> None:
    peer = await peers.connected()
    assert await peer.call("echo", text) == text
    await peer.emit("back", text)
    assert await peer.heard("back") == (text,)


async def test_calls_of_the_server(peers: Peers) -> None:
    peer = await peers.connected()
    peer.sio.on("sum", lambda *numbers: sum(numbers))
    peer.sio.on("several", lambda: (1, "two", {"three": b"3"}))
    peer.sio.on("echo", lambda value: value)

    async def mute() -> None:
        await asyncio.sleep(0.6)

    peer.sio.on("mute", mute)
    assert await peer.call("call_me", "sum", 1, 2, 3) == 6
    assert list(await peer.call("call_me", "several")) == [1, "two", {"three": b"3"}]
    assert await peer.call("call_me", "echo", b"7" * 70_000) == b"7" * 70_000
    assert await peer.call("call_me_briefly", "mute") == "no answer"
    assert await peer.call("call_me", "sum", 4) == 4


async def test_calls_of_a_room(peers: Peers, mode: str) -> None:
    callers = [await peers.connected(mode=kind) for kind in modes_of(mode)]
    for number, peer in enumerate(callers):
        await peer.call("enter", "panel")
        peer.sio.on("vote", lambda motion, by=number: [motion, by, bytes([by])])
    outside = await peers.connected()
    found = await outside.call("call_room", "vote", "panel", "🎻")
    assert found["missing"] == []
    assert found["answers"] == {
        peer.sio.get_sid(): ["🎻", number, bytes([number])] for number, peer in enumerate(callers)
    }


async def test_many_events_of_one_tick(peers: Peers) -> None:
    peer = await peers.connected()
    await peer.emit("items", CROWD)
    assert await peer.several("item", CROWD) == [
        (number, bytes([number]) * 3) if number % 10 == 9 else (number,) for number in range(CROWD)
    ]


async def test_many_events_to_the_server(peers: Peers, application: Application) -> None:
    peer = await peers.connected()
    for number in range(CROWD):
        await peer.emit("note", number)
    assert await application.ask_notes(CROWD) == list(range(CROWD))


async def test_many_events_both_ways(peers: Peers) -> None:
    peer = await peers.connected()
    for number in range(CROWD):
        await peer.emit("back", number, *([b"!"] if number % 7 == 0 else []))
    assert [args[0] for args in await peer.several("back", CROWD)] == list(range(CROWD))


async def test_rooms_of_all_transports(peers: Peers, mode: str) -> None:
    members = [await peers.connected(mode=kind) for kind in (*modes_of(mode), *modes_of(mode))]
    outside = await peers.connected()
    for peer in members:
        await peer.call("enter", "hall")
    said = [(n, {"raw": bytes([n])}, "🎻") if n % 2 else (n,) for n in range(30)]
    for args in said:
        await members[0].emit("tell", "hall", *args)
    for peer in members:
        assert await peer.several("told", 30) == said
    await members[1].call("leave", "hall")
    await members[0].call("tell_others", "hall", b"x")
    for peer in members[2:]:
        assert await peer.heard("told") == (b"x",)
    await asyncio.sleep(0.1)
    assert [peer.unheard("told") for peer in [*members, outside]] == [0] * (len(members) + 1)


async def test_calls_give_up_in_time(peers: Peers) -> None:
    peer = await peers.connected()
    with pytest.raises(socketio.exceptions.TimeoutError):
        await peer.call("nap", 0.4, "late", timeout=0.1)
    assert await peer.call("echo", "in time") == "in time"
    await asyncio.sleep(0.4)  # the late answer comes, and nobody minds
    assert await peer.call("echo", "and on") == "and on"


async def test_volatile_events(peers: Peers, application: Application) -> None:
    peer = await peers.connected()
    await peer.emit("volatile_items", 5)
    came: list[Any] = []
    while not came or came[-1] != "end":
        came += await peer.heard("item")
    assert came[:-1] == sorted(came[:-1])
    await asyncio.sleep(0.1)  # now nothing is in the way
    await application.ask_emit_volatile("item", "news", peer.sio.get_sid())
    assert await peer.heard("item") == ("news",)


async def test_leaving(peers: Peers, application: Application) -> None:
    peer = await peers.connected("/", "/chat")
    sids = {peer.sio.get_sid(name) for name in ("/", "/chat")}
    await peer.sio.disconnect()
    departed = await application.ask_departed(2)
    assert {sid for _, sid, _ in departed} == sids
    # Its WebSocket is often closed before what it had queued is sent.
    assert {reason for _, _, reason in departed} <= {"client disconnect", "transport close"}
    assert await application.ask_connections(0) == 0


async def test_being_dismissed(peers: Peers, application: Application) -> None:
    peer = await peers.connected("/", "/chat")
    await peer.emit("dismiss", namespace="/chat")
    assert await peer.heard("disconnect", "/chat") == ("server disconnect",)
    assert await peer.call("echo", 1) == 1
    ((namespace, _, reason),) = await application.ask_departed(1)
    assert (namespace, reason) == ("/chat", "server disconnect")


async def test_being_dismissed_wholly(peers: Peers, application: Application) -> None:
    peer = await peers.connected("/", "/chat")
    await peer.emit("dismiss_wholly", namespace="/chat")
    await peer.heard("disconnect", "/chat")
    await peer.heard("disconnect", "/")
    assert sorted(one[0] for one in await application.ask_departed(2)) == ["/", "/chat"]


async def test_coming_back_after_the_server_closed_the_transport(
    peers: Peers, application: Application, mode: str
) -> None:
    peer = await peers.connected(auth={"token": "mine"})
    await peer.heard("connect")
    before = peer.sio.get_sid()
    await peer.emit("drop")
    reason = await peer.heard("disconnect")
    if mode.endswith("polling"):  # to this client a polled CLOSE is the end
        assert reason == ("server disconnect",)
        await peer.connect(auth={"token": "mine"})
    await peer.heard("connect")
    known = await peer.call("whoami")
    assert known["auth"] == {"token": "mine"}
    assert known["sid"] != before
    assert [sid for _, sid, _ in await application.ask_departed(1)] == [before]


async def test_coming_back_after_a_restart(peers: Peers, application: Application) -> None:
    peer = await peers.connected("/", "/chat")
    for name in ("/", "/chat"):
        await peer.heard("connect", name)
    await application.ask_restart(0.3)
    for name in ("/", "/chat"):
        await peer.heard("disconnect", name)
        await peer.heard("connect", name)
        assert await peer.call("echo", 1, namespace=name) == 1


@pytest.mark.parametrize("options", [{"ping_interval": 0.25, "ping_timeout": 3.0}])
async def test_heartbeats_keep_it_alive(peers: Peers) -> None:
    peer = await peers.connected()
    before = peer.sio.get_sid()
    await asyncio.sleep(1.5)
    assert (await peer.call("whoami"))["sid"] == before


@pytest.mark.parametrize("options", [{"async_handlers": False}])
async def test_handlers_one_after_the_other(peers: Peers) -> None:
    peer = await peers.connected()
    peer.sio.on("double", lambda number: 2 * number)
    asked: list[tuple[str, list[Any]]] = [
        ("nap", [0.5, "slow"]),
        ("echo", ["after it"]),
        ("call_me", ["double", 21]),  # its handler waits for an acknowledgement
        ("nap", [0.01, "last"]),
    ]
    answers = [asyncio.ensure_future(peer.call(event, *args)) for event, args in asked]
    order: list[Any] = []
    for answer in answers:
        answer.add_done_callback(lambda done: order.append(done.result()))
    await asyncio.gather(*answers)
    await asyncio.sleep(0)
    assert order == ["slow", "after it", 42, "last"]
