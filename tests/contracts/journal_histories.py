"""The contract of a journal: documents come, are replaced, listed, and go."""

import pytest

from stretto_core.entries import ClientRecord
from stretto_core.errors import EpochChanged, NotFound
from stretto_core.protocol import NO_HASH
from stretto_server.journal.interface import (
    Appended,
    DocumentInfo,
    Head,
    Journal,
    Loaded,
    Snapshot,
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

IDS = ["100%", "100%25", "100x", "A", "a", "a-b", "a.b", "a/b", "a/b/c", "a_b", "axb", "~"]


class HistoriesContract:
    async def test_creating_again_changes_nothing(self, journal: Journal) -> None:
        head = Head(EPOCH, 0, NO_HASH, 0)
        assert await journal.create(DOC, EPOCH, 500) == head
        assert await journal.create(DOC, "other", 600) == head
        hashes = await written(journal, typed(2))
        assert await journal.create(DOC, "other", 600) == Head(EPOCH, 2, hashes[1], 0)
        (info,) = await journal.documents()
        assert info.created_ms == 500

    async def test_everything_survives_reopening(self, journal: Journal, reopen: Reopen) -> None:
        hashes = await written(journal, typed(4))
        await journal.snapshot(DOC, EPOCH, Snapshot(3, hashes[2], "\0🙂"))
        await journal.compact(DOC, EPOCH, 2)
        before = (await journal.load(DOC), await journal.documents(), await journal.client(DOC, A))
        journal = await reopen()
        after = (await journal.load(DOC), await journal.documents(), await journal.client(DOC, A))
        assert after == before
        assert (await journal.read(DOC, EPOCH, 3, 0)).hash == hashes[1]

    async def test_replacing_starts_another_history(self, journal: Journal) -> None:
        hashes = await written(journal, [*typed(4), entry(B, 1, user=BOB)])
        await journal.snapshot(DOC, EPOCH, Snapshot(4, hashes[3], "old"))
        await journal.compact(DOC, EPOCH, 3)
        entries = [entry("importer-0000000000", 1, ("new",)), entry(B, 1, (3, "!"), BOB)]
        head = await journal.replace(DOC, "epoch-two", entries, chain(entries), 7_000)
        assert head == Head("epoch-two", 2, chain(entries)[-1], 0)
        assert await journal.load(DOC) == Loaded(head, Snapshot(0, NO_HASH, ""), tuple(entries))
        assert await journal.client(DOC, A) is None
        assert await journal.client(DOC, B) == ClientRecord(1, 2, BOB)
        assert await journal.documents() == [DocumentInfo(DOC, head, 500, 7_000)]
        with pytest.raises(EpochChanged) as changed:
            await append(journal, entry(B, 2), base=2)
        assert changed.value.details == {"epoch": "epoch-two"}
        assert await append(journal, entry(B, 2), base=2, epoch="epoch-two") == Appended()

    async def test_replacing_creates_what_does_not_exist(self, journal: Journal) -> None:
        head = await journal.replace(DOC, EPOCH, typed(2), chain(typed(2)), 700)
        assert (await whole_log(journal)).entries == tuple(typed(2))
        assert await journal.documents() == [DocumentInfo(DOC, head, 700, 700)]

    async def test_replacing_by_nothing_leaves_an_empty_history(self, journal: Journal) -> None:
        await written(journal, typed(2))
        head = Head("epoch-two", 0, NO_HASH, 0)
        assert await journal.replace(DOC, "epoch-two", [], [], 700) == head
        assert await journal.load(DOC) == Loaded(head, Snapshot(0, NO_HASH, ""), ())

    async def test_replacing_again_with_one_epoch_gives_the_same(self, journal: Journal) -> None:
        heads = [
            await journal.replace(DOC, EPOCH, typed(2), chain(typed(2)), 700) for _ in range(2)
        ]
        assert heads[0] == heads[1]
        assert (await whole_log(journal)).entries == tuple(typed(2))

    async def test_a_deleted_document_is_gone_with_all_it_had(self, journal: Journal) -> None:
        hashes = await written(journal, typed(3))
        await written(journal, typed(1), "other")
        await journal.snapshot(DOC, EPOCH, Snapshot(3, hashes[2], "text"))
        assert await journal.delete(DOC) is True
        assert await journal.delete(DOC) is False
        assert await journal.load(DOC) is None
        assert await journal.client(DOC, A) is None
        with pytest.raises(NotFound):
            await append(journal, entry(A, 4), base=3)
        assert [info.doc for info in await journal.documents()] == ["other"]
        assert (await whole_log(journal, "other")).entries == tuple(typed(1))

    async def test_deleted_and_created_again_it_has_another_epoch(self, journal: Journal) -> None:
        hashes = await written(journal, typed(3))
        await journal.snapshot(DOC, EPOCH, Snapshot(3, hashes[2], "text"))
        await journal.delete(DOC)
        head = await journal.create(DOC, "epoch-two", 900)
        assert await journal.load(DOC) == Loaded(head, Snapshot(0, NO_HASH, ""), ())
        with pytest.raises(EpochChanged):
            await append(journal, entry(A, 4), base=0)
        assert await append(journal, entry(A, 1), epoch="epoch-two") == Appended()
        assert await journal.client(DOC, A) == ClientRecord(1, 1, ALICE)

    async def test_deleting_only_what_nobody_wrote_to(self, journal: Journal) -> None:
        await journal.create(DOC, EPOCH, 500)
        await journal.fence(DOC, EPOCH, A, ALICE, 500)
        assert await journal.delete("unknown", unless_written=True) is False
        assert await journal.delete(DOC, unless_written=True) is True
        await written(journal, typed(1))
        assert await journal.delete(DOC, unless_written=True) is False
        assert await journal.client(DOC, A) == ClientRecord(1, 1, ALICE)

    async def test_deleting_only_one_history(self, journal: Journal) -> None:
        await written(journal, typed(1))
        assert await journal.delete(DOC, epoch="other") is False
        assert await journal.delete(DOC, epoch=EPOCH, unless_written=True) is False
        assert await journal.delete(DOC, epoch=EPOCH) is True

    async def test_documents_are_listed_by_id(self, journal: Journal) -> None:
        for doc in reversed(IDS):
            await journal.create(doc, EPOCH, 500)
        assert await _ids(journal) == IDS
        assert await _ids(journal, after="a/b") == IDS[8:]
        assert await _ids(journal, after="a0", limit=2) == ["a_b", "axb"]
        assert await _ids(journal, limit=3) == IDS[:3]
        assert await _ids(journal, limit=0) == []

    @pytest.mark.parametrize("prefix", ["100%", "100", "a", "a_", "a/", "a/b", "a/b/", "~", "zz"])
    async def test_a_prefix_is_taken_literally(self, journal: Journal, prefix: str) -> None:
        for doc in IDS:
            await journal.create(doc, EPOCH, 500)
        wanted = [doc for doc in IDS if doc.startswith(prefix)]
        assert await _ids(journal, prefix) == wanted
        assert await _ids(journal, prefix, limit=1) == wanted[:1]
        for after in (*wanted[:1], "", "!", "~~"):
            later = [doc for doc in wanted if doc > after]
            assert await _ids(journal, prefix, after=after) == later

    async def test_a_listing_tells_heads_and_times(self, journal: Journal) -> None:
        hashes = await written(journal, typed(2))
        head = Head(EPOCH, 2, hashes[1], 0)
        assert await journal.documents() == [DocumentInfo(DOC, head, 500, 1_002)]


async def _ids(journal: Journal, prefix: str = "", after: str = "", limit: int = 100) -> list[str]:
    return [info.doc for info in await journal.documents(prefix, after, limit)]
