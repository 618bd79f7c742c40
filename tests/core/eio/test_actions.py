import json
from dataclasses import fields

import pytest

from stretto_core.eio.actions import CloseReason, SessionSettings, open_packet
from stretto_core.eio.packets import PacketType


def test_times_are_announced_to_the_millisecond() -> None:
    settings = SessionSettings(ping_interval=300, ping_timeout=200, max_payload=1_000_000)
    packet = open_packet("abc", settings, upgradable=True)
    assert packet.type is PacketType.OPEN
    assert isinstance(packet.data, str)
    assert json.loads(packet.data) == {
        "sid": "abc",
        "upgrades": ["websocket"],
        "pingInterval": 300,
        "pingTimeout": 200,
        "maxPayload": 1_000_000,
    }


def test_a_websocket_has_nothing_to_upgrade_to() -> None:
    packet = open_packet("abc", SessionSettings(), upgradable=False)
    assert isinstance(packet.data, str)
    assert json.loads(packet.data)["upgrades"] == []


NUMBERS = [field.name for field in fields(SessionSettings) if field.name != "upgrades"]


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SessionSettings(**{name: 0})  # type: ignore[arg-type]


def test_reasons_are_those_that_handlers_know() -> None:
    assert {str(reason) for reason in CloseReason} == {
        "client disconnect",
        "server disconnect",
        "ping timeout",
        "transport close",
        "transport error",
        "parse error",
    }
