from stretto_server.journal.durability import Examinable
from stretto_server.journal.memory import MemoryJournal
from stretto_server.journal.postgres import PostgresJournal
from stretto_server.journal.redis import RedisJournal


def test_journals_in_services_can_be_examined() -> None:
    assert isinstance(RedisJournal("redis://host"), Examinable)
    assert isinstance(PostgresJournal("postgresql://host/database"), Examinable)
    assert not isinstance(MemoryJournal(), Examinable)
