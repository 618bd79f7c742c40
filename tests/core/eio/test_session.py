"""Races of one session, written in the language of tests/core/eio/script.py."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto_core.eio import actions as do
from stretto_core.eio.handshake import Transport
from stretto_core.eio.packets import Packet, PacketType
from stretto_core.eio.session import Phase, Session
from stretto_core.eio.violations import Reason
from tests.core.eio.script import SETTINGS, Player, number

POLLING = """
    open g1    → g1={open}; opened
    g1 sent    →
"""
WEBSOCKET = """
    open w1    → w1>{open}; opened
"""
TRIED = (
    POLLING
    + """
    w1           →
    w1 < 2probe  → w1>3probe
"""
)
UPGRADED = (
    TRIED
    + """
    w1 < 5       → upgraded
"""
)

SCRIPTS = {
    # Long-polling.
    "a message waits for a poll": POLLING
    + """
    send a       →
    send 0x0102  →
    g2           → g2=4a+bAQI=
    """,
    "a poll waits for a message": POLLING
    + """
    g2           →
    send a       → g2=4a
    """,
    "a response is capped": POLLING
    + """
    send a       →
    send b       →
    send c       →
    send d       →
    g2           → g2=4a+4b+4c
    g2 sent      →
    g3           → g3=4d
    """,
    "a post is delivered and answered ok": POLLING
    + """
    p1 begin     →
    p1 4a+bAQI=  → got a; got 0x0102; p1=ok
    p2 begin     →
    p2 4b        → got b; p2=ok
    """,
    "any number of packets, a few at a time": POLLING
    + """
    p1 begin     →
    p1 4a+4b+4c+4d+4e+4f+4g  → got a; got b; got c
    p1 more      → got d; got e; got f
    p1 more      → got g; p1=ok
    p1 more      →
    """,
    "what comes before a bad packet counts": POLLING
    + """
    p1 begin     →
    p1 4a+4b+x+4c → got a; got b; closed: parse error; discard; p1!3
    p1 more      →
    """,
    "a bad packet is the last one of a turn": POLLING
    + """
    p1 begin     →
    p1 4a+4b+4c+4d+4e+x → got a; got b; got c
    p1 more      → got d; got e; closed: parse error; discard; p1!3
    """,
    "a close packet among others": POLLING
    + """
    p1 begin     →
    p1 4a+4b+4c+4d+1+4e → got a; got b; got c
    p1 more      → got d; closed: client disconnect; discard; p1=ok
    """,
    "posts overlap while one is read": POLLING
    + """
    p1 begin     →
    p1 4a+4b+4c+4d → got a; got b; got c
    p2 begin     → p2!3; p1!1; closed: transport error; discard
    p1 more      →
    """,
    "a session ends while a post is read": POLLING
    + """
    p1 begin     →
    p1 4a+4b+4c+4d → got a; got b; got c
    p1 4e        →
    close        → closed: server disconnect
    g2           → g2=1
    g2 sent      → p1!1; discard
    p1 more      →
    """,
    "a polling peer falls silent while its post is read": POLLING
    + """
    p1 begin     →
    p1 4a+4b+4c+3 → got a; got b; got c
    @300 tick    →
    @500 tick    → p1!1; closed: ping timeout; discard
    p1 more      →
    """,
    "a bad post ends the session": POLLING
    + """
    g2           →
    p1 begin     →
    p1 abc       → g2=1; closed: parse error; discard; p1!3
    g3           → g3!1
    p2 begin     → p2!1
    """,
    "a post that is refused by its head ends the session": POLLING
    + """
    g2               →
    p1 begin         →
    p2 ! too_large   →
    p1 ! too_large   → g2=1; closed: parse error; discard; p1!3
    p1 ! too_large   →
    """,
    "a separator alone ends the session": POLLING
    + """
    p1 begin     →
    p1 +         → closed: parse error; discard; p1!3
    """,
    "a post that is too long ends the session": POLLING
    + """
    p1 begin     →
    p1 4aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa → closed: parse error; discard; p1!3
    """,
    "what only servers send ends the session": POLLING
    + """
    p1 begin     →
    p1 4a+2+4b   → got a; closed: parse error; discard; p1!3
    """,
    "polls overlap": POLLING
    + """
    g2           →
    g3           → g3!3; g2=1; closed: transport error; discard
    g4           → g4!1
    """,
    "posts overlap": POLLING
    + """
    p1 begin     →
    p2 begin     → p2!3; p1!1; closed: transport error; discard
    p1 4a        →
    """,
    "a client closes while it polls": POLLING
    + """
    g2           →
    p1 begin     →
    p1 1         → g2=6; closed: client disconnect; discard; p1=ok
    """,
    "nothing after a close packet counts": POLLING
    + """
    p1 begin     →
    p1 4a+1+4b   → got a; closed: client disconnect; discard; p1=ok
    """,
    "a post that breaks has lost something": POLLING
    + """
    g2           →
    p1 begin     →
    p1 aborted   → g2=1; closed: transport error; discard
    p1 aborted   →
    """,
    # Aborted polls.
    "a waiting poll breaks": POLLING
    + """
    g2           →
    g2 aborted   →
    send a       →
    g3           → g3=4a
    """,
    "an answered poll breaks": POLLING
    + """
    g2           →
    send a       → g2=4a
    send b       →
    g2 aborted   →
    g3           → g3=4a+4b
    g3 sent      →
    g3 aborted   →
    g2 aborted   →
    """,
    "the next poll is faster than the news": POLLING
    + """
    g2           →
    send a       → g2=4a
    send b       →
    g3           →
    g2 aborted   → g3=4a+4b
    """,
    "the next poll is faster than the good news": POLLING
    + """
    g2           →
    send a       → g2=4a
    send b       →
    g3           →
    g2 sent      → g3=4b
    """,
    "a handshake that nobody heard": """
    open g1      → g1={open}; opened
    g1 aborted   → closed: transport close; discard
    """,
    # WebSocket.
    "frames both ways": WEBSOCKET
    + """
    w1 < 4a      → got a
    w1 < 0x0102  → got 0x0102
    send a       → w1>4a
    send 0x0102  → w1>0x0102
    """,
    "a bad frame ends the session": WEBSOCKET
    + """
    w1 < 4a      → got a
    w1 < abc     → w1.close unknown_type; closed: parse error; discard
    w1 < 4b      →
    w1 lost      →
    send c       →
    """,
    "an empty frame ends the session": WEBSOCKET
    + """
    w1 <         → w1.close empty; closed: parse error; discard
    """,
    "a noop of a client ends the session": WEBSOCKET
    + """
    w1 < 6       → w1.close unexpected_type; closed: parse error; discard
    """,
    "an upgrade of a WebSocket ends the session": WEBSOCKET
    + """
    w1 < 5       → w1.close unexpected_type; closed: parse error; discard
    """,
    "a client closes": WEBSOCKET
    + """
    w1 < 1       → w1.close; closed: client disconnect; discard
    """,
    "a WebSocket is closed": WEBSOCKET
    + """
    w1 lost      → closed: transport close; discard
    """,
    "a WebSocket breaks": WEBSOCKET
    + """
    w1 broken    → closed: transport error; discard
    """,
    "a second WebSocket is closed": WEBSOCKET
    + """
    w2           → w2.close
    w2 lost      →
    w2 < 4a      →
    send a       → w1>4a
    """,
    "requests of a WebSocket's session": WEBSOCKET
    + """
    g1           → g1!3
    p1 begin     → p1!3
    """,
    # Upgrade.
    "an upgrade": POLLING
    + """
    g2           →
    w1           →
    w1 < 2probe  → w1>3probe; g2=6
    g2 sent      →
    w1 < 5       → upgraded
    send a       → w1>4a
    g3           → g3!3
    p1 begin     → p1!3
    w2           → w2.close
    """,
    "messages during an upgrade keep their order": POLLING
    + """
    g2           →
    w1           →
    send a       → g2=4a
    g2 sent      →
    w1 < 2probe  → w1>3probe
    send b       →
    send c       →
    w1 < 5       → upgraded; w1>4b+4c
    send d       → w1>4d
    """,
    "a poll still waits at the upgrade": TRIED
    + """
    g2           → g2=6
    g2 sent      →
    g3           →
    send a       → g3=4a
    g4           →
    w1 < 5       → g4=6; upgraded
    send b       → w1>4b
    """,
    "a poll during an upgrade is released ten times a second": TRIED
    + """
    @10 g2       → g2=6
    @11 g2 sent  →
    @12 g3       →
    @109 tick    →
    @110 tick    → g3=6
    @111 g3 sent →
    @112 g4      →
    @150 tick    → w1.close
    @211 tick    →
    @220 send a  → g4=4a
    """,
    "a message is not held up by the release": TRIED
    + """
    @10 g2       → g2=6
    @11 g2 sent  →
    @12 g3       →
    @13 send a   → g3=4a
    """,
    "an upgrade that stays silent": POLLING
    + """
    g2           →
    w1           →
    @149 tick    →
    @150 tick    → w1.close
    w1 < 2probe  →
    send a       → g2=4a
    w2           →
    w2 < 2probe  → w2>3probe
    """,
    "an upgrade that is closed": POLLING
    + """
    w1           →
    w1 lost      →
    g2           →
    send a       → g2=4a
    """,
    "an upgrade that breaks after its probe": TRIED
    + """
    w1 broken    →
    g2           →
    send a       → g2=4a
    """,
    "an upgrade that talks nonsense": POLLING
    + """
    w1           →
    w1 < abc     → w1.close
    g2           →
    send a       → g2=4a
    """,
    "a binary frame is no probe": POLLING
    + """
    w1           →
    w1 < 0x0102  → w1.close
    """,
    "a message is no probe": POLLING
    + """
    w1           →
    w1 < 4a      → w1.close
    """,
    "an upgrade without a probe": POLLING
    + """
    w1           →
    w1 < 5       → w1.close
    send a       →
    g2           → g2=4a
    """,
    "two probes": TRIED
    + """
    w1 < 2probe  → w1.close
    """,
    "two upgrades at once": TRIED
    + """
    w2           → w2.close
    w2 < 2probe  →
    w1 < 5       → upgraded
    """,
    "an answer under way at the upgrade has arrived": TRIED
    + """
    send a       →
    g2           → g2=4a
    w1 < 5       → upgraded
    g2 aborted   →
    send b       → w1>4b
    """,
    "a slow reader is slow after its upgrade too": TRIED
    + """
    w1 slow      →
    w1 < 5       → upgraded
    send a       →
    w1 fast      → w1>4a
    """,
    "another WebSocket's slowness does not matter": POLLING
    + """
    w1           →
    w1 slow      →
    w1 lost      →
    w2           →
    w2 < 2probe  → w2>3probe
    w2 < 5       → upgraded
    send a       → w2>4a
    w1 fast      →
    """,
    "a post during an upgrade": TRIED
    + """
    p1 begin     →
    p1 4a        → got a; p1=ok
    w1 < 5       → upgraded
    """,
    "a client closes during an upgrade": TRIED
    + """
    p1 begin     →
    p1 1         → w1.close; closed: client disconnect; discard; p1=ok
    """,
    "an upgraded session closes": UPGRADED
    + """
    close        → closed: server disconnect; w1.close; discard
    """,
    # Heartbeat.
    "a ping to a WebSocket": WEBSOCKET
    + """
    @299 tick    →
    @300 tick    → w1>2
    @499 w1 < 3  →
    @500 tick    →
    @798 tick    →
    @799 tick    → w1>2
    @998 tick    →
    @999 tick    → w1.abort; closed: ping timeout; discard
    """,
    "a ping to a poll": POLLING
    + """
    g2           →
    @300 tick    → g2=2
    g2 sent      →
    p1 begin     →
    @310 p1 3    → p1=ok
    @609 tick    →
    @610 tick    →
    g3           → g3=2
    g3 sent      →
    g4           →
    @810 tick    → g4=1; closed: ping timeout; discard
    g5           → g5!1
    """,
    "a pong without a ping changes nothing": WEBSOCKET
    + """
    @200 w1 < 3  →
    @300 tick    → w1>2
    """,
    "a pong of a probe is none": WEBSOCKET
    + """
    @300 tick       → w1>2
    @301 w1 < 3probe → w1.close unexpected_type; closed: parse error; discard
    """,
    "a polling client that went away": POLLING
    + """
    @300 tick    →
    @500 tick    → closed: ping timeout; discard
    """,
    "silence is forgiven while this side does not read": WEBSOCKET
    + """
    deaf         →
    @300 tick    → w1>2
    @500 tick    → w1>2
    @699 tick    →
    @700 tick    → w1>2
    @750 hears   →
    @900 tick    → w1>2
    @949 tick    →
    @950 tick    → w1.abort; closed: ping timeout; discard
    """,
    "nothing is written to a slow reader that is not read from": WEBSOCKET
    + """
    deaf         →
    @300 tick    → w1>2
    w1 slow      →
    @500 tick    →
    w1 fast      →
    @700 tick    → w1>2
    """,
    "a pong that waited meanwhile counts": WEBSOCKET
    + """
    deaf         →
    @300 tick    → w1>2
    @500 tick    → w1>2
    @600 hears   →
    @610 w1 < 3  →
    @909 tick    →
    @910 tick    → w1>2
    """,
    "whoever was not pinged is pinged on time": WEBSOCKET
    + """
    @100 deaf    →
    @200 hears   →
    @299 tick    →
    @300 tick    → w1>2
    """,
    "silence is forgiven over polling too": POLLING
    + """
    g2           →
    deaf         →
    @300 tick    → g2=2
    g2 sent      →
    @500 tick    →
    @501 hears   →
    @701 tick    → closed: ping timeout; discard
    """,
    # Ended by what is above or below.
    "a WebSocket's bytes are no frame": WEBSOCKET
    + """
    w2 ! too_large    →
    w1 ! too_large    → w1.close too_large; closed: parse error; discard
    w1 ! too_large    →
    """,
    "the bytes of an upgrade are no frame": TRIED
    + """
    w1 ! unmasked     → w1.close unmasked
    w1 ! unmasked     →
    g2                →
    send a            → g2=4a
    """,
    "a message is refused over a WebSocket": WEBSOCKET
    + """
    send a            → w1>4a
    refuse too_deep   → w1.close too_deep; closed: parse error; discard
    refuse too_deep   →
    """,
    "a message is refused over polling": TRIED
    + """
    g2                → g2=6
    g2 sent           →
    g3                →
    p1 begin          →
    refuse empty      → g3=1; p1!1; w1.close; closed: parse error; discard
    """,
    "a WebSocket is cut off": WEBSOCKET
    + """
    w1 slow           →
    send a            →
    abort             → w1.abort; closed: transport error; discard
    abort             →
    w1 fast           →
    """,
    "polling is cut off": POLLING
    + """
    g2                →
    abort             → g2=1; closed: transport error; discard
    """,
    "a closing session is cut off": POLLING
    + """
    close             → closed: server disconnect
    abort             → discard
    """,
    # Closing from this side.
    "close answers the poll": POLLING
    + """
    g2           →
    close        → closed: server disconnect; g2=1
    g2 sent      → discard
    """,
    "close waits for the next poll": POLLING
    + """
    send a       →
    close        → closed: server disconnect
    send b       →
    close        →
    g2           → g2=4a+1
    g2 aborted   →
    g3           → g3=4a+1
    g3 sent      → discard
    """,
    "close takes as many polls as it needs": POLLING
    + """
    send a       →
    send b       →
    send c       →
    close        → closed: server disconnect
    g2           → g2=4a+4b+4c
    g2 sent      →
    g3           → g3=1
    g3 sent      → discard
    """,
    "close does not wait forever": POLLING
    + """
    close        → closed: server disconnect
    @399 tick    →
    @400 tick    → discard
    """,
    "a closing session ignores posts": POLLING
    + """
    close        → closed: server disconnect
    p1 begin     →
    p1 4a        → p1=ok
    """,
    "both sides close": POLLING
    + """
    close        → closed: server disconnect
    p1 begin     →
    p1 1         → discard; p1=ok
    """,
    "close waits for an upgrade that works": TRIED
    + """
    g2           → g2=6
    g2 sent      →
    send a       →
    close        → closed: server disconnect
    w2           → w2.close
    w1 < 5       → w1>4a; w1.close; discard
    """,
    "close tells a poll, and then the upgrade happens": TRIED
    + """
    close        → closed: server disconnect
    g2           → g2=1
    w1 < 5       → w1.close; discard
    """,
    "close tells a poll during an upgrade": TRIED
    + """
    close        → closed: server disconnect
    g2           → g2=1
    g2 sent      → w1.close; discard
    """,
    "close ends an upgrade that was not tried": POLLING
    + """
    w1           →
    close        → w1.close; closed: server disconnect
    w1 < 2probe  →
    g2           → g2=1
    g2 sent      → discard
    """,
    "close does not wait forever for an upgrade": TRIED
    + """
    close        → closed: server disconnect
    @400 tick    → w1.close; discard
    """,
    "a server that leaves refuses a poll": POLLING
    + """
    g2           →
    leave        → closed: server disconnect; g2!1; discard
    g3           → g3!1
    """,
    "a server that leaves says first what waits": POLLING
    + """
    send a       →
    leave        → closed: server disconnect
    g2           → g2=4a
    g2 sent      → discard
    """,
    "a server that leaves closes a WebSocket": WEBSOCKET
    + """
    leave        → closed: server disconnect; w1.close; discard
    """,
    "a server that leaves waits for an upgrade that works": TRIED
    + """
    send a       →
    leave        → closed: server disconnect
    w1 < 5       → w1>4a; w1.close; discard
    """,
    "close empties the WebSocket's queue": WEBSOCKET
    + """
    w1 slow      →
    send a       →
    close        → closed: server disconnect
    w1 < 4b      →
    w1 fast      → w1>4a; w1.close; discard
    """,
    "close ends a reader that stalls": WEBSOCKET
    + """
    w1 slow      →
    send a       →
    close        → closed: server disconnect
    @400 tick    → w1.abort; discard
    w1 fast      →
    """,
    "a closing WebSocket is lost": WEBSOCKET
    + """
    w1 slow      →
    send a       →
    close        → closed: server disconnect
    w1 lost      → discard
    """,
    # The bounded buffer.
    "too much waits": POLLING
    + """
    send 0123456789        →
    send 0123456789        → over 22
    send a                 →
    g2                     → g2=40123456789+40123456789+4a; drained
    """,
    "volatile messages go first": POLLING
    + """
    drop 0123456789        →
    send a                 →
    send 0123456789        →
    drop 0123456789        →
    g2                     → g2=4a+40123456789
    """,
    "one large message to a fast reader is not too much": WEBSOCKET
    + """
    send 0123456789012345678901 → w1>40123456789012345678901
    drop 0123456789012345678901 → w1>40123456789012345678901
    """,
    "a slow reader": WEBSOCKET
    + """
    w1 slow                →
    send 0123456789        →
    drop abc               →
    send 0123456789        → over 22
    w1 fast                → w1>40123456789+40123456789; drained
    """,
    "drained is only who has nothing left": POLLING
    + """
    send 0123456789        →
    send 0123456789        → over 22
    send a                 →
    send b                 →
    send c                 →
    g2                     → g2=40123456789+40123456789+4a
    g2 aborted             →
    g3                     → g3=40123456789+40123456789+4a
    g3 sent                →
    g4                     → g4=4b+4c; drained
    g4 sent                →
    send 0123456789        →
    send 0123456789        → over 22
    """,
    "an aborted answer counts again": POLLING
    + """
    send 01234567890       →
    g2                     → g2=401234567890
    send 0123456789        →
    g2 aborted             → over 23
    """,
    "a stalled reader is pinged in vain": WEBSOCKET
    + """
    w1 slow                →
    @300 tick              →
    @500 tick              → w1.abort; closed: ping timeout; discard
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name: str) -> None:
    Player().play(SCRIPTS[name])


