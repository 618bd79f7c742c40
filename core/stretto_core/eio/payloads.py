"""Payloads of Socket.IO 5: how deep they are, which numbers they hold, where binary goes.

Protocol revision 5, "Packet encoding": binary data leaves a placeholder
``{"_placeholder": true, "num": n}`` behind and travels as attachment ``n``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from stretto_core.eio.violations import Reason, Violation

KEY: Final = "_placeholder"

_LARGEST: Final = 2**1024 - 2**970
"""The first integer that is no double but infinite; a relay would make it ``Infinity``."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The numbers of the placeholders found."""

    placeholders: tuple[int, ...]


def survey(data: Any, max_depth: int, *, placeholders: bool) -> Survey | Violation:
    """Walk through parsed JSON, level by level and without recursion.

    Finds levels beyond ``max_depth``, numbers that are not finite, whichever parser let them
    pass, and placeholders, if there may be any: without attachments they are plain objects.
    """
    found: list[int] = []
    level = [data]
    depth = 0
    while level:
        inner: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is dict:
                if placeholders and value.get(KEY) is True:
                    number = value.get("num")
                    found.append(number if type(number) is int else -1)
                else:
                    inner.append(value.values())
            elif kind is list:
                inner.append(value)
            elif kind in (int, float) and not -_LARGEST < value < _LARGEST:
                return Violation(Reason.NOT_FINITE)
        depth += bool(inner)
        if depth > max_depth:
            return Violation(Reason.TOO_DEEP)
        level = [value for values in inner for value in values]
    return Survey(tuple(found))


def reconstruct(data: Any, attachments: Sequence[bytes]) -> Any:
    """Return surveyed data with its placeholders replaced."""
    if type(data) is list:
        return [reconstruct(value, attachments) for value in data]
    if type(data) is dict:
        if data.get(KEY) is True:
            return attachments[data["num"]]
        return {key: reconstruct(value, attachments) for key, value in data.items()}
    return data


def deconstruct(data: Any) -> tuple[Any, list[bytes]]:
    """Return data with placeholders for its binary parts, and those in order.

    Raises ValueError when something beside binary data looks like a placeholder: the peer
    could not tell them apart.
    """
    if not _has_binary(data):
        return data, []
    attachments: list[bytes] = []
    return _deconstruct(data, attachments), attachments


def _deconstruct(data: Any, attachments: list[bytes]) -> Any:
    if isinstance(data, bytes | bytearray | memoryview):
        attachments.append(bytes(data))
        return {KEY: True, "num": len(attachments) - 1}
    if isinstance(data, dict):
        if data.get(KEY) is True:
            raise ValueError("an object beside binary data looks like a placeholder")
        return {key: _deconstruct(value, attachments) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_deconstruct(value, attachments) for value in data]
    return data


def _has_binary(data: Any) -> bool:
    """Search without recursion: the reference server's crashes on deep data."""
    seen: set[int] = set()
    level = [data]
    while level:
        inner: list[Any] = []
        for value in level:
            if isinstance(value, bytes | bytearray | memoryview):
                return True
            if isinstance(value, dict | list | tuple) and id(value) not in seen:
                # Data that holds itself ends here, and is refused by the JSON encoder.
                seen.add(id(value))
                inner.extend(value.values() if isinstance(value, dict) else value)
        level = inner
    return False
