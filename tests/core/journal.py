"""What is durable, in memory: one history that any number of nodes append to.

It may fall back to what a lagging copy of it has (:meth:`Journal.fall_back`), and tells of
every change with a message, which whoever made the journal passes on.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from stretto_core.entries import ClientRecord, Entry, next_hash
from stretto_core.errors import EpochChanged, Forbidden, VersionAhead, VersionGone
from stretto_core.following import Frame
from stretto_core.ot import Rope
from stretto_core.protocol import NO_HASH

LAG = 12
"""A copy lags behind by at most so many changes."""


@dataclass(frozen=True)
class Head:
    """Where the history stands."""

    epoch: str
    version: int
    hash: str
    floor: int


@dataclass(frozen=True)
class Replaced:
    """The message that the history has another epoch now."""

    epoch: str


Message = Frame | Replaced


class RaceLostError(Exception):
    """The head is not the base; ``missed`` is what somebody else appended to it."""

    def __init__(self, head: Head, missed: Sequence[Entry]) -> None:
        super().__init__()
        self.head = head
        self.missed = missed


class StaleClientError(Exception):
    """An entry is not its client's next one."""

    def __init__(self, client: str) -> None:
        super().__init__(client)
        self.client = client


@dataclass(frozen=True)
class _Copy:
    """What a lagging copy has; its entries are the first ``version`` of the log."""

    epoch: str
    version: int
    records: dict[str, ClientRecord]
    floor: int
    snapshot: int
    kept_from: int | None


@dataclass
class Journal:
    """The durable log. What compaction forgets stays in ``log``, for those who judge."""

    epoch: str = "epoch-1"
    log: list[Entry] = field(default_factory=list)
    hashes: list[str] = field(default_factory=lambda: [NO_HASH])
    records: dict[str, ClientRecord] = field(default_factory=dict)
    floor: int = 0
    snapshot: int = 0
    checks_seqs: bool = True
    keeps_fences: bool = True
    renews: bool = True
    publish: Callable[[Message], None] = lambda message: None
    _epochs: int = 1
    _kept_from: int | None = None
    """Where a loss that nobody noticed yet begins: nothing above is compacted so soon."""
    _copies: deque[_Copy] = field(default_factory=lambda: deque(maxlen=LAG))

    @property
    def version(self) -> int:
        return len(self.log)

    @property
    def head(self) -> Head:
        return Head(self.epoch, self.version, self.hashes[-1], self.floor)

    def record(self, client: str) -> ClientRecord | None:
        return self.records.get(client)

    def text(self, version: int | None = None) -> str:
        """Return the log replayed from nothing."""
        rope = Rope("")
        for entry in self.log[:version]:
            rope.apply(entry.op)
        return str(rope)

    def fresh_epoch(self) -> str:
        self._epochs += 1
        return f"epoch-{self._epochs}"

    # What nodes do.

    def append(
        self,
        epoch: str,
        base: int,
        entries: Sequence[Entry],
        hashes: Sequence[str],
        base_hash: str | None = None,
    ) -> None:
        self._require(epoch)
        if base != self.version or base_hash not in (None, self.hashes[-1]):
            if base < self.floor:
                raise VersionGone(details={"floor": self.floor})
            raise RaceLostError(self.head, self.log[base:])
        records = dict(self.records)
        for version, entry in enumerate(entries, base + 1):
            record = records.get(entry.client) or ClientRecord()
            stale = record.fenced or entry.seq != record.last_seq + 1
            if stale and self.checks_seqs:
                raise StaleClientError(entry.client)
            records[entry.client] = record.advanced(entry.seq, version, entry.user)
        self._copy()
        self.records = records
        self.log += entries
        self.hashes += hashes
        self.publish(Frame(epoch, base + 1, tuple(entries), self.version, self.hashes[-1]))

    def read(self, epoch: str, first: int, limit: int | None = None) -> list[Entry]:
        self._require(epoch)
        if first <= self.floor:
            raise VersionGone(details={"floor": self.floor})
        if first > self.version + 1:
            raise VersionAhead(details={"version": self.version})
        return self.log[first - 1 : None if limit is None else first - 1 + limit]

    def fence(self, epoch: str, client: str, user: str) -> int:
        self._require(epoch)
        record = self.records.get(client) or ClientRecord(user=user)
        if record.user not in (None, user):
            raise Forbidden
        if self.keeps_fences:
            self._copy()
            self.records = {**self.records, client: replace(record, fenced=True)}
        return record.last_seq

    def renew(self, epoch: str, new_epoch: str) -> None:
        if self.epoch == epoch and self.renews:
            self._copy()
            self.epoch, self._kept_from = new_epoch, None
            self.publish(Replaced(new_epoch))

    def keep(self, epoch: str, version: int, digest: str) -> None:
        """Keep a snapshot, if it is newer than the kept one and of this history."""
        is_newer = self.snapshot < version <= self.version
        if epoch == self.epoch and is_newer and self.hashes[version] == digest:
            self._copy()
            self.snapshot = version

    def compact(self, floor: int) -> None:
        most = min(floor, self.snapshot)
        if self._kept_from is not None:
            most = min(most, self._kept_from)
        if most > self.floor:
            self._copy()
            self.floor = most

    def replace(self, epoch: str, text: str) -> None:
        """Begin another history with ``text``; no copy lags behind this."""
        self.epoch, self.log, self.hashes, self.records = epoch, [], [NO_HASH], {}
        self.floor = self.snapshot = 0
        self._kept_from = None
        if text:
            entry = Entry("imported-client-0", 1, (text,), "server", 0)
            self.log.append(entry)
            self.hashes.append(next_hash(NO_HASH, entry))
            self.records[entry.client] = ClientRecord(1, 1, entry.user)
        self._copies.clear()
        self.publish(Replaced(epoch))

    def _require(self, epoch: str) -> None:
        if epoch != self.epoch:
            raise EpochChanged(details={"epoch": self.epoch})

    # What a copy that lags behind has.

    def _copy(self) -> None:
        """Remember how it is before a change."""
        self._copies.append(
            _Copy(
                self.epoch,
                self.version,
                self.records,
                self.floor,
                self.snapshot,
                self._kept_from,
            )
        )

    @property
    def lossy_lags(self) -> int:
        """By how many changes a copy may lag so that entries are lost; at least 1."""
        return sum(1 for copy in self._copies if copy.version < self.version)

    def fall_back(self, back: int) -> list[Entry]:
        """Go on from a copy without the last entries, the ``back``-th youngest of those.

        Return what is lost. Records, fences, epoch and floor go back with them.
        """
        lossy = [copy for copy in self._copies if copy.version < self.version]
        copy = lossy[-back]
        while self._copies.pop() is not copy:
            pass
        lost = self.log[copy.version :]
        del self.log[copy.version :], self.hashes[copy.version + 1 :]
        self.epoch, self.records = copy.epoch, copy.records
        self.floor, self.snapshot = copy.floor, copy.snapshot
        self._kept_from = min(
            copy.version, copy.version if copy.kept_from is None else copy.kept_from
        )
        return lost
