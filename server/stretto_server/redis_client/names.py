"""Names of keys and channels in Redis: everything of one document lies in one hash slot.

Documents are spread over 256 tags, not one tag each: so a sorted index of the documents
can lie in the same slot as they do, and one script keeps both in step, on a cluster too.
Rooms all have one tag, since ``find`` looks at all of them in one script.
"""

from typing import Final
from zlib import crc32

PREFIX: Final = "stretto"
TAGS: Final = tuple(f"{PREFIX}:{{{number:02x}}}" for number in range(256))
"""How each key starts; Redis hashes only what is in the braces."""
ROOMS_TAG: Final = f"{PREFIX}:{{rooms}}"


def tag_of(name: str) -> str:
    """Return how the keys and channels of the document ``name`` start."""
    return TAGS[crc32(name.encode()) % len(TAGS)]


def channel_of(room: str) -> str:
    """Return the channel for frames to the members of ``room`` (``doc:<id>``, ``room:<id>``)."""
    kind, _, name = room.partition(":")
    return f"{ROOMS_TAG if kind == 'room' else tag_of(name)}:channel:{room}"
