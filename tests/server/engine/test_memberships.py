"""Joining and leaving namespaces, step by step; the clients are fakes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from stretto_core.eio.actions import CloseReason
from stretto_core.eio.violations import Reason
from stretto_server.engine import SocketServer
from stretto_server.engine.members import MemberState
from stretto_server.engine.memberships import FAILED, INVALID_NAMESPACE, MOST_CHANGES, Memberships
from tests.server.engine.peers import Peer, settle

Serve = Callable[..., SocketServer]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Make servers of /chat that leave nobody behind."""
    servers: list[SocketServer] = []

    def make(**options: Any) -> SocketServer:
        servers.append(SocketServer(**{"namespaces": ["/chat"], **options}))
        return servers[-1]

    yield make
    for server in servers:
        await server.shutdown()
        assert server._clients == {}
        assert (server.manager.rooms, server.manager._members) == ({}, {})


class Door:
    """Handlers of /chat that remember, and wait where the test wants it."""

    def __init__(self, server: SocketServer) -> None:
        self.log: list[Any] = []
        self.connecting, self.leaving = asyncio.Event(), asyncio.Event()
        self.connecting.set()
        self.leaving.set()
        server.on("connect", self._connect, namespace="/chat")
        server.on("disconnect", self._disconnect, namespace="/chat")

    async def _connect(self, sid: str, environ: Any, auth: Any) -> None:
        self.log.append("connecting")
        await self.connecting.wait()
        self.log.append("connected")

    async def _disconnect(self, sid: str, reason: str) -> None:
        self.log.append(reason)
        await self.leaving.wait()
        self.log.append("left")


def sid_in(text: str | bytes) -> str:
    assert isinstance(text, str)
    assert text.startswith("0/chat,{"), text
    sid: str = json.loads(text.partition(",")[2])["sid"]
    return sid


async def test_a_member_begins_with_its_connect_packet(serve: Serve) -> None:
    server = serve()
    peer = Peer(server, "ann")
    assert server.client("ann") is peer.client
    await peer.say("0/chat,")
    (text,) = peer.heard()
    assert sid_in(text) == peer.sid("/chat")
    assert peer.client.changes is None


async def test_what_is_not_served(serve: Serve) -> None:
    peer = Peer(serve(), "ann")
    await peer.say("0/elsewhere,", "0")
    error = json.dumps(INVALID_NAMESPACE, separators=(",", ":"))
    assert peer.heard() == [f"4/elsewhere,{error}", f"4{error}"]


@pytest.mark.parametrize(
    ("options", "served"),
    [
        ({}, {"/chat"}),
        ({"namespaces": "*"}, {"/chat", "/handled", "/elsewhere"}),
        ({"namespaces": "/elsewhere"}, {"/elsewhere"}),
    ],
)
async def test_which_namespaces_are_served(serve: Serve, options: Any, served: set[str]) -> None:
    server = serve(**options)
    spaces = {"/chat", "/handled", "/elsewhere"}
    assert {space for space in spaces if server._serves(space)} == served
    server.on("event", print, namespace="/handled")
    assert server._serves("/handled")


# The order of joining and leaving.


async def test_a_client_that_leaves_while_it_joins(serve: Serve) -> None:
    server = serve()
    door = Door(server)
    door.connecting.clear()
    peer = Peer(server, "ann")
    await peer.say("0/chat,")
    assert peer.member("/chat").state is MemberState.CONNECTING
    await peer.leave()
    assert server.client("ann") is not None
    door.connecting.set()
    await settle()
    assert door.log == ["connecting", "connected", "transport close", "left"]
    assert server.client("ann") is None
    assert peer.heard() == []


async def test_joining_again_waits_for_a_slow_goodbye(serve: Serve) -> None:
    server = serve()
    door = Door(server)
    peer = await Peer.enter(server, "ann", "/chat")
    before = peer.sid("/chat")
    door.leaving.clear()
    await peer.say("1/chat,", "0/chat,")
    assert peer.heard() == []
    door.leaving.set()
    await settle()
    (text,) = peer.heard()
    assert sid_in(text) != before
    assert door.log == [
        *("connecting", "connected", "client disconnect", "left", "connecting", "connected")
    ]


