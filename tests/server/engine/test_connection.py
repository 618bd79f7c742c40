"""A WebSocket's transport, after its handshake: a fake one that remembers."""

from typing import Any

import pytest

from stretto_core.eio.violations import Reason
from stretto_core.eio.websocket import FrameReader, close_frame, encode_frame
from stretto_server.engine.connection import (
    CLOSING_MS,
    HIGH_WATER,
    LAST_WORDS_MS,
    WebSocketConnection,
    close_code,
)
from stretto_server.engine.timers import Timers
from tests.server.engine.conformance import frames
from tests.server.engine.conformance.frames import Frame, Opcode, message
from tests.server.engine.fakes import Clock, FakeTransport

GREETING = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


class Owner:
    """Remembers what a connection tells."""

    def __init__(self, timers: Timers) -> None:
        self.timers = timers
        self.told: list[Any] = []

    def frame_received(self, connection: WebSocketConnection, frame: str | bytes) -> None:
        self.told.append(frame)

    def frame_refused(self, connection: WebSocketConnection, reason: Reason) -> None:
        self.told.append(reason)

    def connection_lost(self, connection: WebSocketConnection, *, error: bool) -> None:
        self.told.append("broken" if error else "lost")

    def writing_paused(self, connection: WebSocketConnection) -> None:
        self.told.append("slow")

    def writing_resumed(self, connection: WebSocketConnection) -> None:
        self.told.append("fast")


class Stage:
    def __init__(self, greeting: bytes = b"", max_bytes: int = 1_000) -> None:
        self.clock = Clock()
        self.owner = Owner(self.clock.timers())
        self.transport = FakeTransport()
        self.connection = WebSocketConnection(self.owner, 7, FrameReader(max_bytes), None)
        self.connection.take(self.transport, greeting)

    @property
    def told(self) -> list[Any]:
        told, self.owner.told = self.owner.told, []
        return told

    def receive(self, *parts: Frame | bytes) -> None:
        wire = [part.wire if isinstance(part, Frame) else part for part in parts]
        self.connection.data_received(b"".join(wire))


def test_a_connection_owns_its_transport() -> None:
    stage = Stage()
    assert stage.transport.protocol is stage.connection
    assert stage.transport.high == HIGH_WATER
    assert stage.connection.number == 7
    assert stage.transport.written == b""


def test_the_greeting_leaves_with_the_first_frames() -> None:
    stage = Stage(GREETING)
    assert stage.transport.written == b""
    stage.connection.write(b"frames")
    stage.connection.write(b"more")
    assert stage.transport.written == GREETING + b"framesmore"


def test_the_greeting_may_leave_alone_and_once() -> None:
    stage = Stage(GREETING)
    stage.connection.greet()
    stage.connection.greet()
    assert stage.transport.written == GREETING


@pytest.mark.parametrize("last", [close_frame(1001), encode_frame(Opcode.PONG, b"p")])
def test_no_frame_leaves_before_the_greeting(last: bytes) -> None:
    stage = Stage(GREETING)
    if last[0] & 0xF == Opcode.CLOSE:
        stage.connection.close(1001)
    else:
        stage.receive(Frame(Opcode.PING, b"p"))
    assert stage.transport.written == GREETING + last


def test_messages_are_handed_over_in_order() -> None:
    stage = Stage()
    stage.receive(message("a"))
    stage.receive(message("b"), message(b"c"), message(""), message("d").wire[:3])
    stage.receive(message("d").wire[3:])
    assert stage.told == ["a", "b", b"c", "", "d"]


def test_pings_are_answered_and_pongs_passed_over() -> None:
    stage = Stage()
    stage.receive(Frame(Opcode.PING, b"1"), message("a"), Frame(Opcode.PONG, b"2"))
    assert stage.told == ["a"]
    assert stage.transport.written == encode_frame(Opcode.PONG, b"1")


