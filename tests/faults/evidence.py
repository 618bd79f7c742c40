"""What clients write down, and what a fresh process finds in the journal: the oracle's input."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from stretto_core.entries import Entry
from tests.faults.nodes import Sample

FIRST_MARKER: Final = 0x4E00
"""Markers are single characters from here on, surrogates left out: nothing can split one."""
SURROGATES: Final = (0xD800, 0xE000)
MARKERS: Final = 0x110000 - FIRST_MARKER - (SURROGATES[1] - SURROGATES[0])


def marker(number: int) -> str:
    """Return the character that marks the edit of this number, from 0 on."""
    if not 0 <= number < MARKERS:
        raise ValueError("no document has so many edits")
    code = FIRST_MARKER + number
    return chr(code if code < SURROGATES[0] else code + SURROGATES[1] - SURROGATES[0])


def markers_in(op: Iterable[Any]) -> tuple[str, ...]:
    """Return the markers that an operation inserts."""
    return tuple(
        char for part in op if isinstance(part, str) for char in part if ord(char) >= FIRST_MARKER
    )


@dataclass(frozen=True, slots=True)
class Sent:
    """A submit that left."""

    client: str
    seq: int
    markers: tuple[str, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A submit that was answered with its version."""

    client: str
    seq: int
    version: int
    sent_at: float
    at: float

    @property
    def took_s(self) -> float:
        return self.at - self.sent_at


@dataclass(frozen=True, slots=True)
class Refused:
    """A submit that was answered with an error, or not at all."""

    code: str
    sent_at: float
    at: float


@dataclass(frozen=True, slots=True)
class Adopted:
    """A whole text was taken over, with its place in the history."""

    epoch: str
    version: int
    hash: str


@dataclass(frozen=True, slots=True)
class Seen:
    """An entry became part of the text."""

    version: int
    entry: Entry


Step: TypeAlias = Adopted | Seen


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a replica stands when everything is quiet."""

    epoch: str
    version: int
    hash: str
    text: str


@dataclass
class ClientLog:
    """All that one client knows."""

    name: str
    doc: str
    made: list[str] = field(default_factory=list)
    """The marker of each edit, in order."""
    sent: list[Sent] = field(default_factory=list)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    trail: list[Step] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    """Texts that were given back."""
    members: list[tuple[float, frozenset[str]]] = field(default_factory=list)
    """Who was said to be there, each time that changed."""
    heard: list[str] = field(default_factory=list)
    """Every payload as JSON, where all of them are kept: see ``keeps_payloads``."""
    keeps_payloads: bool = False
    events: Counter[str] = field(default_factory=Counter)
    """How often each event came."""
    connections: int = 0
    end: Standing | None = None

    def hear(self, payload: Mapping[str, Any]) -> None:
        if self.keeps_payloads:
            self.heard.append(json.dumps(payload, ensure_ascii=False, default=repr))


@dataclass(frozen=True)
class JournalCopy:
    """A document as a fresh process finds it in the journal."""

    doc: str
    lines: Sequence[Mapping[str, Any]]
    """The output of ``stretto docs history --json``."""
    text: str
    """That of ``stretto docs export``: the snapshot and what came after it."""
    verdict: str = ""
    """What ``stretto docs verify`` found wrong; empty when all is well."""
    earlier: Sequence[Mapping[str, Any]] = ()
    """Lines that were read before the journal forgot them."""


@dataclass(frozen=True)
class Death:
    """A client that vanished, and when its presence must be over at the latest."""

    member: str
    at: float
    ttl_s: float


@dataclass
class Evidence:
    """Everything that the oracle may look at."""

    journals: Mapping[str, JournalCopy]
    clients: Sequence[ClientLog]
    strangers: Sequence[ClientLog] = ()
    """Connections without a right to any of the documents."""
    samples: Sequence[Sample] = ()
    calm: Sequence[Sample] = ()
    """The same before the faults, to compare with."""
    healed_at: float | None = None
    """When the last fault was over."""
    ended_at: float = 0.0
    deaths: Sequence[Death] = ()
    may_lose: bool = False
    """Whether this journal's class allows to lose the tail, if that is noticed."""