def test_an_empty_body_ends_the_session() -> None:
    player = Player()
    player.play(POLLING)
    assert player.session is not None
    player.step("p1 begin")
    actions = player.session.post(number("p1"), b"", 0)
    assert do.Closed(do.CloseReason.PARSE_ERROR, Reason.EMPTY) in actions


def test_nothing_waits_after_the_end() -> None:
    player = Player()
    player.play(POLLING)
    player.play("g2 →\n send a → g2=4a\n @300 tick →\n @500 tick → closed: ping timeout; discard")
    player.play("g2 aborted →")
    assert player.session is not None
    assert player.session.unsent == 0


def test_what_may_be_written_past_the_session() -> None:
    player = Player()

    def state() -> tuple[int | None, bool, bool]:
        assert player.session is not None
        session = player.session
        return session.direct, session.writable, session.over

    player.play(WEBSOCKET)
    assert state() == (number("w1"), True, False)
    player.play("w1 slow →")
    assert state() == (None, False, False)
    player.play("send 0123456789 →\n send 0123456789 → over 22")
    assert state() == (None, False, True)
    player.play("w1 fast → w1>40123456789+40123456789; drained")
    assert state() == (number("w1"), True, False)
    player.play("w1 lost → closed: transport close; discard")
    assert state() == (None, False, False)


