"""One client's socket between its session and its transport, both of which remember."""

import asyncio
from typing import Any

import pytest

from stretto_core.eio import actions as do
from stretto_core.eio.actions import CloseReason, SessionSettings
from stretto_core.eio.packets import Packet, PacketType
from stretto_core.eio.session import Session
from stretto_core.eio.violations import Reason
from stretto_core.eio.websocket import close_frame, encode_frame, inflate, message_frame
from stretto_server.engine.encoded import Encoded
from stretto_server.engine.engine_socket import MOST_PENDING, EngineSocket, Pause
from tests.server.engine.conformance.frames import Frame, Opcode, message
from tests.server.engine.fakes import HANDSHAKE, FakeHost, transport_of

PING = message_frame("2")


def encoded(text: str, *attachments: bytes) -> Encoded:
    return Encoded.of_messages(text, *attachments)


def frames(*texts: str) -> bytes:
    return b"".join(message_frame("4" + text) for text in texts)


def receive(socket: EngineSocket, *messages: str | bytes) -> None:
    assert socket.connection is not None
    socket.connection.data_received(b"".join(message(each).wire for each in messages))


# Sending over a WebSocket.


def test_frames_of_one_turn_leave_in_one_write_at_its_end() -> None:
    host = FakeHost()
    one, two = host.websocket("one"), host.websocket("two")
    for text in "abc":
        one.send(encoded(text))
    two.send(encoded("d"))
    one.send_text(b"4e")
    assert transport_of(one).written == b""
    assert host.turns == 1
    host.end_turn()
    assert transport_of(one).written == frames("a", "b", "c", "e")
    assert transport_of(two).written == frames("d")
    one.send(encoded("f"))
    assert host.turns == 2
    host.end_turn()
    host.end_turn()
    assert transport_of(one).written.endswith(frames("e", "f"))


def test_very_many_frames_do_not_wait_for_the_turn() -> None:
    host = FakeHost()
    socket = host.websocket()
    for _ in range(MOST_PENDING - 1):
        socket.send(encoded("a"))
    assert transport_of(socket).written == b""
    socket.send(encoded("a"))
    assert transport_of(socket).written == frames("a") * MOST_PENDING
    socket.send(encoded("b"))
    host.end_turn()
    assert transport_of(socket).written == frames("a") * MOST_PENDING + frames("b")


def test_attachments_follow_their_text() -> None:
    host = FakeHost()
    socket = host.websocket()
    socket.send(encoded("52-", b"x", b"y"))
    host.end_turn()
    assert transport_of(socket).written == frames("52-") + message_frame(b"x") + message_frame(b"y")


def test_compression_is_for_those_who_negotiated_it() -> None:
    host = FakeHost()
    plain, small = host.websocket("plain"), host.websocket("small", deflate_from=50)
    broadcast = encoded("x" * 100)
    for socket in (plain, small):
        socket.send(broadcast)
        socket.send(encoded("short"))
    plain.send_text(b"4" + b"y" * 100)
    small.send_text(b"4" + b"y" * 100)
    host.end_turn()
    assert transport_of(plain).written == frames("x" * 100, "short", "y" * 100)
    sent = transport_of(small).written
    assert sent[0] == 0xC1
    first = sent[2 : 2 + sent[1]]
    assert inflate(first, 200) == b"4" + b"x" * 100
    assert sent[2 + sent[1] :].startswith(frames("short") + b"\xc1")


def test_a_ping_does_not_overtake_what_was_sent_before() -> None:
    host = FakeHost(SessionSettings(ping_interval=100))
    socket = host.websocket()
    socket.send(encoded("a"))
    host.clock.advance(101)
    assert transport_of(socket).written == frames("a") + PING
    host.end_turn()
    assert transport_of(socket).written == frames("a") + PING


# A transport that is full.


def slow_socket(host: FakeHost) -> EngineSocket:
    """Return a socket whose transport holds more than it likes to."""
    socket = host.websocket()
    transport_of(socket).full = True
    socket.send_text(b"4" + b"x" * 70_000)
    host.end_turn()
    transport_of(socket).take_written()
    return socket


