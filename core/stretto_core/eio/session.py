"""One Engine.IO session: what its requests, its WebSocket and its clock lead to.

Every method returns the actions that its shell must perform, in order; afterwards the
shell sets its one timer of the session to :attr:`Session.deadline`. Times are whole
milliseconds of any monotonic clock. Nothing here raises on what a peer did.

Phases: open → closing (the server closed it, what waits still goes out) → gone. The
transport is polling until ``upgrade`` arrives on a WebSocket that was tried out; a WebSocket
that stays silent, breaks or talks nonsense before is closed, and polling goes on.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Final

from stretto_core.eio import actions as do
from stretto_core.eio.actions import Action, CloseReason, SessionSettings, open_packet
from stretto_core.eio.handshake import ErrorCode, Refusal, Transport
from stretto_core.eio.heartbeat import Heartbeat
from stretto_core.eio.packets import Packet, PacketType, decode_frame, decode_payload
from stretto_core.eio.polls import Polls
from stretto_core.eio.sendbuffer import SendBuffer
from stretto_core.eio.upgrade import PONG_PROBE, Outcome, Trial
from stretto_core.eio.violations import Reason, Violation

OK: Final = b"ok"
"""The answer to a POST ("HTTP long-polling": status 200 and ``ok``)."""

_CLOSE = Packet(PacketType.CLOSE)
_NOOP = Packet(PacketType.NOOP)
_PING = Packet(PacketType.PING)
_PONG = Packet(PacketType.PONG)


class Phase(Enum):
    """Where a session is in its life."""

    OPEN = "open"
    CLOSING = "closing"
    GONE = "gone"


class Session:
    """The state of one sid. Start it with :meth:`open_polling` or :meth:`open_websocket`."""

    __slots__ = (
        *("_actions", "_buffer", "_closing_by", "_heartbeat", "_leaving", "_paused", "_polls"),
        "_post",
        *("_reading", "_settings", "_told_over", "_trial", "_unread", "_websocket"),
        *("phase", "sid"),
    )

    def __init__(self, sid: str, settings: SessionSettings, now: int) -> None:
        self.sid = sid
        self.phase = Phase.OPEN
        self._settings = settings
        self._buffer = SendBuffer(settings.unsent_bytes)
        self._told_over = False
        self._polls = Polls()
        self._post: int | None = None
        self._unread: Iterator[Packet | Violation] | None = None
        self._websocket: int | None = None
        self._paused: int | None = None
        self._trial: Trial | None = None
        self._heartbeat = Heartbeat.start(settings.ping_interval, settings.ping_timeout, now)
        self._reading = True
        self._leaving = False
        self._closing_by = 0
        self._actions: list[Action] = []

    # Opening ("Handshake").

    @classmethod
    def open_polling(
        cls, sid: str, settings: SessionSettings, poll: int, now: int
    ) -> tuple["Session", list[Action]]:
        """Open a session on a GET without sid: its answer is the open packet alone."""
        session = cls(sid, settings, now)
        session._polls.waiting = poll
        packet = open_packet(sid, settings, upgradable=settings.upgrades)
        session._actions += [session._polls.answer(packet), do.Opened()]
        return session, session._done()

    @classmethod
    def open_websocket(
        cls, sid: str, settings: SessionSettings, websocket: int, now: int
    ) -> tuple["Session", list[Action]]:
        """Open a session on an accepted WebSocket: its first frame is the open packet."""
        session = cls(sid, settings, now)
        session._websocket = websocket
        packet = open_packet(sid, settings, upgradable=False)
        session._actions += [do.WriteFrames(websocket, (packet,)), do.Opened()]
        return session, session._done()

    @property
    def transport(self) -> Transport:
        """What :func:`stretto_core.eio.handshake.decide` asks for."""
        return Transport.POLLING if self._websocket is None else Transport.WEBSOCKET

    @property
    def unsent(self) -> int:
        """The bytes that wait."""
        return self._buffer.size

    @property
    def over(self) -> bool:
        """Whether more waits than ``unsent_bytes``."""
        return self._buffer.over

    @property
    def writable(self) -> bool:
        """Whether a message would leave at once."""
        return self.phase is Phase.OPEN and self._writable

    @property
    def direct(self) -> int | None:
        """The WebSocket to which a message may be written at once, past :meth:`send`.

        Its text frames that begin with ``4`` are messages, and may be taken past
        :meth:`frame` too: nothing else would come of either.
        """
        if self.phase is Phase.OPEN and self._paused is None and not len(self._buffer):
            return self._websocket
        return None

    # HTTP requests ("HTTP long-polling").

    @property
    def polled(self) -> bool:
        """Whether a GET waits for its answer."""
        return self._polls.waiting is not None

    def poll(self, poll: int, now: int) -> list[Action]:
        """Take a GET: answered when there is something to say, refused when it cannot be.

        "HTTP long-polling": two GETs at once end the session; the one that waits gets
        ``close``. A poll also waits while the answer to the one before is under way: only
        so what an aborted answer held can still come first.
        """
        if self._admit(poll, self._polls.waiting):
            self._polls.waiting = poll
            self._flush()
            self._release(now)
        return self._done()

    def poll_sent(self, poll: int) -> list[Action]:
        """Note that an answer was written completely; a closing session may end with it."""
        if self._polls.sent(poll):
            self._flush()
        return self._done()

    def poll_aborted(self, poll: int) -> list[Action]:
        """Note that the connection of a GET broke, before its answer or under it.

        What the answer held goes out with the next poll. A client that never saw its open
        packet has no sid to come back with.
        """
        packets = self._polls.aborted(poll)
        if packets is not None:
            self._buffer.put_back(packets)
            if any(packet.type is PacketType.OPEN for packet in packets):
                self._end(CloseReason.TRANSPORT_CLOSE)
            self._flush()
        return self._done()

    def begin_post(self, post: int) -> list[Action]:
        """Take the head of a POST; read its body unless the actions refuse it.

        Two POSTs at once end the session ("HTTP long-polling"): their order is lost.
        """
        if self._admit(post, self._post):
            self._post = post
        return self._done()

    def post(self, post: int, body: bytes, now: int) -> list[Action]:
        """Take the whole body of a POST, or a part longer than ``max_payload``.

        Its first packets are delivered; while :attr:`unread`, call :meth:`read_on`.
        """
        if post != self._post or self._unread is not None:
            return []
        self._unread = decode_payload(body, self._settings.max_payload)
        return self.read_on(post, now)

    @property
    def unread(self) -> bool:
        """Whether a POST has packets that are not taken yet."""
        return self._unread is not None

    def read_on(self, post: int, now: int) -> list[Action]:
        """Take the next packets of a POST; it is answered after the last.

        Those before a violation count, as in the reference server.
        """
        unread = self._unread
        if post != self._post or unread is None:
            return []
        self._post = None
        for _ in range(self._settings.packets_per_turn):
            packet = next(unread, None)
            if packet is None:
                break
            if isinstance(packet, Violation):
                self._end(CloseReason.PARSE_ERROR, violation=packet.reason)
            else:
                self._receive(packet, now)
            if self.phase is Phase.GONE:
                break
        else:
            self._post = post
            return self._done()
        self._finish_post(post)
        return self._done()

    def _finish_post(self, post: int) -> None:
        self._unread = None
        if any(isinstance(one, do.Closed) and one.violation for one in self._actions):
            self._refuse(post, ErrorCode.BAD_REQUEST)
        else:
            self._actions.append(do.Respond(post, OK))

    def post_refused(self, post: int, reason: Reason) -> list[Action]:
        """Note that the head of a POST tells that its body is not to be read."""
        if post == self._post:
            self._post = None
            self._end(CloseReason.PARSE_ERROR, violation=reason)
            self._finish_post(post)
        return self._done()

    def post_aborted(self, post: int) -> list[Action]:
        """Note that a POST broke before its end: what it held is lost, so the session ends."""
        if post == self._post:
            self._post = None
            self._end(CloseReason.TRANSPORT_ERROR)
        return self._done()

    # WebSockets ("WebSocket" and "Upgrade").

    def attach(self, websocket: int, now: int) -> list[Action]:
        """Take an accepted WebSocket that named this sid.

        "Upgrade": a session has one WebSocket at most, so another one is closed at once.
        """
        taken = self._websocket is not None or self._trial is not None
        if self.phase is not Phase.OPEN or taken or not self._settings.upgrades:
            self._actions.append(do.CloseWebSocket(websocket))
        else:
            self._trial = Trial(websocket, now + self._settings.upgrade_timeout)
        return self._done()

    def frame(self, websocket: int, data: str | bytes, now: int) -> list[Action]:
        """Take one frame of a WebSocket, of the session's own or of one on trial."""
        packet = decode_frame(data, self._settings.max_payload)
        if self._trial is not None and websocket == self._trial.websocket:
            self._try_out(self._trial, packet, now)
        elif websocket == self._websocket:
            if isinstance(packet, Violation):
                self._end(CloseReason.PARSE_ERROR, violation=packet.reason)
            else:
                self._receive(packet, now)
        return self._done()

    def frame_refused(self, websocket: int, reason: Reason) -> list[Action]:
        """Note that a WebSocket's bytes were no frame, of a trial or of the session's own."""
        if self._trial is not None and websocket == self._trial.websocket:
            self._actions.append(do.CloseWebSocket(websocket, violation=reason))
            self._trial = None
        elif websocket == self._websocket:
            self._end(CloseReason.PARSE_ERROR, violation=reason)
        return self._done()

    def websocket_lost(self, websocket: int, *, error: bool = False) -> list[Action]:
        """Note that a WebSocket is closed or broken: the end, or the end of a trial only."""
        if self._trial is not None and websocket == self._trial.websocket:
            self._trial = None
        elif websocket == self._websocket and self.phase is not Phase.GONE:
            self._websocket = None
            self._end(CloseReason.TRANSPORT_ERROR if error else CloseReason.TRANSPORT_CLOSE)
        return self._done()

    def pause_writing(self, websocket: int) -> None:
        """Hold back what is to be sent: the WebSocket's reader is slow."""
        self._paused = websocket

    def resume_writing(self, websocket: int) -> list[Action]:
        """Send what was held back."""
        if self._paused == websocket:
            self._paused = None
            self._flush()
        return self._done()

    def stop_reading(self) -> None:
        """Forgive silence: this side does not read what the peer sends, pongs included."""
        self._reading = False

    def resume_reading(self, now: int) -> None:
        """Count silence again, from now on."""
        self._reading = True
        self._heartbeat.postpone(now)

    # The application.

    def send(self, data: str | bytes | Packet, *, volatile: bool = False) -> list[Action]:
        """Send a message; a packet made once serves many sessions.

        Volatile ones are dropped when too much waits. Raises UnicodeEncodeError for a lone
        surrogate. After the end it does nothing.
        """
        if self.phase is Phase.OPEN:
            packet = data if isinstance(data, Packet) else Packet(PacketType.MESSAGE, data)
            self._buffer.append(packet, volatile=volatile and not self._writable)
            self._flush()
        return self._done()

    def close(self, now: int, *, leaving: bool = False) -> list[Action]:
        """End the session from this side: told at once, and to the peer after what waits.

        "HTTP long-polling": a poll learns it by a close packet; a WebSocket is closed. A
        client that knows that its WebSocket works does not poll again before it moved there.
        A server that is ``leaving`` refuses polls instead: after a close packet some clients
        do not come back.
        """
        if self.phase is Phase.OPEN:
            self.phase = Phase.CLOSING
            # A peer may not be silent for longer than in an open session.
            silence = self._settings.ping_interval + self._settings.ping_timeout
            self._closing_by = now + min(self._settings.close_timeout, silence)
            if self._trial is not None and not self._trial.works:
                self._drop_trial()
            self._actions.append(do.Closed(CloseReason.SERVER_DISCONNECT))
            self._leaving = leaving
            if self._websocket is None and not leaving:
                self._buffer.append(_CLOSE)
            self._flush()
        return self._done()

    def refuse(self, reason: Reason) -> list[Action]:
        """End the session for what a message of the peer held."""
        self._end(CloseReason.PARSE_ERROR, violation=reason)
        return self._done()

    def abort(self) -> list[Action]:
        """End the session without a word: its peer takes nothing."""
        self._end(CloseReason.TRANSPORT_ERROR, abort=True)
        return self._done()

    # The clock ("Heartbeat").

    @property
    def deadline(self) -> int | None:
        """When :meth:`tick` must be called; None when there is nothing to wait for."""
        if self.phase is Phase.GONE:
            return None
        if self.phase is Phase.CLOSING:
            return self._closing_by
        at = self._heartbeat.at
        if self._trial is not None:
            at = min(at, self._trial.by)
            if self._can_release:
                at = min(at, self._trial.release_at)
        return at

    def tick(self, now: int) -> list[Action]:
        """Do what is due."""
        if self.phase is Phase.CLOSING and now >= self._closing_by:
            self._end(CloseReason.SERVER_DISCONNECT, abort=True)
        if self.phase is Phase.OPEN:
            if self._trial is not None and now >= self._trial.by:
                self._drop_trial()
            self._release(now)
            if now >= self._heartbeat.at:
                self._beat(now)
        return self._done()

    def _beat(self, now: int) -> None:
        """Ping, or end what did not answer ("Heartbeat": the server pings in protocol 4)."""
        if not self._reading:
            self._heartbeat.postpone(now)
        again = self._heartbeat.pinged
        if not self._heartbeat.beat(now):
            self._end(CloseReason.PING_TIMEOUT, abort=True)
        elif not again or (self._websocket is not None and self._writable):
            self._buffer.append(_PING)
            self._flush()

    # What arrives.

    def _receive(self, packet: Packet, now: int) -> None:
        """Take a packet of the transport in use; a client sends no other than these three."""
        if packet.type is PacketType.CLOSE:
            self._end(CloseReason.CLIENT_DISCONNECT)
        if self.phase is not Phase.OPEN:
            return
        if packet.type is PacketType.MESSAGE:
            self._actions.append(do.Deliver(packet.data))
        elif packet == _PONG:
            self._heartbeat.pong(now)
        else:
            self._end(CloseReason.PARSE_ERROR, violation=Reason.UNEXPECTED_TYPE)

    def _try_out(self, trial: Trial, packet: Packet | Violation, now: int) -> None:
        """Take a frame of a WebSocket on trial; whatever it says, polling loses nothing."""
        outcome = trial.take(packet, now)
        if outcome is Outcome.WORKS:
            self._actions.append(do.WriteFrames(trial.websocket, (PONG_PROBE,)))
            self._release(now)
        elif outcome is Outcome.UPGRADE:
            self._upgrade(trial.websocket)
        else:
            self._drop_trial()

    def _upgrade(self, websocket: int) -> None:
        """Move to the WebSocket. The client says so after its last poll was answered.

        A poll that waits nevertheless gets its noop here, over HTTP.
        """
        self._trial = None
        if self._polls.waiting is not None:
            self._actions.append(self._polls.answer(_NOOP))
        self._polls.settle()
        self._websocket = websocket
        if self.phase is Phase.OPEN:
            self._actions.append(do.Upgraded())
        elif not self._leaving:
            self._buffer.drop_last()  # the close packet, which only a poll needs
        self._flush()

    def _drop_trial(self) -> None:
        if self._trial is not None:
            self._actions.append(do.CloseWebSocket(self._trial.websocket))
            self._trial = None

    # What leaves.

    @property
    def _writable(self) -> bool:
        if self._websocket is not None:
            return self._paused != self._websocket
        return self._polls.ready

    def _flush(self) -> None:
        """Hand over what waits, if it can leave; end a closing session that has nothing."""
        if len(self._buffer) and self._writable:
            if self._websocket is not None:
                self._actions.append(do.WriteFrames(self._websocket, self._buffer.take()))
            else:
                packets = self._buffer.take(self._settings.packets_per_response)
                self._actions.append(self._polls.answer(*packets))
        settled = not len(self._buffer) and self._polls.settled
        if self.phase is Phase.CLOSING and settled:
            self._end(CloseReason.SERVER_DISCONNECT)

    def _release(self, now: int) -> None:
        """Answer a waiting poll with noop while a WebSocket is about to take over."""
        trial = self._trial
        if trial is not None and self._can_release and now >= trial.release_at:
            trial.release_at = now + self._settings.release_interval
            self._actions.append(self._polls.answer(_NOOP))

    @property
    def _can_release(self) -> bool:
        return self._trial is not None and self._trial.works and self._polls.ready

    def _admit(self, request: int, overlapped: int | None) -> bool:
        """Refuse a request that comes too late or while another of its kind goes on."""
        if self.phase is Phase.GONE:
            self._refuse(request, ErrorCode.UNKNOWN_SID)
        elif self._websocket is not None:
            self._refuse(request, ErrorCode.BAD_REQUEST)
        elif overlapped is not None:
            self._refuse(request, ErrorCode.BAD_REQUEST)
            self._end(CloseReason.TRANSPORT_ERROR)
        else:
            return True
        return False

    def _refuse(self, request: int, code: ErrorCode) -> None:
        self._actions.append(do.Refuse(request, Refusal(code)))

    # The end.

    def _end(
        self, reason: CloseReason, *, abort: bool = False, violation: Reason | None = None
    ) -> None:
        """End the session now; what waits is dropped.

        "HTTP long-polling": a waiting poll is answered, with noop to a client that closed
        the session itself, with close to any other.
        """
        if self.phase is Phase.GONE:
            return
        if self._polls.waiting is not None and self._leaving:
            self._refuse(self._polls.waiting, ErrorCode.UNKNOWN_SID)
            self._polls.waiting = None
        elif self._polls.waiting is not None:
            last = _NOOP if reason is CloseReason.CLIENT_DISCONNECT else _CLOSE
            self._actions.append(self._polls.answer(last))
        if self._post is not None:
            self._refuse(self._post, ErrorCode.UNKNOWN_SID)
        self._drop_trial()
        if self._websocket is not None:
            self._actions.append(do.CloseWebSocket(self._websocket, abort, violation))
        if self.phase is Phase.OPEN:
            self._actions.append(do.Closed(reason, violation))
        self._actions.append(do.Discard())
        self.phase = Phase.GONE
        self._post = self._unread = None
        self._polls.settle()
        self._buffer.clear()

    def _done(self) -> list[Action]:
        """Return the actions of one input, and whether what waits crossed the limit or is gone."""
        if self.phase is Phase.OPEN:
            if not self._told_over and self._buffer.over:
                self._told_over = True
                self._actions.append(do.Overflowed(self._buffer.size))
            elif self._told_over and not len(self._buffer):
                self._told_over = False
                self._actions.append(do.Drained())
        actions, self._actions = self._actions, []
        return actions
