"""The text of a document, cut into chunks so that an edit copies little.

Chunks hold about twice the square root of the text's length: one edit copies one chunk,
and a jump across the document walks over at most about half the square root of chunks.
Most edits hit the chunk of the edit before, which is therefore remembered.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Final

from stretto_core.errors import InvalidOperation
from stretto_core.ot.operation import Component, Operation
from stretto_core.ot.transform import fitting

_LEAST_CHUNK: Final = 512
"""Below this many characters copying costs less than the Python around it (measured)."""


class Rope:
    """A mutable text that operations are applied to.

    ``len(rope)`` counts code points, ``str(rope)`` is the whole text (O(n)).
    """

    __slots__ = ("_chunks", "_high", "_index", "_length", "_low", "_start")

    _chunks: list[str]
    _length: int
    _index: int  # of the chunk that was edited last
    _start: int  # where that chunk begins in the text
    _low: int  # a smaller chunk is merged with its neighbour
    _high: int  # a larger one is split

    def __init__(self, text: str = "") -> None:
        """Hold ``text``."""
        self._rebuild(text)

    def __len__(self) -> int:
        return self._length

    def __str__(self) -> str:
        return "".join(self._chunks)

    def apply(self, op: Sequence[Component]) -> None:
        """Apply ``op``, which has passed :func:`~stretto_core.ot.check`.

        Raises:
            InvalidOperation: ``op`` is longer than the text, which is then unchanged.

        """
        position = removed = 0
        inserted = ""
        for component in op:
            if type(component) is str:
                if inserted:
                    break
                inserted = component
            elif type(component) is not int:
                break
            elif component < 0:
                if removed:
                    break
                removed = -component
            elif removed or inserted:
                break
            else:
                position += component
        else:
            if position + removed <= self._length:
                self.splice(position, removed, inserted)
                return
        self._apply_all(fitting(op, self._length))

    def splice(self, position: int, removed: int, inserted: str) -> None:
        """Replace ``removed`` characters at ``position`` by ``inserted``.

        Raises:
            InvalidOperation: the text has no such characters; it is then unchanged.

        """
        if not 0 <= position <= position + removed <= self._length:
            raise InvalidOperation("the operation is longer than its document")
        chunks = self._chunks
        offset = position - self._start
        if not 0 <= offset <= len(chunks[self._index]):
            self._seek(position)
            offset = position - self._start
        index = self._index
        head = tail = chunks[index]
        end = offset + removed
        if end > len(tail):
            last = index
            while end > len(tail):
                end -= len(tail)
                last += 1
                tail = chunks[last]
            del chunks[index + 1 : last + 1]
        chunks[index] = chunk = f"{head[:offset]}{inserted}{tail[end:]}"
        self._length += len(inserted) - removed
        if not self._low <= len(chunk) <= self._high:
            self._rebalance()

    def slice(self, start: int, end: int) -> str:
        """Return the characters from ``start`` up to, not including, ``end``.

        Raises:
            IndexError: not ``0 <= start <= end <= len(rope)``.

        """
        if not 0 <= start <= end <= self._length:
            raise IndexError("slice beyond the text")
        self._seek(start)
        index = self._index
        pieces: list[str] = []
        offset = start - self._start
        wanted = end - start
        while wanted:
            piece = self._chunks[index][offset : offset + wanted]
            pieces.append(piece)
            wanted -= len(piece)
            index += 1
            offset = 0
        return "".join(pieces)

    def _apply_all(self, op: Operation) -> None:
        position = 0
        for component in op:
            if isinstance(component, str):
                self.splice(position, 0, component)
                position += len(component)
            elif component > 0:
                position += component
            else:
                self.splice(position, -component, "")

    def _seek(self, position: int) -> None:
        """Remember the chunk that ``position`` is in or at the end of."""
        chunks = self._chunks
        index = self._index
        start = self._start
        if position < start // 2:
            index = start = 0
        elif position > (start + self._length) // 2:
            index = len(chunks) - 1
            start = self._length - len(chunks[index])
        while position < start:
            index -= 1
            start -= len(chunks[index])
        end = start + len(chunks[index])
        while position > end:
            index += 1
            start = end
            end += len(chunks[index])
        self._index = index
        self._start = start

    def _rebalance(self) -> None:
        """Merge or split the remembered chunk, which became too small or too large."""
        size = self._high // 2
        # Chunks half or four times as large as they should be: worth cutting anew.
        if self._length > size * size or (size > _LEAST_CHUNK and self._length * 64 < size * size):
            self._rebuild(str(self))
            return
        chunks = self._chunks
        index = self._index
        if len(chunks[index]) < self._low and len(chunks) > 1:
            if index:
                index -= 1
                self._index = index
                self._start -= len(chunks[index])
            chunks[index : index + 2] = [chunks[index] + chunks[index + 1]]
        if len(chunks[index]) > self._high:
            chunks[index : index + 1] = _cut(chunks[index], size)

    def _rebuild(self, text: str) -> None:
        size = max(_LEAST_CHUNK, 2 * isqrt(len(text)))
        self._chunks = _cut(text, size)
        self._length = len(text)
        self._low = size // 4
        self._high = size * 2
        self._index = 0
        self._start = 0


def _cut(text: str, size: int) -> list[str]:
    """Return ``text`` in even pieces of at most ``size`` characters, at least one."""
    count = max(1, -(-len(text) // size))
    step = max(1, -(-len(text) // count))
    return [text[start : start + step] for start in range(0, len(text), step)] or [""]
