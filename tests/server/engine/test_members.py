"""A member before, at and after its CONNECT packet."""

from typing import Any

from stretto_core.eio.socketio import Decoder
from stretto_server.engine.encoded import Encoded
from stretto_server.engine.members import Held, Member, MemberState, SocketClient
from tests.server.engine.fakes import FakeHost, transport_of


def client_of(host: FakeHost) -> SocketClient:
    return SocketClient(host.websocket(), Decoder())


def test_a_new_member_is_sent_nothing() -> None:
    host = FakeHost()
    client = client_of(host)
    member = Member(client, "/docs", "sid")
    assert member.state is MemberState.CONNECTING
    assert isinstance(member.socket, Held)
    member.socket.send(Encoded(b"4a"))
    host.end_turn()
    assert transport_of(client.socket).written == b""


def test_its_first_packet_is_connect_and_then_comes_what_was_kept() -> None:
    host = FakeHost()
    client = client_of(host)
    member = Member(client, "/docs", "sid")
    for text, volatile in ((b"4kept", False), (b"4lost", True), (b"4kept too", False)):
        member.socket.send(Encoded(text), volatile=volatile)
    member.welcome(Encoded(b"40"), [Encoded(b"4missed")])
    assert member.socket is client.socket
    member.socket.send(Encoded(b"4new"))
    host.end_turn()
    sent = transport_of(client.socket).written
    expected: list[Any] = [
        Encoded(text) for text in (b"4missed", b"40", b"4kept", b"4kept too", b"4new")
    ]
    assert sent == b"".join(one.frames for one in expected)


def test_a_second_welcome_sends_its_packet_and_nothing_twice() -> None:
    host = FakeHost()
    client = client_of(host)
    member = Member(client, "/docs", "sid")
    member.socket.send(Encoded(b"4kept"))
    member.welcome(Encoded(b"40"))
    member.welcome(Encoded(b"40"))
    host.end_turn()
    frames = [Encoded(text).frames for text in (b"40", b"4kept", b"40")]
    assert transport_of(client.socket).written == b"".join(frames)


def test_a_broadcast_may_treat_it_like_a_socket() -> None:
    held = Held()
    assert held.pending is None
    assert held.deflate_from is None


def test_whoever_joins_nothing_in_time_is_closed() -> None:
    host = FakeHost()
    for joined in (True, False):
        client = client_of(host)
        if joined:
            client.members["/"] = Member(client, "/", "sid")
        host.timers.set(client, host.timers.now() + 100)
        host.clock.advance(200)
        assert client.socket.closed is not joined
