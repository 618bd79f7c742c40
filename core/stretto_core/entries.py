"""Entries of a document's log, their JSON, and the hash that chains them to a history."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from hashlib import sha256
from json.encoder import encode_basestring
from typing import Any, Final

from stretto_core.ot import Operation
from stretto_core.values import value

_quoted: Final = encode_basestring
"""A string as ``JSON.stringify`` writes it: nothing is escaped that need not be."""


@value
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
    json: str = field(default="", init=False, repr=False, compare=False)
    """What :meth:`to_json` returned, once it was asked."""

    def to_payload(self) -> dict[str, Any]:
        """Return the entry as the wire contract writes it."""
        return {
            "client": self.client,
            "seq": self.seq,
            "op": list(self.op),
            "user": self.user,
            "at_ms": self.at_ms,
        }

    def to_json(self) -> str:
        """Return the compact JSON of :meth:`to_payload`; it is made once."""
        return self.json or _write_json(self, _quoted(self.client), operation_json(self.op))

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


def operation_json(op: Operation) -> str:
    """Return the JSON of a canonical operation as ``JSON.stringify`` writes it (RFC 8785)."""
    if len(op) == 2:
        kept, text = op
        if type(kept) is int and type(text) is str:  # as most operations are
            return f"[{kept},{_quoted(text)}]"
    return f"[{','.join([_quoted(p) if isinstance(p, str) else str(p) for p in op])}]"


def next_hash(previous: str, entry: Entry) -> str:
    """Return the history hash after ``entry``: 16 hex digits.

    The first 8 bytes of SHA-256 over the previous hash's 8 bytes and the JSON of
    ``[client, seq, op]`` as ``JSON.stringify`` writes it (RFC 8785).
    """
    text = f"[{_quoted(entry.client)},{entry.seq},{operation_json(entry.op)}]"
    return sha256(bytes.fromhex(previous) + text.encode()).hexdigest()[:16]


def hashes_after(reached: str, entries: Iterable[Entry]) -> list[str]:
    """Return the history hash after each of ``entries``, which follow the hash ``reached``."""
    hashes = []
    for entry in entries:
        reached = next_hash(reached, entry)
        hashes.append(reached)
    return hashes


def seal(previous: str, entry: Entry) -> str:
    """Do as :func:`next_hash`, and make the JSON of ``entry`` on the way."""
    client, op = _quoted(entry.client), operation_json(entry.op)
    _write_json(entry, client, op)
    text = f"[{client},{entry.seq},{op}]"
    return sha256(bytes.fromhex(previous) + text.encode()).hexdigest()[:16]


def _write_json(entry: Entry, client: str, op: str) -> str:
    """Write an entry's JSON from parts that are written already, and keep it."""
    text = (
        f'{{"client":{client},"seq":{entry.seq},"op":{op},'
        f'"user":{_quoted(entry.user)},"at_ms":{entry.at_ms}}}'
    )
    object.__setattr__(entry, "json", text)
    return text


@value
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
        return ClientRecord(seq, version, user, self.fenced)
