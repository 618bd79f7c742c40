"""What a run of committed operations does to positions, found by bisection.

A block cuts the text before the run into segments, each either kept or deleted, and
knows where each lands in the text after the run. Inserted text shows as a gap between
two landing places: to rewrite a later operation only its length matters. Rewriting an
operation of m components over a block of C segments costs O(m log C) and one step per
segment that it deletes from, however many operations the block stands for.

Composing blocks follows the rule of :func:`stretto_core.ot.compose` (text inserted where
something was deleted goes behind the deleted span), without which the results would
differ from those of one operation after the other.
"""

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Final

from stretto_core.ot.operation import Component, Operation, push, trimmed

_ENDLESS: Final = 2**62
"""Beyond every position, and within the 64 bits of an array's item."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """``count`` operations as one map of positions.

    Segment i begins at ``starts[i]`` of the text before and lands at ``places[i]`` of
    the text after; a deleted one has ``~place`` (negative) instead. The last segment is
    kept and endless: ``starts`` has one item more, beyond every position.
    """

    count: int
    starts: "array[int]"
    places: "array[int]"

    def place(self, position: int) -> int:
        """Return where text inserted at ``position`` goes: before what the run inserted."""
        if not position:
            return 0
        index = bisect_left(self.starts, position) - 1
        place = self.places[index]
        return place + position - self.starts[index] if place >= 0 else ~place

    def rewrite(self, op: Operation) -> Operation:
        """Return the canonical ``op`` transformed, on side ``left``, over the run."""
        parts: list[Component] = []
        position = 0  # in the text before the run
        written = 0  # in the text after it
        for component in op:
            if isinstance(component, str):
                place = self.place(position)
                push(parts, place - written)
                push(parts, component)
                written = place
            elif component > 0:
                position += component
            else:
                written = self._delete(parts, position, position - component, written)
                position -= component
        return trimmed(parts)

    def _delete(self, parts: list[Component], start: int, end: int, written: int) -> int:
        """Push the deletion of what is left of ``start`` to ``end``; return its end."""
        starts = self.starts
        index = bisect_right(starts, start) - 1
        while start < end:
            stop = min(end, starts[index + 1])
            place = self.places[index]
            if place >= 0:
                place += start - starts[index]
                push(parts, place - written)
                push(parts, start - stop)
                written = place + stop - start
            start = stop
            index += 1
        return written


def block_of(op: Operation) -> Block:
    """Return the block of one canonical operation."""
    starts: list[int] = []
    places: list[int] = []
    start = place = 0
    for component in op:
        if isinstance(component, str):
            place += len(component)
            continue
        starts.append(start)
        if component > 0:
            places.append(place)
            start += component
            place += component
        else:
            places.append(~place)
            start -= component
    starts += (start, _ENDLESS)
    places.append(place)
    return Block(1, array("q", starts), array("q", places))


def join(a: Block, b: Block) -> Block:
    """Return the block of the operations of ``a`` and then those of ``b``.

    One pass over both: a segment that ``a`` deleted stays whole, one that it kept is cut
    as ``b`` cuts the place where it lands.
    """
    starts: list[int] = []
    places: list[int] = []
    a_starts = a.starts.tolist()
    b_starts = b.starts.tolist()
    b_places = b.places.tolist()
    at = 0  # the segment of b at hand
    for index, middle in enumerate(a.places):
        start = a_starts[index]
        if middle < 0:
            while b_starts[at + 1] < ~middle:
                at += 1
            starts.append(start)
            places.append(_place_of_deleted(~middle, b_starts[at], b_places[at]))
            continue
        while b_starts[at + 1] <= middle:
            at += 1
        shift = start - middle
        end = min(a_starts[index + 1] - shift, _ENDLESS)
        while True:
            begin, place = b_starts[at], b_places[at]
            if begin < middle:
                place += middle - begin if place >= 0 else 0
                begin = middle
            starts.append(begin + shift)
            places.append(place)
            if b_starts[at + 1] >= end:
                break
            at += 1
    return _merged(a.count + b.count, starts, places)


def _place_of_deleted(middle: int, begin: int, place: int) -> int:
    """Return where a span deleted at ``middle`` lands: before what is inserted there.

    ``begin`` and ``place`` are of the later block's segment that ends there.
    """
    if not middle:
        return ~0
    return ~(place + middle - begin) if place >= 0 else place


def _merged(count: int, starts: list[int], places: list[int]) -> Block:
    """Return a block of these segments, joining those that go on where one ended."""
    merged_starts = array("q", starts[:1])
    merged_places = array("q", places[:1])
    last_place, last_start = places[0], starts[0]
    for start, place in zip(starts, places, strict=True):
        if place != last_place and (
            place < 0 or last_place < 0 or place - last_place != start - last_start
        ):
            merged_starts.append(start)
            merged_places.append(place)
            last_place, last_start = place, start
    merged_starts.append(_ENDLESS)
    return Block(count, merged_starts, merged_places)
