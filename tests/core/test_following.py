"""What is heard of other nodes: known, next, a gap, or another history."""

import pytest

from stretto_core.authority import Authority
from stretto_core.entries import Entry, next_hash
from stretto_core.following import (
    Frame,
    News,
    continues,
    judge_frame,
    judge_head,
    judge_with_hashes,
    news_of,
)
from stretto_core.protocol import NO_HASH, Limits

ENTRIES = [Entry("client-number-one", seq, (str(seq),), "ann", 1) for seq in range(1, 6)]
HASHES = [NO_HASH]
for _entry in ENTRIES:
    HASHES.append(next_hash(HASHES[-1], _entry))
WRONG = "0123456789abcdef"


def known_up_to(version: int) -> Authority:
    authority = Authority("epoch", 0, NO_HASH, "", floor=0, limits=Limits())
    authority.learn(ENTRIES[:version])
    return authority


def frame(first: int, last: int, **changes: object) -> Frame:
    fields = {"epoch": "epoch", "entries": tuple(ENTRIES[first - 1 : last]), "hash": HASHES[last]}
    return Frame(first=first, version=last, **{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("heard", "news"),
    [
        (frame(4, 4), News.NEXT),
        (frame(4, 5), News.NEXT),
        (frame(2, 5), News.NEXT),  # half of it is known
        (frame(1, 3), News.KNOWN),
        (frame(2, 2), News.KNOWN),
        (frame(5, 5), News.GAP),
        (frame(4, 5, entries=None), News.GAP),
        (frame(2, 3, entries=None), News.KNOWN),
        (frame(4, 4, epoch="another"), News.OTHER),
        (frame(3, 3, epoch="another"), News.OTHER),
        (frame(4, 4, hash=WRONG), News.OTHER),
        (frame(3, 3, hash=WRONG), News.OTHER),
        (frame(4, 4, entries=(ENTRIES[0],)), News.OTHER),
    ],
)
def test_a_frame_is_compared_with_what_is_known(heard: Frame, news: News) -> None:
    authority = known_up_to(3)
    assert judge_frame(authority, heard) is news
    assert (authority.version, authority.hash) == (3, HASHES[3])


def test_the_hashes_of_news_are_told_once() -> None:
    authority = known_up_to(3)
    assert judge_with_hashes(authority, frame(2, 5)) == (News.NEXT, HASHES[4:6])
    authority.learn(ENTRIES[3:], HASHES[4:6])
    assert [authority.hash_at(version) for version in range(6)] == HASHES


def test_only_what_is_not_known_is_new() -> None:
    assert list(news_of(known_up_to(3), frame(2, 5))) == ENTRIES[3:5]
    assert list(news_of(known_up_to(3), frame(4, 5, entries=None))) == []


def test_what_left_memory_cannot_be_compared() -> None:
    authority = known_up_to(5)
    authority.trim(4)
    assert judge_frame(authority, frame(2, 2, hash=WRONG)) is News.KNOWN


@pytest.mark.parametrize(
    ("epoch", "version", "digest", "asked_at", "news"),
    [
        ("epoch", 3, HASHES[3], 3, News.KNOWN),
        ("epoch", 2, HASHES[2], 2, News.KNOWN),  # we have committed since it was asked
        ("epoch", 2, HASHES[2], 3, News.OTHER),  # it has lost what it had
        ("epoch", 3, WRONG, 3, News.OTHER),
        ("epoch", 4, HASHES[4], 3, News.GAP),
        ("another", 3, HASHES[3], 3, News.OTHER),
    ],
)
def test_a_head_is_compared_with_what_is_known(
    epoch: str, version: int, digest: str, asked_at: int, news: News
) -> None:
    assert judge_head(known_up_to(3), epoch, version, digest, asked_at) is news


def test_entries_continue_a_history_where_the_hash_says_so() -> None:
    authority = known_up_to(3)
    assert continues(authority, ENTRIES[3:], HASHES[5])
    assert continues(authority, [], HASHES[3])
    assert not continues(authority, ENTRIES[3:], HASHES[4])
    assert not continues(authority, [], HASHES[2])