def test_what_a_full_transport_does_not_take_waits_in_the_session() -> None:
    host = FakeHost()
    socket = slow_socket(host)
    held = transport_of(socket).held
    assert socket.unsent == held
    socket.send(encoded("a"))
    socket.send_text(b"4b")
    socket.send(encoded("c"), volatile=True)
    assert transport_of(socket).written == b""
    assert socket.unsent == held + 6
    transport_of(socket).drain()
    assert transport_of(socket).written == frames("a", "b", "c")
    socket.send(encoded("d"))
    host.end_turn()
    assert transport_of(socket).written == frames("a", "b", "c", "d")


def test_frames_of_the_turn_in_which_it_fills_come_first() -> None:
    host = FakeHost(SessionSettings(unsent_bytes=100_000))
    socket = host.websocket()
    transport_of(socket).full = True
    for number in range(MOST_PENDING + 2):
        socket.send_text(b"4%d" % number + b"x" * 2_000)
    host.end_turn()
    transport_of(socket).drain()
    expected = [f"{number}" + "x" * 2_000 for number in range(MOST_PENDING + 2)]
    assert transport_of(socket).written == frames(*expected)


def test_whoever_is_too_slow_is_asked_about_and_cut_off_by_the_next_message() -> None:
    host = FakeHost()
    socket = slow_socket(host)
    socket.send(encoded("y" * 200))
    assert host.slow == [201]
    assert (socket.closed, host.aborted) == (False, 0)
    socket.send(encoded("lost"), volatile=True)
    assert not socket.closed
    socket.send(encoded("z"))
    assert transport_of(socket).aborted
    assert host.aborted == 1
    assert host.seen.told == [CloseReason.TRANSPORT_ERROR]
    assert host.forgotten == ["sid"]
    socket.send(encoded("nobody is there"))


def test_whoever_is_kept_gets_everything_and_is_told_of() -> None:
    host = FakeHost()
    host.keeps_slow = True
    socket = slow_socket(host)
    for _ in range(3):
        socket.send(encoded("y" * 200))
    socket.send(encoded("lost", b""), volatile=True)
    assert host.slow == [201]
    transport_of(socket).drain()
    assert transport_of(socket).written == frames(*["y" * 200] * 3)
    assert host.seen.told == ["<drained>"]
    host.keeps_slow = False
    transport_of(socket).full = True
    socket.send_text(b"4" + b"x" * 70_000)
    host.end_turn()
    socket.send(encoded("y" * 200))
    socket.send(encoded("y"))
    assert host.slow == [201, 201]
    assert socket.closed


def test_a_volatile_packet_and_its_attachments_arrive_together_or_not_at_all() -> None:
    host = FakeHost()
    socket = slow_socket(host)
    socket.send(encoded("51-", b"x"), volatile=True)
    socket.send(encoded("a"))
    transport_of(socket).drain()
    assert transport_of(socket).written == frames("a")
    polling = host.polling("polling")
    polling.send(encoded("51-", b"x"), volatile=True)
    assert polling.unsent == 0
    assert polling.core is not None
    polling.perform(polling.core.poll(1, host.timers.now()))
    polling.send(encoded("51-", b"x"), volatile=True)
    # The poll takes the text along, and what belongs to it waits for the next one.
    polling.perform(polling.core.poll_sent(1))
    polling.perform(polling.core.poll(2, host.timers.now()))
    assert host.answers == [do.Respond(1, b"451-"), do.Respond(2, b"beA==")]


def test_a_reader_that_takes_nothing_is_cut_off() -> None:
    host = FakeHost()
    socket = slow_socket(host)
    host.clock.advance(host.write_timeout_ms)
    assert not socket.closed
    host.clock.advance(1)
    assert transport_of(socket).aborted
    assert (host.aborted, host.seen.told) == (1, [CloseReason.TRANSPORT_ERROR])


def test_a_reader_that_takes_a_little_now_and_then_is_not() -> None:
    host = FakeHost(SessionSettings(ping_interval=1_000_000))
    socket = slow_socket(host)
    for _ in range(4):
        host.clock.advance(host.write_timeout_ms - 1)
        transport_of(socket).drain(1_000)
    assert not socket.closed
    transport_of(socket).drain()
    host.clock.advance(10 * host.write_timeout_ms)
    assert not socket.closed


