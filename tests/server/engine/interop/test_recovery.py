"""Connection state recovery, as the official JavaScript client asks for it."""

from typing import Any

import pytest

from stretto_server.engine import Recovery
from tests.server.engine.interop.application import options_of, serving
from tests.server.engine.interop.driver import Drivers, scenarios

LIMITS: dict[str, dict[str, Any]] = {
    "is somebody new when it comes back too late": {"max_disconnection_s": 0.3},
    "is somebody new when it missed too much": {"max_bytes": 10_000},
}

MODES = ("websocket", "deflate", "polling", "upgrade", "msgpack")
ONLY_MODES = {
    # Of a poll that nobody listens to the server does not know that its client is gone.
    "is somebody new when it comes back too late": ("websocket", "msgpack"),
    "is somebody new where nothing is kept": ("websocket", "upgrade", "msgpack"),
}


@pytest.mark.parametrize(
    ("scenario", "mode"),
    [(name, mode) for name in scenarios("recovering") for mode in ONLY_MODES.get(name, MODES)],
)
async def test_recovery(drivers: Drivers, scenario: str, mode: str) -> None:
    recovery = {"/": Recovery(**LIMITS.get(scenario, {}))}
    async with serving(recovery=recovery, **options_of(mode)) as application:
        await drivers.play(scenario, application, mode)
        assert await application.ask_connections(0) == 0  # all have left


async def test_it_is_off_unless_asked_for(drivers: Drivers) -> None:
    async with serving() as application:
        await drivers.play("is somebody new where nothing is kept", application, "websocket")
