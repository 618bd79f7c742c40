"""What the fault tests found is printed at the end; the long ones run only when asked for."""

import resource
from typing import Final

import pytest

from tests.faults.stage import REPORTED

FILES: Final = 16_384
"""A herd of clients, and a proxy with two ends of each connection, live in one process."""


@pytest.fixture(autouse=True, scope="session")
def enough_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked ``soak``, unless the marker was asked for."""
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
