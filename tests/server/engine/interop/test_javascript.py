"""The official JavaScript client, socket.io-client 4.8, against our server.

The scenarios are in ``scenarios/``; ``driver.mjs`` plays them, one after the other.
"""

from typing import Any

import pytest

from tests.server.engine.interop.application import options_of, serving
from tests.server.engine.interop.driver import Drivers, scenarios

MODES = ("websocket", "deflate", "polling", "upgrade", "msgpack", "msgpack-polling")
ONLY_MODES = {
    "comes back after its connection was cut": ("websocket", "deflate", "upgrade", "msgpack"),
    "is in rooms with clients of all transports": ("websocket", "deflate", "msgpack"),
    "keeps order and loses nothing while it upgrades": ("upgrade", "msgpack-upgrade"),
    "receives a flood while it upgrades": ("upgrade", "msgpack-upgrade"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "stays connected by heartbeats": {"ping_interval": 0.25, "ping_timeout": 3.0},
    "has its events handled in order, where the server is told so": {
        "async_handlers": False,
        "ping_interval": 0.2,
        "ping_timeout": 0.4,
    },
    "is not held up by a connect handler of another namespace": {
        "ping_interval": 0.25,
        "ping_timeout": 0.5,
    },
}
SCENARIOS = scenarios("connecting", "events", "leaving", "rooms", "upgrading")


@pytest.mark.parametrize(
    ("scenario", "mode"),
    [(name, mode) for name in SCENARIOS for mode in ONLY_MODES.get(name, MODES)],
)
async def test_the_javascript_client(drivers: Drivers, scenario: str, mode: str) -> None:
    async with serving(**options_of(mode), **OPTIONS.get(scenario, {})) as application:
        await drivers.play(scenario, application, mode)
        assert await application.ask_connections(0) == 0  # all have left
