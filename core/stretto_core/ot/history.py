"""The operations of a document in order, with composed blocks for quick catching up.

A log-structured history, as LSM trees are: every ``_LEAF`` operations become a block, two
neighbouring blocks of one size become one of twice that size. Blocks are aligned to
version numbers and only the largest that begins at a version is kept: rewriting goes from
its version to the head, so it never takes a smaller one. An operation is rewritten over K
versions by O(log K) blocks and fewer than ``2 * _LEAF`` single operations.

Side ``left`` and this package's rule of composing make the result literally that of one
transform after the other; neither holds for side ``right`` or for the usual compose.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from stretto_core.ot.block import Block, block_of, join
from stretto_core.ot.operation import Component, Operation, normalize
from stretto_core.ot.position import map_canonical
from stretto_core.ot.transform import transform_canonical

_LEAF: Final = 16
"""Operations in the smallest block; a power of two."""

_LARGEST: Final = _LEAF << 8
"""Operations in the largest block (4,096). Joining two halves takes a few milliseconds
where edits are scattered, and an event loop waits for it; larger would gain little."""


class ComposedHistory:
    """The operations of versions ``base + 1`` to ``head``."""

    __slots__ = ("_blocks", "_ops", "base")

    base: int
    """The version that the oldest operation held applies to."""

    def __init__(self, base: int = 0) -> None:
        """Hold nothing yet; the first operation appended makes version ``base + 1``."""
        self.base = base
        self._ops: list[Operation] = []
        self._blocks: dict[int, Block] = {}

    @property
    def head(self) -> int:
        """The newest version."""
        return self.base + len(self._ops)

    def op(self, version: int) -> Operation:
        """Return the operation that made ``version``.

        Raises:
            IndexError: not ``base < version <= head``.

        """
        if not self.base < version <= self.head:
            raise IndexError("the history does not hold this version")
        return self._ops[version - self.base - 1]

    def append(self, op: Sequence[Component]) -> None:
        """Add the operation that makes version ``head + 1``.

        Raises:
            InvalidOperation: ``op`` is malformed.

        """
        self._ops.append(normalize(op))
        start = self.head - _LEAF
        if start % _LEAF == 0 and start >= self.base:
            self._add_block(start, self._leaf(start))

    def extend_front(self, ops: Iterable[Sequence[Component]]) -> None:
        """Add the operations, oldest first, that come before those held.

        Raises:
            InvalidOperation: one is malformed; the history is then unchanged.
            IndexError: they are more than ``base``, the count of the versions missing.

        """
        older = [normalize(op) for op in ops]
        if len(older) > self.base:
            raise IndexError("more operations than versions before them")
        old_base = self.base
        self._ops[:0] = older
        self.base -= len(older)
        # Newest first: the right half of every block is there before its left half.
        last = min(old_base - 1, self.head - _LEAF) // _LEAF * _LEAF
        for start in range(last, self.base - 1, -_LEAF):
            block = self._leaf(start)
            while (right := self._right_half(start, block)) is not None:
                block = join(block, right)
            self._blocks[start] = block

    def drop_before(self, version: int) -> None:
        """Forget what is only needed to rewrite operations based before ``version``.

        Afterwards ``base`` is ``version``, or what it was if that is later; a version
        above the head counts as the head.
        """
        version = min(version, self.head)
        if version <= self.base:
            return
        del self._ops[: version - self.base]
        self.base = version
        for start in [start for start in self._blocks if start < version]:
            del self._blocks[start]

    def transform(self, op: Sequence[Component], since: int) -> Operation:
        """Return ``op``, which applies to version ``since``, rewritten for the head.

        It is the operation that commits later: side ``left`` all the way.

        Raises:
            InvalidOperation: ``op`` is malformed.
            IndexError: not ``base <= since <= head``.

        """
        if not self.base <= since <= self.head:
            raise IndexError("the history does not reach back to this version")
        op = normalize(op)
        if len(op) == 2:
            position, text = op
            if isinstance(text, str) and isinstance(position, int) and position > 0:
                place = self._place(position, since)
                return (place, text) if place else (text,)
        version, head = since, self.head
        while version < head and op:
            block = self._blocks.get(version)
            if block is None:
                op = transform_canonical(op, self._ops[version - self.base], "left")
                version += 1
            else:
                op = block.rewrite(op)
                version += block.count
        return op

    def _place(self, position: int, since: int) -> int:
        """Carry the position of a lone insertion from ``since`` to the head."""
        blocks, ops, base = self._blocks, self._ops, self.base
        version, head = since, self.head
        while version < head:
            block = blocks.get(version)
            if block is None:
                position = map_canonical(position, ops[version - base], -1)
                version += 1
            else:
                position = block.place(position)
                version += block.count
        return position

    def _leaf(self, start: int) -> Block:
        first = start - self.base
        blocks = [block_of(op) for op in self._ops[first : first + _LEAF]]
        while len(blocks) > 1:
            blocks = [join(*pair) for pair in zip(blocks[::2], blocks[1::2], strict=True)]
        return blocks[0]

    def _add_block(self, start: int, block: Block) -> None:
        """Keep a block that ends at the head, joined with those that it completes."""
        self._blocks[start] = block
        while block.count < _LARGEST and start % (block.count * 2):
            start -= block.count
            left = self._blocks.get(start)
            if left is None:
                return  # dropped: nobody catches up from there any more
            block = self._blocks[start] = join(left, block)

    def _right_half(self, start: int, left: Block) -> Block | None:
        """Return the block with which ``left`` makes a larger one, if it is complete."""
        size = left.count
        if size == _LARGEST or start % (size * 2):
            return None
        right = self._blocks.get(start + size)
        return right if right is not None and right.count == size else None
