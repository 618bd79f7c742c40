"""The operations of a document in order, with composed blocks for quick catching up.

A log-structured history, as LSM trees are: every ``_LEAF`` operations may become a block,
two neighbouring blocks of one size one of twice that size. Blocks are aligned to version
numbers and only the largest that begins at a version is kept: rewriting goes from its
version to the head, so it never takes a smaller one. They are made when somebody comes
from far behind, which is rare; then an operation is rewritten over K versions by O(log K)
blocks and fewer than ``2 * _LEAF`` single operations.

Side ``left`` and this package's rule of composing make the result literally that of one
transform after the other; neither holds for side ``right`` or for the usual compose.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from stretto_core.ot.block import Block, block_of, join
from stretto_core.ot.operation import Component, Operation, normalize
from stretto_core.ot.run import Run, splice_of
from stretto_core.ot.transform import transform_canonical

_LEAF: Final = 16
"""Operations in the smallest block; a power of two."""

_LARGEST: Final = _LEAF << 8
"""Operations in the largest block (4,096). Joining two halves takes a few milliseconds
where edits are scattered, and an event loop waits for it; larger would gain little."""

_FAR: Final = 4 * _LEAF
"""From nearer to the head going through single operations costs less than making blocks."""

_FAR_FOR_INSERTIONS: Final = 32 * _LEAF
"""The same for a lone insertion, of which only the place is carried."""


class ComposedHistory:
    """The operations of versions ``base + 1`` to ``head``."""

    __slots__ = ("_blocks", "_run", "base")

    base: int
    """The version that the oldest operation held applies to."""

    def __init__(self, base: int = 0) -> None:
        """Hold nothing yet; the first operation appended makes version ``base + 1``."""
        self.base = base
        self._run = Run()
        self._blocks: dict[int, Block] = {}

    @property
    def head(self) -> int:
        """The newest version."""
        return self.base + len(self._run.places)

    def op(self, version: int) -> Operation:
        """Return the operation that made ``version``.

        Raises:
            IndexError: not ``base < version <= head``.

        """
        if not self.base < version <= self.head:
            raise IndexError("the history does not hold this version")
        return self._run.ops[version - self.base - 1]

    def append(self, op: Sequence[Component]) -> None:
        """Add the operation that makes version ``head + 1``.

        Raises:
            InvalidOperation: ``op`` is malformed.

        """
        canonical = normalize(op)
        self._run.append(canonical, *splice_of(canonical))

    def extend(self, run: Run) -> None:
        """Add the operations, canonical already, that make the versions after the head."""
        self._run.extend(run)

    def extend_front(self, ops: Iterable[Sequence[Component]]) -> None:
        """Add the operations, oldest first, that come before those held.

        Raises:
            InvalidOperation: one is malformed; the history is then unchanged.
            IndexError: they are more than ``base``, the count of the versions missing.

        """
        older = Run()
        for op in ops:
            canonical = normalize(op)
            older.append(canonical, *splice_of(canonical))
        if len(older) > self.base:
            raise IndexError("more operations than versions before them")
        self._run.extend_front(older)
        self.base -= len(older)

    def drop_before(self, version: int) -> None:
        """Forget what is only needed to rewrite operations based before ``version``.

        Afterwards ``base`` is ``version``, or what it was if that is later; a version
        above the head counts as the head.
        """
        version = min(version, self.head)
        if version <= self.base:
            return
        self._run.drop(version - self.base)
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
                place = self.insertion(position, since)
                return (place, text) if place else (text,)
        version, head = since, self.head
        while version < head and op:
            block = self._block_at(version, since, _FAR)
            if block is None:
                op = transform_canonical(op, self._run.ops[version - self.base], "left")
                version += 1
            else:
                op = block.rewrite(op)
                version += block.count
        return op

    def insertion(self, position: int, since: int) -> int:
        """Carry the position of a lone insertion from version ``since`` to the head.

        ``since`` is one that the history reaches back to.
        """
        base = self.base
        if self.head - since < _FAR_FOR_INSERTIONS:
            return self._run.insertion(position, since - base)
        version = -(-since // _LEAF) * _LEAF  # where the first block may begin
        position = self._run.insertion(position, since - base, version - base)
        while (block := self._block_at(version, since, _FAR)) is not None:
            position = block.place(position)
            version += block.count
        return self._run.insertion(position, version - base)

    def deletion(self, start: int, end: int, since: int) -> tuple[int, int] | None:
        """Carry a lone deletion from version ``since`` to the head; None: the long way is needed.

        ``since`` is one that the history reaches back to.
        """
        if self.head - since > _FAR:
            return None
        return self._run.deletion(start, end, since - self.base)

    def _block_at(self, version: int, since: int, far: int) -> Block | None:
        """Return the largest block from ``version`` on, if coming from ``since`` is worth it."""
        head = self.head
        if version % _LEAF or version + _LEAF > head or head - since < far:
            return None
        size = _LEAF
        while size < _LARGEST and not version % (size * 2) and version + size * 2 <= head:
            size *= 2
        block = self._blocks.get(version)
        return block if block is not None and block.count == size else self._grown(version, size)

    def _grown(self, start: int, size: int) -> Block:
        """Return the block of ``size`` operations from ``start`` on, made from what there is."""
        block = self._blocks.get(start) or self._leaf(start)
        while block.count < size:
            block = join(block, self._grown(start + block.count, block.count))
        self._blocks[start] = block
        return block

    def _leaf(self, start: int) -> Block:
        first = start - self.base
        blocks = [block_of(op) for op in self._run.ops[first : first + _LEAF]]
        while len(blocks) > 1:
            blocks = [join(*pair) for pair in zip(blocks[::2], blocks[1::2], strict=True)]
        return blocks[0]
