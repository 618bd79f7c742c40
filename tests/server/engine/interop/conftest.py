"""One Node process for all scenarios."""

from collections.abc import Iterator

import pytest

from tests.server.engine.interop.driver import Drivers


@pytest.fixture(scope="session")
def drivers() -> Iterator[Drivers]:
    drivers = Drivers()
    yield drivers
    drivers.stop()
