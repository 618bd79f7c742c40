"""What is fuzzed: a function of any bytes that raises when a promise is broken, and examples."""

import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tests.core.eio.fuzz.codecs import PACKED, check_class, check_json, check_msgpack
from tests.core.eio.fuzz.frames import STREAMS, check_stream
from tests.core.eio.fuzz.messages import CONVERSATIONS, check_conversation
from tests.core.eio.fuzz.payloads import BODIES, check_any_frame, check_body
from tests.core.eio.fuzz.sessions import SCRIPTS, check_script

MEMORY_BYTES: Final = 512 * 1024
MEMORY_PER_BYTE: Final = 2_000
SECONDS: Final = 0.25
SECONDS_PER_BYTE: Final = 0.000_5
"""Far more than any check takes, and far less than what grows with the square of its input."""


class TooDearError(AssertionError):
    """An input cost more time or memory than its length allows."""


@dataclass(frozen=True, slots=True)
class Target:
    """One function under test; ``examples`` are where mutations begin."""

    name: str
    check: Callable[[bytes], None]
    examples: Sequence[bytes]

    def __call__(self, data: bytes) -> None:
        """Check that every promise holds. Raises AssertionError, or what should not be raised."""
        began = time.process_time()
        self.check(data)
        most = SECONDS + SECONDS_PER_BYTE * len(data)
        if time.process_time() - began > most and min(map(self._seconds, [data] * 3)) > most:
            raise TooDearError(f"{len(data)} bytes take more than {most:.2f} s")

    def _seconds(self, data: bytes) -> float:
        began = time.process_time()
        self.check(data)
        return time.process_time() - began

    def weigh(self, data: bytes) -> None:
        """Check the memory that an input takes at its worst. Raises TooDearError."""
        tracemalloc.start()
        try:
            self.check(data)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        if peak > MEMORY_BYTES + MEMORY_PER_BYTE * len(data):
            raise TooDearError(f"{len(data)} bytes take {peak} bytes of memory")


TARGETS: Final = [
    Target("body", check_body, BODIES),
    Target("frame", check_any_frame, BODIES),
    Target("stream", check_stream, STREAMS),
    Target("conversation", check_conversation, CONVERSATIONS),
    Target("session", check_script, SCRIPTS),
    Target("json", check_json, CONVERSATIONS),
    Target("msgpack", check_msgpack, PACKED),
    Target("class", check_class, CONVERSATIONS),
]

WORDS: Final[Sequence[bytes]] = [
    *(b"\x1e", b"\n", b"\n\0", b"probe", b"2probe", b"4", b"b", b"=", b"AA==", b"0", b"1", b"3"),
    *(b'2["', b'"]', b"51-[", b"10-", b"11-", b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\"),
    *(b'{"_placeholder":true,"num":0}', b'"_placeholder"', b'"num"', b"true", b"null", b"1e999"),
    *(b"NaN", b"Infinity", b"-", b"9007199254740992", b"\\ud800", b"\\u0000", b"/a,", b"/", b"?"),
    *(b"\x81", b"\x82", b"\x80", b"\x01", b"\x88", b"\x89", b"\x8a", b"\xc1", b"\xfe", b"\xff"),
    *(b"\x00\x7e", b"\x03\xe8", b"\xe2\x82\xac", b"\xed\xa0\x80", b"\xc0\x80", "٣".encode()),
    *(b"\xdf", b"\xcb\x7f\xf0" + bytes(6), b"\xc7\x00\x00", b"\xd6\xff" + bytes(4), b"\xa3nsp"),
    *(b"\xa4type", b"\xa4data", b"\xa2id", b'"connect"', b'"disconnect"', bytes(8), b"\x7f" * 8),
]
"""What mutations put in between."""
