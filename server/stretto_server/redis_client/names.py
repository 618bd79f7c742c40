"""Names of keys and channels in Redis: everything of one document lies in one hash slot.

Documents are spread over 256 tags, not one tag each: so a sorted index of the documents
can lie in the same slot as they do, and one script keeps both in step, on a cluster too.
"""

from typing import Final
from zlib import crc32

PREFIX: Final = "stretto"
TAGS: Final = tuple(f"{PREFIX}:{{{number:02x}}}" for number in range(256))
"""How each key starts; Redis hashes only what is in the braces."""


def tag_of(name: str) -> str:
    """Return how the keys and channels of the document or room ``name`` start."""
    return TAGS[crc32(name.encode()) % len(TAGS)]


def channel_of(room: str) -> str:
    """Return the channel for frames to the members of ``room`` (``doc:<id>``, ``room:<id>``)."""
    return f"{tag_of(room.partition(':')[2])}:channel:{room}"
