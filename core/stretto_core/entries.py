"""Entries of a document's log, and the hash that chains them to a history."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from stretto_core.ot import Operation


@dataclass(frozen=True, slots=True)
class Entry:
    """One committed operation: transformed, canonical, and never changed again.

    ``client`` and ``seq`` say whose operation it was, ``user`` who that was (the ``sub``
    of the token) and ``at_ms`` when it was committed (milliseconds since the epoch, for
    display only). An entry does not hold its version: its place in the log does.
    """

    client: str
    seq: int
    op: Operation
    user: str
    at_ms: int

    def to_payload(self) -> dict[str, Any]:
        """Return the entry as the wire contract writes it."""
        return {
            "client": self.client,
            "seq": self.seq,
            "op": list(self.op),
            "user": self.user,
            "at_ms": self.at_ms,
        }

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> "Entry":
        """Return the entry that :meth:`to_payload` wrote; unknown keys are ignored."""
        return cls(
            payload["client"],
            payload["seq"],
            tuple(payload["op"]),
            payload["user"],
            payload["at_ms"],
        )


def next_hash(previous: str, entry: Entry) -> str:
    """Return the history hash after ``entry``: 16 hex digits.

    The first 8 bytes of SHA-256 over the previous hash's 8 bytes and the JSON of
    ``[client, seq, op]`` as ``JSON.stringify`` writes it (RFC 8785).
    """
    text = json.dumps(
        [entry.client, entry.seq, entry.op], ensure_ascii=False, separators=(",", ":")
    )
    return sha256(bytes.fromhex(previous) + text.encode()).digest()[:8].hex()


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """What is durably known of one replica, so that each of its seqs commits once.

    ``last_version`` is the version that ``last_seq`` took (0 before the first op).
    ``user`` is whom the client is bound to; a ``fenced`` client commits nothing more.
    """

    last_seq: int = 0
    last_version: int = 0
    user: str | None = None
    fenced: bool = False

    def advanced(self, seq: int, version: int, user: str) -> "ClientRecord":
        """Return the record after this client's ``seq`` took ``version``."""
        return replace(self, last_seq=seq, last_version=version, user=user)