def test_a_reader_that_takes_nothing_after_the_end_is_not_waited_for() -> None:
    host = FakeHost()
    socket = slow_socket(host)
    socket.send(encoded("a"))
    socket.close()
    assert host.seen.told == [CloseReason.SERVER_DISCONNECT]
    host.clock.advance(host.write_timeout_ms + 1)
    assert transport_of(socket).aborted
    assert host.forgotten == ["sid"]


# Over polling.


def test_a_poll_is_answered_with_what_waits() -> None:
    host = FakeHost()
    socket = host.polling()
    assert (socket.upgraded, socket.pending) == (False, None)
    socket.send(encoded("a"))
    socket.send_text(b"4b")
    socket.send(encoded("51-", b"x"))
    assert socket.unsent == 2 + 2 + 4 + 1
    assert socket.core is not None
    socket.perform(socket.core.poll(1, host.timers.now()))
    assert host.answers == [do.Respond(1, b"4a\x1e4b\x1e451-\x1ebeA==")]


def test_a_message_of_a_post_is_handed_over() -> None:
    host = FakeHost()
    socket = host.polling()
    assert socket.core is not None
    socket.perform(socket.core.begin_post(1))
    socket.perform(socket.core.post(1, b"4a\x1ebAQI=", host.timers.now()))
    assert host.seen.told == ["a", b"\x01\x02"]
    assert host.answers == [do.Respond(1, b"ok")]


def test_nothing_is_handed_over_after_the_application_closed() -> None:
    host = FakeHost()
    socket = host.polling()

    class Closing:
        def message(self, socket: EngineSocket, data: str | bytes) -> None:
            host.seen.message(socket, data)
            socket.close()

        def closed(self, socket: EngineSocket, reason: CloseReason) -> None:
            host.seen.closed(socket, reason)

    host.observer = Closing()
    assert socket.core is not None
    socket.perform(socket.core.begin_post(1))
    socket.perform(socket.core.post(1, b"4a\x1e4b", host.timers.now()))
    assert host.seen.told == ["a", CloseReason.SERVER_DISCONNECT]


# Upgrades.


def test_an_upgrade_keeps_the_order() -> None:
    host = FakeHost()
    socket = host.polling()
    socket.send(encoded("a"))
    trial = host.connection(socket, 5)
    socket.trial = trial
    assert socket.core is not None
    socket.perform(socket.core.attach(5, host.timers.now()))
    trial.data_received(message("2probe").wire)
    assert transport_of(trial).take_written() == message_frame("3probe")
    assert not socket.upgraded
    trial.data_received(message("5").wire + message("4b").wire)
    assert socket.connection is trial
    assert socket.trial is None
    socket.send(encoded("c"))
    host.end_turn()
    assert transport_of(trial).written == frames("a", "c")
    assert host.seen.told == ["b"]


def test_an_upgrade_brings_its_compression() -> None:
    host = FakeHost()
    socket = host.polling()
    trial = socket.trial = host.connection(socket, 5, deflate_from=10)
    assert socket.core is not None
    socket.perform(socket.core.attach(5, host.timers.now()))
    trial.data_received(message("2probe").wire + message("5").wire)
    transport_of(trial).take_written()
    socket.send(encoded("x" * 100))
    host.end_turn()
    assert transport_of(trial).written[0] == 0xC1


@pytest.mark.parametrize("said", [message("nonsense"), Frame(Opcode.TEXT, b"2", masked=False)])
def test_an_upgrade_that_fails_ends_its_own_transport_only(said: Frame) -> None:
    host = FakeHost()
    socket = host.polling()
    trial = socket.trial = host.connection(socket, 5)
    assert socket.core is not None
    socket.perform(socket.core.attach(5, host.timers.now()))
    trial.data_received(said.wire)
    code = 1000 if said.masked else 1002
    assert transport_of(trial).written == close_frame(code)
    transport = transport_of(trial)
    transport.lose()
    assert socket.trial is None
    assert not socket.closed
    assert host.seen.told == []


# From the client.


def test_messages_go_straight_on() -> None:
    host = FakeHost()
    socket = host.websocket()
    receive(socket, "4a", b"b", "4")
    assert host.seen.told == ["a", b"b", ""]


