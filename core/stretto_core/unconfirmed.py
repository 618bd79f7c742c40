"""The edits of a replica that are not in its history yet, and how they move.

First comes the operation in flight, whose meaning is fixed by its seq once it was sent,
then the buffer, composed from whatever was done since. An entry of the history passes below
the one and *then* the other, never below their composition: for the op that comes first
(side ``right``) that would not be the same, and replicas would drift apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stretto_core.ot import Component, Operation, apply, compose, invert, transform
from stretto_core.protocol import Limits
from stretto_core.split import split
from stretto_core.textdiff import difference


@dataclass(frozen=True, slots=True)
class InFlight:
    """The operation that was sent, rewritten for the replica's version.

    ``edits`` is how many edits are settled with it. ``unsure`` says that an earlier sending
    may still commit: what became of it was not heard.
    """

    seq: int
    op: Operation
    edits: int
    unsure: bool = False


class Unconfirmed:
    """What a replica did and the history does not have, with the seq that was used last."""

    def __init__(self) -> None:
        self.in_flight: InFlight | None = None
        self.buffer: Operation = ()
        self.seq = 0
        self.made = 0
        """How many edits were made."""
        self.settled = 0
        """How many of them are settled: in the journal, or given back."""

    def __bool__(self) -> bool:
        return self.in_flight is not None or bool(self.buffer)

    @property
    def ops(self) -> tuple[Operation, ...]:
        """The operations, in the order in which they apply to the confirmed text."""
        return (self.buffer,) if self.in_flight is None else (self.in_flight.op, self.buffer)

    def restore(self, in_flight: tuple[int, Operation] | None, buffer: Operation) -> None:
        """Go on from what another process stored; it may have sent what was in flight."""
        self.buffer = buffer
        if in_flight is not None:
            self.in_flight = InFlight(*in_flight, edits=1, unsure=True)
        self.made = (in_flight is not None) + bool(buffer)

    def add(self, op: Sequence[Component]) -> None:
        """Take in what the user did to the text shown."""
        self.buffer = compose(self.buffer, op)
        self.made += 1
        self._settle(0)

    def take_off(self, limits: Limits) -> None:
        """Move as much of the buffer as one operation may hold into flight, under a new seq."""
        if self.in_flight is not None or not self.buffer:
            return
        first, self.buffer = split(self.buffer, limits)
        self.seq += 1
        edits = self.settled if self.buffer else self.made
        self.in_flight = InFlight(self.seq, first, edits)

    def is_outgrown(self, limits: Limits) -> bool:
        """Whether the operation in flight fits the limits no more.

        Text inserted into the spans that it deletes cuts it into more components.
        """
        return self.in_flight is not None and bool(split(self.in_flight.op, limits)[1])

    def doubt(self) -> None:
        """Note that the outcome of sending what is in flight may never be heard."""
        if self.in_flight is not None:
            self.in_flight = replace(self.in_flight, unsure=True)

    def confirm(self) -> None:
        """The operation in flight is in the history: it is confirmed text now."""
        if self.in_flight is not None:
            edits, self.in_flight = self.in_flight.edits, None
            self._settle(edits)

    def pass_below(self, op: Operation) -> Operation:
        """Let ``op`` of the history pass below; return it as it applies to the text shown."""
        own = self.in_flight
        if own is not None:
            self.in_flight = replace(own, op=transform(own.op, op, "left"))
            op = transform(op, own.op, "right")
        buffer = self.buffer
        self.buffer = transform(buffer, op, "left")
        self._settle(0)
        return transform(op, buffer, "right")

    def take_back(self, confirmed: str) -> Operation:
        """Undo the operation in flight under what came after it; its seq is free again.

        Return the undoing as it applies to the text shown.
        """
        own = self.in_flight
        if own is None:
            return ()
        undo = invert(own.op, confirmed)
        shown = transform(undo, self.buffer, "right")
        self.buffer = transform(self.buffer, undo, "left")
        self.seq -= 1
        self.in_flight = None
        self._settle(own.edits)
        return shown

    def carry_over(self, confirmed: str, content: str, last_seq: int) -> None:
        """Move to ``content``, the text of a history in which nothing was sent yet.

        ``last_seq`` is the last one that the old history committed of ours.
        """
        own, unsent, edits = self.in_flight, self.buffer, 0
        if own is not None and own.seq <= last_seq:  # it is in the content
            confirmed, edits = apply(confirmed, own.op), own.edits
        elif own is not None:
            unsent = compose(own.op, unsent)
        self.in_flight = None
        self.buffer = transform(unsent, difference(confirmed, content), "left")
        self.seq = 0
        self._settle(edits)

    def _settle(self, edits: int) -> None:
        """Note that edits up to ``edits`` are settled; all of them when nothing is left."""
        self.settled = max(self.settled, edits) if self else self.made
