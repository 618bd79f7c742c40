"""A mini-language for races: each line is an input, then ``→`` and the actions expected.

``g1`` is a GET, ``p1`` a POST, ``w1`` a WebSocket; U+001E is written ``+``, bytes in hex
after ``0x``, and ``@300`` before an input is the clock from there on. Inputs:

    open g1 | open w1          a session begins (its open packet is shown as ``{open}``)
    g1                         a GET arrives        g1 sent | g1 aborted    its answer
    p1 begin | p1 BODY         a POST arrives       p1 more | p1 aborted
    w1                         a WebSocket with the sid
    w1 < FRAME                 a frame arrives      w1 lost | w1 broken
    w1 ! REASON                its bytes are no frame
    w1 slow | w1 fast          its reader is slow, or not any more
    send TEXT | drop TEXT      the application sends; ``drop`` is volatile
    refuse REASON              what a message held is refused
    deaf | hears               this side stops reading, and goes on
    close | leave | abort | tick

Actions: ``g1=BODY``, ``p1!CODE``, ``w1>FRAME``, ``w1.close``, ``w1.close REASON`` for a
violation, ``w1.abort``, ``got TEXT``, ``opened``, ``upgraded``, ``over N``, ``drained``,
``closed: REASON``, ``discard``.
"""

from stretto_core.eio import actions as do
from stretto_core.eio.session import Session
from stretto_core.eio.violations import Reason

KINDS = {"g": 1_000, "p": 2_000, "w": 3_000}
NAMES = {number: kind for kind, number in KINDS.items()}
SETTINGS = do.SessionSettings(
    ping_interval=300,
    ping_timeout=200,
    upgrade_timeout=150,
    close_timeout=400,
    release_interval=100,
    max_payload=40,
    packets_per_response=3,
    packets_per_turn=3,
    unsent_bytes=20,
)


def number(name: str) -> int:
    return KINDS[name[0]] + int(name[1:])


def name(number: int) -> str:
    return f"{NAMES[number // 1_000 * 1_000]}{number % 1_000}"


def written(data: str | bytes) -> str:
    return "0x" + data.hex() if isinstance(data, bytes) else data


def parsed(text: str) -> str | bytes:
    return bytes.fromhex(text[2:]) if text.startswith("0x") else text


def opened_or(text: str) -> str:
    return "{open}" if text.startswith('0{"sid"') else text


def show(action: do.Action) -> str:
    match action:
        case do.Respond(request, body):
            return f"{name(request)}={opened_or(body.decode().replace(chr(30), '+'))}"
        case do.Refuse(request, refusal):
            return f"{name(request)}!{int(refusal.code)}"
        case do.WriteFrames(websocket, packets):
            frames = "+".join(opened_or(written(packet.frame)) for packet in packets)
            return f"{name(websocket)}>{frames}"
        case do.CloseWebSocket(websocket, True, _):
            return f"{name(websocket)}.abort"
        case do.CloseWebSocket(websocket, _, violation):
            return f"{name(websocket)}.close {violation or ''}".rstrip()
        case do.Deliver(data):
            return f"got {written(data)}"
        case do.Closed(reason):
            return f"closed: {reason}"
        case do.Overflowed(size):
            return f"over {size}"
        case _:
            return type(action).__name__.lower()


class Player:
    """Runs a script against one session."""

    def __init__(self, settings: do.SessionSettings = SETTINGS) -> None:
        self.settings = settings
        self.now = 0
        self.session: Session | None = None

    def play(self, script: str) -> None:
        for line in filter(None, map(str.strip, script.splitlines())):
            step, _, expected = (part.strip() for part in line.partition("→"))
            shown = "; ".join(map(show, self.step(step)))
            assert shown == expected, line

    def step(self, step: str) -> list[do.Action]:
        if step.startswith("@"):
            at, _, step = step.partition(" ")
            self.now = int(at[1:])
        word, _, rest = step.partition(" ")
        if word == "open":
            start = Session.open_polling if rest[0] == "g" else Session.open_websocket
            self.session, actions = start("sid", self.settings, number(rest), self.now)
            return actions
        assert self.session is not None
        if word in ("send", "drop"):
            return self.session.send(parsed(rest), volatile=word == "drop")
        if word == "refuse":
            return self.session.refuse(Reason(rest))
        if word in ("abort", "leave", "deaf", "hears"):
            return self._side(self.session, word)
        if word[0] in KINDS and word[1:].isdigit():
            return getattr(self, "_" + word[0])(self.session, number(word), rest)  # type: ignore[no-any-return]
        return {"close": self.session.close, "tick": self.session.tick}[word](self.now)

    def _side(self, session: Session, word: str) -> list[do.Action]:
        if word == "abort":
            return session.abort()
        if word == "leave":
            return session.close(self.now, leaving=True)
        if word == "deaf":
            session.stop_reading()
        else:
            session.resume_reading(self.now)
        return []

    def _g(self, session: Session, poll: int, rest: str) -> list[do.Action]:
        if rest == "sent":
            return session.poll_sent(poll)
        return session.poll_aborted(poll) if rest else session.poll(poll, self.now)

    def _p(self, session: Session, post: int, rest: str) -> list[do.Action]:
        if rest == "begin":
            return session.begin_post(post)
        if rest == "aborted":
            return session.post_aborted(post)
        if rest.startswith("!"):
            return session.post_refused(post, Reason(rest[1:].strip()))
        if rest == "more":
            return session.read_on(post, self.now)
        return session.post(post, rest.replace("+", "\x1e").encode(), self.now)

    def _w(self, session: Session, websocket: int, rest: str) -> list[do.Action]:
        if rest.startswith("<"):
            return session.frame(websocket, parsed(rest[1:].strip()), self.now)
        if rest.startswith("!"):
            return session.frame_refused(websocket, Reason(rest[1:].strip()))
        if rest == "slow":
            session.pause_writing(websocket)
            return []
        if rest == "fast":
            return session.resume_writing(websocket)
        if rest:
            return session.websocket_lost(websocket, error=rest == "broken")
        return session.attach(websocket, self.now)
