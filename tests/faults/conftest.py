"""What the fault tests found is printed at the end; the long ones run only when asked for."""

import pytest

from tests.faults.stage import REPORTED


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
