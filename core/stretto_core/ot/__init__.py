"""Text operations: the algebra, positions, the document's text and its history.

Read :mod:`~stretto_core.ot.operation` for what an operation is, then
:mod:`~stretto_core.ot.transform` for what can be done with it,
:mod:`~stretto_core.ot.position`, :mod:`~stretto_core.ot.rope`, and last
:mod:`~stretto_core.ot.block` and :mod:`~stretto_core.ot.history`.
"""

from stretto_core.ot.history import ComposedHistory
from stretto_core.ot.operation import (
    Component,
    Operation,
    Side,
    check,
    input_length,
    inserted_length,
    is_writable,
    length_change,
    normalize,
)
from stretto_core.ot.position import Bias, map_position
from stretto_core.ot.rope import Rope
from stretto_core.ot.transform import apply, compose, invert, transform

__all__ = [
    "Bias",
    "Component",
    "ComposedHistory",
    "Operation",
    "Rope",
    "Side",
    "apply",
    "check",
    "compose",
    "input_length",
    "inserted_length",
    "invert",
    "is_writable",
    "length_change",
    "map_position",
    "normalize",
    "transform",
]
