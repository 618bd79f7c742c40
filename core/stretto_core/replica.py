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
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from stretto_core.entries import Entry, next_hash
from stretto_core.errors import Forbidden, NotJoined, StrettoError, VersionGone
from stretto_core.ot import (
    Bias,
    Component,
    Operation,
    Rope,
    compose,
    invert,
    map_position,
    normalize,
    transform,
)
from stretto_core.protocol import Limits, ServerEvent
from stretto_core.split import split
from stretto_core.textdiff import difference

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


class Origin(StrEnum):
    """Why the text shown changed."""

    LOCAL = "local"
    REMOTE = "remote"
    REFUSED = "refused"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Request:
    """What to send next; an answer that comes for an older connection is ignored."""

    event: str
    payload: dict[str, Any]
    connection: int


@dataclass(frozen=True, slots=True)
class Changed:
    """The text shown changed by ``op``. ``entry`` and ``version`` say whose it was, if remote."""

    op: Operation
    origin: Origin
    entry: Entry | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The entry of the replica's own operation came back: it is in the history at ``version``."""

    entry: Entry
    version: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The document is open on this connection; ``answer`` is the server's."""

    answer: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Returned:
    """Text of the user's that the application must not lose, and why it is given back.

    After ``refused`` it is what the operation inserted, which is no longer in the document.
    After ``replaced`` it is the whole text as it was shown before another history took over.
    """

    text: str
    origin: Origin
    error: StrettoError | None = None


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """The right on the document is another one now."""

    role: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The document cannot be used any more; ``text`` is what was shown, if part was unsent."""

    error: StrettoError
    text: str


Effect = Changed | Confirmed | Opened | Returned | RoleChanged | Closed


@dataclass(frozen=True, slots=True)
class InFlight:
    """The operation that was sent, rewritten for the replica's version; ``edits`` as counted."""

    seq: int
    op: Operation
    edits: int


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
        self.in_flight: InFlight | None = None
        self.buffer: Operation = ()
        self.made = 0
        """How many edits were made."""
        self.settled = 0
        """How many of them are settled: in the journal, or given back."""
        self._fresh_client = fresh_client
        self._seq = 0
        self._confirmed = Rope("")
        self._shown = Rope("")
        self._head = 0
        self._held: list[tuple[int, tuple[Entry, ...], str]] = []
        self._recent: deque[Entry] = deque(maxlen=HELD_ENTRIES)
        self._fence: str | None = None
        self._connection = 0
        self._link = _Link.CLOSED
        self._fetching = False
        self._submitted = False

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
        return self.in_flight is None and not self.buffer and self._fence is None

    @property
    def is_current(self) -> bool:
        """Whether nothing is known to be missing."""
        return self.version >= self._head and not self._held

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
        self.buffer = compose(self.buffer, canonical)
        self.made += 1
        self._settle(0)
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

    @property
    def pending(self) -> tuple[Operation, ...]:
        """The unconfirmed operations, in order."""
        return (self.buffer,) if self.in_flight is None else (self.in_flight.op, self.buffer)

    def next_request(self) -> Request | None:
        """Return what to send now; None while there is nothing, or an answer is awaited."""
        if self.closed is not None or self._link is _Link.OPENING:
            return None
        if self._link is _Link.CLOSED:
            return self._open()
        if self._fetching:
            return None
        if not self.is_current:
            self._fetching = True
            return self._request(
                "fetch", {"doc": self.doc, "epoch": self.epoch, "from": self.version + 1}
            )
        return None if self._submitted else self._submit()

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
            self._link = _Link.CLOSED
            if error.retryable or error.code in PASSING:
                return []
            return self.close(error)
        self._reopen()  # whatever is wrong with the log, opening with `since` finds out
        return []

    def received(self, event: str, payload: Mapping[str, Any]) -> list[Effect]:
        """Take an event of this document; unknown ones are ignored."""
        if self.closed is not None:
            return []
        if event == ServerEvent.OPS:
            return self._framed(payload) if self._link is _Link.OPEN else []
        if event == ServerEvent.BEHIND:
            self._behind(payload["version"])
        elif event == ServerEvent.RESET:
            self._reopen()
        elif event == ServerEvent.ROLE:
            self.role = payload["role"]
            return [RoleChanged(self.role)]
        return []

    def disconnected(self) -> None:
        """Forget what belonged to the connection; unconfirmed operations stay."""
        self._reopen()

    def resend(self) -> None:
        """Let the operation in flight be sent once more under its seq, as after a new token."""
        self._submitted = False

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
            "seq": self._seq,
            "fence": self._fence,
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
        replica._seq = state["seq"]
        replica._fence = state["fence"]
        replica.epoch, replica.version = state["epoch"], state["version"]
        replica.hash, replica.role = state["hash"], state["role"]
        replica._head = replica.version
        replica._confirmed = Rope(state["content"])
        replica._shown = Rope(state["content"])
        flying = state["in_flight"]
        replica.buffer = normalize(state["buffer"])
        if flying is not None:
            replica.in_flight = InFlight(flying["seq"], normalize(flying["op"]), 1)
        for pending in replica.pending:
            replica._shown.apply(pending)
        replica.made = len([pending for pending in replica.pending if pending])
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

    def _submit(self) -> Request | None:
        if self.in_flight is None:
            self._take_off()
        if self.in_flight is None:
            return None
        self._submitted = True
        return self._request(
            "submit",
            {
                "doc": self.doc,
                "epoch": self.epoch,
                "client": self.client,
                "seq": self.in_flight.seq,
                "base": self.version,
                "op": list(self.in_flight.op),
            },
        )

    def _take_off(self) -> None:
        """Move as much of the buffer as one operation may hold into flight, under a new seq."""
        if not self.buffer:
            return
        first, self.buffer = split(self.buffer, self.limits)
        self._seq += 1
        edits = self.settled if self.buffer else self.made
        self.in_flight = InFlight(self._seq, first, edits)

    def _request(self, event: str, payload: dict[str, Any]) -> Request:
        return Request(event, payload, self._connection)

    def _is_stale(self, request: Request) -> bool:
        return self.closed is not None or request.connection != self._connection

    def _reopen(self) -> None:
        """Open again, with `since` or behind a fence."""
        self._connection += 1
        self._link = _Link.CLOSED
        self._fetching = False
        self._submitted = False
        self._held = []

    # Answers.

    def _opened(self, answer: Mapping[str, Any]) -> list[Effect]:
        self._link = _Link.OPEN
        self.member_id = answer["member_id"]
        self.role = answer["role"]
        if "content" not in answer:
            self._head = answer["version"]
            entries = [Entry.from_payload(payload) for payload in answer["ops"]]
            return [Opened(answer), *self._take(self.version + 1, entries, None)]
        if self._fence is not None:
            return [*self._refounded(answer), Opened(answer)]
        if self.is_saved:
            return [*self._founded(answer), Opened(answer)]
        # Before unsent text moves over, nothing of the old client may commit any more.
        self._raise_fence()
        return []

    def _founded(self, answer: Mapping[str, Any]) -> list[Effect]:
        """Start from the authority's text: at first, or when nothing was pending."""
        replaced = self.known and self.epoch != answer["epoch"]
        before = self.text
        self._seq = answer["last_seq"]
        effects = self._adopt(answer, answer["content"])
        return [*effects, Returned(before, Origin.REPLACED)] if replaced else effects

    def _refounded(self, answer: Mapping[str, Any]) -> list[Effect]:
        """Carry what is unsent over to a history that replaced the one we knew."""
        committed = answer["fenced"]["last_seq"] if "fenced" in answer else 0
        before, replaced = self.text, self.epoch != answer["epoch"]
        basis, unsent = self._confirmed, self.buffer
        if self.in_flight is not None:
            if self.in_flight.seq <= committed:  # it is in the content
                basis.apply(self.in_flight.op)
            else:
                unsent = compose(self.in_flight.op, self.buffer)
        since = difference(str(basis), answer["content"])
        self.in_flight = None
        self.buffer = transform(unsent, since, "left")
        self._fence = None
        self._seq = 0
        shown = Rope(answer["content"])
        shown.apply(self.buffer)
        effects = self._adopt(answer, str(shown))
        self._settle(0)
        return [*effects, Returned(before, Origin.REPLACED)] if replaced else effects

    def _adopt(self, answer: Mapping[str, Any], shown: str) -> list[Effect]:
        """Take over a new history, with the text to be shown."""
        op = difference(self.text, shown)
        self.epoch, self.version, self.hash = answer["epoch"], answer["version"], answer["hash"]
        self._head = self.version
        self._confirmed = Rope(answer["content"])
        self._recent.clear()
        return self._show(op, Origin.REPLACED)

    def _fetched(self, answer: Mapping[str, Any]) -> list[Effect]:
        self._fetching = False
        self._behind(answer["version"])
        entries = [Entry.from_payload(payload) for payload in answer["ops"]]
        return [*self._take(answer["from"], entries, answer["hash"]), *self._release()]

    def _submit_failed(self, error: StrettoError) -> list[Effect]:
        if error.code == "token_expired":
            return []  # sent again after the refresh
        if error.code == "rate_limited":
            self._submitted = False  # it was not even looked at
            return []
        if error.code in REFUSED:
            return self._take_back(error)
        if error.code in REPLACED:
            self._raise_fence()
        else:
            self._reopen()
        return []

    def _take_back(self, error: StrettoError) -> list[Effect]:
        """Undo the operation in flight, which the authority refused, under what came after it."""
        if self.in_flight is None:
            return []
        refused = self.in_flight
        undo = invert(refused.op, self.confirmed)
        shown_undo = transform(undo, self.buffer, "right")
        self.buffer = transform(self.buffer, undo, "left")
        self._seq -= 1
        self.in_flight = None
        self._submitted = False
        self._settle(refused.edits)
        text = "".join(part for part in refused.op if isinstance(part, str))
        return [
            *self._show(shown_undo, Origin.REFUSED),
            Returned(text, Origin.REFUSED, error),
        ]

    def _raise_fence(self) -> None:
        # A fence that was not answered yet stands for the client that may be in flight; the
        # clients after it never sent anything.
        if self._fence is None:
            self._fence = self.client
        self.client = self._fresh_client()
        self._reopen()

    # The stream: the only thing that moves the confirmed text.

    def _behind(self, version: int) -> None:
        self._head = max(self._head, version)

    def _framed(self, frame: Mapping[str, Any]) -> list[Effect]:
        if frame["epoch"] != self.epoch:
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
            try:
                self._confirmed.apply(entry.op)
            except StrettoError:
                return [*effects, *self._astray()]
            self.version = version
            self.hash = next_hash(self.hash, entry)
            self._recent.append(entry)
            effects += self._pass_below(entry)
            if self._link is not _Link.OPEN:
                return effects
        self._behind(self.version)
        complete = bool(entries) and first + len(entries) - 1 == self.version
        if complete and reached not in (None, self.hash):
            effects += self._astray()
        return effects

    def _pass_below(self, entry: Entry) -> list[Effect]:
        """Let an entry, which the confirmed text has already, pass below what is pending."""
        own = self.in_flight
        if own is not None and (entry.client, entry.seq) == (self.client, own.seq):
            self.in_flight = None
            self._submitted = False
            self._settle(own.edits)
            confirmed: list[Effect] = [Confirmed(entry, self.version)]
            return confirmed if own.op == entry.op else [*confirmed, *self._astray()]
        op = entry.op
        if own is not None:
            self.in_flight = replace(own, op=transform(own.op, op, "left"))
            op = transform(op, own.op, "right")
        buffer = self.buffer
        self.buffer = transform(buffer, op, "left")
        self._settle(0)
        shown = transform(op, buffer, "right")
        return self._show(shown, Origin.REMOTE, entry)

    def _astray(self) -> list[Effect]:
        """Start over from the authority's content: what we have is not its text."""
        self.hash = "f" * 16  # continues no history
        self._reopen()
        return []

    def _settle(self, edits: int) -> None:
        """Note that edits up to ``edits`` are settled; all of them when nothing is pending."""
        self.settled = self.made if self.is_saved else max(self.settled, edits)

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
