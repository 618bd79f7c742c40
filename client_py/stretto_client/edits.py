"""Edits as applications write them, and the operations that they mean."""

from collections.abc import Mapping
from typing import Any

from stretto_core.errors import InvalidRequest
from stretto_core.ot import Component, Operation, input_length, normalize
from stretto_core.replica import Replica

_KEYS = {
    "insert": {"position", "data"},
    "delete": {"position", "length"},
    "replace": {"position", "length", "data"},
    "move": {"position", "length", "to"},
}


def build_operation(replica: Replica, edit: Mapping[str, Any]) -> Operation:
    """Return the operation on the text shown that ``edit`` means.

    ``edit`` is ``{type: insert|delete|replace|move, position, length?, data?, to?,
    version?}``; a version older than the replica's says where positions count. Raises
    InvalidRequest for anything else, VersionGone, InvalidOperation.
    """
    kind = edit.get("type")
    if kind not in _KEYS:
        raise InvalidRequest(details={"type": ["must be insert, delete, replace or move"]})
    needed = _KEYS[kind]
    given = set(edit) - {"type", "version"}
    if given != needed:
        names = sorted(given ^ needed)
        raise InvalidRequest(details={name: ["missing or not of this type"] for name in names})
    position = _whole(edit, "position")
    version = _whole(edit, "version") if edit.get("version") is not None else None
    if kind == "insert":
        return replica.carried((position, _text(edit)), version)
    length = _whole(edit, "length")
    if kind == "delete":
        return replica.carried((position, -length), version)
    if kind == "replace":
        return replica.carried((position, _text(edit), -length), version)
    return _move(replica, position, length, _whole(edit, "to"), version)


def moved(text: str, position: int, length: int, to: int) -> list[Component]:
    """Return the operation that moves a span; ``to`` counts after its removal.

    Raises InvalidRequest when the span or the target lies outside the text.
    """
    span = text[position : position + length]
    if min(position, length, to) < 0 or len(span) != length or to > len(text) - length:
        raise InvalidRequest("the span or its target lies outside the text")
    if to <= position:
        return [to, span, position - to, -length]
    return [position, -length, to - position, span]


def _move(replica: Replica, position: int, length: int, to: int, version: int | None) -> Operation:
    """Find the span and its target in the text shown, and move what stands there now."""
    text = replica.text
    removal = replica.carried((position, -length), version)
    target = _position_of(replica.carried((to if to <= position else to + length, "|"), version))
    start = _position_of(removal)
    end = input_length(removal)
    if end > len(text) or target > len(text):
        raise InvalidRequest("the span or its target lies outside the text")
    if start < target < end or not removal:  # into itself, or nothing of it is left
        return ()
    if target <= start:
        return normalize((target, text[start:end], start - target, start - end))
    return normalize((start, start - end, target - end, text[start:end]))


def _position_of(op: Operation) -> int:
    """Return where the first insertion or deletion of an operation stands."""
    return op[0] if op and isinstance(op[0], int) and op[0] > 0 else 0


def _whole(edit: Mapping[str, Any], key: str) -> int:
    value = edit[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidRequest(details={key: ["not a whole number of 0 or more"]})
    return value


def _text(edit: Mapping[str, Any]) -> str:
    if not isinstance(edit["data"], str):
        raise InvalidRequest(details={"data": ["not a string"]})
    return edit["data"]
