"""A server in memory, driven as the real one drives its authority, without clock or network.

A :class:`~tests.core.journal.Journal` is what is durable. A :class:`Node` serves one document
from it and may be killed at any moment; several nodes may share a journal. A
:class:`~tests.core.history.Wire` is one connection: what the client sent and the node has not
read, what the node sent and the client has not.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from stretto_core.authority import Authority, Submission
from stretto_core.entries import ClientRecord, Entry, next_hash
from stretto_core.errors import (
    EpochChanged,
    Forbidden,
    InvalidRequest,
    NotFound,
    NotJoined,
    StrettoError,
    Unavailable,
    VersionAhead,
    VersionGone,
)
from stretto_core.protocol import DOCS, REQUESTS, Limits, decode_request
from stretto_core.replica import Request
from tests.core.history import (
    DOC,
    Answer,
    Append,
    History,
    HistoryLostError,
    Queued,
    Wire,
    on_the_wire,
)
from tests.core.journal import Journal, RaceLostError, StaleClientError


class Node(History):
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
        self.page = page
        self.acks_early = False
        self.queue: deque[Queued] = deque()
        self.appending: Append | None = None
        self._clock = 0
        self._acked = acked
        super().__init__(journal, limits, authority)

    @property
    def is_writing(self) -> bool:
        return self.appending is not None

    @property
    def is_busy(self) -> bool:
        """Whether there is anything to do but wait for others."""
        return bool(self.queue or self.appending or self.lost or self.must_look)

    def waiting_wires(self) -> list[Wire]:
        """Return the connections that wait for an answer."""
        return [queued.wire for queued in self._unanswered()]

    def kill(self) -> None:
        """Forget everything that is not in the journal, and start again."""
        for wire in self.seats:
            wire.cut()
        for queued in self._unanswered():
            queued.wire.cut()
        self.seats.clear()
        self.queue.clear()
        self.appending = None
        self.load()

    def _unanswered(self) -> list[Queued]:
        writing = self.appending.batch if self.appending is not None else []
        return [*writing, *self.queue]

    # What clients ask.

    def receive(self, wire: Wire) -> None:
        """Read one request; it is answered at once, queued or refused."""
        request = wire.up.popleft()
        payload = decode_request(REQUESTS[DOCS][request.event], [on_the_wire(request.payload)])
        try:
            if request.event == "fetch" and not self._is_behind(payload):
                self._answer(wire, request, self._fetched(wire, payload))
                return
            if request.event == "submit":
                self._check_seat(wire, payload)
            if self.lost:
                raise Unavailable("the document is being loaded anew")
            self.queue.append(Queued(wire, request, payload))
        except StrettoError as error:
            self._refuse(wire, request, error)

    def _is_behind(self, payload: dict[str, Any]) -> bool:
        known = self.authority
        first: int = payload["from_"]
        return first > known.version + 1 and payload["epoch"] == known.epoch

    def _check_seat(self, wire: Wire, payload: dict[str, Any]) -> None:
        if wire not in self.seats:
            raise NotJoined
        if wire.client != payload["client"]:
            raise InvalidRequest("not the client that opened it here")
        if not wire.may_edit:
            raise Forbidden("a viewer may not submit")

    def _fetched(self, wire: Wire, payload: dict[str, Any]) -> dict[str, Any]:
        if wire not in self.seats:
            raise NotJoined
        first, authority = payload["from_"], self.authority
        if payload["epoch"] != authority.epoch:
            raise EpochChanged(details={"epoch": authority.epoch})
        if first > authority.version + 1:
            raise VersionAhead(details={"version": authority.version})
        if first <= authority.floor:
            raise VersionGone(details={"floor": authority.floor})
        limit = min(self.page, payload.get("limit", self.page), authority.version - first + 1)
        entries, digest = self._page(first, limit)
        return {
            "from": first,
            "ops": [entry.to_payload() for entry in entries],
            "hash": digest,
            "version": authority.version,
        }

    def _reach(self, epoch: str, version: int) -> None:
        """Have what somebody has seen on another node, before judging that it is ahead."""
        known = self.authority
        if version > known.version and epoch == known.epoch:
            self.catch_up()

    def _page(self, first: int, limit: int) -> tuple[Sequence[Entry], str]:
        """Return entries from memory, or from the journal what has left it, with their hash."""
        authority = self.authority
        if first > authority.horizon:
            entries: Sequence[Entry] = authority.entries(first, limit)
            digest = authority.hash_at(first - 1 + len(entries))
            if digest is not None:
                return entries, digest
        try:
            entries = self.journal.read(authority.epoch, first, limit)
        except (EpochChanged, VersionAhead) as error:
            self.must_look = True
            raise Unavailable from error
        return entries, self.journal.hashes[first - 1 + len(entries)]

    # What is queued.

    def work(self, most: int = 64, fault: str = "") -> None:
        """Do one piece of what is queued to its end.

        ``fault`` is ``"unwritten"`` (killed before the append), ``"untold"`` (killed after
        it) or ``"unknown"`` (appended, but the journal's answer was lost).
        """
        self.advance(most)
        while self.appending is not None:
            if fault == "unwritten":
                self.kill()
                return
            self.advance()
            if fault == "untold":
                self.kill()
            elif fault == "unknown":
                self.forget_outcome()
            else:
                self.advance()

    def advance(self, most: int = 64) -> None:
        """Take one step: until the journal has to be asked, or has answered."""
        appending = self.appending
        if appending is not None and not appending.answered:
            appending.write(self.journal)
            return
        if self.lost:
            self.load_anew()
            return
        waiting: list[Queued] = []
        try:
            if appending is not None:
                waiting = appending.batch
                self._finish(appending)
            elif self.must_look:
                self.look()
            elif self.queue:
                waiting = self._take(most)
                self._begin(waiting)
        except Exception as error:
            self._failed(waiting, error)
        if self.appending is None and not self.lost:
            self.take_heard()

    def _failed(self, waiting: Sequence[Queued], error: Exception) -> None:
        self.appending = None
        is_lost = isinstance(error, HistoryLostError | EpochChanged | NotFound | VersionGone)
        told: StrettoError = Unavailable()
        if isinstance(error, StrettoError) and not isinstance(error, VersionGone):
            told = error
        elif not is_lost:
            raise error
        for queued in waiting:
            # To one who opens, another history is no error: it takes over what there is.
            passing = is_lost and queued.request.event == "open"
            self._refuse(queued.wire, queued.request, Unavailable() if passing else told)
        if is_lost:
            self._lose()

    def _lose(self) -> None:
        """Answer everything queued: only with the journal's history can it be told more."""
        self.lost = True
        for queued in self.queue:
            self._refuse(queued.wire, queued.request, Unavailable())
        self.queue.clear()

    def _take(self, most: int) -> list[Queued]:
        batch = [self.queue.popleft()]
        if batch[0].request.event == "submit":
            while self.queue and len(batch) < most and self.queue[0].request.event == "submit":
                batch.append(self.queue.popleft())
        return batch

    def _begin(self, batch: list[Queued]) -> None:
        self.settle()
        if batch[0].request.event == "open":
            self._admit(batch[0])
            return
        if batch[0].request.event == "fetch":
            one = batch[0]
            self._reach(one.payload["epoch"], one.payload["from_"] - 1)
            try:
                self._answer(one.wire, one.request, self._fetched(one.wire, one.payload))
            except StrettoError as error:
                self._refuse(one.wire, one.request, error)
            return
        for one in batch:
            self._reach(one.payload["epoch"], one.payload["base"])
        self._stage(batch)

    def _admit(self, queued: Queued) -> None:
        wire, payload = queued.wire, queued.payload
        since, fence, fenced = payload.get("since"), payload.get("fence"), None
        if fence is not None:
            fenced = self.journal.fence(self.authority.epoch, fence, wire.user)
            self.catch_up()  # who fences cannot say which version it has
            self.enroll(fence, anew=True)
        record = self.enroll(payload["client"])
        if record.user not in (None, wire.user):
            raise Forbidden("this client id belongs to another user")
        entries = None
        if since is not None:
            self._reach(since["epoch"], since["version"])
            entries = self._continued(since)
        if wire.is_cut:
            return
        wire.client = payload["client"]
        self.seats[wire] = None
        answer = self._opened(wire, record, fenced)
        if entries is not None:
            answer["ops"] = [entry.to_payload() for entry in entries]
        else:
            answer["content"] = self.authority.text
            if since is not None:
                answer["reset"] = True
                if self.tells_floor:
                    answer["floor"] = self.authority.floor
        self._answer(wire, queued.request, answer)

    def _opened(self, wire: Wire, record: ClientRecord, fenced: int | None) -> dict[str, Any]:
        authority = self.authority
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
        return answer

    def _continued(self, since: dict[str, Any]) -> Sequence[Entry] | None:
        authority, version = self.authority, since["version"]
        if since["epoch"] != authority.epoch:
            return None
        if not authority.floor <= version <= authority.version:
            return None
        known = authority.hash_at(version)
        if known is not None:
            same = known == since["hash"]
            return authority.entries(version + 1, self.page) if same else None
        try:
            entries, digest = self._page(version + 1, self.page)
        except VersionGone as gone:  # compacted since this was loaded
            authority.floor = (gone.details or {})["floor"]
            return None
        reached = since["hash"]
        for entry in entries:
            reached = next_hash(reached, entry)
        return entries if reached == digest else None

    # Appending.

    def _stage(self, batch: list[Queued]) -> None:
        submissions = [_submission(one) for one in batch]
        self.reach_back(submissions)
        self._clock += 1
        staged = self.authority.stage(submissions, self._clock)
        if self.acks_early:
            self._acknowledge(batch, staged.outcomes)
        if not staged.entries:
            self.appending = None
            if not self.acks_early:
                self._acknowledge(batch, staged.outcomes)
            return
        base_hash = self.authority.hash if self.names_base_hash else None
        self.appending = Append(batch, staged, self.authority.epoch, base_hash)

    def _finish(self, appending: Append) -> None:
        batch, staged, problem = appending.batch, appending.staged, appending.problem
        if isinstance(problem, RaceLostError):
            self.learn(problem.missed, problem.head.hash)
            self._stage(batch)
        elif isinstance(problem, StaleClientError):
            self.authority.enroll(problem.client, self.journal.record(problem.client))
            self._stage(batch)
        elif problem is not None:
            raise problem
        else:
            self.appending = None
            self.authority.commit(staged)
            self.send(staged.base + 1, staged.entries)
            if not self.acks_early:
                self._acknowledge(batch, staged.outcomes)

    def forget_outcome(self) -> Append | None:
        """Wait no longer for the journal: what was on its way there may arrive yet."""
        appending, self.appending = self.appending, None
        if appending is not None:
            self.unsure = True
            for queued in appending.batch:
                error = Unavailable("the journal did not answer")
                self._refuse(queued.wire, queued.request, error)
            self.take_heard()
        return appending

    def _acknowledge(self, batch: Sequence[Queued], outcomes: Sequence[Any]) -> None:
        for queued, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, StrettoError):
                self._refuse(queued.wire, queued.request, outcome)
            else:
                self._acked(queued.payload["client"], queued.payload["seq"], outcome)
                self._answer(queued.wire, queued.request, {"version": outcome})

    def _answer(self, wire: Wire, request: Request, payload: dict[str, Any]) -> None:
        wire.send(Answer(request, on_the_wire(payload)))

    def _refuse(self, wire: Wire, request: Request, error: StrettoError) -> None:
        wire.send(Answer(request, error=error))


def _submission(queued: Queued) -> Submission:
    payload = queued.payload
    return Submission(
        payload["epoch"],
        payload["client"],
        payload["seq"],
        payload["base"],
        payload["op"],
        queued.wire.user,
    )
