"""What a node makes of commits that it hears of from other nodes.

News comes on a channel that may lose, repeat or reorder messages, and from looking at the
journal's head now and then. It is compared with what the authority has: whatever does not
continue it is read from the journal, which alone decides what the history is.
"""

from collections.abc import Sequence
from enum import StrEnum

from stretto_core.authority import Authority
from stretto_core.entries import Entry, hashes_after
from stretto_core.values import value


class News(StrEnum):
    """How something heard compares with what is known."""

    KNOWN = "known"
    """Nothing new."""
    NEXT = "next"
    """It continues what is known."""
    GAP = "gap"
    """Something is missing between: read the journal."""
    OTHER = "other"
    """It belongs to another history than what is known, or the message is wrong: the journal
    must say which."""


@value
class Frame:
    """Entries that were committed somewhere, the last of them at ``version``.

    ``entries`` is None where they were too many to be sent along. ``text`` is the payload
    of the wire contract's ``ops`` as it came, to be relayed as it is.
    """

    epoch: str
    first: int
    entries: tuple[Entry, ...] | None
    version: int
    hash: str
    text: str = ""


def judge_frame(authority: Authority, frame: Frame) -> News:
    """Compare a frame with what is known. NEXT: take in :func:`news_of` it."""
    return judge_with_hashes(authority, frame)[0]


def judge_with_hashes(authority: Authority, frame: Frame) -> tuple[News, Sequence[str]]:
    """Do as :func:`judge_frame`; return the history hashes after the news as well."""
    if frame.epoch != authority.epoch:
        return News.OTHER, ()
    if frame.version <= authority.version:
        return _judge_known(authority, frame.version, frame.hash), ()
    if frame.entries is None or frame.first > authority.version + 1:
        return News.GAP, ()
    hashes = hashes_after(authority.hash, news_of(authority, frame))
    return News.NEXT if hashes[-1:] == [frame.hash] else News.OTHER, hashes


def judge_head(authority: Authority, epoch: str, version: int, digest: str, asked_at: int) -> News:
    """Compare the journal's head with what is known; ``asked_at`` was known when it was asked.

    A head below that has lost what was durable once.
    """
    if epoch != authority.epoch or version < asked_at:
        return News.OTHER
    if version > authority.version:
        return News.GAP
    return _judge_known(authority, version, digest)


def news_of(authority: Authority, frame: Frame) -> Sequence[Entry]:
    """Return those entries of a frame that are not known yet."""
    return (frame.entries or ())[authority.version + 1 - frame.first :]


def continues(authority: Authority, entries: Sequence[Entry], digest: str) -> bool:
    """Tell whether ``entries`` lead from the head to the history hash ``digest``."""
    return [authority.hash, *hashes_after(authority.hash, entries)][-1] == digest


def _judge_known(authority: Authority, version: int, digest: str) -> News:
    known = authority.hash_at(version)
    return News.KNOWN if known in (None, digest) else News.OTHER
