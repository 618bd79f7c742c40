"""The difference of two texts as an operation."""

from difflib import SequenceMatcher
from typing import Final

from stretto_core.ot import Component, Operation, normalize

_FINE: Final = 250_000
"""Middles whose lengths multiply to more than this are replaced whole: the finer
comparison (difflib, Ratcliff and Obershelp) takes quadratic time."""


def difference(before: str, after: str) -> Operation:
    """Return an operation that turns ``before`` into ``after``.

    What is common at both ends stays; between them the longest common runs stay, where the
    middles are small enough to look for them.
    """
    if before == after:
        return ()
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    parts: list[Component] = [start]
    if len(old) * len(new) > _FINE:
        parts += [new, -len(old)]
    else:
        matcher = SequenceMatcher(None, old, new, autojunk=False)
        for kind, old_from, old_to, new_from, new_to in matcher.get_opcodes():
            if kind == "equal":
                parts.append(old_to - old_from)
            else:
                parts += [new[new_from:new_to], old_from - old_to]
    return normalize(parts)


def _common(left: str, right: str) -> int:
    """Return how many characters both texts begin with, by bisection."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
