"""A document's server side as a state machine: what becomes of the operations submitted.

The order of work is the caller's: :meth:`Authority.stage` decides and changes nothing, the
caller makes the staged entries durable, :meth:`Authority.commit` then takes them in. A
lost race is ``learn`` and ``stage`` again.
"""

from collections.abc import Iterable, Sequence
from typing import cast

from stretto_core.entries import ClientRecord, Entry, hashes_after
from stretto_core.errors import (
    EpochChanged,
    Forbidden,
    InvalidOperation,
    InvalidRequest,
    SequenceGap,
    StrettoError,
    TooLarge,
    VersionAhead,
    VersionGone,
)
from stretto_core.ot import (
    Bias,
    Component,
    ComposedHistory,
    Operation,
    Rope,
    check,
    input_length,
    is_writable,
    length_change,
    normalize,
)
from stretto_core.ot.position import map_canonical
from stretto_core.ot.run import NO_SPLICE, Run, splice_of
from stretto_core.ot.transform import transform_canonical
from stretto_core.protocol import Limits
from stretto_core.staging import Stage
from stretto_core.values import value

Range = tuple[int, int]


@value
class Submission:
    """One operation as it arrived; ``op`` is unchecked."""

    epoch: str
    client: str
    seq: int
    base: int
    op: Sequence[object]
    user: str


@value
class Staged:
    """What a batch would commit on top of version ``base``.

    ``outcomes`` has one item per submission: the version it has (or will have, once the
    entries are durable), or why it is refused.
    """

    base: int
    entries: tuple[Entry, ...]
    hashes: tuple[str, ...]
    outcomes: tuple[int | StrettoError, ...]
    run: Run
    lengths: Sequence[int]
    """Of the text, after each entry."""


