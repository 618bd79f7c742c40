"""The PostgreSQL journal's schema: which migrations there are, and running them.

A migration is a file ``postgres_NNN.sql``; once released it never changes. Each says
which older versions of the code can still work with what it leaves, so that a cluster can
be migrated first and its nodes be renewed one after the other.
"""

from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

SERVES: Final[tuple[int, ...]] = (1,)
"""For each migration, first to last: the oldest schema version whose code it still serves."""

LOCK: Final = 0x53545254
"""The advisory lock that one migrating process holds (the bytes ``STRT``)."""

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS stretto_migrations (
    version int PRIMARY KEY,
    serves int NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database has: its version, and the oldest code that it serves."""

    version: int
    serves: int

    def problem(self) -> str | None:
        """Return what keeps this version of Stretto from using it; None when nothing does."""
        if self.version < len(SERVES):
            return f"it has schema {self.version} of {len(SERVES)}: run `stretto migrate`"
        if self.serves > len(SERVES):
            return (
                f"it has schema {self.version}, this version of Stretto knows up to "
                f"{len(SERVES)}: install the newer version that migrated it"
            )
        return None


async def find_schema(connection: Any) -> Schema:
    """Return what the database has; version 0 when nothing."""
    if await connection.fetchval("SELECT to_regclass('stretto_migrations')") is None:
        return Schema(0, 0)
    row = await connection.fetchrow(
        "SELECT version, serves FROM stretto_migrations ORDER BY version DESC LIMIT 1"
    )
    return Schema(0, 0) if row is None else Schema(*row)


async def migrate(connection: Any) -> list[int]:
    """Run the migrations that the database lacks, all or none; return their versions."""
    done = []
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        await connection.execute(_TABLE)
        found = await find_schema(connection)
        for version in range(found.version + 1, len(SERVES) + 1):
            await connection.execute(migration(version))
            await connection.execute(
                "INSERT INTO stretto_migrations (version, serves) VALUES ($1, $2)",
                version,
                SERVES[version - 1],
            )
            done.append(version)
    return done


def migration(version: int) -> str:
    """Return the SQL that leads to schema ``version`` from the one before."""
    folder = resources.files("stretto_server.journal")
    return folder.joinpath(f"postgres_{version:03}.sql").read_text(encoding="utf-8")
