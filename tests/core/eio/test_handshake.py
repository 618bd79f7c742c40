import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto_core.eio.handshake import ErrorCode, Refusal, Request, Step, Transport, decide

POLLING, WEBSOCKET = Transport.POLLING, Transport.WEBSOCKET
UPGRADE = True


def query(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split("&") if part)


@pytest.mark.parametrize(
    ("method", "text", "upgrade", "session", "step"),
    [
        ("GET", "EIO=4&transport=polling", False, None, Step.OPEN_POLLING),
        ("GET", "EIO=4&transport=polling&t=abc&sid=", False, None, Step.OPEN_POLLING),
        ("GET", "EIO=4&transport=websocket", UPGRADE, None, Step.OPEN_WEBSOCKET),
        ("GET", "EIO=4&transport=polling&sid=s", False, POLLING, Step.POLL),
        ("POST", "EIO=4&transport=polling&sid=s", False, POLLING, Step.POST),
        ("GET", "EIO=4&transport=websocket&sid=s", UPGRADE, POLLING, Step.ATTACH_WEBSOCKET),
        # Accepted, then closed by the session.
        ("GET", "EIO=4&transport=websocket&sid=s", UPGRADE, WEBSOCKET, Step.ATTACH_WEBSOCKET),
    ],
)
def test_steps(
    method: str, text: str, upgrade: bool, session: Transport | None, step: Step
) -> None:
    assert decide(Request(method, query(text), upgrade), session) is step


@pytest.mark.parametrize(
    ("method", "text", "upgrade", "session", "code"),
    [
        ("GET", "", False, None, 0),
        ("GET", "EIO=4", False, None, 0),
        ("GET", "EIO=4&transport=", False, None, 0),
        ("GET", "EIO=4&transport=abc", False, None, 0),
        ("GET", "EIO=4&transport=POLLING", False, None, 0),
        ("GET", "EIO=4&transport=webtransport", False, None, 0),
        ("GET", "EIO=4&transport=__proto__", False, None, 0),
        ("GET", "EIO=4&transport=constructor", UPGRADE, None, 0),
        ("GET", "EIO=4&sid=s", False, POLLING, 0),
        ("GET", "EIO=4&transport=polling&sid=gone", False, None, 1),
        ("POST", "EIO=4&transport=polling&sid=gone", False, None, 1),
        ("GET", "EIO=4&transport=websocket&sid=gone", UPGRADE, None, 1),
        ("POST", "EIO=4&transport=polling", False, None, 2),
        ("PUT", "EIO=4&transport=polling", False, None, 2),
        ("get", "EIO=4&transport=polling", False, None, 2),
        ("POST", "EIO=4&transport=websocket", UPGRADE, None, 2),
        ("GET", "EIO=4&transport=websocket", False, None, 3),
        ("GET", "EIO=4&transport=polling", UPGRADE, None, 3),
        ("PUT", "EIO=4&transport=polling&sid=s", False, POLLING, 3),
        ("DELETE", "EIO=4&transport=polling&sid=s", False, POLLING, 3),
        ("GET", "EIO=4&transport=polling&sid=s", False, WEBSOCKET, 3),
        ("POST", "EIO=4&transport=polling&sid=s", False, WEBSOCKET, 3),
        ("GET", "EIO=4&transport=websocket&sid=s", False, POLLING, 3),
        ("GET", "EIO=4&transport=websocket&sid=s", False, WEBSOCKET, 3),
        ("GET", "EIO=4&transport=polling&sid=s", UPGRADE, POLLING, 3),
        ("POST", "EIO=4&transport=websocket&sid=s", UPGRADE, POLLING, 3),
        ("GET", "transport=polling", False, None, 5),
        ("GET", "EIO=&transport=polling", False, None, 5),
        ("GET", "EIO=3&transport=polling", False, None, 5),
        ("GET", "EIO=5&transport=polling", False, None, 5),
        ("GET", "EIO=abc&transport=polling", False, None, 5),
        ("GET", "EIO=٤&transport=polling", False, None, 5),
        ("GET", "EIO=3&transport=websocket", UPGRADE, None, 5),
        ("GET", "transport=websocket", UPGRADE, None, 5),
    ],
)
def test_refusals(
    method: str, text: str, upgrade: bool, session: Transport | None, code: int
) -> None:
    refusal = decide(Request(method, query(text), upgrade), session)
    assert refusal == Refusal(ErrorCode(code))


def test_a_handshake_can_be_forbidden_and_a_session_cannot() -> None:
    opening = Request("GET", query("EIO=4&transport=polling"))
    assert decide(opening, None, allowed=False) == Refusal(ErrorCode.FORBIDDEN)
    polling = Request("GET", query("EIO=4&transport=polling&sid=s"))
    assert decide(polling, POLLING, allowed=False) is Step.POLL


def test_a_transport_that_is_not_served_is_unknown() -> None:
    only = frozenset({WEBSOCKET})
    polling = Request("GET", query("EIO=4&transport=polling"))
    refusal = decide(polling, None, transports=only)
    assert isinstance(refusal, Refusal)
    assert refusal.code is ErrorCode.UNKNOWN_TRANSPORT
    assert b"Transport unknown: only websocket is served here" in refusal.body
    websocket = Request("GET", query("EIO=4&transport=websocket"), UPGRADE)
    assert decide(websocket, None, transports=only) is Step.OPEN_WEBSOCKET


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        (0, 400, "Transport unknown"),
        (1, 400, "Session ID unknown"),
        (2, 400, "Bad handshake method"),
        (3, 400, "Bad request"),
        (4, 403, "Forbidden"),
        (5, 400, "Unsupported protocol version"),
    ],
)
def test_error_objects(code: int, status: int, message: str) -> None:
    refusal = Refusal(ErrorCode(code))
    assert refusal.status == status
    assert json.loads(refusal.body) == {"code": code, "message": message}


@given(
    st.text(),
    st.dictionaries(st.sampled_from(["EIO", "transport", "sid", "t"]), st.text()),
    st.booleans(),
    st.sampled_from([None, POLLING, WEBSOCKET]),
)
def test_every_request_gets_a_decision(
    method: str, given_query: dict[str, str], upgrade: bool, session: Transport | None
) -> None:
    decision = decide(Request(method, given_query, upgrade), session)
    assert isinstance(decision, Step | Refusal)
