"""Every bus has the methods of the interface, with the same arguments."""

import inspect

import pytest

from stretto_server.bus.interface import Bus
from stretto_server.bus.local import LocalBus
from stretto_server.bus.stock import StockBus


@pytest.mark.parametrize("implementation", [LocalBus, StockBus])
@pytest.mark.parametrize("name", ["broadcast", "send", "join", "leave", "publish", "follow"])
def test_the_signatures_agree(implementation: type, name: str) -> None:
    promised = inspect.signature(getattr(Bus, name))
    given = inspect.signature(getattr(implementation, name))
    assert list(given.parameters.values()) == list(promised.parameters.values())
    assert inspect.iscoroutinefunction(getattr(implementation, name))


def test_a_local_bus_is_a_bus() -> None:
    bus: Bus = LocalBus()
    assert bus is not None
