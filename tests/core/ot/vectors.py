"""The shared vectors, read once. tests/vectors/README.md tells what they hold."""

import gzip
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

PATH = Path(__file__).parents[2] / "vectors" / "text-unicode.jsonl.gz"


@cache
def _rows() -> list[dict[str, Any]]:
    with gzip.open(PATH, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file][1:]


def cases() -> list[dict[str, Any]]:
    """Return the random cases."""
    return [row for row in _rows() if "xyl" in row]


def edge_checks() -> list[Any]:
    """Return what the oracle was asked to check as an operation, translated."""
    return [translated(row["checkOp"]) for row in _rows() if "checkOp" in row]


def edge_applications() -> list[tuple[str, Any]]:
    """Return the borderline texts and operations for them, translated."""
    return [(row["doc"], translated(row["applyOp"])) for row in _rows() if "applyOp" in row]


def translated(op: Any) -> Any:
    """Return ``op`` with its deletions, ``{"d": …}``, as negative numbers."""
    return [_component(part) for part in op] if isinstance(op, list) else op


def _component(part: Any) -> Any:
    match part:
        case {"d": str(text)}:
            return -len(text)
        case {"d": count}:
            return -count
    return part


def operation(op: Sequence[Any]) -> tuple[Any, ...]:
    """Return an operation of a case as this package writes it."""
    return tuple(translated(op))
