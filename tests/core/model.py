"""A server in memory, driven as the real one drives its authority, without clock or network.

A :class:`Journal` is what is durable. A :class:`Node` serves one document from it and may be
killed at any moment; several nodes may share a journal. A :class:`Wire` is one connection:
what the client sent and the node has not read, what the node sent and the client has not.
"""

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stretto_core.authority import Authority, Submission
from stretto_core.entries import ClientRecord, Entry, next_hash
from stretto_core.errors import (
    EpochChanged,
    Forbidden,
    InvalidRequest,
    NotJoined,
    StrettoError,
    Unavailable,
    VersionAhead,
    VersionGone,
)
from stretto_core.ot import Rope
from stretto_core.protocol import DOCS, NO_HASH, REQUESTS, Limits, decode_request
from stretto_core.replica import Request

DOC = "notes/today"


class RaceLostError(Exception):
    """Somebody else appended first; ``missed`` is what."""

    def __init__(self, missed: Sequence[Entry]) -> None:
        super().__init__()
        self.missed = missed


class StaleClientError(Exception):
    """An entry is not its client's next one."""

    def __init__(self, client: str) -> None:
        super().__init__(client)
        self.client = client


@dataclass
class Journal:
    """The durable log. What compaction forgets stays in ``log``, for those who judge."""

    epoch: str = "epoch-1"
    log: list[Entry] = field(default_factory=list)
    hashes: list[str] = field(default_factory=lambda: [NO_HASH])
    records: dict[str, ClientRecord] = field(default_factory=dict)
    floor: int = 0
    checks_seqs: bool = True
    keeps_fences: bool = True

    @property
    def version(self) -> int:
        return len(self.log)

    def record(self, client: str) -> ClientRecord | None:
        return self.records.get(client)

    def text(self, version: int | None = None) -> str:
        """Return the log replayed from nothing."""
        rope = Rope("")
        for entry in self.log[:version]:
            rope.apply(entry.op)
        return str(rope)

    def append(self, base: int, entries: Sequence[Entry], hashes: Sequence[str]) -> None:
        if base != self.version:
            raise RaceLostError(self.read(base + 1))
        records = dict(self.records)
        for version, entry in enumerate(entries, base + 1):
            record = records.get(entry.client) or ClientRecord()
            stale = record.fenced or entry.seq != record.last_seq + 1
            if stale and self.checks_seqs:
                raise StaleClientError(entry.client)
            records[entry.client] = record.advanced(entry.seq, version, entry.user)
        self.records = records
        self.log += entries
        self.hashes += hashes

    def read(self, first: int, limit: int | None = None) -> list[Entry]:
        if first <= self.floor:
            raise VersionGone(details={"floor": self.floor})
        if first > self.version + 1:
            raise VersionAhead(details={"version": self.version})
        return self.log[first - 1 : None if limit is None else first - 1 + limit]

    def fence(self, client: str, user: str) -> int:
        record = self.records.get(client) or ClientRecord(user=user)
        if record.user not in (None, user):
            raise Forbidden
        if self.keeps_fences:
            self.records[client] = replace(record, fenced=True)
        return record.last_seq

    def compact(self, floor: int) -> None:
        self.floor = max(self.floor, min(floor, self.version))

    def replaced(self, epoch: str, text: str) -> "Journal":
        """Return another history that begins with ``text``."""
        journal = Journal(epoch)
        if text:
            entry = Entry("imported-client-0", 1, (text,), "server", 0)
            journal.append(0, [entry], [next_hash(NO_HASH, entry)])
        return journal


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
class _Queued:
    wire: Wire
    request: Request
    payload: dict[str, Any]


def on_the_wire(payload: Any) -> Any:
    """Return a payload as it is after its way through JSON."""
    return json.loads(json.dumps(payload))


