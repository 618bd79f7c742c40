"""The algebra and the two state machines, without sockets, journals or JSON on the wire."""

import itertools
import json
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.recording import Patch, Recording, load, splice
from bench.report import Promise, Report, Row, Table, interleaved, median_ratio, progress
from stretto_core.authority import Authority, Submission
from stretto_core.entries import Entry
from stretto_core.ot import ComposedHistory, Operation, Rope, check, normalize
from stretto_core.ot.transform import transform_canonical
from stretto_core.protocol import Limits
from stretto_core.replica import Replica

PAPER: Final = "automerge-paper"
SVELTE: Final = "sveltecomponent"

REPLAY_LIMIT: Final = 0.6
"""Replaying the paper takes at most so much of what slicing a Python string takes."""
CATCH_UP_LIMIT: Final = 10.0
"""Catching up over 10,000 versions takes at most so many times what it takes over 10."""

EPOCH: Final = "bench"
AUTHORS: Final = 20
TEXT_CHARS: Final = 5_000
SCATTERED_CHARS: Final = 50_000
SEED: Final = 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    runs: int = 5
    traces: tuple[str, ...] = (PAPER, SVELTE)
    spans: tuple[int, ...] = (10, 100, 1_000, 10_000)
    heads: int = 16
    loops: int = 3
    calls: int = 10
    commits: int = 4_000


QUICK: Final = Sizes(runs=3, heads=4, loops=1, calls=5, commits=1_000)


def run(sizes: Sizes) -> Report:
    """Measure everything in this process."""
    report = Report()
    recordings = {name: load(name) for name in {*sizes.traces, PAPER}}
    measure_replays([recordings[name] for name in sizes.traces], sizes, report)
    measure_catching_up(recordings[PAPER], sizes, report)
    measure_state_machines(sizes, report)
    return report


# Replaying a whole recording.


def measure_replays(recordings: Sequence[Recording], sizes: Sizes, report: Report) -> None:
    """Compare checking and applying each edit with slicing a Python string."""
    rows: list[Row] = []
    for recording in recordings:
        progress(f"operations: replaying {recording.name}")
        ops = recording.ops
        times = interleaved(
            sizes.runs,
            {
                "rope": lambda r=recording, o=ops: seconds_of_rope(r, o),  # type: ignore[misc]
                "slicing": lambda r=recording: seconds_of_slicing(r),  # type: ignore[misc]
            },
        )
        ratio = median_ratio(times["rope"], times["slicing"])
        rows.append(
            {
                "recording": recording.name,
                "edits": len(ops),
                "check + Rope.apply µs": per_op_us(times["rope"], len(ops)),
                "str slicing µs": per_op_us(times["slicing"], len(ops)),
                "ratio": ratio,
            }
        )
        if recording.name == PAPER:
            report.promises.append(Promise(f"replay of {PAPER} / slicing", ratio, REPLAY_LIMIT))
    report.tables.append(Table("Replay, per edit", rows))


def seconds_of_rope(recording: Recording, ops: Sequence[Operation]) -> float:
    """Replay through the rope; raise ValueError when the text is not the recorded one."""
    rope = Rope(recording.start)
    apply = rope.apply
    started = time.perf_counter()
    for op in ops:
        check(op)
        apply(op)
    elapsed = time.perf_counter() - started
    _expect(str(rope), recording)
    return elapsed


def seconds_of_slicing(recording: Recording) -> float:
    """Replay by cutting and joining one string; raise ValueError as above."""
    text = recording.start
    started = time.perf_counter()
    for position, deleted, inserted in recording.patches:
        text = text[:position] + inserted + text[position + deleted :]
    elapsed = time.perf_counter() - started
    _expect(text, recording)
    return elapsed


def _expect(text: str, recording: Recording) -> None:
    if text != recording.end:
        raise ValueError(f"{recording.name} did not end with its recorded text")


def per_op_us(seconds: Sequence[float], count: int) -> float:
    """Return the median microseconds of one of ``count`` steps."""
    return statistics.median(seconds) / count * 1e6


# One operation over many versions.


@dataclass(frozen=True, slots=True)
class Past:
    """Committed operations to catch up over; any operation up to ``length`` fits in them."""

    name: str
    ops: Sequence[Operation]
    length: int


def measure_catching_up(recording: Recording, sizes: Sizes, report: Report) -> None:
    """Compare composed history with transforming over one operation after the other."""
    count = max(sizes.spans) + sizes.heads
    for past in (typing(recording, count), scattered(count)):
        for name, parts in (("insertion", 0), ("replacement", 1), ("50 edits", 50)):
            progress(f"operations: catching up, {name} over {past.name}")
            found = catch_up(past, incoming(past.length, parts, sizes.calls), sizes)
            report.tables.append(_catch_up_table(f"Catching up, {name} over {past.name}", found))
            low, high = min(sizes.spans), max(sizes.spans)
            composed = statistics.median(found[high][0]) / statistics.median(found[low][0])
            what = f"{name} over {past.name}, {high:,} versions / {low:,}"
            report.promises.append(Promise(what, composed, CATCH_UP_LIMIT))