def test_a_flood_of_pings_is_answered_by_few_bytes_while_nobody_reads_them() -> None:
    stage = Stage()
    stage.transport.full = True
    ping = Frame(Opcode.PING, b"x" * 125).wire
    for number in range(2_000):
        stage.receive(ping, Frame(Opcode.PING, b"%d" % number))
    assert stage.told == ["slow"]
    assert stage.connection.unwritten < HIGH_WATER + 200
    stage.transport.take_written()
    stage.transport.drain()
    # "5.5.3.": the most recent ping is enough.
    assert stage.transport.written == encode_frame(Opcode.PONG, b"1999")
    assert stage.told == ["fast"]
    stage.receive(Frame(Opcode.PING, b"again"))
    assert stage.transport.written.endswith(encode_frame(Opcode.PONG, b"again"))


def test_bytes_that_are_no_frame_are_told_once() -> None:
    stage = Stage()
    stage.receive(message("a"), Frame(Opcode.TEXT, b"b", masked=False), message("c"))
    stage.receive(message("d"))
    assert stage.told == ["a", Reason.UNMASKED]


def test_the_peer_closes() -> None:
    stage = Stage()
    stage.receive(frames.close(1001), message("late"))
    assert stage.transport.written == close_frame()
    assert stage.transport.closing
    assert stage.told == []
    stage.transport.lose()
    assert stage.told == ["lost"]
    stage.clock.advance(2 * CLOSING_MS)
    assert not stage.transport.aborted


def test_a_peer_that_closes_and_does_not_go_is_cut_off() -> None:
    stage = Stage()
    stage.receive(frames.close(1000))
    stage.clock.advance(CLOSING_MS)
    assert not stage.transport.aborted
    stage.clock.advance(1)
    assert stage.transport.aborted


def test_this_side_closes() -> None:
    stage = Stage()
    stage.connection.write(b"last")
    stage.connection.close(1000)
    stage.connection.close(1009)
    stage.connection.write(b"too late")
    assert stage.transport.written == b"last" + close_frame(1000)
    assert not stage.transport.closing
    stage.receive(message("late"))
    stage.receive(message("late"), Frame(Opcode.PING, b"p"))
    stage.receive(message("later"), Frame(9, b"x", masked=False))
    assert stage.told == []
    assert stage.transport.written == b"last" + close_frame(1000)


def test_a_peer_that_did_something_wrong_is_not_waited_for() -> None:
    stage = Stage()
    stage.connection.close(1009)
    assert stage.transport.written == close_frame(1009)
    assert stage.transport.closing
    assert not stage.transport.aborted
    stage.clock.advance(CLOSING_MS + 1)
    assert stage.transport.aborted


def test_the_peers_answer_ends_it() -> None:
    stage = Stage()
    stage.connection.close(1000)
    stage.receive(frames.close(1000))
    assert stage.transport.written == close_frame()
    assert stage.transport.closing
    assert not stage.transport.aborted


def test_a_peer_that_does_not_answer_is_cut_off() -> None:
    stage = Stage()
    stage.connection.close(1000)
    stage.clock.advance(CLOSING_MS + 1)
    assert stage.transport.aborted


def test_a_peer_that_is_not_read_from_can_still_answer_the_end() -> None:
    stage = Stage()
    stage.connection.pause_reading()
    assert not stage.transport.reading
    stage.connection.close(1000)
    assert stage.transport.reading
    stage.connection.pause_reading()
    assert stage.transport.reading


def test_reading_stops_and_goes_on() -> None:
    stage = Stage()
    stage.connection.pause_reading()
    stage.connection.resume_reading()
    assert stage.transport.reading


