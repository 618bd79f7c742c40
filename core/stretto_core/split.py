"""Cutting an operation into two that each fit the limits of the wire."""

import json
from collections.abc import Sequence
from typing import Final

from stretto_core.ot import Component, Operation, normalize
from stretto_core.protocol import PAGE_BYTES, Limits

_NUMBER_BYTES: Final = 18
"""Digits of the largest number, sign and comma."""
_MOST_BYTES_PER_CHAR: Final = 6


def split(
    op: Operation, limits: Limits, most_bytes: int = PAGE_BYTES
) -> tuple[Operation, Operation]:
    """Return ``(first, rest)``: ``rest`` applies after ``first``, and both do what ``op`` does.

    ``op`` is canonical. ``first`` is the longest leading part within ``op_components``,
    ``op_inserted`` (code points) and ``most_bytes`` of JSON; ``rest`` is ``()`` when all fits.
    Where limits are too narrow for any change, ``first`` holds one change all the same.
    """
    first: list[Component] = []
    left_components = limits.op_components
    left_chars = limits.op_inserted
    left_bytes = most_bytes - 2 * _NUMBER_BYTES
    reach, changes = 0, False
    for index, part in enumerate(op):
        is_full = left_components <= 0 or left_bytes <= _NUMBER_BYTES
        if changes and (is_full or (isinstance(part, str) and left_chars <= 0)):
            return _cut(first, reach, op[index:])
        left_components -= 1
        if not isinstance(part, str):
            first.append(part)
            reach += max(part, 0)
            left_bytes -= _NUMBER_BYTES
            changes = changes or part < 0
            continue
        taken = max(_fitting(part, left_chars, left_bytes), 0 if changes else 1)
        changes = True
        first.append(part[:taken])
        reach += taken
        left_chars -= taken
        left_bytes -= _encoded(part[:taken])
        if taken < len(part):
            return _cut(first, reach, (part[taken:], *op[index + 1 :]))
    return op, ()


def _cut(
    first: Sequence[Component], reach: int, rest: Sequence[Component]
) -> tuple[Operation, Operation]:
    return normalize(first), normalize([reach, *rest])


def _fitting(text: str, chars: int, most_bytes: int) -> int:
    """Return how many characters of ``text`` fit."""
    most = min(len(text), chars)
    if most * _MOST_BYTES_PER_CHAR + 3 <= most_bytes:
        return most
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if _encoded(text[:middle]) <= most_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def _encoded(text: str) -> int:
    """Return how many bytes ``text`` takes in a JSON array, its comma included."""
    return len(json.dumps(text, ensure_ascii=False).encode()) + 1
