"""A document's history on one node of the model: in memory, and following the journal.

It goes on from its own appends, from what won a race, and from what the bus tells, which
is judged by :mod:`stretto_core.following` and by nothing else. Nothing waits here: each
method is one step, and between two steps anything may happen elsewhere.
"""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stretto_core import following
from stretto_core.authority import Authority, Staged, Submission
from stretto_core.entries import ClientRecord, Entry
from stretto_core.errors import StrettoError, VersionGone
from stretto_core.following import Frame, News
from stretto_core.protocol import Limits
from stretto_core.replica import Request
from tests.core.journal import Head, Journal, Message, RaceLostError, StaleClientError

DOC = "notes/today"


@dataclass(frozen=True)
class Answer:
    """What came of a request; one of ``payload`` and ``error``."""

    request: Request
    payload: dict[str, Any] | None = None
    error: StrettoError | None = None


@dataclass(frozen=True)
class Event:
    """What the server says by itself."""

    name: str
    payload: dict[str, Any]


@dataclass(eq=False)
class Wire:
    """One connection of one user."""

    user: str
    client: str | None = None
    up: deque[Request] = field(default_factory=deque)
    down: deque[Answer | Event] = field(default_factory=deque)
    is_cut: bool = False
    may_edit: bool = True

    def send(self, message: Answer | Event) -> None:
        if not self.is_cut:
            self.down.append(message)

    def cut(self) -> None:
        """Break the connection: nothing more arrives, and nothing more leaves."""
        self.is_cut = True
        self.up.clear()
        self.down.clear()


@dataclass(eq=False)
class Queued:
    wire: Wire
    request: Request
    payload: dict[str, Any]


@dataclass(eq=False)
class Append:
    """A batch on its way into the journal; ``problem`` is the journal's answer, if not good."""

    batch: list[Queued]
    staged: Staged
    epoch: str
    base_hash: str | None
    answered: bool = False
    problem: Exception | None = None

    def write(self, journal: Journal) -> None:
        """Let it reach the journal."""
        staged = self.staged
        try:
            journal.append(self.epoch, staged.base, staged.entries, staged.hashes, self.base_hash)
        except (RaceLostError, StaleClientError, StrettoError) as problem:
            self.problem = problem
        self.answered = True


class HistoryLostError(Exception):
    """The journal does not continue what is known here."""


@dataclass
class _HeadCheck:
    asked_at: int
    head: Head | None = None


def on_the_wire(payload: Any) -> Any:
    """Return a payload as it is after its way through JSON."""
    return json.loads(json.dumps(payload))