class Node:
    """One process of the server, with one document."""

    def __init__(
        self,
        journal: Journal,
        limits: Limits,
        *,
        page: int = 500,
        authority: type[Authority] = Authority,
        acked: Callable[[str, int, int], None] = lambda client, seq, version: None,
    ) -> None:
        self.journal = journal
        self.limits = limits
        self.page = page
        self.acks_early = False
        self.queue: deque[_Queued] = deque()
        self.seats: dict[Wire, None] = {}
        self._unsure = False
        self._clock = 0
        self._make = authority
        self._acked = acked
        self.load()

    def load(self) -> None:
        """Begin from what the journal has: its snapshot, here at the floor, and the rest."""
        journal, floor = self.journal, self.journal.floor
        self.authority = self._make(
            journal.epoch,
            floor,
            journal.hashes[floor],
            journal.text(floor),
            floor=floor,
            limits=self.limits,
        )
        self.authority.learn(journal.read(floor + 1))

    def kill(self) -> None:
        """Forget everything that is not in the journal, and start again."""
        for wire in self.seats:
            wire.cut()
        for queued in self.queue:
            queued.wire.cut()
        self.seats.clear()
        self.queue.clear()
        self._unsure = False
        self.load()

    def adopt(self, journal: Journal) -> None:
        """Serve another history from now on, and tell everyone."""
        self.journal = journal
        self.load()
        authority = self.authority
        reset = {"doc": DOC, "epoch": authority.epoch, "version": authority.version}
        self._broadcast(Event("reset", {**reset, "hash": authority.hash}))

    def receive(self, wire: Wire) -> None:
        """Read one request; it is answered at once, queued or refused."""
        request = wire.up.popleft()
        payload = decode_request(REQUESTS[DOCS][request.event], [on_the_wire(request.payload)])
        try:
            if request.event == "fetch":
                self._answer(wire, request, self._fetched(wire, payload))
                return
            if request.event == "submit":
                self._check_seat(wire, payload)
            self.queue.append(_Queued(wire, request, payload))
        except StrettoError as error:
            self._refuse(wire, request, error)

    def _check_seat(self, wire: Wire, payload: dict[str, Any]) -> None:
        if wire not in self.seats:
            raise NotJoined
        if wire.client != payload["client"]:
            raise InvalidRequest("not the client that opened it here")
        if not wire.may_edit:
            raise Forbidden("a viewer may not submit")

    def work(self, most: int = 64, fault: str = "") -> None:
        """Do one piece of what is queued: an opening, or a batch of operations.

        ``fault`` is ``"unwritten"`` (killed before the append), ``"untold"`` (killed after
        it) or ``"unknown"`` (appended, but the journal's answer was lost).
        """
        if not self.queue:
            return
        batch: list[_Queued] = [self.queue.popleft()]
        if batch[0].request.event == "submit":
            while self.queue and len(batch) < most and self.queue[0].request.event == "submit":
                batch.append(self.queue.popleft())
        try:
            if batch[0].request.event == "open":
                self._admit(batch[0])
            else:
                self._commit(batch, fault)
        except StrettoError as error:
            for queued in batch:
                self._refuse(queued.wire, queued.request, error)

    def _admit(self, queued: _Queued) -> None:
        self._settle()
        wire, payload, authority = queued.wire, queued.payload, self.authority
        fence, fenced = payload.get("fence"), None
        if fence is not None:
            fenced = self.journal.fence(fence, wire.user)
            authority.enroll(fence, self.journal.record(fence))
        self._catch_up()
        record = authority.record(payload["client"])
        if record is None:
            record = self.journal.record(payload["client"]) or ClientRecord()
            authority.enroll(payload["client"], record)
        if record.user not in (None, wire.user):
            raise Forbidden("this client id belongs to another user")
        if wire.is_cut:
            return
        wire.client = payload["client"]
        self.seats[wire] = None
        self._answer(wire, queued.request, self._opened(wire, payload, record, fenced))

    def _opened(
        self, wire: Wire, payload: dict[str, Any], record: ClientRecord, fenced: int | None
    ) -> dict[str, Any]:
        authority, since = self.authority, payload.get("since")
        answer: dict[str, Any] = {
            "doc": DOC,
            "type": "text",
            "epoch": authority.epoch,
            "version": authority.version,
            "hash": authority.hash,
            "member_id": f"member-{id(wire)}",
            "last_seq": record.last_seq,
            "role": "editor" if wire.may_edit else "viewer",
            "members": [],
        }
        if fenced is not None:
            answer["fenced"] = {"last_seq": fenced}
        entries = self._continued(since) if since is not None else None
        if entries is not None:
            return {**answer, "ops": [entry.to_payload() for entry in entries]}
        reset = {} if since is None else {"reset": True}
        return {**answer, "content": authority.text, **reset}

    def _continued(self, since: dict[str, Any]) -> list[Entry] | None:
        journal, version = self.journal, since["version"]
        if since["epoch"] != journal.epoch or not journal.floor <= version <= journal.version:
            return None
        if journal.hashes[version] != since["hash"]:
            return None
        return journal.read(version + 1, self.page)

    def _fetched(self, wire: Wire, payload: dict[str, Any]) -> dict[str, Any]:
        if wire not in self.seats:
            raise NotJoined
        if payload["epoch"] != self.authority.epoch:
            raise EpochChanged(details={"epoch": self.authority.epoch})
        first, head = payload["from_"], self.authority.version
        if first > head + 1:
            raise VersionAhead(details={"version": head})
        limit = min(self.page, payload.get("limit", self.page), head - first + 1)
        entries = self.journal.read(first, limit)
        return {
            "from": first,
            "ops": [entry.to_payload() for entry in entries],
            "hash": self.journal.hashes[first - 1 + len(entries)],
            "version": head,
        }

    def _commit(self, batch: Sequence[_Queued], fault: str) -> None:
        self._settle()
        if any(one.payload["base"] > self.authority.version for one in batch):
            self._catch_up()
        submissions = [_submission(one) for one in batch]
        while True:
            self._reach_back(submissions)
            self._clock += 1
            staged = self.authority.stage(submissions, self._clock)
            if self.acks_early:
                self._acknowledge(batch, staged.outcomes)
            if fault == "unwritten":
                self.kill()
                return
            try:
                if staged.entries:
                    self.journal.append(staged.base, staged.entries, staged.hashes)
            except RaceLostError as race:
                self._learn(race.missed)
                continue
            except StaleClientError as stale:
                self.authority.enroll(stale.client, self.journal.record(stale.client))
                continue
            break
        if fault == "untold":
            self.kill()
            return
        if fault == "unknown":
            self._unsure = True
            raise Unavailable("the journal did not answer")
        self.authority.commit(staged)
        self._send(staged.base + 1, staged.entries)
        if not self.acks_early:
            self._acknowledge(batch, staged.outcomes)

    def _acknowledge(self, batch: Sequence[_Queued], outcomes: Sequence[Any]) -> None:
        for queued, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, StrettoError):
                self._refuse(queued.wire, queued.request, outcome)
            else:
                self._acked(queued.payload["client"], queued.payload["seq"], outcome)
                self._answer(queued.wire, queued.request, {"version": outcome})

    def _reach_back(self, submissions: Sequence[Submission]) -> None:
        oldest = self.authority.oldest_base(submissions)
        if oldest is not None:
            missing = self.authority.horizon - oldest
            self.authority.extend_back(self.journal.read(oldest + 1, missing))

    def _settle(self) -> None:
        if self._unsure:
            self._catch_up()
            for client in self.authority.clients():
                self.authority.enroll(client, self.journal.record(client))
            self._unsure = False

    def _catch_up(self) -> None:
        if self.authority.version < self.journal.floor:
            raise Unavailable("this node fell behind what the journal keeps")
        self._learn(self.journal.read(self.authority.version + 1))

    def hear(self) -> None:
        """Take in what other nodes committed, as told by the bus."""
        self._settle()
        self._catch_up()

    def _learn(self, entries: Sequence[Entry]) -> None:
        first = self.authority.version + 1
        self.authority.learn(entries)
        self._send(first, entries)

    def _send(self, first: int, entries: Sequence[Entry]) -> None:
        if entries:
            self._broadcast(Event("ops", self._frame(first, entries)))

    def _frame(self, first: int, entries: Sequence[Entry]) -> dict[str, Any]:
        frame = {
            "doc": DOC,
            "epoch": self.authority.epoch,
            "from": first,
            "ops": [entry.to_payload() for entry in entries],
            "hash": self.authority.hash,
        }
        return dict(on_the_wire(frame))

    def _broadcast(self, event: Event) -> None:
        for wire in self.seats:
            wire.send(event)

    def _answer(self, wire: Wire, request: Request, payload: dict[str, Any]) -> None:
        wire.send(Answer(request, on_the_wire(payload)))

    def _refuse(self, wire: Wire, request: Request, error: StrettoError) -> None:
        wire.send(Answer(request, error=error))


def _submission(queued: _Queued) -> Submission:
    payload = queued.payload
    return Submission(
        payload["epoch"],
        payload["client"],
        payload["seq"],
        payload["base"],
        payload["op"],
        queued.wire.user,
    )
