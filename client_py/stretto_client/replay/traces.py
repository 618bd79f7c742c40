"""Recorded editing histories, read from the two formats that the replayer plays.

*Sequential* (``.json`` or ``.json.gz``): one author, ``{startContent, endContent, txns:
[{patches: [[position, deleted, inserted]…]}]}``.

*Schedule* (``.jsonl`` or ``.jsonl.gz``): several authors at the same time. A header with
``endContent``, then rows ``[author, received, patches]`` in the order of their commits;
before making the edit the author had received the first ``received`` rows.

Positions count code points, in the author's own copy, patch after patch.
"""

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class TraceError(Exception):
    """Raised when a file is not a trace, with what is wrong with it."""


class Patch(NamedTuple):
    """At ``position``, ``deleted`` characters go and ``inserted`` comes."""

    position: int
    deleted: int
    inserted: str


@dataclass(frozen=True, slots=True)
class Row:
    """What one author typed after having received the first ``received`` rows."""

    author: int
    received: int
    patches: tuple[Patch, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """A history to play.

    ``end`` is the recorded result, None where it is not known. Only a ``sequential``
    trace reaches it exactly: where authors meet, the order of commits decides.
    """

    start: str
    end: str | None
    rows: tuple[Row, ...]
    authors: int
    sequential: bool

    @property
    def patch_count(self) -> int:
        """How many patches the whole trace holds."""
        return sum(len(row.patches) for row in self.rows)

    def limited(self, patches: int | None) -> "Trace":
        """Return the trace cut after so many patches; its end is recomputed where known."""
        if patches is None or patches >= self.patch_count:
            return self
        rows: list[Row] = []
        left = patches
        for row in self.rows:
            if left <= 0:
                break
            rows.append(Row(row.author, row.received, row.patches[:left]))
            left -= len(row.patches)
        end = replayed(self.start, rows) if self.sequential else None
        return Trace(self.start, end, tuple(rows), self.authors, self.sequential)


def replayed(text: str, rows: Iterable[Row]) -> str:
    """Return ``text`` after the patches of a single author."""
    for row in rows:
        for position, deleted, inserted in row.patches:
            text = text[:position] + inserted + text[position + deleted :]
    return text


def read_trace(path: Path) -> Trace:
    """Read a trace in either format. Raises TraceError when it is neither."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
        name = path.name.removesuffix(".gz")
        return _schedule(text) if name.endswith(".jsonl") else _sequential(text)
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, IndexError, EOFError) as error:
        raise TraceError(f"{path} is not a trace: {type(error).__name__}: {error}") from error


def _patches(raw: Iterable[Any]) -> tuple[Patch, ...]:
    return tuple(Patch(int(at), int(deleted), str(text)) for at, deleted, text in raw)


def _sequential(text: str) -> Trace:
    data = json.loads(text)
    rows = tuple(Row(0, index, _patches(txn["patches"])) for index, txn in enumerate(data["txns"]))
    return Trace(data["startContent"], data["endContent"], rows, 1, True)


def _schedule(text: str) -> Trace:
    lines = text.rstrip("\n").split("\n")
    header = json.loads(lines[0])
    rows = []
    for line in lines[1:]:
        author, received, patches = json.loads(line)
        rows.append(Row(int(author), int(received), _patches(patches)))
    authors = 1 + max((row.author for row in rows), default=0)
    start = str(header.get("startContent", ""))
    return Trace(start, header["endContent"], tuple(rows), authors, False)