def test_what_was_read_already_waits_while_nothing_is_to_be_taken() -> None:
    stage = Stage()
    told = stage.owner.told

    class Busy(Owner):
        def frame_received(self, connection: WebSocketConnection, frame: str | bytes) -> None:
            told.append(frame)
            if frame in ("a", "c"):
                connection.pause_reading()

    stage.connection.socket = Busy(stage.owner.timers)
    stage.receive(message("a"), Frame(Opcode.PING, b"p"), message("b"), message("c"))
    stage.receive(message("d"))
    assert told == ["a"]
    assert stage.transport.written == b""
    stage.connection.resume_reading()
    assert told == ["a", "b", "c"]
    assert stage.transport.written == encode_frame(Opcode.PONG, b"p")
    assert not stage.transport.reading
    stage.connection.resume_reading()
    assert told == ["a", "b", "c", "d"]
    assert stage.transport.reading
    stage.receive(message("e"))
    assert told[-1] == "e"


def test_a_close_frame_that_was_read_already_is_heard_at_the_end() -> None:
    stage = Stage()
    stage.connection.pause_reading()
    stage.receive(message("late"), frames.close(1000))
    assert not stage.transport.closing
    stage.connection.close(1000)
    assert stage.told == []
    assert stage.transport.closing


def test_nothing_is_written_to_a_transport_that_is_lost_already() -> None:
    stage = Stage()
    stage.transport.closing = True
    stage.connection.write(b"a")
    stage.receive(Frame(Opcode.PING, b"p"))
    assert stage.transport.written == b""


def test_abort() -> None:
    stage = Stage()
    stage.connection.abort()
    assert stage.transport.aborted
    stage.connection.write(b"too late")
    assert stage.transport.written == b""
    assert stage.told == []


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_a_transport_that_is_lost_is_told_and_left_alone(error: Exception | None) -> None:
    stage = Stage()
    connection = stage.connection
    connection.close(1000)
    stage.transport.lose(error)
    assert stage.told == ["broken" if error else "lost"]
    stage.transport.take_written()
    connection.write(b"a")
    connection.greet()
    connection.close(1000)
    connection.abort()
    connection.pause_reading()
    connection.resume_reading()
    stage.receive(frames.close(1000))
    assert connection.unwritten == 0
    assert (stage.transport.written, stage.transport.aborted) == (b"", False)
    assert stage.clock.waiting in ([], [CLOSING_MS + 1.0])
    stage.clock.advance(2 * CLOSING_MS)
    assert stage.told == []


def test_half_a_close_is_one() -> None:
    assert Stage().connection.eof_received() is False


def test_a_transport_that_is_full_is_told() -> None:
    stage = Stage()
    stage.transport.full = True
    stage.connection.write(bytes(HIGH_WATER))
    assert stage.told == []
    stage.connection.write(b"a")
    assert stage.told == ["slow"]
    assert stage.connection.unwritten == HIGH_WATER + 1
    stage.transport.drain(10)
    assert stage.told == ["fast"]


def test_each_mistake_has_a_status() -> None:
    assert close_code(None) == 1000
    assert close_code(Reason.TOO_LARGE) == 1009
    assert close_code(Reason.INVALID_UTF8) == 1007
    assert close_code(Reason.INVALID_DEFLATE) == 1007
    for reason in set(Reason) - {Reason.TOO_LARGE, Reason.INVALID_UTF8, Reason.INVALID_DEFLATE}:
        assert close_code(reason) == 1002


def test_last_words_may_take_their_time_while_they_are_read() -> None:
    stage = Stage()
    stage.transport.full = True
    stage.connection.write(b"x" * 1_000)
    stage.connection.close(1000)
    for left in range(900, 0, -100):
        stage.transport.drain(stage.transport.held - left)
        stage.clock.advance(CLOSING_MS + 1)
        assert not stage.transport.aborted
    stage.clock.advance(CLOSING_MS + 1)
    assert stage.transport.aborted


def test_last_words_do_not_take_forever() -> None:
    stage = Stage()
    stage.transport.full = True
    stage.connection.write(b"x" * 1_000)
    stage.connection.close(1000)
    for _ in range(LAST_WORDS_MS // CLOSING_MS + 2):
        if not stage.transport.aborted:
            stage.transport.drain(1)
            stage.clock.advance(CLOSING_MS + 1)
    assert stage.transport.aborted
