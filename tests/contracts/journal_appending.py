"""The contract of a journal: appending, and who wins."""

import asyncio
import random

import pytest

from stretto_core.entries import ClientRecord, Entry, next_hash
from stretto_core.errors import EpochChanged, NotFound, VersionGone
from stretto_core.protocol import NO_HASH
from stretto_server.journal.interface import (
    Appended,
    Conflict,
    Head,
    Journal,
    Snapshot,
    StaleClient,
)
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
    replay,
    typed,
    whole_log,
    written,
)


class AppendingContract:
    async def test_appended_entries_are_read_back_in_order(self, journal: Journal) -> None:
        entries = [*typed(3), entry(B, 1, (2, "é", -1), BOB)]
        hashes = await written(journal, entries)
        page = await whole_log(journal)
        assert page.entries == tuple(entries)
        assert page.head == Head(EPOCH, 4, hashes[-1], 0)
        assert page.hash == hashes[-1]

    async def test_an_empty_batch_passes_the_checks_and_writes_nothing(
        self, journal: Journal
    ) -> None:
        await journal.create(DOC, EPOCH, 500)
        assert await journal.append(DOC, EPOCH, 0, [], []) == Appended()
        assert (await whole_log(journal)).head == Head(EPOCH, 0, NO_HASH, 0)

    async def test_as_many_hashes_as_entries_are_needed(self, journal: Journal) -> None:
        await journal.create(DOC, EPOCH, 500)
        with pytest.raises(ValueError):
            await journal.append(DOC, EPOCH, 0, typed(2), [NO_HASH])
        with pytest.raises(ValueError):
            await journal.replace(DOC, "epoch-two", typed(2), [NO_HASH], 1)
        assert (await whole_log(journal)).entries == ()

    async def test_of_five_at_one_version_exactly_one_wins(self, journal: Journal) -> None:
        hashes = await written(journal, typed(2))
        rivals = [entry(f"rival-{number}-0000000000", 1, (f"{number}",)) for number in range(5)]
        results = await asyncio.gather(
            *(
                journal.append(DOC, EPOCH, 2, [rival], [next_hash(hashes[-1], rival)])
                for rival in rivals
            )
        )
        (winner,) = [rivals[i] for i, result in enumerate(results) if result == Appended()]
        head = Head(EPOCH, 3, next_hash(hashes[-1], winner), 0)
        losses = [result for result in results if result != Appended()]
        assert losses == [Conflict(head, (winner,))] * 4
        assert (await whole_log(journal)).entries == (*typed(2), winner)

    async def test_a_conflict_holds_exactly_the_missed_entries(self, journal: Journal) -> None:
        await written(journal, typed(5))
        result = await append(journal, entry(B), base=2)
        assert isinstance(result, Conflict)
        assert result.missed == tuple(typed(5)[2:])
        assert result.head.version == 5

    async def test_a_head_below_the_base_is_a_conflict_with_nothing_missed(
        self, journal: Journal
    ) -> None:
        await written(journal, typed(2))
        result = await append(journal, entry(B), base=7)
        assert isinstance(result, Conflict)
        assert (result.head.version, result.missed) == (2, ())

    async def test_the_same_version_of_another_history_is_a_conflict(
        self, journal: Journal
    ) -> None:
        hashes = await written(journal, typed(2))
        late, lost = entry(A, 3), "f" * 16
        for batch in ([late], [], [entry(A, 1)]):
            result = await journal.append(DOC, EPOCH, 2, batch, chain(batch, lost), base_hash=lost)
            assert result == Conflict(Head(EPOCH, 2, hashes[1], 0), ())
        assert (await whole_log(journal)).entries == tuple(typed(2))
        ours = chain([late], hashes[1])
        assert await journal.append(DOC, EPOCH, 2, [late], ours, base_hash=hashes[1]) == Appended()
        # What this writer appended itself counts as well.
        again = await journal.append(DOC, EPOCH, 3, [entry(A, 4)], [lost], base_hash=hashes[1])
        assert again == Conflict(Head(EPOCH, 3, ours[0], 0), ())
        # Below the head the versions decide: the missed entries tell the rest.
        missed = await journal.append(DOC, EPOCH, 2, [late], ours, base_hash=lost)
        assert missed == Conflict(Head(EPOCH, 3, ours[0], 0), (late,))

    async def test_the_hash_of_the_empty_history_is_compared_too(self, journal: Journal) -> None:
        head = await journal.create(DOC, EPOCH, 500)
        hashes = chain(typed(1))
        result = await journal.append(DOC, EPOCH, 0, typed(1), hashes, base_hash="f" * 16)
        assert result == Conflict(head, ())
        written_first = await journal.append(DOC, EPOCH, 0, typed(1), hashes, base_hash=NO_HASH)
        assert written_first == Appended()

    async def test_a_base_below_the_floor_is_gone(self, journal: Journal) -> None:
        hashes = await written(journal, typed(5))
        await journal.snapshot(DOC, EPOCH, Snapshot(4, hashes[3], "…"))
        await journal.compact(DOC, EPOCH, 3)
        with pytest.raises(VersionGone) as raised:
            await append(journal, entry(B), base=2)
        assert raised.value.details == {"floor": 3}
        result = await append(journal, entry(B), base=3)
        assert isinstance(result, Conflict)
        assert result.missed == tuple(typed(5)[3:])

    @pytest.mark.parametrize("seq", [1, 2, 4, 0])
    async def test_a_duplicate_or_a_gap_writes_nothing(self, journal: Journal, seq: int) -> None:
        await written(journal, typed(2))
        result = await append(journal, entry(B), entry(A, seq), base=2)
        assert result == StaleClient(A, ClientRecord(2, 2, ALICE))
        assert (await whole_log(journal)).entries == tuple(typed(2))
        assert await journal.client(DOC, B) is None

    async def test_a_batch_may_hold_several_entries_of_several_clients(
        self, journal: Journal
    ) -> None:
        batch = [entry(A, 1), entry(B, 1, user=BOB), entry(A, 2), entry(B, 2, user=BOB)]
        await written(journal, batch)
        assert await journal.client(DOC, A) == ClientRecord(2, 3, ALICE)
        assert await journal.client(DOC, B) == ClientRecord(2, 4, BOB)

    async def test_a_gap_inside_a_batch_tells_the_kept_record(self, journal: Journal) -> None:
        await journal.create(DOC, EPOCH, 500)
        result = await append(journal, entry(A, 1), entry(A, 3))
        assert result == StaleClient(A, ClientRecord())

    async def test_the_order_of_the_checks(self, journal: Journal) -> None:
        duplicate = entry(A, 1)
        with pytest.raises(NotFound):
            await append(journal, duplicate, base=9, epoch="other")
        await written(journal, typed(1))
        with pytest.raises(EpochChanged) as raised:
            await append(journal, duplicate, base=9, epoch="other")
        assert raised.value.details == {"epoch": EPOCH}
        assert isinstance(await append(journal, duplicate, base=9), Conflict)
        assert isinstance(await append(journal, duplicate, base=1), StaleClient)

    async def test_documents_and_their_clients_are_apart(self, journal: Journal) -> None:
        await written(journal, typed(3), "one")
        await written(journal, typed(1), "two")
        assert (await whole_log(journal, "two")).entries == tuple(typed(1))
        assert await journal.client("one", A) == ClientRecord(3, 3, ALICE)
        assert await journal.client("two", A) == ClientRecord(1, 1, ALICE)

    async def test_any_text_survives(self, journal: Journal) -> None:
        texts = [
            "\0",
            "a\0b",
            "🙂👩‍👩‍👧",
            "é",
            "\u2028\ufeff\uffff",
            '"\\\n\r\t',
            "\U0010ffff",
            "%_'",
        ]
        entries = [entry(A, seq, (text,), "ü\0🙂") for seq, text in enumerate(texts, 1)]
        hashes = await written(journal, entries)
        text = replay(entries)
        await journal.snapshot(DOC, EPOCH, Snapshot(len(texts), hashes[-1], text))
        loaded = await journal.load(DOC)
        assert loaded is not None
        assert loaded.snapshot.text == text
        assert (await whole_log(journal)).entries == tuple(entries)
        assert chain((await whole_log(journal)).entries) == hashes

    async def test_components_keep_their_kinds(self, journal: Journal) -> None:
        operations: list[tuple[int | str, ...]] = [(), ("12",), (1, "3", -1), (2**53 - 1,)]
        entries = [entry(A, seq, op) for seq, op in enumerate(operations, 1)]
        await written(journal, entries)
        assert [item.op for item in (await whole_log(journal)).entries] == operations

    async def test_a_large_operation(self, journal: Journal) -> None:
        large = entry(A, 1, ("🙂" * 256 * 1024,))
        await written(journal, [large])
        assert (await whole_log(journal)).entries == (large,)

    async def test_a_hundred_writers_leave_one_contiguous_history(self, journal: Journal) -> None:
        docs = [f"crowd/{number}" for number in range(4)]
        for doc in docs:
            await journal.create(doc, EPOCH, 500)
        dice = random.Random(20)
        await asyncio.gather(
            *(
                _write_until_done(journal, docs[number % 4], f"writer-{number:012}", dice)
                for number in range(100)
            )
        )
        for number, doc in enumerate(docs):
            page = await whole_log(journal, doc)
            assert page.head.version == len(page.entries) == 25 * 3
            assert page.hash == page.head.hash == chain(page.entries)[-1]
            taken = sorted((item.client, item.seq) for item in page.entries)
            writers = range(number, 100, 4)
            assert taken == [(f"writer-{n:012}", seq) for n in writers for seq in (1, 2, 3)]


async def _write_until_done(journal: Journal, doc: str, client: str, dice: random.Random) -> None:
    """Append three entries of ``client``, some together, starting over after each lost race."""
    missing = [entry(client, seq, (f"{client}:{seq}",)) for seq in (1, 2, 3)]
    version, digest = 0, NO_HASH
    while missing:
        batch = missing[: dice.randint(1, 3)]
        hashes = chain(batch, digest)
        result = await journal.append(doc, EPOCH, version, batch, hashes)
        if isinstance(result, Conflict):
            version, digest = _caught_up(version, digest, result)
        else:
            assert result == Appended()
            version, digest, missing = version + len(batch), hashes[-1], missing[len(batch) :]


def _caught_up(version: int, digest: str, conflict: Conflict) -> tuple[int, str]:
    """Return the head after a lost race, having checked that what was missed leads there."""
    missed: tuple[Entry, ...] = conflict.missed
    assert version + len(missed) == conflict.head.version
    assert chain(missed, digest)[-1] == conflict.head.hash
    return conflict.head.version, conflict.head.hash
