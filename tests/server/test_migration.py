"""``stretto migrate`` as its users meet it."""

from collections.abc import Iterator

import pytest

from stretto_server.cli import main
from tests.services.postgres_server import PostgresServer, running_postgres

Output = pytest.CaptureFixture[str]


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with running_postgres(fsync="off") as server:
        yield server


def test_it_migrates_once(
    server: PostgresServer, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", server.url.replace("postgresql:", "postgres:"))
    assert main(["docs", "list"]) == 1
    assert "run `stretto migrate`" in capsys.readouterr().err
    assert main(["migrate"]) == 0
    assert capsys.readouterr().out == "migrated to schema 1\n"
    assert main(["migrate", "--journal", server.url]) == 0
    assert capsys.readouterr().out == "nothing to do: the schema is up to date\n"
    assert main(["docs", "list"]) == 0


def test_other_journals_need_none(capsys: Output) -> None:
    assert main(["migrate", "--journal", "memory://"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_a_server_that_is_not_there_is_told(capsys: Output) -> None:
    assert main(["migrate", "--journal", "postgresql://u:hunter2@127.0.0.1:1/x"]) == 1
    said = capsys.readouterr().err
    assert "cannot migrate postgresql://127.0.0.1:1/x" in said
    assert "hunter2" not in said