def test_nothing_is_written_past_polling() -> None:
    player = Player()
    player.step("open g1")
    assert player.session is not None
    assert (player.session.direct, player.session.writable) == (None, False)
    player.play("g1 sent →\n g2 →")
    assert (player.session.direct, player.session.writable) == (None, True)
    player.play("w1 →\n w1 < 2probe → w1>3probe; g2=6\n g2 sent →")
    assert (player.session.direct, player.session.writable) == (None, False)
    player.play("w1 < 5 → upgraded")
    assert (player.session.direct, player.session.writable) == (number("w1"), True)
    player.play("close → closed: server disconnect; w1.close; discard")
    assert (player.session.direct, player.session.writable) == (None, False)


def test_whether_a_poll_waits() -> None:
    player = Player()
    player.play(POLLING)
    assert player.session is not None
    assert not player.session.polled
    player.play("g2 →")
    assert player.session.polled
    player.play("send a → g2=4a")
    assert not player.session.polled


@given(st.text().map("4".__add__) | st.binary())
def test_a_message_taken_past_the_session_would_be_delivered(frame: str | bytes) -> None:
    settings = replace(SETTINGS, max_payload=10_000)
    session, _ = Session.open_websocket("sid", settings, 1, 0)
    assert session.direct == 1
    message = frame if isinstance(frame, bytes) else frame[1:]
    assert session.frame(1, frame, 0) == [do.Deliver(message)]