class Authority:
    """The committed text and history of one document, as far as memory reaches.

    ``floor`` is the oldest version that the journal can replay from, ``horizon`` the oldest
    one that memory reaches back to; entries ``horizon + 1 … version`` are held here.
    """

    def __init__(
        self, epoch: str, version: int, hash: str, text: str, *, floor: int, limits: Limits
    ) -> None:
        """Start from a snapshot; :meth:`learn` the entries after it."""
        self.epoch = epoch
        self.floor = floor
        self._limits = limits
        self._text = Rope(text)
        self._history = ComposedHistory(version)
        self._entries: list[Entry] = []
        self._hashes = [hash]
        self._lengths = [len(self._text)]
        self._records: dict[str, ClientRecord] = {}

    @property
    def version(self) -> int:
        """The head."""
        return self._history.base + len(self._entries)

    @property
    def horizon(self) -> int:
        """The oldest version that memory reaches back to."""
        return self._history.base

    @property
    def hash(self) -> str:
        """The history hash of the head."""
        return self._hashes[-1]

    @property
    def length(self) -> int:
        """The text's length in code points."""
        return self._lengths[-1]

    @property
    def text(self) -> str:
        """The text of the head."""
        return str(self._text)

    def clients(self) -> list[str]:
        """Return the clients whose records are held."""
        return list(self._records)

    def record(self, client: str) -> ClientRecord | None:
        """Return what is held of a client."""
        return self._records.get(client)

    def enroll(self, client: str, record: ClientRecord | None) -> None:
        """Take in what the journal knows of a client, before its operations are staged."""
        self._records[client] = record or ClientRecord()

    def forget(self, client: str) -> None:
        """Drop a client's record; it must be enrolled again before it submits."""
        self._records.pop(client, None)

    def hash_at(self, version: int) -> str | None:
        """Return the history hash at ``version``; None where memory does not have it."""
        if not self.horizon <= version <= self.version:
            return None
        return self._hashes[version - self.horizon] or None

    def entries(self, first: int, limit: int, max_bytes: int | None = None) -> tuple[Entry, ...]:
        """Return up to ``limit`` entries from version ``first`` on, oldest first.

        With ``max_bytes`` they stop before their JSON passes that size, but never before
        one. Raises IndexError where memory does not reach.
        """
        if not self.horizon < first <= self.version + 1:
            raise IndexError(f"version {first} is not in memory")
        start = first - self.horizon - 1
        found = self._entries[start : start + limit]
        if max_bytes is None:
            return tuple(found)
        size = 0
        for count, entry in enumerate(found):
            size += len(entry.to_json().encode())
            if count and size > max_bytes:
                return tuple(found[:count])
        return tuple(found)

    def oldest_base(self, submissions: Iterable[Submission]) -> int | None:
        """Return the oldest base that lies below memory but not below the floor, if any.

        The caller then reads entries ``base + 1 … horizon`` and calls :meth:`extend_back`.
        """
        horizon, oldest = self._history.base, None
        for one in submissions:
            if one.base < horizon and one.base >= self.floor and one.epoch == self.epoch:
                horizon = oldest = one.base
        return oldest

    def extend_back(self, entries: Sequence[Entry], hash: str = "") -> None:
        """Take in the entries just before the horizon, oldest first.

        ``hash`` is the history hash before the first of them, where the caller knows it.
        """
        self._history.extend_front([entry.op for entry in entries])
        self._entries[:0] = entries
        lengths = [self._lengths[0]]
        for entry in reversed(entries):
            lengths.append(lengths[-1] - length_change(entry.op))
        self._lengths[:0] = reversed(lengths[1:])
        # The hashes between are not needed: whoever asks for one asks the journal.
        self._hashes[:0] = [hash, *[""] * (len(entries) - 1)]

    def trim(self, keep_from: int) -> None:
        """Forget the history below version ``keep_from``."""
        before = self.horizon
        self._history.drop_before(min(keep_from, self.version))
        dropped = self.horizon - before
        del self._entries[:dropped], self._hashes[:dropped], self._lengths[:dropped]

    def learn(self, entries: Sequence[Entry], hashes: Sequence[str] | None = None) -> None:
        """Take in entries that are durable already: from loading, or committed elsewhere.

        ``hashes`` are the history hashes after them, where the caller has them.
        """
        length = self.length
        run = Run()
        lengths = []
        for entry in entries:
            op = entry.op
            place, size = splice_of(op)
            run.append(op, place, size)
            length += size or length_change(op)
            lengths.append(length)
        if hashes is None:
            hashes = hashes_after(self.hash, entries)
        self._take(entries, hashes, lengths, run)

    def commit(self, staged: Staged) -> None:
        """Take in what was staged, now that it is durable.

        Raises ValueError when the head moved since: learn, and stage again.
        """
        if staged.base != self.version:
            raise ValueError("staged on another version")
        self._take(staged.entries, staged.hashes, staged.lengths, staged.run)

    def _take(
        self, entries: Sequence[Entry], hashes: Sequence[str], lengths: Sequence[int], run: Run
    ) -> None:
        text, records, version = self._text, self._records, self.version
        for entry, place, size in zip(entries, run.places, run.sizes, strict=True):
            if not size:
                text.apply(entry.op)
            elif isinstance(part := entry.op[-1], str):
                text.splice(place, 0, part)
            else:
                text.splice(place, -size, "")
            version += 1
            record = records.get(entry.client)
            if record is not None and record.last_version < version:
                records[entry.client] = record.advanced(entry.seq, version, entry.user)
        self._history.extend(run)
        self._entries += entries
        self._hashes += hashes
        self._lengths += lengths

    def stage(self, submissions: Sequence[Submission], at_ms: int) -> Staged:
        """Decide a batch without changing anything; each sees the effect of those before it.

        Checked in the order of the wire contract: user, epoch, seq, base, operation. Raises
        IndexError when a base is older than memory: see :meth:`oldest_base`.
        """
        stage = Stage(self.version, self.length, self.hash)
        outcomes: list[int | StrettoError] = []
        for submission in submissions:
            try:
                outcomes.append(self._stage_one(stage, submission, at_ms))
            except StrettoError as error:
                outcomes.append(error)
        entries, hashes = tuple(stage.entries), tuple(stage.hashes)
        return Staged(self.version, entries, hashes, tuple(outcomes), stage.run, stage.lengths)

    def _stage_one(self, stage: Stage, submission: Submission, at_ms: int) -> int:
        client, seq, user = submission.client, submission.seq, submission.user
        record = stage.records.get(client) or self._records.get(client)
        if record is not None and record.user != user and record.user is not None:
            raise Forbidden("this client id belongs to another user")
        if submission.epoch != self.epoch:
            raise EpochChanged(details={"epoch": self.epoch})
        if record is None:
            raise InvalidRequest("this client did not open the document")
        if seq == record.last_seq:
            return record.last_version
        if record.fenced or seq != record.last_seq + 1:
            raise SequenceGap(details={"last_seq": record.last_seq})
        self._check_base(submission.base, record)
        splice = self._spliced(stage, submission)
        if splice is not None:
            op, place, size = splice
        else:
            op = self._rewritten(stage, submission)
            place, size = splice_of(op)
        version = stage.add(Entry(client, seq, op, user, at_ms), place, size)
        stage.records[client] = record.advanced(seq, version, user)
        return version

    def _check_base(self, base: int, record: ClientRecord) -> None:
        self._check_version(base)
        if base < record.last_version:
            raise InvalidRequest(
                details={"base": [f"below version {record.last_version} of this client's own op"]}
            )

    def _check_version(self, version: int) -> None:
        horizon = self._history.base
        if version > horizon + len(self._entries):
            raise VersionAhead(details={"version": self.version})
        if version < self.floor:
            raise VersionGone(details={"floor": self.floor})
        if version < horizon:
            raise IndexError(f"version {version} is not in memory")

    def _spliced(self, stage: Stage, submission: Submission) -> tuple[Operation, int, int] | None:
        """Do as :meth:`_rewritten` for what most operations are, without all its lists.

        Return the operation with its splice; None where the operation is not plainly one
        insertion or deletion behind the text's first character, or does not stay one.
        """
        raw, base, limits = submission.op, submission.base, self._limits
        if len(raw) != 2 or limits.op_components < 2:
            return None
        place, part = raw
        longest = self._lengths[base - self._history.base]
        if type(place) is not int or not 0 < place <= longest:
            return None
        if type(part) is str:
            size = len(part)
            if not 0 < size <= limits.op_inserted or size > limits.document_chars - stage.length:
                return None
            if not is_writable(part):
                return None
            place = stage.run.insertion(self._history.insertion(place, base))
            return (place, part) if place else (part,), place, size
        if type(part) is int and place - longest <= part < 0:
            span = self._history.deletion(place, place - part, base)
            span = span and stage.run.deletion(*span)
            return _deletion(*span) if span else None
        return None

    def _rewritten(self, stage: Stage, submission: Submission) -> Operation:
        """Return the operation as it applies to the staged head."""
        op = self._checked(submission.op, submission.base)
        op = self._history.transform(op, submission.base)
        for over in stage.run.ops:
            op = transform_canonical(op, over, "left")
        if stage.length + length_change(op) > max(self._limits.document_chars, stage.length):
            raise TooLarge(f"a document holds {self._limits.document_chars} characters")
        return op

    def _checked(self, raw: Sequence[object], base: int) -> Operation:
        limits = self._limits
        if len(raw) > limits.op_components:
            raise TooLarge(f"an operation has at most {limits.op_components} components")
        if sum(len(part) for part in raw if isinstance(part, str)) > limits.op_inserted:
            raise TooLarge(f"an operation inserts at most {limits.op_inserted} characters")
        check(raw)
        op = cast("Sequence[Component]", raw)
        if input_length(op) > self._lengths[base - self.horizon]:
            raise InvalidOperation("the operation is longer than its document")
        return normalize(op)

    def carried(self, op: Sequence[object], base: int) -> Operation:
        """Return ``op``, which applies to version ``base``, as it applies to the head.

        Raises VersionAhead, VersionGone, InvalidOperation, TooLarge; IndexError where memory
        does not reach.
        """
        self._check_version(base)
        return self._history.transform(self._checked(op, base), base)

    def map_ranges(self, ranges: Iterable[Range], version: int, client: str) -> list[Range]:
        """Carry a cursor's ranges from ``version`` to the head, clamped to the text.

        Over an entry of ``client`` itself positions go behind an insertion, over others'
        they stay before it. Raises IndexError where memory does not reach.
        """
        if not self.horizon <= version <= self.version:
            raise IndexError(f"version {version} is not in memory")
        start = version - self.horizon
        longest = self._lengths[start]
        mapped = [(min(anchor, longest), min(head, longest)) for anchor, head in ranges]
        for entry in self._entries[start:]:
            bias: Bias = 1 if entry.client == client else -1
            mapped = [
                (map_canonical(anchor, entry.op, bias), map_canonical(head, entry.op, bias))
                for anchor, head in mapped
            ]
        return mapped


def _deletion(start: int, end: int) -> tuple[Operation, int, int]:
    if start == end:
        return (), *NO_SPLICE
    size = start - end
    return (start, size) if start else (size,), start, size
