"""Servers that end with their test, having logged nothing that it did not expect."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.server.engine.conformance.host import Host

Serve = Callable[..., Awaitable[Host]]


@pytest.fixture
def expected_errors() -> list[str]:
    """The texts of exceptions that handlers of the test raise; all others fail it."""
    return []


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture, expected_errors: list[str]) -> Iterator[None]:
    yield
    loud = [record for record in caplog.get_records("call") if is_loud(record, expected_errors)]
    assert [record.getMessage() for record in loud] == []


def is_loud(record: logging.LogRecord, expected: list[str]) -> bool:
    """Tell whether something went wrong that the test did not do on purpose."""
    if record.exc_info is not None and str(record.exc_info[1]) in expected:
        return False
    return record.levelno >= logging.ERROR or record.exc_info is not None


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve engines: ``await serve(EngineServer(...))``."""
    hosts: list[Host] = []

    async def start(server: Any, path: str | None = None) -> Host:
        host = await Host.start(server, path)
        hosts.append(host)
        return host

    yield start
    for host in hosts:
        await host.stop()
