"""The contract of a journal: a history that lost something goes on under another epoch."""

import asyncio

import pytest

from stretto_core.entries import ClientRecord
from stretto_core.errors import EpochChanged, NotFound
from stretto_server.journal.interface import (
    Appended,
    DocumentInfo,
    Head,
    Journal,
    Loaded,
    Snapshot,
    StaleClient,
)
from tests.contracts.journal_clients import Reopen
from tests.contracts.journal_samples import (
    ALICE,
    BOB,
    DOC,
    EPOCH,
    A,
    B,
    append,
    chain,
    entry,
    typed,
    whole_log,
    written,
)

NEW = "epoch-two"


class RenewingContract:
    async def test_a_renewed_history_is_the_same_under_another_epoch(
        self, journal: Journal, reopen: Reopen
    ) -> None:
        hashes = await written(journal, typed(5))
        await journal.snapshot(DOC, EPOCH, Snapshot(3, hashes[2], "text"))
        await journal.compact(DOC, EPOCH, 2)
        await journal.fence(DOC, EPOCH, B, BOB, 2_000)
        head = Head(NEW, 5, hashes[4], 2)
        assert await journal.renew(DOC, EPOCH, NEW) == head
        await self._is_renewed(journal, head)
        await self._is_renewed(await reopen(), head)

    async def _is_renewed(self, journal: Journal, head: Head) -> None:
        kept = Snapshot(3, chain(typed(3))[2], "text")
        assert await journal.load(DOC) == Loaded(head, kept, tuple(typed(5)[3:]))
        page = await journal.read(DOC, NEW, 3, 10)
        assert (page.entries, page.head) == (tuple(typed(5)[2:]), head)
        assert await journal.client(DOC, A) == ClientRecord(5, 5, ALICE)
        assert await journal.client(DOC, B) == ClientRecord(0, 0, BOB, fenced=True)
        assert await journal.heads([DOC]) == [head]
        assert await journal.documents() == [DocumentInfo(DOC, head, 500, 1_005)]

    async def test_a_renewed_history_goes_on(self, journal: Journal) -> None:
        hashes = await written(journal, typed(3))
        await journal.renew(DOC, EPOCH, NEW)
        stale = await append(journal, entry(A, 3), base=3, epoch=NEW)
        assert stale == StaleClient(A, ClientRecord(3, 3, ALICE))
        late = entry(A, 4)
        after = chain([late], hashes[2])
        result = await journal.append(DOC, NEW, 3, [late], after, base_hash=hashes[2])
        assert result == Appended()
        assert (await whole_log(journal, epoch=NEW)).entries == (*typed(3), late)
        await journal.snapshot(DOC, NEW, Snapshot(4, after[0], "newer"))
        assert (await journal.compact(DOC, NEW, 4)).floor == 4
        assert await journal.fence(DOC, NEW, A, ALICE, 3_000) == 4

    async def test_who_knows_the_old_epoch_alone_changes_nothing(self, journal: Journal) -> None:
        hashes = await written(journal, typed(3))
        await journal.renew(DOC, EPOCH, NEW)
        before = await journal.load(DOC)
        await journal.snapshot(DOC, EPOCH, Snapshot(3, hashes[2], "stale"))
        assert await journal.delete(DOC, epoch=EPOCH) is False
        for call in (
            append(journal, entry(A, 4), base=3),
            journal.read(DOC, EPOCH, 1, 1),
            journal.fence(DOC, EPOCH, A, ALICE, 3_000),
            journal.compact(DOC, EPOCH, 1),
        ):
            with pytest.raises(EpochChanged) as changed:
                await call
            assert changed.value.details == {"epoch": NEW}
        assert await journal.load(DOC) == before

    async def test_a_history_of_another_epoch_is_left_alone(self, journal: Journal) -> None:
        hashes = await written(journal, typed(2))
        head = Head(EPOCH, 2, hashes[1], 0)
        assert await journal.renew(DOC, "other", NEW) == head
        assert await journal.heads([DOC]) == [head]
        renewed = await journal.renew(DOC, EPOCH, NEW)
        # Again, because nobody knows what became of the first one.
        assert await journal.renew(DOC, EPOCH, NEW) == renewed == Head(NEW, 2, hashes[1], 0)
        assert await journal.renew(DOC, EPOCH, "epoch-three") == renewed

    async def test_what_does_not_exist_is_not_renewed(self, journal: Journal) -> None:
        with pytest.raises(NotFound):
            await journal.renew(DOC, EPOCH, NEW)
        assert await journal.load(DOC) is None
        await written(journal, typed(1))
        await journal.delete(DOC)
        with pytest.raises(NotFound):
            await journal.renew(DOC, EPOCH, NEW)

    async def test_of_five_who_renew_one_is_first(self, journal: Journal) -> None:
        hashes = await written(journal, typed(2))
        epochs = [f"epoch-of-{number}" for number in range(5)]
        heads = await asyncio.gather(*(journal.renew(DOC, EPOCH, epoch) for epoch in epochs))
        assert set(heads) == {Head(heads[0].epoch, 2, hashes[1], 0)}
        assert heads[0].epoch in epochs
        assert await journal.heads([DOC]) == heads[:1]

    async def test_of_renewing_and_appending_one_comes_first(self, journal: Journal) -> None:
        hashes = await written(journal, typed(2))
        late = entry(A, 3)
        head, result = await asyncio.gather(
            journal.renew(DOC, EPOCH, NEW),
            journal.append(DOC, EPOCH, 2, [late], chain([late], hashes[1]), base_hash=hashes[1]),
            return_exceptions=True,
        )
        assert isinstance(head, Head)
        assert head.epoch == NEW
        if result == Appended():
            assert head.version == 3
        else:
            assert isinstance(result, EpochChanged)
            assert head.version == 2
        assert await journal.heads([DOC]) == [head]
        assert (await whole_log(journal, epoch=NEW)).hash == head.hash
