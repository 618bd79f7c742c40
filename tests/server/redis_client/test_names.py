from stretto_server.redis_client.cluster import slot_of
from stretto_server.redis_client.names import ROOMS_TAG, TAGS, channel_of, tag_of


def test_all_of_one_document_starts_alike() -> None:
    assert channel_of("doc:notes/today").startswith(tag_of("notes/today"))
    assert channel_of("doc:notes/today") != channel_of("room:notes/today")
    assert channel_of("doc:a:b").startswith(tag_of("a:b"))


def test_documents_are_spread_over_slots() -> None:
    assert len({tag_of(f"doc-{number}") for number in range(5_000)}) == len(TAGS)
    assert len({slot_of(tag) for tag in TAGS}) > 250


def test_all_rooms_lie_in_one_slot() -> None:
    slots = {slot_of(channel_of(f"room:{number}")) for number in range(100)}
    assert slots == {slot_of(ROOMS_TAG)}