def test_upgrades_can_be_switched_off() -> None:
    Player(replace(SETTINGS, upgrades=False)).play(POLLING + "w1 → w1.close")


def test_a_packet_is_encoded_once_for_all() -> None:
    packet = Packet(PacketType.MESSAGE, b"\x01")
    record = packet.record
    session, _ = Session.open_websocket("sid", SETTINGS, 1, 0)
    assert session.send(packet) == [do.WriteFrames(1, (packet,))]
    assert packet.record is record


def test_a_lone_surrogate_is_refused_before_anything_changes() -> None:
    session, _ = Session.open_websocket("sid", SETTINGS, 1, 0)
    with pytest.raises(UnicodeEncodeError):
        session.send("\ud800")
    assert session.send("a") == [do.WriteFrames(1, (Packet(PacketType.MESSAGE, "a"),))]


def test_deadlines_to_the_millisecond() -> None:
    player = Player()
    player.play(POLLING)
    session = player.session
    assert session is not None
    transports = [session.transport]
    assert session.deadline == 300
    player.play("@50 w1 →")
    assert session.deadline == 200
    player.play("@60 w1 < 2probe → w1>3probe\n g2 → g2=6\n g2 sent →\n g3 →")
    assert session.deadline == 160
    player.play("@70 w1 < 5 → g3=6; upgraded")
    assert session.deadline == 300
    transports.append(session.transport)
    assert transports == [Transport.POLLING, Transport.WEBSOCKET]
    player.play("@300 tick → w1>2")
    assert session.deadline == 500
    player.play("@333 w1 < 3 →")
    assert session.deadline == 633
    player.play("w1 slow →\n send abc →")
    assert session.unsent == 4
    player.play("@400 close → closed: server disconnect")
    assert session.deadline == 800
    player.play("@800 tick → w1.abort; discard")
    assert session.deadline is None
    assert session.phase is Phase.GONE


