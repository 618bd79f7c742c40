"""Carrying positions (cursors, selections, anchors) through operations."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from stretto_core.errors import InvalidOperation
from stretto_core.ot.operation import Component, Operation, normalize

Bias: TypeAlias = Literal[-1, 1]
"""Where a position goes when text is inserted exactly there: before it or behind it."""


def map_position(position: int, op: Sequence[Component], bias: Bias) -> int:
    """Return where ``position``, in code points, is after ``op``.

    Bias -1 stays before an insertion at the position, 1 goes behind it. A position
    inside a deleted span moves to where the span was, on that side of an insertion
    beside the span on which it has been. So text that is inserted at ``position`` and
    transformed over ``op`` ends up at the result: -1 with side ``left``, 1 with ``right``.

    Raises:
        InvalidOperation: ``op`` is malformed, or ``position`` no whole number from 0 on.

    """
    if type(position) is not int or position < 0:
        raise InvalidOperation("a position is a whole number from 0 on")
    return map_canonical(position, normalize(op), bias)


def map_canonical(position: int, op: Operation, bias: Bias) -> int:
    """Do as :func:`map_position` for a canonical operation and a valid position."""
    ahead = position  # characters between the component at hand and the position
    stop = -1 if bias > 0 else 0
    for component in op:
        if ahead <= stop:
            break
        if isinstance(component, str):
            position += len(component)
        else:
            if component < 0:
                position += component if ahead + component > 0 else -ahead
                component = -component
            ahead -= component
    return position
