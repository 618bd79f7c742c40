"""A session under any order of inputs: bytes become what a shell and a peer may do."""

import json
from collections.abc import Callable
from typing import Final

from stretto_core.eio import actions as do
from stretto_core.eio.packets import SEPARATOR
from stretto_core.eio.session import Phase, Session
from stretto_core.eio.violations import Reason

SETTINGS: Final = do.SessionSettings(
    ping_interval=300,
    ping_timeout=200,
    upgrade_timeout=150,
    close_timeout=400,
    release_interval=100,
    max_payload=60,
    packets_per_response=3,
    packets_per_turn=2,
    unsent_bytes=30,
)

TEXTS: Final = [
    *("4a", "4", "3", "1", "2probe", "5", "", "x", "2", "6", "0{}", "4" * 61, "4\x1e4\x1e4\x1e4"),
    *("4a\x1e1\x1e4b", "4a\x1ex\x1e4b", "bAQ==\x1eb", "3\x1e3\x1e3\x1e3", "\ud800", "4\ud800"),
]
SCRIPTS: Final = [
    bytes([0, 1, 0, 2, 1, 0, 10, 0, 11, 3, 0, 1, 0]),
    bytes([0, 1, 0, 7, 0, 8, 0, 4, 8, 0, 5, 10, 0, 8, 0, 0]),
    bytes([0, 1, 0, 3, 0, 4, 0, 12, 6, 0, 6, 0, 6, 0, 13, 100, 13, 250]),
    bytes([1, 8, 0, 0, 10, 0, 9, 0, 10, 0, 10, 0, 9, 1, 13, 250, 13, 250, 8, 0, 2]),
    bytes([0, 1, 0, 10, 0, 12, 0, 1, 0, 2, 0, 13, 250, 13, 250, 13, 250]),
    bytes([0, 1, 0, 1, 0, 1, 0]),
    bytes([0, 7, 0, 8, 0, 4, 13, 100, 1, 0, 13, 120, 1, 0, 5, 0, 14, 1]),
]


def check_script(script: bytes) -> None:
    """Play a script, then let the session end."""
    shell = Shell(websocket=bool(script[:1] and script[0] & 1))
    for at in range(1, len(script) - 1, 2):
        shell.step(script[at], script[at + 1])
    shell.finish()


