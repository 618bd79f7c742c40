"""What each author of a trace saw when making each edit: the recorded world, in memory.

A schedule says how many rows an author had received before an edit. From that follows the
author's text at that moment, and how the edit reads in the common log; with the op that
commits later on side ``left``, applying the log gives the recorded end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from stretto_client.replay.traces import Patch, Row, Trace
from stretto_core.ot import Operation, Rope, compose, normalize, transform


@dataclass(slots=True)
class _Author:
    """``pending`` are own operations that were not received back yet, oldest first."""

    text: Rope
    seen: int = 0
    pending: list[Operation] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Edit:
    """One row with the text that its author saw."""

    row: Row
    index: int
    seen_text: str | None
    """None in a sequential trace, where the author always sees what is there."""


def operation_of(patch: Patch) -> Operation:
    """Return the operation of one patch."""
    return normalize((patch.position, patch.inserted, -patch.deleted))


def edits_of(trace: Trace) -> Iterator[Edit]:
    """Give the rows of a trace in the order of their commits, with what their authors saw."""
    if trace.sequential:
        for index, row in enumerate(trace.rows):
            yield Edit(row, index, None)
        return
    world = RecordedWorld(trace)
    for index, row in enumerate(trace.rows):
        yield Edit(row, index, world.advance(row))


class RecordedWorld:
    """Replays a schedule exactly."""

    def __init__(self, trace: Trace) -> None:
        self._rows = trace.rows
        self._log: list[Operation] = []
        self._authors = [_Author(Rope(trace.start)) for _ in range(trace.authors)]

    @property
    def log(self) -> Sequence[Operation]:
        """The common log so far, each operation as it applies after the one before it."""
        return self._log

    def advance(self, row: Row) -> str:
        """Make the next row's edit; return the text that its author saw before it."""
        author = self._authors[row.author]
        while author.seen < row.received:
            remote = self._receive(row.author, author.seen, author.pending)
            author.text.apply(remote)
            author.seen += 1
        seen_text = str(author.text)
        edit: Operation = ()
        for patch in row.patches:
            op = operation_of(patch)
            author.text.apply(op)
            edit = compose(edit, op)
        author.pending.append(edit)
        self._log.append(self._committed(row, author))
        return seen_text

    def _committed(self, row: Row, author: _Author) -> Operation:
        """Return the author's newest edit as it reads once everything before it is received."""
        pending = list(author.pending)
        for index in range(author.seen, len(self._log)):
            self._receive(row.author, index, pending)
        (committed,) = pending
        return committed

    def _receive(self, author: int, index: int, pending: list[Operation]) -> Operation:
        """Let a row of the log pass below ``pending``; return what it does to the text."""
        if self._rows[index].author == author:
            pending.pop(0)
            return ()
        op = self._log[index]
        for place, own in enumerate(pending):
            pending[place] = transform(own, op, "left")
            op = transform(op, own, "right")
        return op
