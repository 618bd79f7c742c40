"""What the fault tests found is printed at the end; the long ones run only when asked for."""

import gc
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.stage import REPORTED

FILES: Final = 16_384
"""A herd of clients, and a proxy with two ends of each connection, live in one process."""

CUT_OFF: Final = "ignore:Unclosed connection:ResourceWarning"
"""Connections are cut at every moment here, and aiohttp does not release each of them by itself."""


@pytest.fixture(autouse=True, scope="session")
def enough_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Let each test collect its own garbage: see :data:`CUT_OFF`."""
    yield
    gc.collect()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked ``soak``, unless the marker was asked for."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(CUT_OFF))
    if "soak" in str(config.getoption("markexpr")):
        return
    long = [item for item in items if item.get_closest_marker("soak") is not None]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REPORTED:
        terminalreporter.section("invariants under faults")
        for line in REPORTED:
            terminalreporter.write_line(line)
