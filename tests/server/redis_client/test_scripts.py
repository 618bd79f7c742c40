from pathlib import Path

import pytest

from stretto_server.journal.redis_session import SCRIPTS
from stretto_server.redis_client.scripts import load_script

FOLDER = Path(__file__).parents[3] / "server" / "stretto_server" / "journal"


def test_every_script_of_the_journal_is_known() -> None:
    on_disk = {path.stem.removeprefix("redis_") for path in FOLDER.glob("*.lua")}
    assert on_disk == set(SCRIPTS)
    assert {name for name, script in SCRIPTS.items() if not script.writes} == {"load", "read"}
    assert len({script.sha for script in SCRIPTS.values()}) == len(SCRIPTS)


def test_a_script_without_a_shebang_is_refused() -> None:
    with pytest.raises(ValueError, match="#!lua"):
        load_script("stretto_server.journal", "postgres_001.sql")
