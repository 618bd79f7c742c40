"""The algebra of operations: apply, compose, transform, invert.

After ot-text-unicode (Joseph Gentle, ISC licence), with one deliberate difference in
:func:`compose`. Each public function accepts any well-formed operation and returns a
canonical one; the ``*_canonical`` twins skip the check for operations that already are.
"""

from collections.abc import Sequence

from stretto_core.errors import InvalidOperation
from stretto_core.ot.operation import (
    Component,
    Operation,
    Side,
    input_length,
    normalize,
    push,
    trimmed,
)


def apply(text: str, op: Sequence[Component]) -> str:
    """Return ``text`` after ``op``.

    Raises:
        InvalidOperation: ``op`` is malformed or longer than ``text``.

    """
    pieces: list[str] = []
    position = 0
    for component in fitting(op, len(text)):
        if isinstance(component, str):
            pieces.append(component)
        elif component > 0:
            pieces.append(text[position : position + component])
            position += component
        else:
            position -= component
    pieces.append(text[position:])
    return "".join(pieces)


def fitting(op: Sequence[Component], length: int) -> Operation:
    """Return the canonical form of ``op``, which must fit ``length`` characters.

    Raises:
        InvalidOperation: ``op`` is malformed or longer than that.

    """
    canonical = normalize(op)
    if input_length(op) > length:
        raise InvalidOperation("the operation is longer than its document")
    return canonical


def invert(op: Sequence[Component], text: str) -> Operation:
    """Return the operation that undoes ``op``, where ``text`` is what ``op`` applies to.

    Raises:
        InvalidOperation: ``op`` is malformed or longer than ``text``.

    """
    parts: list[Component] = []
    position = 0
    for component in fitting(op, len(text)):
        if isinstance(component, str):
            push(parts, -len(component))
        elif component > 0:
            push(parts, component)
            position += component
        else:
            push(parts, text[position : position - component])
            position -= component
    return trimmed(parts)


def compose(a: Sequence[Component], b: Sequence[Component]) -> Operation:
    """Return the operation with the effect of ``a`` and then ``b``.

    Where ``b`` inserts at a place at which ``a`` has deleted, the text goes after those
    deletes. With this rule, and only for side ``left``, composing commutes with
    transforming: ``transform(x, compose(a, b), "left")`` equals
    ``transform(transform(x, a, "left"), b, "left")``.

    How long the document is cannot be seen from here, so neither can an overlong ``b``.

    Raises:
        InvalidOperation: ``a`` or ``b`` is malformed.

    """
    return compose_canonical(normalize(a), normalize(b))


def compose_canonical(a: Operation, b: Operation) -> Operation:
    """Do as :func:`compose` for canonical operations."""
    parts: list[Component] = []
    source = iter(a)
    rest: Component = next(source, 0)  # 0: ``a`` is used up and keeps whatever follows
    used = 0  # characters of ``rest``, if it is text; slicing them off would copy the others
    for component in b:
        if isinstance(component, str):
            while not isinstance(rest, str) and rest < 0:
                parts_rest, rest = rest, next(source, 0)
                push(parts, parts_rest)
            push(parts, component)
            continue
        sign = 1 if component > 0 else -1
        wanted = abs(component)
        while wanted:
            if isinstance(rest, str):
                taken = rest[used : used + wanted]
                wanted -= len(taken)
                used += len(taken)
                if used == len(rest):
                    rest, used = next(source, 0), 0
                if sign > 0:
                    push(parts, taken)
            elif rest < 0:
                push(parts, rest)
                rest = next(source, 0)
            else:
                length = min(rest, wanted) if rest else wanted
                rest = rest - length if rest > length else next(source, 0)
                wanted -= length
                push(parts, sign * length)
    push(parts, rest[used:] if isinstance(rest, str) else rest)
    for component in source:
        push(parts, component)
    return trimmed(parts)


def transform(a: Sequence[Component], b: Sequence[Component], side: Side) -> Operation:
    """Return ``a`` rewritten so that it applies after ``b``; both start from one document.

    ``side`` is that of ``a``: where both insert at one place, ``left`` puts the text of
    ``a`` first. The operation that commits later is ``left``, everywhere.

    How long the document is cannot be seen from here, so neither can overlong input.

    Raises:
        InvalidOperation: ``a`` or ``b`` is malformed.

    """
    return transform_canonical(normalize(a), normalize(b), side)


def transform_canonical(a: Operation, b: Operation, side: Side) -> Operation:
    """Do as :func:`transform` for canonical operations."""
    parts: list[Component] = []
    source = iter(a)
    rest: Component = next(source, 0)
    for component in b:
        if not rest:
            break  # the rest of ``b`` would only add to a trailing keep
        if isinstance(component, str):
            if side == "left" and isinstance(rest, str):
                push(parts, rest)
                rest = next(source, 0)
            push(parts, len(component))
            continue
        kept = component > 0
        wanted = abs(component)
        while wanted and rest:
            if isinstance(rest, str):
                push(parts, rest)
                rest = next(source, 0)
                continue
            length = min(abs(rest), wanted)
            part = length if rest > 0 else -length
            if kept:
                push(parts, part)
            rest = rest - part or next(source, 0)
            wanted -= length
    push(parts, rest)
    for component in source:
        push(parts, component)
    return trimmed(parts)
