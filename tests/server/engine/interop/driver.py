"""The Node process that plays scenarios with the official JavaScript client."""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.server.engine.interop.application import Application

HERE = Path(__file__).parent
PATIENCE_S = 20.0
"""Longer than the process's own: it says what it waits for."""


def scenarios(*files: str) -> list[str]:
    """Return the names of the scenarios in some files of ``scenarios/``."""
    return [
        name
        for file in files
        for name in re.findall(
            r'^  async "(.+)"\(play\)',
            (HERE / "scenarios" / f"{file}.mjs").read_text(),
            re.MULTILINE,
        )
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