async def test_joining_again_waits_for_the_servers_slow_goodbye_too(serve: Serve) -> None:
    server = serve()
    door = Door(server)
    peer = await Peer.enter(server, "ann", "/chat")
    before = peer.sid("/chat")
    door.leaving.clear()
    leaving = asyncio.ensure_future(server.disconnect(before, "/chat"))
    await settle()
    assert peer.heard() == ["1/chat,"]
    await peer.say("0/chat,")
    assert peer.heard() == []
    door.leaving.set()
    await settle()
    assert leaving.done()
    (text,) = peer.heard()
    assert sid_in(text) == peer.sid("/chat") != before
    assert peer.member("/chat").state is MemberState.CONNECTED
    assert door.log[2:] == ["server disconnect", "left", "connecting", "connected"]


async def test_a_client_that_goes_while_its_goodbye_is_waited_for(serve: Serve) -> None:
    server = serve()
    door = Door(server)
    peer = await Peer.enter(server, "ann", "/chat")
    door.leaving.clear()
    leaving = asyncio.ensure_future(server.disconnect(peer.sid("/chat"), "/chat"))
    await settle()
    await peer.say("0/chat,")
    await peer.leave()
    door.leaving.set()
    await settle()
    assert leaving.done()
    assert "connecting" not in door.log[2:]
    assert server.client("ann") is None


