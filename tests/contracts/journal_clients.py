"""The contract of a journal: the records of the clients, fences, expiry."""

from collections.abc import Awaitable, Callable

import pytest

from stretto_core.entries import ClientRecord
from stretto_core.errors import EpochChanged, Forbidden, NotFound
from stretto_server.journal.interface import Appended, Journal, StaleClient
from tests.contracts.journal_samples import (
    ALICE,
    BOB,
    DOC,
    EPOCH,
    A,
    B,
    append,
    entry,
    typed,
    whole_log,
    written,
)

Reopen = Callable[[], Awaitable[Journal]]


class ClientsContract:
    async def test_an_unknown_client_has_no_record(self, journal: Journal) -> None:
        assert await journal.client(DOC, A) is None
        await written(journal, typed(1))
        assert await journal.client(DOC, B) is None

    async def test_a_fenced_client_commits_nothing_more(self, journal: Journal) -> None:
        await written(journal, typed(2))
        assert await journal.fence(DOC, EPOCH, A, ALICE, 2_000) == 2
        fenced = ClientRecord(2, 2, ALICE, fenced=True)
        assert await journal.client(DOC, A) == fenced
        for seq in (2, 3):
            result = await append(journal, entry(B), entry(A, seq), base=2)
            assert result == StaleClient(A, fenced)
        assert (await whole_log(journal)).head.version == 2
        assert await append(journal, entry(B), base=2) == Appended()

    async def test_fencing_again_gives_the_same_answer(self, journal: Journal) -> None:
        await written(journal, typed(2))
        answers = [await journal.fence(DOC, EPOCH, A, ALICE, at_ms) for at_ms in (1, 2, 3)]
        assert answers == [2, 2, 2]

    async def test_fencing_an_unknown_client_keeps_it_out(self, journal: Journal) -> None:
        await written(journal, [])
        assert await journal.fence(DOC, EPOCH, A, ALICE, 2_000) == 0
        fenced = ClientRecord(0, 0, ALICE, fenced=True)
        assert await journal.client(DOC, A) == fenced
        assert await append(journal, entry(A, 1)) == StaleClient(A, fenced)
        assert await journal.fence(DOC, EPOCH, A, ALICE, 2_000) == 0

    async def test_fencing_anothers_client_is_forbidden(self, journal: Journal) -> None:
        await written(journal, typed(1))
        await journal.fence(DOC, EPOCH, B, BOB, 2_000)
        for client, user in ((A, BOB), (B, ALICE)):
            with pytest.raises(Forbidden):
                await journal.fence(DOC, EPOCH, client, user, 2_000)
        assert await append(journal, entry(A, 2), base=1) == Appended()

    async def test_fencing_needs_the_history(self, journal: Journal) -> None:
        with pytest.raises(NotFound):
            await journal.fence(DOC, EPOCH, A, ALICE, 1)
        await written(journal, typed(1))
        with pytest.raises(EpochChanged) as changed:
            await journal.fence(DOC, "other", A, BOB, 1)
        assert changed.value.details == {"epoch": EPOCH}

    async def test_a_fence_survives_reopening(self, journal: Journal, reopen: Reopen) -> None:
        await written(journal, typed(2))
        await journal.fence(DOC, EPOCH, A, ALICE, 2_000)
        await journal.fence(DOC, EPOCH, B, BOB, 2_000)
        journal = await reopen()
        for client, seq in ((A, 3), (B, 1)):
            assert isinstance(await append(journal, entry(client, seq), base=2), StaleClient)
        assert await journal.fence(DOC, EPOCH, A, ALICE, 3_000) == 2

    async def test_records_last_used_before_a_time_are_forgotten(self, journal: Journal) -> None:
        await written(journal, [entry(A, 1, at_ms=1_000), entry(B, 1, user=BOB, at_ms=3_000)])
        await append(journal, entry(A, 2, at_ms=2_000), base=2)
        await journal.fence(DOC, EPOCH, "fenced-client-0000", ALICE, 4_000)
        await written(journal, [entry(A, 1, at_ms=500)], "another")
        assert await journal.expire_clients(500) == 0
        assert await journal.expire_clients(2_000) == 1
        assert await journal.client("another", A) is None
        assert await journal.client(DOC, A) == ClientRecord(2, 3, ALICE)
        assert await journal.expire_clients(4_000) == 2
        assert await journal.client(DOC, A) is None
        assert await journal.client(DOC, "fenced-client-0000") is not None
        assert await append(journal, entry(A, 1, at_ms=9_000), base=3) == Appended()

    async def test_a_fence_counts_as_use(self, journal: Journal) -> None:
        await written(journal, [entry(A, 1, at_ms=1_000)])
        await journal.fence(DOC, EPOCH, A, ALICE, 2_000)
        await journal.fence(DOC, EPOCH, A, ALICE, 3_000)
        assert await journal.expire_clients(3_000) == 0
        assert await journal.expire_clients(3_001) == 1
