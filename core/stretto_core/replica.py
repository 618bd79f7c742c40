"""A document's client side as a state machine.

The text shown is the confirmed text (the authority's at :attr:`Replica.version`), then the
operation in flight (sent under a fixed seq), then the buffer (composed, not sent yet).

A shell calls :meth:`~Replica.edit` for what the user does, :meth:`~Replica.received` for
what the server sends and :meth:`~Replica.disconnected` when the connection is lost. While
it is connected it sends what :meth:`~Replica.next_request` returns, and hands the outcome to
:meth:`~Replica.answered` or :meth:`~Replica.failed`. Each call reports effects.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from stretto_core.effects import (
    Changed,
    Closed,
    Confirmed,
    Effect,
    Opened,
    Origin,
    Request,
    Returned,
    RoleChanged,
)
from stretto_core.entries import Entry, next_hash
from stretto_core.errors import Forbidden, NotJoined, StrettoError, VersionGone
from stretto_core.ot import (
    Bias,
    Component,
    Operation,
    Rope,
    input_length,
    map_position,
    normalize,
    transform,
)
from stretto_core.protocol import NO_HISTORY, Limits, ServerEvent
from stretto_core.textdiff import difference
from stretto_core.unconfirmed import InFlight, Unconfirmed

__all__ = [
    "Changed",
    "Closed",
    "Confirmed",
    "Effect",
    "InFlight",
    "Opened",
    "Origin",
    "Replica",
    "Request",
    "Returned",
    "RoleChanged",
]

HELD_FRAMES: Final = 64
"""Frames kept over a gap; what exceeds them is fetched."""

HELD_ENTRIES: Final = 2_000
"""Entries kept for positions and cursors that count at an older version."""

REFUSED: Final = frozenset({"invalid_operation", "too_large", "invalid_request", "forbidden"})
"""The operation took no seq and is taken back."""

REPLACED: Final = frozenset({"epoch_changed", "version_gone", "version_ahead", "sequence_gap"})
"""This is not the history that the replica knew."""

PASSING: Final = frozenset({"internal_error", "token_expired", "not_joined"})
"""Not retryable by code, and yet worth opening again."""


class _Link(StrEnum):
    CLOSED = "closed"
    OPENING = "opening"
    OPEN = "open"


class Replica:
    """One tab's or process's copy of one document."""

    def __init__(
        self, doc: str, fresh_client: Callable[[], str], *, limits: Limits | None = None
    ) -> None:
        """Start with nothing; ``fresh_client`` makes random client ids."""
        self.doc = doc
        self.client = fresh_client()
        self.epoch = ""
        self.version = 0
        self.hash = ""
        self.role = "viewer"
        self.member_id = ""
        self.limits = limits or Limits()
        self.closed: StrettoError | None = None
        self._fresh_client = fresh_client
        self._unconfirmed = Unconfirmed()
        self._confirmed = Rope("")
        self._shown = Rope("")
        self._head = 0
        self._held: list[tuple[int, tuple[Entry, ...], str]] = []
        self._recent: deque[Entry] = deque(maxlen=HELD_ENTRIES)
        self._fence: str | None = None
        self._refusal: StrettoError | None = None
        self._was_replaced = False
        self._connection = 0
        self._link = _Link.CLOSED
        self._fetching = False
        self._submitted: Request | None = None
        self._token_expired = False

    @property
    def text(self) -> str:
        """The text shown, unconfirmed edits included."""
        return str(self._shown)

    @property
    def length(self) -> int:
        """How many code points are shown."""
        return len(self._shown)

    @property
    def confirmed(self) -> str:
        """The authority's text at :attr:`version`."""
        return str(self._confirmed)

    @property
    def known(self) -> bool:
        """Whether the document was opened at least once."""
        return self.epoch != ""

    @property
    def is_open(self) -> bool:
        """Whether the document is open on the connection at hand."""
        return self._link is _Link.OPEN and self.closed is None

    @property
    def is_saved(self) -> bool:
        """Whether everything that the user did is in the journal."""
        return not self._unconfirmed and self._fence is None

    @property
    def is_current(self) -> bool:
        """Whether nothing is known to be missing."""
        return not self._fetching and self.version >= self._head and not self._held

    @property
    def in_flight(self) -> InFlight | None:
        """The operation that was sent and did not come back yet."""
        return self._unconfirmed.in_flight

    @property
    def buffer(self) -> Operation:
        """What was done since, as one operation."""
        return self._unconfirmed.buffer

    @property
    def pending(self) -> tuple[Operation, ...]:
        """The unconfirmed operations, in order."""
        return self._unconfirmed.ops

    @property
    def made(self) -> int:
        """How many edits were made."""
        return self._unconfirmed.made

    @property
    def settled(self) -> int:
        """How many of them are settled: in the journal, or given back."""
        return self._unconfirmed.settled

    def edit(self, op: Sequence[Component]) -> list[Effect]:
        """Apply the user's ``op`` to the text shown.

        Raises InvalidOperation when it does not fit, NotJoined before the first opening,
        Forbidden for a viewer, and what closed the document.
        """
        if self.closed is not None:
            raise self.closed
        if not self.known:
            raise NotJoined("the document is not open yet")
        if self.role == "viewer":
            raise Forbidden("a viewer may not edit")
        canonical = normalize(op)
        if not canonical:
            return []
        effects = self._show(canonical, Origin.LOCAL)
        self._unconfirmed.add(canonical)
        return effects

    def carried(self, op: Sequence[Component], version: int | None) -> Operation:
        """Return ``op``, whose positions count at ``version``, as it applies to the text shown.

        None, or a version newer than the replica's, means now. Raises VersionGone when the
        replica no longer holds that version.
        """
        carried = normalize(op)
        if version is None or version > self.version:
            return carried
        for entry in self._since(version):
            carried = transform(carried, entry.op, "left")
        for pending in self.pending:
            carried = transform(carried, pending, "left")
        return carried

    def shown_ranges(
        self, ranges: Iterable[Sequence[int]], version: int, user: str
    ) -> list[tuple[int, int]]:
        """Carry a remote member's ranges from ``version`` to the text shown, clamped.

        Over that user's own entries positions go behind an insertion, over others' they
        stay before it. Raises VersionGone when the replica no longer holds that version.
        """
        points = [int(point) for pair in ranges for point in pair]
        for entry in self._since(min(version, self.version)):
            bias: Bias = 1 if entry.user == user else -1
            points = [map_position(point, entry.op, bias) for point in points]
        for pending in self.pending:
            points = [map_position(point, pending, -1) for point in points]
        clamped = [min(point, self.length) for point in points]
        return list(zip(clamped[::2], clamped[1::2], strict=True))

    def next_request(self) -> Request | None:
        """Return what to send now; None while there is nothing, or an answer is awaited."""
        if self.closed is not None or self._link is _Link.OPENING:
            return None
        if self._link is _Link.CLOSED:
            return self._open()
        if self._fetching:
            return None
        if not self.is_current:
            return self._fetch()
        return self._submit() if self._submitted is None else None

    def answered(self, request: Request, answer: Mapping[str, Any]) -> list[Effect]:
        """Take the answer to a request."""
        if self._is_stale(request):
            return []
        if request.event == "open":
            return self._opened(answer)
        if request.event == "fetch":
            return self._fetched(answer)
        return []  # acknowledged, so durable; what confirms it here is its entry in the stream

    def failed(self, request: Request, error: StrettoError) -> list[Effect]:
        """Take the error of a request. The shell waits before it polls again where it should."""
        if self._is_stale(request):
            return []
        if request.event == "submit":
            return self._submit_failed(error)
        if request.event == "open":
            self._reopen()
            if error.retryable or error.code in PASSING:
                return []
            return self.close(error)
        return self._fetch_failed(error)

    def received(self, event: str, payload: Mapping[str, Any]) -> list[Effect]:
        """Take an event of this document; unknown ones are ignored."""
        if self.closed is not None:
            return []
        if event in (ServerEvent.OPS, ServerEvent.BEHIND) and self._link is not _Link.OPEN:
            return []  # the answer to `open` is yet to come, and has what this would tell
        if event == ServerEvent.OPS:
            return self._framed(payload)
        if event == ServerEvent.BEHIND:
            self._behind(payload["version"])
        elif event == ServerEvent.RESET:
            self._see_epoch(payload["epoch"])
            self._reopen()
        elif event == ServerEvent.ROLE:
            self.role = payload["role"]
            return [RoleChanged(self.role)]
        return []

    def disconnected(self) -> None:
        """Forget what belonged to the connection; unconfirmed operations stay."""
        self._reopen()

    def resend(self) -> None:
        """Let what was refused because the token had expired be sent again: it is renewed."""
        if self._token_expired:
            self._token_expired = False
            self._submitted = None

    def close(self, error: StrettoError) -> list[Effect]:
        """Give the document up; what was unsent is given back."""
        if self.closed is not None:
            return []
        self.closed = error
        return [Closed(error, "" if self.is_saved else self.text)]

    def state(self) -> dict[str, Any]:
        """Return everything that a new process needs to go on, as JSON.

        To be stored in one step: a copy that mixes two moments could use a seq twice.
        """
        in_flight = self.in_flight
        return {
            "doc": self.doc,
            "client": self.client,
            "seq": self._unconfirmed.seq,
            "fence": self._fence,
            "replaced": self._was_replaced,
            "epoch": self.epoch,
            "version": self.version,
            "hash": self.hash,
            "content": self.confirmed,
            "role": self.role,
            "in_flight": None
            if in_flight is None
            else {"seq": in_flight.seq, "op": list(in_flight.op)},
            "buffer": list(self.buffer),
        }

    @classmethod
    def restore(
        cls,
        state: Mapping[str, Any],
        fresh_client: Callable[[], str],
        *,
        limits: Limits | None = None,
    ) -> "Replica":
        """Return the replica that :meth:`state` described. No other may go on from it."""
        replica = cls(state["doc"], fresh_client, limits=limits)
        replica.client = state["client"]
        replica._fence = state["fence"]
        replica._was_replaced = state.get("replaced", False)
        replica.epoch, replica.version = state["epoch"], state["version"]
        replica.hash, replica.role = state["hash"], state["role"]
        replica._head = replica.version
        replica._confirmed = Rope(state["content"])
        replica._shown = Rope(state["content"])
        flying = state["in_flight"]
        in_flight = (flying["seq"], normalize(flying["op"])) if flying is not None else None
        replica._unconfirmed.restore(in_flight, normalize(state["buffer"]))
        replica._unconfirmed.seq = state["seq"]
        for pending in replica.pending:
            replica._shown.apply(pending)
        return replica

    # Requests.

    def _open(self) -> Request:
        self._link = _Link.OPENING
        payload: dict[str, Any] = {"doc": self.doc, "client": self.client, "type": "text"}
        if self._fence is not None:
            payload["fence"] = self._fence
        elif self.known:
            payload["since"] = {"epoch": self.epoch, "version": self.version, "hash": self.hash}
        return self._request("open", payload)

    def _fetch(self) -> Request:
        self._fetching = True
        self._head = self.version  # the answer tells it anew
        return self._request(
            "fetch", {"doc": self.doc, "epoch": self.epoch, "from": self.version + 1}
        )

    def _submit(self) -> Request | None:
        self._unconfirmed.take_off(self.limits)
        own = self.in_flight
        if own is None:
            return None
        if self._unconfirmed.is_outgrown(self.limits):
            self._raise_fence()  # under a new client it may be split
            return self._open()
        payload = {
            "doc": self.doc,
            "epoch": self.epoch,
            "client": self.client,
            "seq": own.seq,
            "base": self.version,
            "op": list(own.op),
        }
        self._submitted = self._request("submit", payload)
        return self._submitted

    def _request(self, event: str, payload: dict[str, Any]) -> Request:
        return Request(event, payload, self._connection)

    def _is_stale(self, request: Request) -> bool:
        if self.closed is not None or request.connection != self._connection:
            return True
        return request.event == "submit" and request is not self._submitted

    def _reopen(self) -> None:
        """Open again, with `since` or behind a fence."""
        self._connection += 1
        self._link = _Link.CLOSED
        self._fetching = False
        self._submitted = None
        self._token_expired = False
        self._held = []
        self._unconfirmed.doubt()

    # Answers.

    def _opened(self, answer: Mapping[str, Any]) -> list[Effect]:
        self._link = _Link.OPEN
        self.member_id = answer["member_id"]
        self.role = answer["role"]
        if "content" not in answer:
            self._was_replaced = False
            self._head = answer["version"]
            entries = [Entry.from_payload(payload) for payload in answer["ops"]]
            whole = self.version + len(entries) == self._head
            reached = answer["hash"] if whole else None
            return [Opened(answer), *self._take(self.version + 1, entries, reached)]
        if self._fence is not None:
            return [*self._refounded(answer), Opened(answer)]
        if self.is_saved:
            return [*self._founded(answer), Opened(answer)]
        # Before unsent text moves over, nothing of the old client may commit any more. By
        # then the history may have grown past what we know, and show nothing of its loss.
        self._was_replaced = self._is_replaced_by(answer)
        self._raise_fence()
        return []

    def _founded(self, answer: Mapping[str, Any]) -> list[Effect]:
        """Start from the authority's text: at first, or when nothing was pending."""
        before, replaced = self.text, self.known and self._is_replaced_by(answer)
        self._unconfirmed.seq = answer["last_seq"]
        effects = self._adopt(answer)
        return [*effects, Returned(before, Origin.REPLACED)] if replaced else effects

    def _refounded(self, answer: Mapping[str, Any]) -> list[Effect]:
        """Carry what is unsent over to a history that replaced the one we knew."""
        last_seq = answer["fenced"]["last_seq"] if "fenced" in answer else 0
        effects: list[Effect] = []
        own, refusal = self.in_flight, self._refusal
        if own is not None and own.seq > last_seq and refusal is not None:
            effects = self._take_back(own, refusal)
        self._fence = self._refusal = None
        before, replaced = self.text, self._is_replaced_by(answer)
        self._unconfirmed.carry_over(self.confirmed, answer["content"], last_seq)
        effects += self._adopt(answer)
        return [*effects, Returned(before, Origin.REPLACED)] if replaced else effects

    def _see_epoch(self, epoch: str) -> None:
        """Note that the history has another epoch, even should that be lost again."""
        self._was_replaced = self._was_replaced or epoch != self.epoch

    def _is_replaced_by(self, answer: Mapping[str, Any]) -> bool:
        """Whether what we took for confirmed is not all in the history answered."""
        if self._was_replaced or self.epoch != answer["epoch"] or self.version > answer["version"]:
            return True
        # What is not below the floor could have been continued, were it of this history.
        floor = answer.get("floor")
        return floor is not None and self.version >= floor and self.hash != NO_HISTORY

    def _adopt(self, answer: Mapping[str, Any]) -> list[Effect]:
        """Take over the text of another history, with what is unsent on top."""
        shown = Rope(answer["content"])
        for pending in self.pending:
            shown.apply(pending)
        op = difference(self.text, str(shown))
        self.epoch, self.version, self.hash = answer["epoch"], answer["version"], answer["hash"]
        self._was_replaced = False
        self._head = self.version
        self._confirmed = Rope(answer["content"])
        self._recent.clear()
        return self._show(op, Origin.REPLACED)

    def _fetched(self, answer: Mapping[str, Any]) -> list[Effect]:
        self._fetching = False
        self._behind(answer["version"])
        entries = [Entry.from_payload(payload) for payload in answer["ops"]]
        if not entries and not self.is_current:
            self._reopen()  # frames told of entries that the log does not have
            return []
        return [*self._take(answer["from"], entries, answer["hash"]), *self._release()]

    def _fetch_failed(self, error: StrettoError) -> list[Effect]:
        if error.retryable:
            self._fetching = False
            self._behind(self.version + 1)
        else:
            self._reopen()  # whatever is wrong with the log, opening with `since` finds out
        return []

    def _submit_failed(self, error: StrettoError) -> list[Effect]:
        own = self.in_flight
        if error.code == "token_expired":
            self._token_expired = True  # sent again after the refresh
        elif error.code == "rate_limited":
            self._submitted = None  # it was not even looked at
        elif error.code in REFUSED and own is not None:
            return self._refused(own, error)
        elif error.code in REPLACED:
            self._see_epoch((error.details or {}).get("epoch", self.epoch))
            self._raise_fence()
        else:
            self._reopen()
        return []

    def _refused(self, own: InFlight, error: StrettoError) -> list[Effect]:
        if own.unsure:
            # An earlier sending may commit yet, and this seq must not mean two things.
            self._refusal = error
            self._raise_fence()
            return []
        return self._take_back(own, error)

    def _take_back(self, own: InFlight, error: StrettoError) -> list[Effect]:
        """Undo the operation in flight and give its text back."""
        undo = self._unconfirmed.take_back(self.confirmed)
        self._submitted = None
        text = "".join(part for part in own.op if isinstance(part, str))
        return [*self._show(undo, Origin.REFUSED), Returned(text, Origin.REFUSED, error)]

    def _raise_fence(self) -> None:
        # A fence that was not answered yet stands for the client whose operation is in flight;
        # the clients after it never sent anything.
        self._fence = self._fence or self.client
        self.client = self._fresh_client()
        self._reopen()

    # The stream: the only thing that moves the confirmed text.

    def _behind(self, version: int) -> None:
        self._head = max(self._head, version)

    def _framed(self, frame: Mapping[str, Any]) -> list[Effect]:
        if frame["epoch"] != self.epoch:
            self._see_epoch(frame["epoch"])
            self._reopen()
            return []
        entries = tuple(Entry.from_payload(payload) for payload in frame["ops"])
        first = frame["from"]
        if first > self.version + 1:
            self._behind(first + len(entries) - 1)
            if len(self._held) < HELD_FRAMES:
                self._held.append((first, entries, frame["hash"]))
            return []
        return [*self._take(first, entries, frame["hash"]), *self._release()]

    def _release(self) -> list[Effect]:
        """Apply the frames that were kept over a gap, as far as it is closed now."""
        effects: list[Effect] = []
        self._held.sort(key=lambda frame: frame[0])
        while self._held and self._held[0][0] <= self.version + 1:
            effects += self._take(*self._held.pop(0))
        return effects

    def _take(self, first: int, entries: Sequence[Entry], reached: str | None) -> list[Effect]:
        effects: list[Effect] = []
        for version, entry in enumerate(entries, first):
            if version != self.version + 1:
                continue
            if input_length(entry.op) > len(self._confirmed):
                return [*effects, *self._astray()]
            effects += self._advance(entry)
            if self._link is not _Link.OPEN:
                return effects
        self._behind(self.version)
        complete = bool(entries) and first + len(entries) - 1 == self.version
        if complete and reached not in (None, self.hash):
            effects += self._astray()
        return effects

    def _advance(self, entry: Entry) -> list[Effect]:
        """Take the next entry into the confirmed text, below what is pending."""
        own = self.in_flight
        is_own = own is not None and (entry.client, entry.seq) == (self.client, own.seq)
        if own is not None and is_own and own.op == entry.op:
            self._append(entry)
            self._unconfirmed.confirm()
            self._submitted = None
            return [Confirmed(entry, self.version)]
        effects: list[Effect] = []
        usurped = entry.client == self.client and (is_own or entry.seq > self._unconfirmed.seq)
        if is_own:  # what we meant by this seq will never commit
            effects.append(Returned(self.text, Origin.REPLACED))
            undo = self._unconfirmed.take_back(self.confirmed)
            effects += self._show(undo, Origin.REPLACED)
        self._append(entry)
        shown = self._unconfirmed.pass_below(entry.op)
        effects += self._show(shown, Origin.REMOTE, entry)
        if usurped:  # another process goes on from our state: leave the client to it
            self._raise_fence()
        return effects

    def _append(self, entry: Entry) -> None:
        self._confirmed.apply(entry.op)
        self.version += 1
        self.hash = next_hash(self.hash, entry)
        self._recent.append(entry)

    def _astray(self) -> list[Effect]:
        """Start over from the authority's content: what we have is not its text."""
        self.hash = NO_HISTORY
        self._reopen()
        return []

    def _since(self, version: int) -> list[Entry]:
        missing = self.version - version
        if missing > len(self._recent):
            raise VersionGone("this replica no longer holds that version")
        return list(self._recent)[len(self._recent) - missing :] if missing else []

    def _show(self, op: Operation, origin: Origin, entry: Entry | None = None) -> list[Effect]:
        self._shown.apply(op)
        if not op and entry is None:
            return []
        return [Changed(op, origin, entry, self.version if entry else None)]
