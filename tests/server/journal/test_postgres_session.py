"""Which errors mean that nothing was written; a real server is in the other tests."""

import asyncpg
import pytest

from stretto_core.errors import Unavailable
from stretto_server.journal.interface import OutcomeUnknown
from stretto_server.journal.postgres_session import PostgresSession, place_of

URL = "postgresql://ann:hunter2@a:1,b:2/notes?sslmode=require"


def test_places_have_no_secrets() -> None:
    assert place_of(URL) == "postgresql://a:1,b:2/notes"
    assert place_of("postgres://host/notes") == "postgresql://host/notes"


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (asyncpg.InterfaceError("closed in the middle"), True),
        (asyncpg.InternalClientError("odd state"), True),
        (asyncpg.ConnectionDoesNotExistError("closed in the middle"), True),
        (asyncpg.AdminShutdownError("terminating"), True),
        (asyncpg.CrashShutdownError("terminating"), True),
        (asyncpg.QueryCanceledError("statement timeout"), False),
        (asyncpg.LockNotAvailableError("lock timeout"), False),
        (asyncpg.DiskFullError("no space"), False),
        (asyncpg.ReadOnlySQLTransactionError("read-only"), False),
        (asyncpg.UndefinedFunctionError("stretto_append"), False),
        (asyncpg.DeadlockDetectedError("deadlock"), False),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_a_failed_write_raises(error: Exception, unknown: bool) -> None:
    session = PostgresSession(URL, read_only=False, timeout_s=1)
    failure = session._failure(error, writes=True)
    assert isinstance(failure, OutcomeUnknown if unknown else Unavailable)
    assert isinstance(session._failure(error, writes=False), Unavailable)
    assert "hunter2" not in str(failure)


async def test_before_it_is_started_nothing_is_reached() -> None:
    session = PostgresSession(URL, read_only=False, timeout_s=1)
    with pytest.raises(Unavailable, match="not open"):
        await session.read("SELECT 1")
    await session.close()
