"""What must be true at the end, found from the log alone.

Everything here takes plain values, so a forged log shows that each check can fail.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stretto_core.entries import Entry, next_hash
from stretto_core.errors import StrettoError
from stretto_core.ot import Rope
from stretto_core.protocol import NO_HASH


@dataclass(frozen=True, slots=True)
class Replayed:
    """The log replayed from nothing."""

    text: str
    hash: str
    problems: tuple[str, ...]


def replay_log(entries: Sequence[Entry]) -> Replayed:
    """Replay a log from version 1; each (client, seq) must appear once and in order."""
    rope, reached = Rope(""), NO_HASH
    last_seqs: dict[str, int] = {}
    problems = []
    for version, entry in enumerate(entries, 1):
        last = last_seqs.get(entry.client, 0)
        if entry.seq != last + 1:
            what = "again" if entry.seq <= last else "too early"
            problems.append(f"version {version} holds seq {entry.seq} of {entry.client} {what}")
        last_seqs[entry.client] = max(last, entry.seq)
        reached = next_hash(reached, entry)
        try:
            rope.apply(entry.op)
        except StrettoError as error:
            problems.append(f"version {version} does not apply: {error.message}")
            break
    return Replayed(str(rope), reached, tuple(problems))


def missing_acks(acked: Mapping[tuple[str, int], int], entries: Sequence[Entry]) -> list[str]:
    """Return what was acknowledged and is not in the log, exactly once, where it was said."""
    places: dict[tuple[str, int], list[int]] = {}
    for version, entry in enumerate(entries, 1):
        places.setdefault((entry.client, entry.seq), []).append(version)
    problems = []
    for (client, seq), version in acked.items():
        found = places.get((client, seq), [])
        if not found:
            problems.append(f"seq {seq} of {client} was acknowledged as {version} and is lost")
        elif len(found) > 1:
            problems.append(f"seq {seq} of {client} is in the log {len(found)} times: {found}")
        elif found != [version]:
            problems.append(f"seq {seq} of {client} was acknowledged as {version}, is {found[0]}")
    return problems


def compare_texts(texts: Mapping[str, str], hashes: Mapping[str, str]) -> list[str]:
    """Return which texts or hashes differ from the first of them."""
    problems = []
    for kind, values in (("text", texts), ("hash", hashes)):
        first, *others = values.items()
        problems += [
            f"the {kind} of {name} differs from that of {first[0]}"
            for name, value in others
            if value != first[1]
        ]
    return problems


def entries_of_history(lines: Iterable[Mapping[str, Any]]) -> tuple[list[Entry], list[str]]:
    """Return the entries of ``stretto docs history --json`` and what is wrong with their hashes."""
    entries, problems, reached = [], [], NO_HASH
    for expected, line in enumerate(lines, 1):
        entry = Entry.from_payload(line)
        reached = next_hash(reached, entry)
        if line["version"] != expected:
            problems.append(f"version {line['version']} stands where {expected} belongs")
        if line["hash"] != reached:
            problems.append(f"version {expected} has the hash {line['hash']}, not {reached}")
            reached = line["hash"]
        entries.append(entry)
    return entries, problems
