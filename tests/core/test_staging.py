from stretto_core.entries import Entry, next_hash
from stretto_core.ot.run import splice_of
from stretto_core.protocol import NO_HASH
from stretto_core.staging import Stage


def test_each_entry_has_its_version_hash_and_length() -> None:
    stage = Stage(3, 5, NO_HASH)
    entries = [
        Entry("client-of-ann-0001", 1, (5, "ab"), "ann", 1),
        Entry("client-of-ann-0001", 2, (-1,), "ann", 2),
        Entry("client-of-bob-0001", 1, ("x", 2, -1, "y"), "bob", 3),
        Entry("client-of-bob-0001", 2, (), "bob", 4),
    ]
    versions = [stage.add(entry, *splice_of(entry.op)) for entry in entries]
    assert versions == [4, 5, 6, 7]
    assert stage.entries == entries
    assert stage.lengths == [7, 6, 7, 7]
    reached = NO_HASH
    for entry, digest in zip(entries, stage.hashes, strict=True):
        reached = next_hash(reached, entry)
        assert digest == reached
