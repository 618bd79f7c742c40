"""Fields of payload schemas: strict, nothing is converted from anything else.

``take`` is what a :mod:`shape <stretto_core.shapes>` asks: what is loaded for a value, or
DOUBT where the schema must be asked.
"""

from functools import lru_cache
from typing import Any, Final

from marshmallow import ValidationError
from marshmallow import fields as mm

from stretto_core.shapes import DOUBT

MAX_INTEGER: Final = 2**53 - 1
"""The largest whole number that JavaScript holds exactly."""

KNOWN_TEXTS: Final = 2_048
"""So many values of one field are remembered as passing its checks, or not."""


def whole(value: object, least: int) -> int:
    """Return ``value`` if it is a whole number of that range. Raises ValidationError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise ValidationError("not a whole number")
    if not least <= value <= MAX_INTEGER:
        raise ValidationError(f"not between {least} and {MAX_INTEGER}")
    return int(value)


class Whole(mm.Field[int]):
    """A whole number from ``least`` up to what JavaScript holds; ``1.0`` counts as ``1``."""

    def __init__(self, least: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.least = least

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        return whole(value, self.least)

    def take(self, value: object) -> Any:
        """Return what is loaded for ``value``, or DOUBT."""
        return value if type(value) is int and self.least <= value <= MAX_INTEGER else DOUBT


class Text(mm.Field[str]):
    """A string, not converted from anything else."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._passes = lru_cache(KNOWN_TEXTS)(self._is_plain) if self.validators else str.isascii

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("not a string")
        return value

    def take(self, value: object) -> Any:
        """Return what is loaded for ``value``, or DOUBT."""
        return value if type(value) is str and self._passes(value) else DOUBT

    def _is_plain(self, value: str) -> bool:
        try:
            for check in self.validators:
                check(value)
        except ValidationError:
            return False
        return value.isascii()


class Flag(mm.Field[bool]):
    """A boolean, not converted from anything else."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("not a boolean")
        return value


class Listing(mm.Field[list[Any]]):
    """A list whose items the code behind the boundary checks."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValidationError("not a list")
        return value

    def take(self, value: object) -> Any:
        """Return what is loaded for ``value``, or DOUBT: a list of whole numbers and texts."""
        if type(value) is not list:
            return DOUBT
        for item in value:
            kind = type(item)
            if kind is not int and kind is not str:
                return DOUBT
        return value


class Ranges(mm.Field[list[tuple[int, int]]]):
    """Selections as ``[[anchor, head]…]``, in code points."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Any, **kwargs: Any
    ) -> list[tuple[int, int]]:
        if not isinstance(value, list):
            raise ValidationError("not a list")
        ranges = []
        for item in value:
            if not isinstance(item, list) or len(item) != 2:
                raise ValidationError("each range is [anchor, head]")
            ranges.append((whole(item[0], 0), whole(item[1], 0)))
        return ranges

    def take(self, value: object) -> Any:
        """Return what is loaded for ``value``, or DOUBT."""
        if type(value) is not list:
            return DOUBT
        ranges = []
        for item in value:
            if type(item) is not list or len(item) != 2:
                return DOUBT
            anchor, head = item
            if type(anchor) is not int or type(head) is not int:
                return DOUBT
            if not (0 <= anchor <= MAX_INTEGER and 0 <= head <= MAX_INTEGER):
                return DOUBT
            ranges.append((anchor, head))
        return ranges