async def test_a_goodbye_that_is_cancelled_is_one(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    peer = await Peer.enter(server, "ann", "/chat")
    with monkeypatch.context() as patched:
        patched.setattr(server, "left", lambda member, reason: asyncio.Event().wait())
        leaving = asyncio.ensure_future(server.disconnect(peer.sid("/chat"), "/chat"))
        await settle()
        leaving.cancel()
        await settle()
    assert leaving.cancelled()
    assert peer.client.members == {}
    assert peer.heard() == ["1/chat,"]
    await peer.say("0/chat,")
    assert len(peer.heard()) == 1


async def test_a_client_joins_once(serve: Serve) -> None:
    server = serve()
    peer = await Peer.enter(server, "ann", "/chat")
    await peer.say("0/chat,")
    assert peer.heard() == ["<closed 1002>"]
    assert server.violations == {Reason.UNEXPECTED_TYPE: 1}


async def test_events_of_whoever_is_not_in_are_passed_over(serve: Serve) -> None:
    server = serve()
    seen: list[Any] = []
    server.on("e", lambda sid: seen.append(sid), namespace="/chat")
    door = Door(server)
    peer = Peer(server, "ann")
    door.connecting.clear()
    await peer.say("0/chat,", '2/chat,["e"]', "3/chat,1[]")
    door.connecting.set()
    await settle()
    await peer.say('2/chat,["e"]')
    door.leaving.clear()
    await peer.say("1/chat,", '2/chat,["e"]')
    assert len(seen) == 1
    door.leaving.set()
    await settle()


async def test_changes_are_forgotten_when_they_are_over(serve: Serve) -> None:
    peer = Peer(serve(namespaces="*"), "ann")
    await peer.say(*(f"0/{number}," for number in range(5)), "1/3,", "0/3,")
    assert len(peer.client.members) == 5
    assert peer.client.changes is None


async def test_whoever_joins_too_often_is_not_read_from_meanwhile(serve: Serve) -> None:
    server = serve(namespaces="*")
    gate = asyncio.Event()

    async def connect(namespace: str, sid: str, environ: Any, auth: Any) -> None:
        await gate.wait()

    server.on("connect", connect, namespace="*")
    peer = Peer(server, "ann")
    await peer.say(*(f"0/{number}," for number in range(MOST_CHANGES)))
    assert peer.transport.reading
    await peer.say("0/one more,", "0/and another,")
    assert not peer.transport.reading
    assert len(peer.client.members) == MOST_CHANGES + 1
    gate.set()
    await settle()
    assert peer.transport.reading
    assert len(peer.client.members) == MOST_CHANGES + 2
    assert peer.client.changing == 0


async def test_a_change_that_fails_is_logged_and_the_next_one_happens(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    peer = Peer(server, "ann")

    async def fail(*_arguments: Any) -> None:
        raise RuntimeError("no member could be made")

    with monkeypatch.context() as patched:
        patched.setattr(server.manager, "pre_connect", fail)
        await peer.say("0/chat,")
    assert [record.getMessage() for record in caplog.records] == ["joining or leaving failed"]
    await peer.say("0/chat,")
    assert len(peer.heard()) == 1


# What the application says.


@pytest.mark.parametrize("always", [False, True])
async def test_a_handler_that_raises(
    serve: Serve, always: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(always_connect=always)

    def connect(sid: str, environ: Any) -> None:
        raise RuntimeError("not our client's business")

    server.on("connect", connect, namespace="/chat")
    peer = Peer(server, "ann")
    await peer.say("0/chat,")
    heard = peer.heard()
    if always:
        sid_in(heard[0])
        assert heard[1:] == ["1/chat,"]
    else:
        assert heard == ["4/chat," + json.dumps(FAILED, separators=(",", ":"))]
    assert peer.client.members == {}
    assert len(caplog.records) == 1


async def test_an_older_handler_takes_no_auth(serve: Serve) -> None:
    server = serve()
    seen: list[Any] = []
    server.on("connect", lambda *given: seen.append(given[2:]), namespace="/chat")
    await Peer(server, "ann").say('0/chat,{"token":1}')
    server.on("connect", lambda sid, environ: seen.append("older"), namespace="/chat")
    await Peer(server, "bob").say('0/chat,{"token":1}')
    assert seen == [({"token": 1},), "older"]


async def test_an_environ_tells_of_the_handshake(serve: Serve) -> None:
    server = serve()
    environs: list[Any] = []
    server.on("connect", lambda sid, environ: environs.append(environ), namespace="/chat")
    peer = await Peer.enter(server, "ann", "/chat")
    assert environs[0]["REMOTE_ADDR"] == "192.0.2.1"
    assert server.get_environ(peer.sid("/chat"), "/chat") == environs[0]
    assert server.get_environ("nobody") is None


# For subclasses.


class Bouncer(SocketServer):
    """Lets one client in, and says what it does."""

    def __init__(self) -> None:
        super().__init__(namespaces=["/chat"])
        self.log: list[Any] = []

    def admit(self, socket: Any, request: Any) -> str | None:
        return "full" if self._clients else None

    async def ask(self, member: Any, auth: Any) -> Any:
        self.log.append(("ask", auth))

    async def joined(self, member: Any) -> None:
        self.log.append(("joined", member.state))

    async def left(self, member: Any, reason: CloseReason) -> None:
        self.log.append(("left", reason))


async def test_a_subclass_decides_who_is_let_in() -> None:
    server = Bouncer()
    peer = await Peer.enter(server, "ann", "/chat")
    request: Any = None
    assert server.connecting(peer.socket, request) == "full"
    await peer.leave()
    assert server.log == [
        ("ask", None),
        ("joined", MemberState.CONNECTED),
        ("left", CloseReason.TRANSPORT_CLOSE),
    ]
    await server.shutdown()


async def test_a_manager_is_initialized_once(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    calls: list[int] = []
    monkeypatch.setattr(server.manager, "initialize", lambda: calls.append(1))
    assert calls == []
    for name in ("ann", "bob"):
        Peer(server, name)
    assert calls == [1]


# In time.


async def test_whoever_joins_nothing_is_watched(serve: Serve) -> None:
    server = serve(connect_timeout=3.5)
    peer = Peer(server, "ann")
    now = server.eio.timers.now()
    assert 3_400 < peer.client.due - now <= 3_500
    await peer.say("0/chat,")
    assert peer.client.due > now + 1_000_000
    await peer.say("1/chat,")
    assert 3_400 < peer.client.due - server.eio.timers.now() <= 3_500
    peer.client.tick(0)
    await settle()
    assert peer.socket.closed
    assert peer.client.gone


async def test_the_end_is_told_once(serve: Serve) -> None:
    server = serve()
    door = Door(server)
    peer = await Peer.enter(server, "ann", "/chat")
    for _ in range(2):
        server.closed(peer.socket, CloseReason.PING_TIMEOUT)
    await settle()
    await peer.leave()
    assert door.log[2:] == ["ping timeout", "left"]


def test_it_is_a_part_of_the_server() -> None:
    assert issubclass(SocketServer, Memberships)
