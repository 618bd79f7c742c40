"""Judges what clients saw against what the journal has; it knows nothing of the servers.

| letter | what must hold |
|---|---|
| L | no acknowledged operation is lost (where the class allows it: none without a word) |
| O | no operation is there twice |
| T | everybody saw the same sequence without gaps |
| C | text and hash of every replica are those of the replayed log and of snapshot + tail |
| P | nobody without a right heard anything |
| B | files, threads and memory of the nodes are bounded |
| R | after the faults commits are quick again, by themselves |
| G | whoever vanished is no longer shown |
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from stretto_core.replica import REFUSED
from tests.faults.evidence import (
    Acknowledged,
    Adopted,
    ClientLog,
    Evidence,
    markers_in,
)
from tests.faults.history import History
from tests.faults.nodes import Sample

LETTERS: Final = "LOTCPBRG"
MOST_TOLD: Final = 5

FILES_SLACK: Final = 64
THREADS_SLACK: Final = 16
MOST_RECOVERY_SLACK: Final = 1.5
"""What waits for clients to come back is little slower on a slow machine."""
RESIDENT_SLACK: Final = 256 * 1024 * 1024


@dataclass(frozen=True)
class Bounds:
    """What counts as quick and as bounded."""

    p99_s: float = 0.25
    recovery_s: float = 10.0
    files: int = FILES_SLACK
    threads: int = THREADS_SLACK
    resident_bytes: int = RESIDENT_SLACK

    def times(self, slack: float) -> "Bounds":
        """Return the same with that slack in all times, for machines that do much else."""
        return Bounds(
            self.p99_s * slack,
            self.recovery_s * min(slack, MOST_RECOVERY_SLACK),
            self.files,
            self.threads,
            self.resident_bytes,
        )


@dataclass
class Verdict:
    """What was found wrong, by letter, and the figures on the way."""

    problems: dict[str, list[str]] = field(default_factory=dict)
    figures: dict[str, float | int | None] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return not any(self.problems.values())

    def broken(self) -> str:
        """Return the letters that do not hold."""
        return "".join(letter for letter in LETTERS if self.problems.get(letter))

    def __str__(self) -> str:
        marks = " ".join(f"{x}{'✗' if self.problems.get(x) else '✓'}" for x in LETTERS)
        told = ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.figures.items()
            if value is not None
        )
        lines = [f"{marks}  {told}"]
        for letter in LETTERS:
            found = self.problems.get(letter, [])
            lines += [f"  {letter}: {problem}" for problem in found[:MOST_TOLD]]
            if len(found) > MOST_TOLD:
                lines.append(f"  {letter}: … and {len(found) - MOST_TOLD} more")
        return "\n".join(lines)


def judge(evidence: Evidence, bounds: Bounds | None = None) -> Verdict:
    """Return what does not hold."""
    bounds = bounds or Bounds()
    histories = {
        doc: History(copy, [log for log in evidence.clients if log.doc == doc])
        for doc, copy in evidence.journals.items()
    }
    checks: Mapping[str, Callable[[], Iterator[str]]] = {
        "L": lambda: lost(evidence, histories),
        "O": lambda: repeated(evidence, histories),
        "T": lambda: out_of_order(evidence, histories),
        "C": lambda: apart(evidence, histories),
        "P": lambda: leaked(evidence),
        "B": lambda: unbounded(evidence, bounds),
        "R": lambda: slow(evidence, bounds),
        "G": lambda: ghosts(evidence),
    }
    verdict = Verdict({letter: list(check()) for letter, check in checks.items()})
    verdict.figures = figures(evidence, histories, bounds)
    return verdict


def figures(
    evidence: Evidence, histories: Mapping[str, History], bounds: Bounds
) -> dict[str, float | int | None]:
    acks = [ack for log in evidence.clients for ack in log.acknowledged]
    recovered = recovery_s(evidence, bounds.p99_s)
    return {
        "edits": sum(len(log.made) for log in evidence.clients),
        "acks": len(acks),
        "versions": sum(history.version for history in histories.values()),
        "refusals": sum(len(log.refused) for log in evidence.clients),
        "connections": sum(log.connections for log in evidence.clients),
        "p99_ms": 1000 * p99(acks) if acks else None,
        "recovery_s": recovered,
        "given_back": sum(len(log.returned) for log in evidence.clients) or None,
    }


# L: acknowledged, and where it was said.


def lost(evidence: Evidence, histories: Mapping[str, History]) -> Iterator[str]:
    for log in evidence.clients:
        history = histories[log.doc]
        sent = {(one.client, one.seq, one.at): set(one.markers) for one in log.sent}
        for ack in log.acknowledged:
            markers = sent.get((ack.client, ack.seq, ack.sent_at), set())
            if history.holds(ack.version, ack.client, ack.seq) and markers <= set(
                markers_in(history.entries[ack.version - 1].op)
            ):
                continue
            if not _was_told(evidence, log, markers, history):
                yield (
                    f"seq {ack.seq} of {log.name} was acknowledged as version "
                    f"{ack.version} of {log.doc} and is not there"
                )
        yield from _unsaved(log, history)


def _was_told(evidence: Evidence, log: ClientLog, wanted: set[str], history: History) -> bool:
    """Tell whether a loss that the class allows was noticed, and the text given back."""
    if not evidence.may_lose:
        return False
    back = set("".join(log.returned)) | set(history.text)
    return wanted <= back


def _unsaved(log: ClientLog, history: History) -> Iterator[str]:
    """Every edit that was made must be in the log once everything is saved."""
    if log.end is None:
        return
    known = {char for entry in history.entries for char in markers_in(entry.op)}
    known |= set("".join(log.returned))
    missing = [char for char in log.made if char not in known]
    if missing:
        yield f"{len(missing)} edits of {log.name} are in no version of {log.doc}, nor given back"


# O: once.


def repeated(evidence: Evidence, histories: Mapping[str, History]) -> Iterator[str]:
    for log in evidence.clients:
        meanings: dict[tuple[str, int], tuple[str, ...]] = {}
        taken_back = {refused.sent_at for refused in log.refused if refused.code in REFUSED}
        for sent in log.sent:
            if evidence.may_lose or sent.at in taken_back:
                continue  # it took no seq, or the history that it was part of is gone
            if meanings.setdefault((sent.client, sent.seq), sent.markers) != sent.markers:
                yield f"seq {sent.seq} of {log.name} was sent with two meanings"
    for doc, history in histories.items():
        markers: dict[str, int] = {}
        places: dict[tuple[str, int], int] = {}
        for version, entry in enumerate(history.entries, 1):
            first = places.setdefault((entry.client, entry.seq), version)
            if first != version:
                yield f"seq {entry.seq} of a client is version {first} and {version} of {doc}"
            for char in markers_in(entry.op):
                known = markers.setdefault(char, version)
                if known != version:
                    yield f"one edit is in version {known} and in version {version} of {doc}"


# T: one sequence.


def out_of_order(evidence: Evidence, histories: Mapping[str, History]) -> Iterator[str]:
    for log in evidence.clients:
        history = histories[log.doc]
        version, last_text = 0, 0
        if evidence.may_lose:  # what became of a history that was given up, L and C judge
            last_text = _last_adopted(log)
        for place, step in enumerate(log.trail):
            if isinstance(step, Adopted):
                version = step.version
                continue
            version += 1
            if step.version != version:
                yield f"{log.name} saw version {step.version} of {log.doc} where {version} follows"
                version = step.version
            if place < last_text:
                continue
            if version > history.version or history.entries[version - 1] != step.entry:
                yield f"{log.name} saw another version {version} of {log.doc} than the journal has"


def _last_adopted(log: ClientLog) -> int:
    """Return where in its trail a client took a whole text over for the last time."""
    places = [place for place, step in enumerate(log.trail) if isinstance(step, Adopted)]
    return places[-1] if places else 0


# C: convergence.


def apart(evidence: Evidence, histories: Mapping[str, History]) -> Iterator[str]:
    for doc, history in histories.items():
        copy = evidence.journals[doc]
        yield from history.problems
        if copy.verdict:
            yield f"{doc}: {copy.verdict}"
        if copy.text != history.text:
            yield f"snapshot and tail of {doc} are not its replayed log"
    for log in evidence.clients:
        if log.end is None:
            continue
        history = histories[log.doc]
        if log.end.version != history.version:
            yield (
                f"{log.name} ends at version {log.end.version} of {log.doc}, "
                f"the journal at {history.version}"
            )
        if log.end.hash != history.hash:
            yield f"{log.name} ends with another hash of {log.doc} than the journal"
        if log.end.text != history.text:
            yield f"{log.name} ends with another text of {log.doc} than the journal"


# P: privacy.


def leaked(evidence: Evidence) -> Iterator[str]:
    for stranger in evidence.strangers:
        others = [log for log in evidence.clients if log.doc != stranger.doc]
        names = {log.name for log in others} | {log.doc for log in others}
        marks = {mark for log in others for mark in log.made}
        for payload in stranger.heard:
            if any(f'"{name}"' in payload for name in names) or not marks.isdisjoint(payload):
                yield f"{stranger.name} heard {payload[:120]}"


# B: bounds.


def unbounded(evidence: Evidence, bounds: Bounds) -> Iterator[str]:
    before: dict[str, Sample] = {}
    for sample in evidence.calm:
        before.setdefault(sample.node, sample)
    last: dict[str, Sample] = {}
    for sample in evidence.samples:
        calm = before.get(sample.node)
        if calm is None:
            continue
        last[sample.node] = sample
        grown = sample.resident_bytes - calm.resident_bytes
        if grown > bounds.resident_bytes:
            yield f"node {sample.node} grew by {grown >> 20} MiB"
            return
    for node, sample in last.items():
        if sample.files > before[node].files + bounds.files:
            yield f"node {node} has {sample.files} files open, {before[node].files} before"
        if sample.threads > before[node].threads + bounds.threads:
            yield f"node {node} has {sample.threads} threads, {before[node].threads} before"


# R: recovery.


def p99(acks: Sequence[Acknowledged]) -> float:
    times = sorted(ack.took_s for ack in acks)
    return times[min(len(times) - 1, int(len(times) * 0.99))]


def recovery_s(evidence: Evidence, p99_s: float) -> float | None:
    """Return how long after the faults commits became quick for good; None where they did not."""
    healed = evidence.healed_at
    if healed is None:
        return None
    sent = sorted(
        (ack for log in evidence.clients for ack in log.acknowledged if ack.sent_at >= healed),
        key=lambda ack: ack.sent_at,
    )
    # The first start from which on at most one in a hundred is slow.
    slow_ones, start = 0, len(sent)
    for index in range(len(sent) - 1, -1, -1):
        slow_ones += sent[index].took_s > p99_s
        if slow_ones <= (len(sent) - index) / 100:
            start = index
    if start == len(sent):
        return None
    return max(sent[start].sent_at, _all_back(evidence, healed)) - healed


def _all_back(evidence: Evidence, healed: float) -> float:
    """Return when the last of those who write committed something again."""
    firsts = [
        min((ack.at for ack in log.acknowledged if ack.at >= healed), default=healed)
        for log in evidence.clients
        if log.end is not None
    ]
    return max(firsts, default=healed)


def slow(evidence: Evidence, bounds: Bounds) -> Iterator[str]:
    if evidence.healed_at is None:
        return
    recovered = recovery_s(evidence, bounds.p99_s)
    if recovered is None:
        yield f"commits are not back under {bounds.p99_s * 1000:.0f} ms"
    elif recovered > bounds.recovery_s:
        yield f"it took {recovered:.1f} s until commits were quick, not {bounds.recovery_s:g} s"
    for log in evidence.clients:
        if (
            log.made
            and log.end is not None
            and not any(ack.at >= evidence.healed_at for ack in log.acknowledged)
        ):
            yield f"{log.name} committed nothing after the faults"


# G: ghosts.


def ghosts(evidence: Evidence) -> Iterator[str]:
    for death in evidence.deaths:
        limit = death.at + death.ttl_s
        for log in evidence.clients:
            if log.end is None:
                continue
            shown = [(at, death.member in members) for at, members in log.members]
            after = [there for at, there in shown if at <= limit]
            later = [at for at, there in shown if at > limit and there]
            if (after and after[-1]) or later:
                yield f"{log.name} is shown {death.member} {death.ttl_s:g} s after its end"
