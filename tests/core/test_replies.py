"""Every event and answer of the contract is described, and strangers are refused."""

import pytest

from stretto_core.protocol import REQUESTS, Limits, ServerEvent
from stretto_core.replies import ANSWERS, EVENTS, REFUSAL


def test_every_request_has_an_answer() -> None:
    for namespace, requests in REQUESTS.items():
        assert set(ANSWERS[namespace]) == set(requests)


def test_every_event_is_described_somewhere() -> None:
    assert {event for events in EVENTS.values() for event in events} == set(ServerEvent)


def test_an_undescribed_key_is_noticed() -> None:
    assert ANSWERS["/docs"]["submit"].validate({"version": 1}) == {}
    assert "colour" in ANSWERS["/docs"]["submit"].validate({"version": 1, "colour": "red"})


@pytest.mark.parametrize("code", ["invalid_request", "busy"])
def test_errors_have_one_of_the_closed_set_of_codes(code: str) -> None:
    error = {"code": code, "message": "text", "retryable": False}
    assert REFUSAL.validate({"ok": False, "error": error}) == {}
    assert REFUSAL.validate({"ok": True, "error": error}) != {}
    assert REFUSAL.validate({"ok": False, "error": error | {"code": "other"}}) != {}


def test_ready_lists_the_limits() -> None:
    ready = {
        "session_id": "s",
        "user": {"id": "ann", "name": "Ann", "color": "#112233"},
        "protocol": 1,
        "node": "n",
        "server_time_ms": 1,
        "token_ttl_s": 1,
        "limits": Limits().to_payload(),
    }
    assert EVENTS["/"][ServerEvent.READY].validate(ready) == {}
    del ready["limits"]["op_components"]  # type: ignore[attr-defined]
    assert EVENTS["/"][ServerEvent.READY].validate(ready) != {}
