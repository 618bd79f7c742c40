from collections.abc import AsyncIterator

import pytest

from stretto_server.journal.interface import Journal
from stretto_server.journal.memory import MemoryJournal
from tests.contracts.journal_clients import Reopen
from tests.contracts.journal_samples import opened
from tests.contracts.journal_suite import JournalSuite


class TestMemoryJournal(JournalSuite):
    @pytest.fixture
    async def journal(self) -> AsyncIterator[Journal]:
        async with opened(MemoryJournal()) as journal:
            yield journal

    @pytest.fixture
    def reopen(self, journal: Journal) -> Reopen:
        async def close_and_start() -> Journal:
            await journal.close()
            await journal.start()
            return journal

        return close_and_start
