from pathlib import Path

import pytest

from stretto_server.journal.redis_session import SCRIPTS
from stretto_server.redis_client.scripts import load_script, load_text

FOLDER = Path(__file__).parents[3] / "server" / "stretto_server" / "journal"


def test_every_script_of_the_journal_is_known() -> None:
    on_disk = {path.stem.removeprefix("redis_") for path in FOLDER.glob("*.lua")}
    assert on_disk == set(SCRIPTS)
    assert {name for name, script in SCRIPTS.items() if not script.writes} == {"load", "read"}
    assert len({script.sha for script in SCRIPTS.values()}) == len(SCRIPTS)


def test_a_script_without_a_shebang_is_refused() -> None:
    with pytest.raises(ValueError, match="#!lua"):
        load_script("stretto_server.journal", "postgres_001.sql")


def test_functions_come_before_a_script() -> None:
    plain = load_script("stretto_server.presence", "snapshot.lua")
    whole = load_script("stretto_server.presence", "snapshot.lua", functions="local a = 1\n")
    shebang, body = plain.text.split("\n", 1)
    assert whole.text == f"{shebang}\nlocal a = 1\n{body}"
    assert whole.sha != plain.sha
    assert load_text("stretto_server.presence", "snapshot.lua") == plain.text
