"""What a text operation is: its components, its canonical form, its lengths.

An operation is a sequence of components: ``n > 0`` keeps n characters, a non-empty
string inserts itself, ``-n < 0`` deletes n characters. What follows the last component
is kept. Characters are Unicode code points, as in a Python ``str``.

Operations from outside go through :func:`check` or :func:`normalize` once; everything
inside works on the canonical form.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final, Literal, TypeAlias, cast

from stretto_core.errors import InvalidOperation

Component: TypeAlias = int | str
"""Keep (positive), delete (negative) or insert (text)."""

Operation: TypeAlias = tuple[Component, ...]
"""A canonical operation: no zero, no empty string, no two neighbours of one kind and
no trailing keep. ``()`` changes nothing. Insert and delete stay in the order given
where they meet: it tells on which side of the deleted span the text belongs."""

Side: TypeAlias = Literal["left", "right"]
"""Whose text comes first where two operations insert at one place."""

MAX_NUMBER: Final = 2**53 - 1
"""The largest number that every JSON implementation carries exactly."""


def check(op: object) -> None:
    """Return if ``op`` is a well-formed operation, canonical or not.

    Lengths are not compared with any document here.

    Raises:
        InvalidOperation: ``op`` is not a sequence of components (a string is none), or
            one of them is a boolean, a number with a fraction or beyond
            :data:`MAX_NUMBER`, text with a lone surrogate, or no component at all.

    """
    if type(op) is not list and type(op) is not tuple:
        _check_sequence(op)
    for component in cast(Sequence[object], op):
        if type(component) is int:
            if -MAX_NUMBER <= component <= MAX_NUMBER:
                continue
        elif type(component) is str and component.isascii():
            continue
        _check_rare(component)


def _check_sequence(op: object) -> None:
    if isinstance(op, str | bytes | bytearray | memoryview) or not isinstance(op, Sequence):
        raise InvalidOperation("an operation is a sequence of components")


def _check_rare(component: object) -> None:
    """Judge what the fast path of :func:`check` did not accept by itself."""
    if isinstance(component, str):
        if not is_writable(component):
            raise InvalidOperation("inserted text holds a lone surrogate")
    elif isinstance(component, bool) or not isinstance(component, int | float):
        raise InvalidOperation("a component is a whole number or a string")
    elif isinstance(component, float) and not component.is_integer():
        raise InvalidOperation("a component has a fraction or is not finite")
    elif not -MAX_NUMBER <= component <= MAX_NUMBER:
        raise InvalidOperation("a component is beyond 2^53 - 1")


def is_writable(text: str) -> bool:
    """Tell whether ``text`` holds no lone surrogate, so that UTF-8 can write it."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def normalize(op: object) -> Operation:
    """Return the canonical form of ``op``, which has the same effect.

    Raises:
        InvalidOperation: as :func:`check`; or ``op`` reads more than :data:`MAX_NUMBER`
            characters, which no document has and no component could say.

    """
    check(op)
    parts: list[Component] = []
    length = 0
    for component in cast(Sequence[Component], op):
        if not isinstance(component, str):
            component = int(component)  # in JSON 1.0 and 1 mean the same
            length += abs(component)
        push(parts, component)
    if length > MAX_NUMBER:
        raise InvalidOperation("the operation is longer than any document")
    return trimmed(parts)


def push(parts: list[Component], component: Component) -> None:
    """Append ``component`` to ``parts``, a number merged with a last one of its sign.

    Texts are left for :func:`trimmed` to join: growing one piece by piece copies it each
    time, and a hostile operation has thousands of pieces.
    """
    if not component:
        return
    if parts and not isinstance(component, str):
        last = parts[-1]
        if not isinstance(last, str) and (last > 0) == (component > 0):
            parts[-1] = last + component
            return
    parts.append(component)


def trimmed(parts: list[Component]) -> Operation:
    """Return ``parts``, which were pushed, as an operation: texts joined, no trailing keep."""
    if parts:
        last = parts[-1]
        if not isinstance(last, str) and last > 0:
            parts.pop()
    after_text = False
    for part in parts:
        is_text = isinstance(part, str)
        if is_text and after_text:
            return _joined(parts)
        after_text = is_text
    return tuple(parts)


def _joined(parts: list[Component]) -> Operation:
    joined: list[Component] = []
    for is_text, run in groupby(parts, lambda part: isinstance(part, str)):
        if is_text:
            joined.append("".join(cast("Iterable[str]", run)))
        else:
            joined.extend(run)
    return tuple(joined)


def input_length(op: Sequence[Component]) -> int:
    """Return how many characters a checked ``op`` reads: it keeps or deletes them.

    A document must be at least this long. The trailing keep of an operation that is not
    canonical counts.
    """
    return int(sum(abs(part) for part in op if not isinstance(part, str)))


def inserted_length(op: Sequence[Component]) -> int:
    """Return how many characters a checked ``op`` inserts."""
    return sum(len(part) for part in op if isinstance(part, str))


def length_change(op: Sequence[Component]) -> int:
    """Return by how many characters a checked ``op`` makes its document longer."""
    return inserted_length(op) + int(
        sum(part for part in op if not isinstance(part, str) and part < 0)
    )
