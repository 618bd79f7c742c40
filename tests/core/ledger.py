"""What became of every edit, written down while it happens and judged at the end.

Every insertion holds one character of its own, its marker. The ledger reads the log, and
what is told to users; it knows nothing of how nodes and replicas work.
"""

from collections.abc import Iterable, Sequence

from stretto_core.effects import Origin, Returned
from stretto_core.entries import Entry
from stretto_core.ot import Component
from tests.core.journal import Journal

FIRST_MARKER = 0x20000
"""Markers are the characters from here on (CJK, extension B)."""


def demand(holds: bool, promise: str) -> None:
    """Raise AssertionError if what was promised does not hold."""
    if not holds:
        raise AssertionError(promise)


def markers(text: str) -> set[str]:
    """Return the characters of ``text`` that each mark one insertion."""
    return {char for char in text if ord(char) >= FIRST_MARKER}


def inserted(op: Sequence[Component]) -> str:
    """Return what an operation inserts."""
    return "".join(part for part in op if isinstance(part, str))


def marked(entries: Iterable[Entry]) -> list[str]:
    """Return the markers in entries, as often as they are there."""
    text = "".join(inserted(entry.op) for entry in entries)
    return [char for char in text if ord(char) >= FIRST_MARKER]


class Ledger:
    """Who made which edit, what was promised of it and where it is."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.acknowledged: list[tuple[str, int, int]] = []
        """(client, seq, version) as nodes answered."""
        self.logged: dict[str, int] = {}
        """How often each marker is in the log."""
        self.gone: set[str] = set()
        """Markers that were in the log before it lost its tail, or was replaced."""
        self.gone_names: set[tuple[str, int]] = set()
        self.given_back: set[str] = set()
        self.offered: set[str] = set()
        """Those whose authors got their text back because it is in the log no more."""
        self.excused: set[str] = set()
        """Markers that need not arrive: deleted before they were sent, or lost in a crash."""
        self.may_double: set[str] = set()
        """Markers of clients whose fence was lost."""
        self.upheavals = 0
        """How often history was lost or replaced."""
        self._made: dict[str, str] = {}
        self._erased: set[str] = set()
        self._read = 0

    # What users do and are told.

    def make_marker(self, author: str) -> str:
        marker = chr(FIRST_MARKER + len(self._made))
        self._made[marker] = author
        return marker

    def erase(self, text: str) -> None:
        self._erased |= markers(text)

    def excuse(self, lost: set[str]) -> None:
        self.excused |= lost

    def give_back(self, author: str, told: Returned, unsettled: set[str]) -> None:
        """Note that text was given back; ``unsettled`` is still on its way to the log."""
        self.read()
        if told.origin is Origin.REFUSED:
            self.given_back |= markers(told.text)
            return
        demand(self.upheavals > 0, "no history was replaced here")
        seen = markers(told.text) | self._erased
        for marker in self.gone - set(self.logged) - unsettled:
            if self._made[marker] == author and marker in seen:
                self.offered.add(marker)

    def withdraw(self, kept: set[str]) -> None:
        """Note that a replica died before it stored that these were given back."""
        self.given_back -= kept

    def was_logged(self, marker: str) -> bool:
        """Whether the journal has, or once had, an edit."""
        self.read()
        return marker in self.logged or marker in self.gone

    # What becomes of the log.

    def read(self) -> None:
        for marker in marked(self.journal.log[self._read :]):
            self.logged[marker] = self.logged.get(marker, 0) + 1
        self._read = len(self.journal.log)

    def lose(self, lost: Sequence[Entry]) -> None:
        """Note that entries were lost, or replaced; the log has changed already."""
        self.upheavals += 1
        self.gone |= set(marked(lost))
        self.gone_names |= {(entry.client, entry.seq) for entry in lost}
        self.logged, self._read = {}, 0
        self.read()

    def lose_fence(self, author: str) -> None:
        """Note that a fence of an author's client was lost with its copy."""
        self.may_double |= {marker for marker, one in self._made.items() if one == author}

    # The end.

    def judge(self) -> None:
        """Demand of the log what was promised."""
        names = [(entry.client, entry.seq) for entry in self.journal.log]
        demand(len(set(names)) == len(names), "a (client, seq) took two versions")
        for client, seq, version in self.acknowledged:
            kept = version <= len(names) and names[version - 1] == (client, seq)
            lost = (client, seq) in self.gone_names
            demand(kept or lost, "an acknowledged operation is not in the log")
        self.read()
        twice = {marker for marker, count in self.logged.items() if count > 1}
        demand(twice <= self.may_double, "an edit is in the log twice")
        if not self.upheavals:
            demand(not self.given_back & set(self.logged), "what was given back is in the log")
        missing = set(self._made) - set(self.logged) - self.excused - self.given_back
        silent = missing & self.gone - self.offered
        demand(not silent, f"an edit was lost, and its author was told nothing: {silent}")
        demand(not missing - self.gone, "an edit is not in the log")
