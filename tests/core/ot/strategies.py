"""Random texts and operations, written so that every edge is hit often.

Texts are short and of few characters, so that places coincide; among the characters are
astral ones, a combining mark, joiners, line ends and U+0000.
"""

from typing import NamedTuple

from hypothesis import strategies as st

from stretto_core.ot import Component, Operation, apply, normalize

ALPHABET = "ab \n\0éß漢\u0301\u200d\ufe0f😀👩🏽𝒳\U0010ffff"

texts = st.text(ALPHABET, max_size=8)
"""A document, or what is inserted into one."""

insertions = st.text(ALPHABET, min_size=1, max_size=3)

lone_surrogates = st.characters(categories=["Cs"])

any_operations = st.lists(
    st.one_of(
        st.integers(-4, 4),
        st.integers(-4, 4).map(float),
        texts,
        st.sampled_from([2**53 - 1, 1 - 2**53]),
    ),
    max_size=8,
).filter(lambda op: sum(abs(part) for part in op if not isinstance(part, str)) < 2**53)
"""Well-formed operations, seldom canonical, some longer than any document here."""


_nothings: st.SearchStrategy[Component] = st.one_of(st.just(0), st.just(""))


class Edit(NamedTuple):
    """A text and two operations, each of which applies to it."""

    text: str
    op: Operation
    other: Operation


@st.composite
def raw_operations(draw: st.DrawFn, length: int) -> list[Component]:
    """Return an operation for a text of ``length`` characters, seldom canonical."""
    parts: list[Component] = []
    left = length
    while left and draw(st.integers(0, 5)):
        kind = draw(st.sampled_from("kdiz"))
        if kind == "i":
            parts.append(draw(insertions))
        elif kind == "z":
            parts.append(draw(_nothings))
        else:
            count = draw(st.integers(1, left))
            parts.append(count if kind == "k" else -count)
            left -= count
    if draw(st.booleans()):
        parts.append(draw(insertions))
    return parts


def operations(length: int) -> st.SearchStrategy[Operation]:
    """Return canonical operations for a text of ``length`` characters."""
    return raw_operations(length).map(normalize)


@st.composite
def concurrent(draw: st.DrawFn) -> Edit:
    """Return two operations of one text."""
    text = draw(texts)
    return Edit(text, draw(operations(len(text))), draw(operations(len(text))))


@st.composite
def consecutive(draw: st.DrawFn) -> Edit:
    """Return an operation of a text and one that applies after it."""
    text = draw(texts)
    op = draw(operations(len(text)))
    return Edit(text, op, draw(operations(len(apply(text, op)))))


@st.composite
def sequences(draw: st.DrawFn, text: str, min_size: int = 0, max_size: int = 20) -> list[Operation]:
    """Return operations that apply to ``text`` one after the other."""
    ops: list[Operation] = []
    for _ in range(draw(st.integers(min_size, max_size))):
        ops.append(draw(operations(len(text))))
        text = apply(text, ops[-1])
    return ops
