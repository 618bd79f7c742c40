import inspect
from pathlib import Path

import pytest

from stretto_server.journal.interface import Journal
from stretto_server.journal.memory import MemoryJournal
from stretto_server.journal.sqlite import SqliteJournal

METHODS = [name for name in vars(Journal) if not name.startswith("_")]


def test_the_journals_are_journals_to_the_type_checker(tmp_path: Path) -> None:
    journals: list[Journal] = [MemoryJournal(), SqliteJournal(tmp_path / "journal.db")]
    assert len(journals) == 2


@pytest.mark.parametrize("journal", [MemoryJournal, SqliteJournal])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_has_the_signature_of_the_interface(journal: type, method: str) -> None:
    wanted = inspect.signature(getattr(Journal, method))
    found = inspect.signature(getattr(journal, method))
    assert found.parameters == wanted.parameters
    if method == "append":  # a future will do, where a coroutine would only wait for it
        return
    assert found == wanted
    assert inspect.iscoroutinefunction(getattr(journal, method))