def test_other_packets_and_other_times_go_through_the_session() -> None:
    host = FakeHost()
    socket = slow_socket(host)
    receive(socket, "4a", b"b")
    assert host.seen.told == ["a", b"b"]
    receive(socket, "2")
    assert host.seen.told[2:] == [CloseReason.PARSE_ERROR]
    assert host.violations == [Reason.UNEXPECTED_TYPE]
    receive(socket, "4late", b"late")
    assert len(host.seen.told) == 3


def test_bytes_that_are_no_frame_end_the_session() -> None:
    host = FakeHost()
    socket = host.websocket()
    assert socket.connection is not None
    socket.connection.data_received(message("4a").wire + b"\x8f\x80")
    assert host.seen.told == ["a", CloseReason.PARSE_ERROR]
    assert transport_of(socket).written == close_frame(1002)
    assert host.violations == [Reason.INVALID_FRAME]


def test_a_message_may_be_refused() -> None:
    host = FakeHost()
    socket = host.websocket()
    socket.send(encoded("a"))
    socket.refuse(Reason.TOO_LARGE)
    assert transport_of(socket).written == frames("a") + close_frame(1009)
    assert host.violations == [Reason.TOO_LARGE]
    assert host.seen.told == [CloseReason.PARSE_ERROR]


def test_a_socket_may_be_cut_off() -> None:
    host = FakeHost()
    socket = host.websocket()
    socket.abort()
    assert transport_of(socket).aborted
    assert host.seen.told == [CloseReason.TRANSPORT_ERROR]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(None, CloseReason.TRANSPORT_CLOSE), (OSError(), CloseReason.TRANSPORT_ERROR)],
)
def test_a_transport_that_is_lost(error: Exception | None, reason: CloseReason) -> None:
    host = FakeHost()
    socket = host.websocket()
    socket.send(encoded("in this turn"))
    transport = transport_of(socket)
    transport.lose(error)
    assert host.seen.told == [reason]
    assert (socket.connection, socket.pending, host.forgotten) == (None, None, ["sid"])
    host.end_turn()
    socket.send(encoded("later"))
    socket.close()
    assert transport.written == b""
    assert socket.unsent == 0


def test_the_end_is_told_once() -> None:
    host = FakeHost()
    socket = host.websocket()
    socket.send(encoded("last"))
    transport = transport_of(socket)
    socket.close()
    assert transport.written == frames("last") + close_frame()
    transport.lose()
    socket.abort()
    assert host.seen.told == [CloseReason.SERVER_DISCONNECT]
    assert host.forgotten == ["sid"]
    host.clock.advance(1_000_000)
    assert host.clock.waiting == []


# Before the application accepted the client.


def test_what_is_sent_while_the_application_decides_follows_the_open_packet() -> None:
    host = FakeHost()
    socket = EngineSocket(host, "sid", HANDSHAKE)
    socket.send(encoded("a"))
    socket.send_text(b"4b")
    socket.close()
    socket.refuse(Reason.EMPTY)
    socket.abort()
    socket.pause_reading(Pause.EVENTS)
    socket.tick(0)
    assert (socket.closed, socket.unsent) == (False, 0)
    connection = socket.connection = host.connection(socket)
    connection.data_received(message("4too early").wire)
    connection.data_received(b"\x8f\x80")
    socket.open(*Session.open_websocket("sid", host.settings, 1, host.timers.now()))
    host.end_turn()
    sent = transport_of(socket).written
    assert sent.startswith(b"\x81")
    assert sent.endswith(frames("a", "b"))
    assert host.seen.told == []


# Reading, or not.


def test_reasons_not_to_read_add_up() -> None:
    host = FakeHost()
    socket = host.websocket()
    transport = transport_of(socket)
    socket.pause_reading(Pause.EVENTS)
    socket.pause_reading(Pause.SLOW)
    assert not transport.reading
    socket.resume_reading(Pause.EVENTS)
    socket.resume_reading(Pause.EVENTS)
    assert not transport.reading
    socket.resume_reading(Pause.SLOW)
    assert transport.reading