BODIES = ["4a", "3", "1", "4a+bAA==+3", "4a+4b+4c+4d+1+4e", "4a+4b+x", "x"]
steps = st.one_of(
    st.sampled_from(["close", "tick", "send a", "send 0x00ff", "drop 0123456789"]),
    st.sampled_from(["deaf", "hears", "abort", "refuse empty", "w1 ! unmasked", "w2 ! empty"]),
    st.builds(
        "{}{} {}".format,
        st.sampled_from("gp"),
        st.integers(1, 3),
        st.sampled_from(["", "sent", "aborted", "begin", "more", *BODIES]),
    ).map(str.strip),
    st.builds(
        "{} {}".format,
        st.sampled_from(["w1", "w2"]),
        st.sampled_from(
            [
                "",
                "< 2probe",
                "< 5",
                "< 4a",
                "< 0x01",
                "< 1",
                "< x",
                "lost",
                "broken",
                "slow",
                "fast",
            ]
        ),
    ).map(str.strip),
)
ADVANCE = st.integers(0, 120)


@given(st.sampled_from(["open g1", "open w1"]), st.lists(st.tuples(ADVANCE, steps), max_size=40))
def test_whatever_happens(opening: str, script: list[tuple[int, str]]) -> None:
    player = Player()
    actions = player.step(opening)
    for advance, step in script:
        player.now += advance
        actions += player.step(step)
        actions += player.step("tick")
        assert player.session is not None
        deadline = player.session.deadline
        assert (deadline is None) is (player.session.phase is Phase.GONE)
        assert deadline is None or deadline > player.now
    ends = [at for at, action in enumerate(actions) if isinstance(action, do.Discard)]
    assert len(ends) <= 1
    assert sum(isinstance(action, do.Closed) for action in actions) <= 1
    after = actions[ends[0] + 1 :] if ends else []
    # Nothing but answers to late requests, and to the one that ended it.
    assert all(isinstance(one, do.Respond | do.Refuse | do.CloseWebSocket) for one in after)


@given(st.data())
def test_polls_that_break_lose_and_double_nothing(data: st.DataObject) -> None:
    settings = replace(SETTINGS, packets_per_response=2)
    session, _ = Session.open_polling("sid", settings, 0, 0)
    session.poll_sent(0)
    received: list[str] = []
    sent: list[str] = []
    poll = 0
    for _ in range(data.draw(st.integers(0, 20), "rounds")):
        poll += 1
        actions = session.poll(poll, 0)
        for _ in range(data.draw(st.integers(0, 3), "messages")):
            sent.append(str(len(sent)))
            actions += session.send(sent[-1])
        answers = [one.body.decode() for one in actions if isinstance(one, do.Respond)]
        assert len(answers) <= 1
        if data.draw(st.booleans(), "breaks"):
            session.poll_aborted(poll)
        elif answers:
            received += [record[1:] for record in answers[0].split("\x1e")]
            session.poll_sent(poll)
        else:
            session.poll_aborted(poll)
    while session.unsent:
        poll += 1
        (answer,) = session.poll(poll, 0)[:1]
        assert isinstance(answer, do.Respond)
        received += [record[1:] for record in answer.body.decode().split("\x1e")]
        session.poll_sent(poll)
    assert received == sent
