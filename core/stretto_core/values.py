"""Value types that are made for every operation."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

Value = TypeVar("Value")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[Value]) -> type[Value]:
    """Make a dataclass with slots whose instances are never changed.

    The type checker sees to it. At run time nothing does: making a frozen instance takes
    three times as long, which is felt where each operation makes several.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