class History:
    """What a node knows of the document, and whom it tells."""

    names_base_hash = True
    tells_floor = True

    def __init__(self, journal: Journal, limits: Limits, authority: type[Authority]) -> None:
        self.journal = journal
        self.limits = limits
        self.seats: dict[Wire, None] = {}
        self.lost = False
        """Whether the journal no longer continues what is known: nothing commits here."""
        self.unsure = False
        self._make = authority
        self.heard: list[Frame] = []
        self.must_look = False
        self._check: _HeadCheck | None = None
        self.load()

    @property
    def is_writing(self) -> bool:
        return False

    def load(self) -> None:
        """Begin from what the journal has: its snapshot and the rest."""
        journal, start = self.journal, self.journal.snapshot
        self.authority = self._make(
            journal.epoch,
            start,
            journal.hashes[start],
            journal.text(start),
            floor=journal.floor,
            limits=self.limits,
        )
        self.authority.learn(journal.log[start:])
        self.enroll_seats()
        self.lost = self.unsure = self.must_look = False
        self.heard, self._check = [], None

    def enroll_seats(self) -> None:
        """Know those who keep a seat, and so submit without opening again."""
        for wire in self.seats:
            if wire.client is not None:
                self.authority.enroll(wire.client, self.journal.record(wire.client))

    # What other nodes do.

    def hear(self, message: Message) -> None:
        """Take in what the bus tells, now or when the append under way has ended."""
        if self.lost:
            return
        if not isinstance(message, Frame):
            if message.epoch != self.authority.epoch:
                self.must_look = True
        elif self.is_writing:
            self.heard.append(message)
        else:
            self._judge(message)

    def missed(self) -> None:
        """Look at the head: messages may have been lost."""
        self.ask_head()
        self.read_head()
        self.judge_head()

    def _judge(self, frame: Frame) -> None:
        news = following.judge_frame(self.authority, frame)
        if news is News.NEXT:
            entries = following.news_of(self.authority, frame)
            self.authority.learn(entries)
            self.send(self.authority.version - len(entries) + 1, entries)
        self.must_look = self.must_look or news in (News.GAP, News.OTHER)

    def take_heard(self) -> None:
        """Judge the frames that came while an append was under way."""
        heard, self.heard = self.heard, []
        for frame in heard:
            if not self.must_look:
                self._judge(frame)

    def ask_head(self) -> None:
        """Ask where the journal stands; the answer takes its time."""
        self._check = _HeadCheck(self.authority.version)

    def read_head(self) -> None:
        if self._check is not None and self._check.head is None:
            self._check.head = self.journal.head

    def judge_head(self) -> None:
        check = self._check
        if check is None or check.head is None:
            return
        self._check, head = None, check.head
        news = following.judge_head(
            self.authority, head.epoch, head.version, head.hash, check.asked_at
        )
        if not self.lost and news in (News.GAP, News.OTHER):
            self.must_look = True

    # What the journal knows better.

    def catch_up(self) -> None:
        """Read what the journal has beyond what is known. Raises HistoryLostError."""
        authority = self.authority
        try:
            entries = self.journal.read(authority.epoch, authority.version + 1)
        except StrettoError as error:
            raise HistoryLostError from error
        self.learn(entries, self.journal.hashes[-1])

    def learn(self, entries: Sequence[Entry], digest: str) -> None:
        """Take in what others committed. Raises HistoryLostError if it leads elsewhere."""
        if not following.continues(self.authority, entries, digest):
            raise HistoryLostError
        first = self.authority.version + 1
        self.authority.learn(entries)
        self.send(first, entries)

    def settle(self) -> None:
        """After an unknown outcome, read what the journal has before going on."""
        if self.unsure:
            self.catch_up()
            for client in self.authority.clients():
                self.authority.enroll(client, self.journal.record(client))
            self.unsure = False

    def enroll(self, client: str, *, anew: bool = False) -> ClientRecord:
        """Make sure that the authority knows a client, and has all that it committed."""
        record = None if anew else self.authority.record(client)
        if record is None:
            record = self.journal.record(client) or ClientRecord()
            if record.last_version > self.authority.version:
                self.catch_up()
            self.authority.enroll(client, record)
        return record

    def reach_back(self, submissions: Sequence[Submission]) -> None:
        """Have the entries that submissions must be transformed over in memory."""
        oldest = self.authority.oldest_base(submissions)
        if oldest is None:
            return
        try:
            horizon = self.authority.horizon
            older = self.journal.read(self.authority.epoch, oldest + 1, horizon - oldest)
            known = self.authority.hash_at(horizon)
            if len(older) < horizon - oldest or known not in (None, self.journal.hashes[horizon]):
                raise HistoryLostError
            self.authority.extend_back(older, self.journal.hashes[oldest])
        except VersionGone as gone:
            self.authority.floor = (gone.details or {})["floor"]
            self.reach_back(submissions)

    def load_anew(self) -> None:
        """Load what the journal has now, and tell the members what became of theirs."""
        known, journal = self.authority, self.journal
        if not self._continues(known):
            journal.renew(journal.epoch, journal.fresh_epoch())
        self.load()
        if self.authority.epoch != known.epoch:
            told = {"epoch": self.authority.epoch, "version": self.authority.version}
            self.broadcast(Event("reset", {"doc": DOC, **told, "hash": self.authority.hash}))
        else:
            self.broadcast(Event("behind", {"doc": DOC, "version": self.authority.version}))

    def _continues(self, known: Authority) -> bool:
        """Tell whether the journal has the history known here, or openly another one."""
        head = self.journal.head
        if head.epoch != known.epoch or known.version < head.floor:
            return True
        if head.version < known.version:
            return False
        return self.journal.hashes[known.version] == known.hash

    # Frames.

    def send(self, first: int, entries: Sequence[Entry]) -> None:
        """Send entries from version ``first`` on, the last of which is the head's."""
        if entries:
            frame = {
                "doc": DOC,
                "epoch": self.authority.epoch,
                "from": first,
                "ops": [entry.to_payload() for entry in entries],
                "hash": self.authority.hash,
            }
            self.broadcast(Event("ops", on_the_wire(frame)))

    def broadcast(self, event: Event) -> None:
        for wire in self.seats:
            wire.send(event)

    def look(self) -> None:
        """Read on, because something that was heard does not continue what is known."""
        self.must_look = False
        self.catch_up()
