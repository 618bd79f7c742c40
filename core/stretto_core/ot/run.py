"""Operations one after the other, and a quick way to carry the commonest kind over them.

Most operations are a splice: they insert at one place, or delete at one place. What such
an operation does to a position, and to another splice, needs two numbers and no list of
components. Everything here gives exactly what :func:`stretto_core.ot.transform` gives,
side ``left``, one operation after the other; where that takes more than a splice can
say, the answer is None and the caller takes the long way.
"""

from typing import TypeAlias

from stretto_core.ot.operation import Operation
from stretto_core.ot.position import map_canonical

Splice: TypeAlias = tuple[int, int]
"""A place, and by how much the text grows behind it: below zero for a deletion."""

NO_SPLICE: Splice = (-1, 0)
"""Of an operation that does nothing, or more than one thing. No place is before it."""


def splice_of(op: Operation) -> Splice:
    """Return the splice that a canonical operation is, or NO_SPLICE."""
    if len(op) == 2:
        at, part = op
        if isinstance(at, str) or at < 0:
            return NO_SPLICE
    elif len(op) == 1:
        at, part = 0, op[0]
    else:
        return NO_SPLICE
    return (at, len(part)) if isinstance(part, str) else (at, part)


class Run:
    """Canonical operations, oldest first, with the splices of those that are one."""

    __slots__ = ("ops", "places", "sizes")

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.ops: list[Operation] = []
        self.places: list[int] = []
        self.sizes: list[int] = []

    def __len__(self) -> int:
        return len(self.ops)

    def append(self, op: Operation, place: int, size: int) -> None:
        """Add an operation with its splice."""
        self.ops.append(op)
        self.places.append(place)
        self.sizes.append(size)

    def extend(self, other: "Run") -> None:
        """Add the operations of another run."""
        self.ops += other.ops
        self.places += other.places
        self.sizes += other.sizes

    def extend_front(self, other: "Run") -> None:
        """Add the operations of another run before those held."""
        self.ops[:0] = other.ops
        self.places[:0] = other.places
        self.sizes[:0] = other.sizes

    def drop(self, count: int) -> None:
        """Forget the oldest operations."""
        del self.ops[:count], self.places[:count], self.sizes[:count]

    def insertion(self, position: int, first: int = 0, end: int | None = None) -> int:
        """Return where text inserted at ``position`` goes, over operations ``first`` to ``end``."""
        if first >= len(self.places):
            return position
        places, sizes, ops = self.places, self.sizes, self.ops
        if first or end is not None:
            places, sizes, ops = places[first:end], sizes[first:end], ops[first:end]
        for place, size, op in zip(places, sizes, ops, strict=True):
            if place < position:
                if size:
                    position += size
                    if position < place:
                        position = place
                else:
                    position = map_canonical(position, op, -1)
        return position

    def deletion(self, start: int, end: int, first: int = 0) -> tuple[int, int] | None:
        """Return what is left of deleting ``start`` to ``end``, over operations from ``first`` on.

        None where an operation that is no splice touches it, or text was inserted inside.
        """
        if first >= len(self.places):
            return start, end
        for place, size in zip(self.places[first:], self.sizes[first:], strict=True):
            if place >= end:
                continue
            if size > 0:
                if place > start:
                    return None
                start += size
                end += size
            elif size < 0:
                if place < start:
                    start = max(place, start + size)
                end = max(place, end + size)
            else:
                return None
        return start, end