def typing(recording: Recording, count: int) -> Past:
    """Return the last ``count`` edits of a recording: runs of local typing."""
    patches = recording.patches[-count:]
    before = len(recording.end) - sum(len(new) - deleted for _, deleted, new in patches)
    return Past("typing", [splice(*patch) for patch in patches], _shortest(before, patches))


def scattered(count: int) -> Past:
    """Return ``count`` edits anywhere in a text of 50,000 characters."""
    dice = random.Random(SEED)
    length = SCATTERED_CHARS
    patches: list[Patch] = []
    for _ in range(count):
        deleted, inserted = dice.choice(((0, "ab"), (2, ""), (1, "x")))
        patches.append((dice.randrange(length - 2), deleted, inserted))
        length += len(inserted) - deleted
    ops = [splice(*patch) for patch in patches]
    return Past("random edits", ops, _shortest(SCATTERED_CHARS, patches))


def _shortest(length: int, patches: Sequence[Patch]) -> int:
    changes = (len(inserted) - deleted for _, deleted, inserted in patches)
    return min(itertools.accumulate(changes, initial=length))


def incoming(length: int, parts: int, count: int) -> list[Operation]:
    """Return operations of ``parts`` replacements each; 0 means a lone insertion."""
    dice = random.Random(SEED)
    ops: list[Operation] = []
    for _ in range(count):
        if not parts:
            ops.append(splice(dice.randrange(1, length), 0, "x"))
            continue
        places = sorted(dice.sample(range(1, length // 4), parts))
        keeps = [b - a for a, b in itertools.pairwise([0, *places])]
        ops.append(normalize([part for keep in keeps for part in (keep * 4 - 2, "new", -2)]))
    return ops


Found = dict[int, tuple[list[float], list[float]]]
"""For each span the microseconds of composed history, and those of the plain loop."""


def catch_up(past: Past, ops: Sequence[Operation], sizes: Sizes) -> Found:
    """Time both ways from several heads, so that no span is always aligned with blocks.

    Raises ValueError where their results differ.
    """
    found: Found = {span: ([], []) for span in sizes.spans}
    history = ComposedHistory()
    longest = max(sizes.spans)
    for op in past.ops[:longest]:
        history.append(op)
    for number, op in enumerate(past.ops[longest : longest + sizes.heads]):
        history.append(op)
        for span, (composed, plain) in found.items():
            composed.extend(_warm_us(history, ops, history.head - span))
            if number < sizes.loops:
                plain.append(_loop_us(history, ops[number % len(ops)], history.head - span))
    return found


def _warm_us(history: ComposedHistory, ops: Sequence[Operation], since: int) -> list[float]:
    """Return the microseconds of each call after one that does not count."""
    history.transform(ops[0], since)
    times = []
    for op in ops:
        started = time.perf_counter()
        history.transform(op, since)
        times.append((time.perf_counter() - started) * 1e6)
    return times


def _loop_us(history: ComposedHistory, op: Operation, since: int) -> float:
    """Return the microseconds of transforming over one operation after the other."""
    expected = history.transform(op, since)
    started = time.perf_counter()
    for version in range(since + 1, history.head + 1):
        op = transform_canonical(op, history.op(version), "left")
    elapsed = (time.perf_counter() - started) * 1e6
    if op != expected:
        raise ValueError("composed history differs from one operation after the other")
    return elapsed


def _catch_up_table(title: str, found: Found) -> Table:
    rows: list[Row] = []
    for span, (composed, plain) in found.items():
        fast, slow = statistics.median(composed), statistics.median(plain)
        rows.append(
            {
                "versions": span,
                "composed µs": fast,
                "one by one µs": slow,
                "one by one / composed": slow / fast,
            }
        )
    return Table(title, rows)


# The authority and the replica.


def measure_state_machines(sizes: Sizes, report: Report) -> None:
    """Time what a server and a client do for each operation, next to its JSON."""
    progress("operations: authority and replica")
    commits = sizes.commits // AUTHORS * AUTHORS
    times = interleaved(
        sizes.runs,
        {
            "JSON of a submit, both ways": lambda: seconds_of_json(commits),
            "authority, 1 per batch": lambda: seconds_of_authority(commits, 1),
            f"authority, {AUTHORS} per batch": lambda: seconds_of_authority(commits, AUTHORS),
            "replica, 1 entry per frame": lambda: seconds_of_replica(commits, 1),
            f"replica, {AUTHORS} entries per frame": lambda: seconds_of_replica(commits, AUTHORS),
            "replica with edits pending": lambda: seconds_of_replica(commits, 1, pending=True),
        },
    )
    baseline = times["JSON of a submit, both ways"]
    rows: list[Row] = [
        {
            "step": name,
            "µs per op": per_op_us(seconds, commits),
            "ratio to the JSON": median_ratio(seconds, baseline),
        }
        for name, seconds in times.items()
    ]
    report.tables.append(Table(f"State machines, {AUTHORS} authors in one document", rows))


def seconds_of_json(count: int) -> float:
    """Write and read a submit's payload with the standard library."""
    one = submission(0, 1, 0, random.Random(SEED))
    payload = {
        "doc": "notes",
        "epoch": one.epoch,
        "client": one.client,
        "seq": one.seq,
        "base": one.base,
        "op": list(one.op),
    }
    started = time.perf_counter()
    for _ in range(count):
        json.loads(json.dumps(payload))
    return time.perf_counter() - started


def seconds_of_authority(count: int, batch: int) -> float:
    """Stage and commit; each author's base is the version of its own last operation."""
    elapsed = 0.0
    authority = new_authority()
    for submissions in batches(count, batch):
        started = time.perf_counter()
        staged = authority.stage(submissions, at_ms=0)
        authority.commit(staged)
        elapsed += time.perf_counter() - started
        if len(staged.entries) != len(submissions):
            raise ValueError("the authority refused an operation")
    return elapsed


def seconds_of_replica(count: int, batch: int, *, pending: bool = False) -> float:
    """Receive frames; with ``pending`` over an edit in flight and one in the buffer."""
    replica = new_replica()
    if pending:
        replica.edit((10, "flying"))
        replica.next_request()
        replica.edit((2_000, "buffered"))
    frames, text = committed_frames(count, batch)
    started = time.perf_counter()
    for frame in frames:
        replica.received("ops", frame)
    elapsed = time.perf_counter() - started
    if replica.confirmed != text:
        raise ValueError("the replica differs from the authority")
    return elapsed


def author(number: int) -> str:
    """Return the client id of an author."""
    return f"bench-client-{number:04d}"


def submission(number: int, seq: int, base: int, dice: random.Random) -> Submission:
    """Return an author's next one-character insertion."""
    op = [dice.randrange(1, TEXT_CHARS), "x"]
    return Submission(EPOCH, author(number), seq, base, op, f"user-{number}")


def batches(count: int, batch: int) -> list[list[Submission]]:
    """Return submissions of all authors in turn.

    Nobody has seen what the others of a batch did; alone, an author has not seen what
    all the others did since its last operation.
    """
    dice = random.Random(SEED)
    found = []
    for first in range(0, count, batch):
        base = first if batch > 1 else max(0, first - AUTHORS + 1)
        numbers = range(first, first + batch)
        found.append([submission(n % AUTHORS, n // AUTHORS + 1, base, dice) for n in numbers])
    return found


def new_authority() -> Authority:
    """Return a document of 5,000 characters with all its authors."""
    text = "0123456789" * (TEXT_CHARS // 10)
    authority = Authority(EPOCH, 0, "0" * 16, text, floor=0, limits=Limits())
    for number in range(AUTHORS):
        authority.enroll(author(number), None)
    return authority


def new_replica() -> Replica:
    """Return an open replica of the same document."""
    replica = Replica("notes", lambda: "bench-replica-0001")
    request = replica.next_request()
    if request is None:
        raise ValueError("a new replica opens its document")
    answer: dict[str, Any] = {
        "doc": "notes",
        "epoch": EPOCH,
        "version": 0,
        "hash": "0" * 16,
        "member_id": "m",
        "role": "editor",
        "last_seq": 0,
        "content": new_authority().text,
    }
    replica.answered(request, answer)
    return replica


def committed_frames(count: int, batch: int) -> tuple[list[dict[str, Any]], str]:
    """Return what a server would send for the same operations, and the text after them."""
    authority = new_authority()
    frames = []
    for submissions in batches(count, batch):
        staged = authority.stage(submissions, at_ms=0)
        authority.commit(staged)
        frames.append(_frame(staged.base + 1, staged.entries, authority.hash))
    return frames, authority.text


def _frame(first: int, entries: Sequence[Entry], reached: str) -> dict[str, Any]:
    return {
        "doc": "notes",
        "epoch": EPOCH,
        "from": first,
        "ops": [entry.to_payload() for entry in entries],
        "hash": reached,
    }
