from pathlib import Path

import pytest

from stretto_server.journal.postgres_schema import SERVES, Schema, migration

FOLDER = Path(__file__).parents[3] / "server" / "stretto_server" / "journal"


def test_every_migration_has_its_file_and_says_whom_it_serves() -> None:
    files = sorted(path.name for path in FOLDER.glob("postgres_*.sql"))
    assert files == [f"postgres_{version:03}.sql" for version in range(1, len(SERVES) + 1)]
    assert all(serves <= version for version, serves in enumerate(SERVES, 1))
    assert "CREATE TABLE stretto_documents" in migration(1)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (Schema(0, 0), "run `stretto migrate`"),
        (Schema(len(SERVES), SERVES[-1]), None),
        (Schema(len(SERVES) + 3, len(SERVES)), None),
        (Schema(len(SERVES) + 3, len(SERVES) + 1), "install the newer version"),
    ],
)
def test_which_schemas_serve_us(schema: Schema, said: str | None) -> None:
    problem = schema.problem()
    assert problem is None if said is None else problem is not None and said in problem
