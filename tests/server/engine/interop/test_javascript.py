"""The official JavaScript client, socket.io-client 4.8, against our server.

The scenarios are in ``scenarios/``; ``driver.mjs`` plays them, one after the other.
"""

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.engine.interop.application import Application, options_of, serving

HERE = Path(__file__).parent
PATIENCE_S = 20.0
"""Longer than the driver's own: it says what it waits for."""
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
SCENARIOS = [
    name
    for path in sorted((HERE / "scenarios").glob("*.mjs"))
    for name in re.findall(r'^  async "(.+)"\(play\)', path.read_text(), re.MULTILINE)
]


class Driver:
    """The Node process that plays the scenarios."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", "driver.mjs"],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    async def play(self, scenario: str, application: Application, mode: str) -> None:
        """Fail the test with what the scenario says when it fails."""
        self._write({"play": scenario, "url": application.url, "mode": mode})
        async with asyncio.timeout(PATIENCE_S):
            while "ask" in (said := await asyncio.to_thread(self._read)):
                answer = await getattr(application, f"ask_{said['ask']}")(*said["args"])
                self._write({"answer": answer})
        if said != {"played": scenario}:
            pytest.fail(f"{scenario}, by {mode}: {said.get('error', 'Node ended')}", pytrace=False)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _write(self, value: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        said: dict[str, Any] = json.loads(self._process.stdout.readline() or '{"played": null}')
        return said


class Drivers:
    """One driver at a time, and another one behind one that failed."""

    def __init__(self) -> None:
        self._driver: Driver | None = None

    async def play(self, scenario: str, application: Application, mode: str) -> None:
        self._driver = self._driver or Driver()
        try:
            await self._driver.play(scenario, application, mode)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if self._driver is not None:
            self._driver.stop()
        self._driver = None


@pytest.fixture(scope="module")
def drivers() -> Iterator[Drivers]:
    drivers = Drivers()
    yield drivers
    drivers.stop()


@pytest.mark.parametrize(
    ("scenario", "mode"),
    [(name, mode) for name in SCENARIOS for mode in ONLY_MODES.get(name, MODES)],
)
async def test_the_javascript_client(drivers: Drivers, scenario: str, mode: str) -> None:
    async with serving(**options_of(mode), **OPTIONS.get(scenario, {})) as application:
        await drivers.play(scenario, application, mode)
        assert await application.ask_connections(0) == 0  # all have left