class Shell:
    """Does what actions say, and judges them."""

    def __init__(self, *, websocket: bool) -> None:
        self.now = 0
        self.numbers = 0
        self.polls: dict[int, do.Respond | do.Refuse | None] = {}
        self.posts: dict[int, do.Respond | do.Refuse | None] = {}
        self.broken: set[int] = set()
        """Requests that ended on the shell's side: nobody is there for an answer."""
        self.websockets: dict[int, bool] = {}
        self.told: list[type[do.Action]] = []
        self.sent = 0
        self.received: list[int] = []
        self.under_way: dict[int, list[int]] = {}
        first = self._number()
        if websocket:
            self.websockets[first] = True
            opened = Session.open_websocket("sid", SETTINGS, first, self.now)
        else:
            self.polls[first] = None
            opened = Session.open_polling("sid", SETTINGS, first, self.now)
        self.session, actions = opened
        self._judge(actions)

    def _number(self) -> int:
        self.numbers += 1
        return self.numbers

    def step(self, code: int, argument: int) -> None:
        """Do one thing."""
        steps = self._steps()
        self._judge(steps[code % len(steps)](argument))
        if self.session.deadline is not None and self.session.deadline <= self.now:
            self._judge(self.session.tick(self.now))
        deadline = self.session.deadline
        assert (deadline is None) is (self.session.phase is Phase.GONE)
        assert deadline is None or deadline > self.now, "a deadline stays in the past"

    def finish(self) -> None:
        """Let time pass until the session is gone; then nobody waits for anything."""
        self.session.resume_reading(self.now)
        for _ in range(20):
            deadline = self.session.deadline
            if deadline is None:
                break
            self.now = deadline
            self._judge(self.session.tick(self.now))
        assert self.session.phase is Phase.GONE
        assert self.session.unsent == 0
        assert not self.session.unread
        for number, answer in {**self.polls, **self.posts}.items():
            assert answer is not None or number in self.broken, f"request {number} waits"

    # What may happen.

    def _steps(self) -> list[Callable[[int], list[do.Action]]]:
        return [
            self._advance,
            self._poll,
            self._poll_ends,
            self._begin_post,
            self._post,
            self._post_breaks,
            self._read_on,
            self._attach,
            self._frame,
            self._websocket_changes,
            self._send,
            self._poll_ends,
            self._close,
            self._advance,
            self._reading,
        ]

    def _poll(self, _: int) -> list[do.Action]:
        number = self._number()
        self.polls[number] = None
        return self.session.poll(number, self.now)

    def _poll_ends(self, argument: int) -> list[do.Action]:
        open_ = [number for number in self.polls if number not in self.broken]
        if not open_:
            return []
        number = open_[argument // 2 % len(open_)]
        self.broken.add(number)
        messages = self.under_way.pop(number, [])
        if argument & 1 or self.polls[number] is None:
            return self.session.poll_aborted(number)
        self.received += messages
        return self.session.poll_sent(number)

    def _begin_post(self, _: int) -> list[do.Action]:
        number = self._number()
        self.posts[number] = None
        return self.session.begin_post(number)

    def _some_post(self, argument: int) -> int:
        waiting = [number for number, answer in self.posts.items() if answer is None]
        return waiting[argument % len(waiting)] if waiting else 0

    def _post(self, argument: int) -> list[do.Action]:
        body = TEXTS[argument % len(TEXTS)].encode("utf-8", "surrogatepass")
        return self.session.post(self._some_post(argument // 32), body, self.now)

    def _read_on(self, argument: int) -> list[do.Action]:
        return self.session.read_on(self._some_post(argument), self.now)

    def _post_breaks(self, argument: int) -> list[do.Action]:
        number = self._some_post(argument)
        self.broken.add(number)
        return self.session.post_aborted(number)

    def _attach(self, _: int) -> list[do.Action]:
        number = self._number()
        self.websockets[number] = True
        return self.session.attach(number, self.now)

    def _some_websocket(self, argument: int) -> int:
        numbers = list(self.websockets)
        return numbers[argument % len(numbers)] if numbers else 0

    def _frame(self, argument: int) -> list[do.Action]:
        websocket = self._some_websocket(argument // 64)
        frame = TEXTS[argument % len(TEXTS)]
        direct = self.session.direct == websocket and frame[:1] == "4" and len(frame) < 61
        actions = self.session.frame(websocket, frame, self.now)
        assert not direct or actions == [do.Deliver(frame[1:])], "past the session is not as if"
        return actions

    def _websocket_changes(self, argument: int) -> list[do.Action]:
        websocket = self._some_websocket(argument // 8)
        match argument % 8:
            case 0:
                self.session.pause_writing(websocket)
                return []
            case 1 | 2 | 3:
                return self.session.resume_writing(websocket)
            case 4:
                return self.session.frame_refused(websocket, Reason.UNMASKED)
            case 5:
                return self.session.frame(websocket, b"\x01", self.now)
            case broken:
                self.websockets.pop(websocket, None)
                return self.session.websocket_lost(websocket, error=broken == 6)

    def _send(self, argument: int) -> list[do.Action]:
        if argument == 255:
            return self.session.send(b"\x01" * 20)
        self.sent += 1
        return self.session.send(f"m{self.sent}", volatile=argument % 4 == 3)

    def _close(self, argument: int) -> list[do.Action]:
        if argument % 8 == 0:
            return self.session.abort()
        if argument % 8 == 1:
            return self.session.refuse(Reason.TOO_DEEP)
        return self.session.close(self.now) if argument % 8 == 2 else []

    def _advance(self, argument: int) -> list[do.Action]:
        self.now += argument
        return self.session.tick(self.now) if argument & 1 else []

    def _reading(self, argument: int) -> list[do.Action]:
        if argument & 1:
            self.session.resume_reading(self.now)
        else:
            self.session.stop_reading()
        return []

    # What comes of it.

    def _judge(self, actions: list[do.Action]) -> None:
        for action in actions:
            late = isinstance(action, do.Respond | do.Refuse | do.CloseWebSocket)
            assert late or do.Discard not in self.told, f"{action} after the end"
            self._take(action)
            self.told.append(type(action))
        for once in (do.Opened, do.Upgraded, do.Closed, do.Discard):
            assert self.told.count(once) <= 1, once
        crossings = [one for one in self.told if one in (do.Overflowed, do.Drained)]
        assert crossings == [do.Overflowed, do.Drained] * (len(crossings) // 2) + (
            [do.Overflowed] * (len(crossings) % 2)
        )
        assert self.received == sorted(set(self.received)), "twice, or out of order"

    def _take(self, action: do.Action) -> None:
        match action:
            case do.Respond(request, body):
                self._answered(request, action)
                if request in self.polls:
                    self.under_way[request] = _numbers(body.decode().split(SEPARATOR))
            case do.Refuse(request):
                self._answered(request, action)
            case do.WriteFrames(websocket, packets):
                assert self.websockets.get(websocket), "written to one that is closed"
                self.received += _numbers([str(packet.frame) for packet in packets])
            case do.CloseWebSocket(websocket):
                assert self.websockets.get(websocket) is not False, "closed twice"
                if websocket in self.websockets:
                    self.websockets[websocket] = False
            case do.Deliver():
                assert do.Closed not in self.told, "delivered after the end"
            case do.Upgraded():
                # The client says that it upgrades after its last answer has come.
                for messages in self.under_way.values():
                    self.received += messages
                self.under_way.clear()
            case _:
                pass

    def _answered(self, request: int, answer: do.Respond | do.Refuse) -> None:
        requests = self.polls if request in self.polls else self.posts
        assert requests[request] is None, "answered twice"
        assert request not in self.broken, "answered though it is over"
        requests[request] = answer


def _numbers(frames: list[str]) -> list[int]:
    return [int(json.loads(frame[2:])) for frame in frames if frame[:2] == "4m"]