def test_a_client_that_is_not_read_from_is_not_missed() -> None:
    host = FakeHost(SessionSettings(ping_interval=100, ping_timeout=50))
    socket = host.websocket()
    socket.pause_reading(Pause.EVENTS)
    host.clock.advance(1_000)
    assert not socket.closed
    # Only writing finds out that a peer is gone.
    pings = transport_of(socket).take_written()
    assert pings == PING * (len(pings) // len(PING))
    assert len(pings) > 10 * len(PING)
    socket.resume_reading(Pause.EVENTS)
    receive(socket, "3")
    host.clock.advance(102)
    assert transport_of(socket).take_written() == PING
    host.clock.advance(52)
    assert socket.closed


async def test_the_body_of_a_post_waits_while_its_client_is_not_read_from() -> None:
    host = FakeHost(SessionSettings(ping_interval=100, ping_timeout=50))
    socket = host.polling()
    async with asyncio.timeout(3):
        await socket.reading()
        for why in (Pause.EVENTS, Pause.SLOW):
            socket.pause_reading(why)
        waiting = [asyncio.ensure_future(socket.reading()) for _ in range(2)]
        await asyncio.sleep(0)
        socket.resume_reading(Pause.EVENTS)
        await asyncio.sleep(0)
        assert not any(one.done() for one in waiting)
        socket.resume_reading(Pause.SLOW)
        await asyncio.gather(*waiting)
        socket.pause_reading(Pause.EVENTS)
        last = asyncio.ensure_future(socket.reading())
        await asyncio.sleep(0)
        socket.abort()
        await last
        await socket.reading()
    socket.pause_reading(Pause.EVENTS)
    socket.resume_reading(Pause.SLOW)


@pytest.mark.parametrize(("why", "missed"), [(Pause.EVENTS, False), (Pause.SLOW, True)])
def test_over_polling_only_those_are_missed_who_do_not_even_take_what_they_get(
    why: Pause, missed: bool
) -> None:
    host = FakeHost(SessionSettings(ping_interval=100, ping_timeout=50))
    socket = host.polling()
    socket.pause_reading(why)
    host.clock.advance(200)
    assert socket.closed is missed


def test_whoever_was_not_read_from_over_polling_is_not_after_an_upgrade_either() -> None:
    host = FakeHost()
    socket = host.polling()
    trial = socket.trial = host.connection(socket, 5)
    assert socket.core is not None
    socket.perform(socket.core.attach(5, host.timers.now()))
    socket.pause_reading(Pause.EVENTS)
    assert transport_of(trial).reading
    trial.data_received(message("2probe").wire + message("5").wire)
    assert not transport_of(trial).reading
    socket.resume_reading(Pause.EVENTS)
    assert transport_of(trial).reading


# Actions for what is gone.


def test_actions_for_a_websocket_that_is_gone_do_nothing() -> None:
    host = FakeHost()
    socket = host.polling()
    packets = (Packet(PacketType.MESSAGE, "a"),)
    socket.perform(
        [do.WriteFrames(99, packets), do.CloseWebSocket(99), do.CloseWebSocket(99, True)]
    )
    assert host.seen.told == []


def test_a_refusal_reaches_its_request() -> None:
    host = FakeHost()
    socket = host.websocket()
    assert socket.core is not None
    socket.perform(socket.core.poll(9, host.timers.now()))
    (answer,) = host.answers
    assert isinstance(answer, do.Refuse)
    assert answer.request == 9


def test_frames_of_the_session_are_compressed_as_well() -> None:
    host = FakeHost(SessionSettings(unsent_bytes=10_000))
    socket = host.websocket(deflate_from=50)
    transport = transport_of(socket)
    transport.full = True
    socket.send_text(bytes(range(32, 127)) * 10)
    host.end_turn()
    assert socket.core is not None
    socket.core.pause_writing(1)
    socket.perform([])
    socket.send(encoded("x" * 100))
    transport.take_written()
    socket.perform(socket.core.resume_writing(1))
    assert transport.written[0] == 0xC1


def test_the_fast_way_and_the_session_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    for fast in (True, False):
        host = FakeHost()
        socket = host.websocket()
        if not fast:
            monkeypatch.setattr(Session, "direct", None)
            socket.perform([])
            assert socket.pending is None
        receive(socket, "4a", b"b", "4", "3")
        socket.send(encoded("a", b"b"))
        socket.send_text(b"4c")
        host.end_turn()
        said.append((host.seen.told, transport_of(socket).written))
    assert said[0] == said[1]
    assert said[0][1] == frames("a") + encode_frame(Opcode.BINARY, b"b") + frames("c")
