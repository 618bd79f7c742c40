"""The contract of a journal: pages of the log, snapshots, the floor."""

import pytest

from stretto_core.entries import ClientRecord
from stretto_core.errors import EpochChanged, NotFound, VersionAhead, VersionGone
from stretto_core.protocol import NO_HASH
from stretto_server.journal.interface import Head, Journal, Loaded, Page, Snapshot
from stretto_server.journal.rules import encoded_bytes
from tests.contracts.journal_samples import (
    ALICE,
    ALL,
    DOC,
    EPOCH,
    A,
    append,
    entry,
    replay,
    typed,
    whole_log,
    written,
)


class ReadingContract:
    async def test_an_unknown_document_has_nothing_to_load(self, journal: Journal) -> None:
        assert await journal.load(DOC) is None

    async def test_an_empty_document_loads_as_version_0(self, journal: Journal) -> None:
        head = await journal.create(DOC, EPOCH, 500)
        assert await journal.load(DOC) == Loaded(head, Snapshot(0, NO_HASH, ""), ())

    async def test_loading_gives_the_newest_snapshot_and_what_follows(
        self, journal: Journal
    ) -> None:
        hashes = await written(journal, typed(5))
        snapshot = Snapshot(3, hashes[2], replay(typed(3)))
        await journal.snapshot(DOC, EPOCH, snapshot)
        head = Head(EPOCH, 5, hashes[4], 0)
        assert await journal.load(DOC) == Loaded(head, snapshot, tuple(typed(5)[3:]))

    async def test_only_a_newer_snapshot_of_this_history_is_kept(self, journal: Journal) -> None:
        hashes = await written(journal, typed(5))
        kept = Snapshot(3, hashes[2], "kept")
        await journal.snapshot(DOC, EPOCH, kept)
        for epoch, version in ((EPOCH, 3), (EPOCH, 2), (EPOCH, 6), ("other", 4)):
            await journal.snapshot(DOC, epoch, Snapshot(version, hashes[2], "not kept"))
        await journal.snapshot("unknown", EPOCH, kept)
        loaded = await journal.load(DOC)
        assert loaded is not None
        assert loaded.snapshot == kept
        assert await journal.load("unknown") is None
        newer = Snapshot(5, hashes[4], "newer")
        await journal.snapshot(DOC, EPOCH, newer)
        loaded = await journal.load(DOC)
        assert loaded == Loaded(Head(EPOCH, 5, hashes[4], 0), newer, ())

    async def test_a_snapshot_with_another_hash_than_the_log_is_not_kept(
        self, journal: Journal
    ) -> None:
        hashes = await written(journal, typed(5))
        empty = Snapshot(0, NO_HASH, "")
        for version in (1, 3, 5):
            for other in ("f" * 16, NO_HASH, hashes[version - 2]):
                await journal.snapshot(DOC, EPOCH, Snapshot(version, other, "of another history"))
        loaded = await journal.load(DOC)
        assert loaded is not None
        assert (loaded.snapshot, loaded.entries) == (empty, tuple(typed(5)))
        for version in (1, 3, 4):
            kept = Snapshot(version, hashes[version - 1], f"text {version}")
            await journal.snapshot(DOC, EPOCH, kept)
            await journal.compact(DOC, EPOCH, version)
            await journal.snapshot(DOC, EPOCH, Snapshot(5, hashes[version - 1], "another"))
            loaded = await journal.load(DOC)
            assert loaded is not None
            assert loaded.snapshot == kept

    async def test_heads_are_told_in_the_order_of_the_question(self, journal: Journal) -> None:
        assert await journal.heads([]) == []
        assert await journal.heads([DOC]) == [None]
        docs = [f"many/{number}" for number in range(300)]
        wanted: dict[str, Head] = {}
        for number, doc in enumerate(docs[::3]):
            hashes = [NO_HASH, *await written(journal, typed(number % 4), doc)]
            wanted[doc] = Head(EPOCH, number % 4, hashes[-1], 0)
        hashes = await written(journal, typed(3))
        await journal.snapshot(DOC, EPOCH, Snapshot(2, hashes[1], "text"))
        wanted[DOC] = await journal.compact(DOC, EPOCH, 2)
        assert wanted[DOC].floor == 2
        for asked in ([*docs, DOC], [DOC, *reversed(docs)], [DOC, "unknown", DOC]):
            assert await journal.heads(asked) == [wanted.get(doc) for doc in asked]
        await append(journal, entry(A, 4), base=3)
        (head,) = await journal.heads([DOC])
        assert head == (await journal.read(DOC, EPOCH, 5, 0)).head

    async def test_pages_follow_each_other_by_limit(self, journal: Journal) -> None:
        hashes = await written(journal, typed(7))
        head = Head(EPOCH, 7, hashes[6], 0)
        first = await journal.read(DOC, EPOCH, 1, 3)
        assert first == Page(1, tuple(typed(7)[:3]), hashes[2], head)
        assert await journal.read(DOC, EPOCH, 4, 3) == Page(
            4, tuple(typed(7)[3:6]), hashes[5], head
        )
        assert await journal.read(DOC, EPOCH, 7, 3) == Page(7, tuple(typed(7)[6:]), hashes[6], head)
        assert await journal.read(DOC, EPOCH, 8, 3) == Page(8, (), hashes[6], head)

    async def test_max_bytes_ends_a_page_but_one_entry_always_fits(self, journal: Journal) -> None:
        entries = [entry(A, seq, ("é🙂" * seq,)) for seq in range(1, 6)]
        hashes = await written(journal, entries)
        two = encoded_bytes(entries[0]) + encoded_bytes(entries[1])
        for max_bytes, count in ((0, 1), (1, 1), (two - 1, 1), (two, 2), (two + 1, 2), (ALL, 5)):
            page = await journal.read(DOC, EPOCH, 1, ALL, max_bytes)
            assert page.entries == tuple(entries[:count])
            assert page.hash == hashes[count - 1]
        assert len((await journal.read(DOC, EPOCH, 1, 3, ALL)).entries) == 3

    async def test_a_limit_of_0_gives_the_hash_alone(self, journal: Journal) -> None:
        hashes = await written(journal, typed(4))
        assert (await journal.read(DOC, EPOCH, 1, 0)).hash == NO_HASH
        for version in (1, 2, 4):
            page = await journal.read(DOC, EPOCH, version + 1, 0)
            assert (page.entries, page.hash) == ((), hashes[version - 1])
        assert (await journal.read(DOC, EPOCH, 3, 0, 0)).entries == ()

    async def test_what_cannot_be_read_is_refused(self, journal: Journal) -> None:
        with pytest.raises(NotFound):
            await journal.read(DOC, EPOCH, 1, 1)
        await written(journal, typed(2))
        with pytest.raises(EpochChanged) as changed:
            await journal.read(DOC, "other", 9, 1)
        assert changed.value.details == {"epoch": EPOCH}
        with pytest.raises(VersionAhead) as ahead:
            await journal.read(DOC, EPOCH, 4, 1)
        assert ahead.value.details == {"version": 2}
        for first in (0, -3):
            with pytest.raises(VersionGone) as gone:
                await journal.read(DOC, EPOCH, first, 1)
            assert gone.value.details == {"floor": 0}

    async def test_compaction_moves_the_floor(self, journal: Journal) -> None:
        hashes = await written(journal, typed(6))
        await journal.snapshot(DOC, EPOCH, Snapshot(5, hashes[4], replay(typed(5))))
        assert await journal.compact(DOC, EPOCH, 3) == Head(EPOCH, 6, hashes[5], 3)
        with pytest.raises(VersionGone) as gone:
            await journal.read(DOC, EPOCH, 3, ALL)
        assert gone.value.details == {"floor": 3}
        page = await journal.read(DOC, EPOCH, 4, ALL)
        assert page == Page(4, tuple(typed(6)[3:]), hashes[5], Head(EPOCH, 6, hashes[5], 3))
        assert (await journal.read(DOC, EPOCH, 4, 0)).hash == hashes[2]

    async def test_compaction_stays_at_or_below_the_snapshot(self, journal: Journal) -> None:
        hashes = await written(journal, typed(6))
        assert (await journal.compact(DOC, EPOCH, 6)).floor == 0
        await journal.snapshot(DOC, EPOCH, Snapshot(4, hashes[3], replay(typed(4))))
        assert (await journal.compact(DOC, EPOCH, 6)).floor == 4
        loaded = await journal.load(DOC)
        assert loaded is not None
        assert loaded.entries == tuple(typed(6)[4:])
        assert replay(loaded.entries) + loaded.snapshot.text == replay(typed(6))

    async def test_a_lower_floor_changes_nothing(self, journal: Journal) -> None:
        hashes = await written(journal, typed(4))
        await journal.snapshot(DOC, EPOCH, Snapshot(4, hashes[3], ""))
        head = await journal.compact(DOC, EPOCH, 3)
        for floor in (3, 2, 0, -1):
            assert await journal.compact(DOC, EPOCH, floor) == head

    async def test_compacting_needs_the_history(self, journal: Journal) -> None:
        with pytest.raises(NotFound):
            await journal.compact(DOC, EPOCH, 1)
        await written(journal, typed(1))
        with pytest.raises(EpochChanged):
            await journal.compact(DOC, "other", 1)

    async def test_a_wholly_compacted_history_goes_on(self, journal: Journal) -> None:
        hashes = await written(journal, typed(3))
        await journal.snapshot(DOC, EPOCH, Snapshot(3, hashes[2], ""))
        assert await journal.compact(DOC, EPOCH, 3) == Head(EPOCH, 3, hashes[2], 3)
        assert (await journal.read(DOC, EPOCH, 4, ALL)).hash == hashes[2]
        assert await journal.client(DOC, A) == ClientRecord(3, 3, ALICE)
        await append(journal, *typed(2, first_seq=4), base=3)
        page = await journal.read(DOC, EPOCH, 4, ALL)
        assert page.entries == tuple(typed(5)[3:])
        assert page.head.floor == 3
        with pytest.raises(VersionGone):
            await whole_log(journal)
