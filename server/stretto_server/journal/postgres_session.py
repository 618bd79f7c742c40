"""The PostgreSQL journal's way to the database: statements, and errors in its own terms."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from stretto_core.errors import Unavailable
from stretto_server.journal.interface import OutcomeUnknown
from stretto_server.journal.postgres_pool import PostgresPool, Unreachable
from stretto_server.journal.postgres_schema import find_schema, migrate

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 1.5
PATIENCE_S: Final = 0.25
"""Together below 2 s: so long a call takes at most while the server hangs."""
SOONER_S: Final = 0.2
"""The server gives up this much before we do: then we know that nothing was written."""
POOL_SIZE: Final = 10
LONG_S: Final = 60.0
"""For what looks through a whole table, and for migrations."""

_FAILURES: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # Raised when the server ended a connection just before it was used.
    asyncpg.InternalClientError,
)
_UNKNOWN: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InternalServerError,
)
"""Errors that may come after a commit as well as before."""
_REMEDIES: Final[dict[type[Exception], str]] = {
    asyncpg.UndefinedTableError: "its schema is missing: run `stretto migrate`",
    asyncpg.UndefinedFunctionError: "its schema is missing: run `stretto migrate`",
    asyncpg.InsufficientPrivilegeError: "its user lacks a right: let it own the tables",
    asyncpg.DiskFullError: "its disk is full: free some space",
    asyncpg.ReadOnlySQLTransactionError: "it is a replica (now): give the address of the primary",
    asyncpg.LockNotAvailableError: "another session keeps a document locked",
    asyncpg.QueryCanceledError: "it took too long",
    asyncpg.TooManyConnectionsError: "it has no connection left: raise max_connections",
}


def place_of(url: str) -> str:
    """Return a database URL without secrets, for messages."""
    parts = urlsplit(url)
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


class PostgresSession:
    """Runs statements. Its methods raise Unavailable, or OutcomeUnknown."""

    def __init__(self, url: str, *, read_only: bool, timeout_s: float) -> None:
        self.place = place_of(url)
        self._url = url
        self._read_only = read_only
        self._timeout_s = timeout_s
        self._pool = PostgresPool(
            self._connect, size=POOL_SIZE, timeout_s=timeout_s, patience_s=PATIENCE_S
        )

    async def start(self) -> None:
        """Connect, and look whether the schema is one that we know. Raises Unavailable."""
        try:
            await self._pool.start()
        except (Unreachable, ValueError) as error:
            raise Unavailable(f"cannot reach the journal {self.place}: {error}") from error
        async with self._lent(writes=False) as connection:
            schema = await find_schema(connection)
        if problem := schema.problem():
            raise Unavailable(f"the journal {self.place}: {problem}")

    async def close(self) -> None:
        """Give all connections up; twice is fine."""
        await self._pool.close()

    async def write(self, statement: str, *arguments: Any) -> Any:
        """Run a statement that writes; return its one row."""
        if self._read_only:
            raise Unavailable(f"the journal {self.place} was opened for reading alone")
        async with self._lent(writes=True) as connection:
            return await connection.fetchrow(statement, *arguments, timeout=self._timeout_s)

    async def read(self, statement: str, *arguments: Any) -> list[Any]:
        """Run a statement that only reads; return its rows."""
        async with self._lent(writes=False) as connection:
            rows: list[Any]
            rows = await connection.fetch(statement, *arguments, timeout=self._timeout_s)
            return rows

    async def sweep(self, statement: str, *arguments: Any) -> int:
        """Run a statement that may take long; return how many rows it changed."""
        if self._read_only:
            raise Unavailable(f"the journal {self.place} was opened for reading alone")
        async with self._lent(writes=True) as connection, connection.transaction():
            await connection.execute(f"SET LOCAL statement_timeout = {int(LONG_S * 1000)}")
            status: str = await connection.execute(statement, *arguments, timeout=LONG_S)
        return int(status.rpartition(" ")[2])

    @contextmanager
    def intact(self, doc: str) -> Iterator[None]:
        """Turn what comes of data that no Stretto wrote into Unavailable."""
        try:
            yield
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            logger.error("the journal %s: document %s is damaged: %s", self.place, doc, error)
            raise Unavailable(
                f"the journal {self.place}: what it keeps of document {doc} is damaged "
                f"({error}): restore a backup"
            ) from error

    async def _connect(self) -> Any:
        milliseconds = int(max(self._timeout_s - SOONER_S, self._timeout_s / 2) * 1000)
        return await connect(
            self._url,
            statement_timeout=str(milliseconds),
            lock_timeout=str(milliseconds),
            **{"default_transaction_read_only": "on"} if self._read_only else {},
        )

    @asynccontextmanager
    async def _lent(self, *, writes: bool) -> AsyncIterator[Any]:
        """Lend a connection; translate what goes wrong on it."""
        try:
            async with self._pool.connection() as connection:
                try:
                    yield connection
                except BaseException as error:
                    if not _was_answered(error):
                        # Who was cancelled, too: asyncpg would wait for the server to confirm.
                        connection.terminate()
                    raise
        except Unreachable as error:
            raise Unavailable(f"cannot reach the journal {self.place}: {error}") from error
        except _FAILURES as error:
            raise self._failure(error, writes) from error

    def _failure(self, error: Exception, writes: bool) -> Exception:
        """Return what to tell a caller about ``error``."""
        if not _was_answered(error) or isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            self._pool.fail(str(error) or f"no answer within {self._timeout_s:g} s")
        if not _was_answered(error) and writes:
            return OutcomeUnknown(f"the journal {self.place} did not answer: {error!r}")
        remedy = _REMEDIES.get(type(error), "it refuses")
        return Unavailable(f"the journal {self.place}: {remedy} ({error or 'no answer'})")


def _was_answered(error: BaseException) -> bool:
    """Tell whether the server said that it did not do what it was told to."""
    return isinstance(error, asyncpg.PostgresError) and not isinstance(error, _UNKNOWN)


async def connect(url: str, **settings: str) -> Any:
    """Open a connection. Raises what asyncpg does, ValueError for a URL that is none."""
    hosts = urlsplit(url).netloc.rpartition("@")[2]
    # Of several hosts, the one that takes writes.
    chosen = {"target_session_attrs": "read-write"} if "," in hosts else {}
    if "target_session_attrs" in urlsplit(url).query or settings.get(
        "default_transaction_read_only"
    ):
        chosen = {}
    return await asyncpg.connect(
        url, server_settings={"application_name": "stretto", **settings}, **chosen
    )


async def migrate_database(url: str) -> list[int]:
    """Bring the schema of the database at ``url`` up to date; return the migrations run.

    Raises Unavailable with what to do.
    """
    try:
        connection = await connect(url)
        try:
            return await migrate(connection)
        finally:
            await connection.close()
    except (*_FAILURES, ValueError) as error:
        raise Unavailable(f"cannot migrate {place_of(url)}: {error}") from error
