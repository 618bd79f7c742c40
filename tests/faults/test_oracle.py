"""For each promise a planted defect breaks it, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stretto_client.replay.audit import replay_log
from stretto_core.entries import Entry, next_hash
from stretto_core.protocol import NO_HASH
from tests.faults.evidence import (
    FIRST_MARKER,
    MARKERS,
    Acknowledged,
    Adopted,
    ClientLog,
    Death,
    Evidence,
    JournalCopy,
    Refused,
    Seen,
    Sent,
    Standing,
    marker,
    markers_in,
)
from tests.faults.nodes import Sample
from tests.faults.oracle import Bounds, Verdict, judge

DOC = "notes"
A, B, C, D = (marker(number) for number in range(4))
ANN, BOB = "client-of-ann-0001", "client-of-bob-0001"
MIB = 1024 * 1024


def entry(client: str, seq: int, *op: int | str) -> Entry:
    return Entry(client, seq, op, "user", 1)


LOG = [
    entry(ANN, 1, f"{A}hello"),
    entry(BOB, 1, 6, f"{B} world"),
    entry(ANN, 2, 1, -2),
    entry(BOB, 2, C),
]


def lines_of(entries: list[Entry], after: str = NO_HASH, first: int = 1) -> list[dict[str, Any]]:
    lines, reached = [], after
    for version, one in enumerate(entries, first):
        reached = next_hash(reached, one)
        lines.append({"version": version, "hash": reached, **one.to_payload()})
    return lines


def client(name: str, own: str, entries: list[Entry]) -> ClientLog:
    """Return the log of a client that saw all, and whose operations took 0.1 s each."""
    log = ClientLog(name, DOC)
    log.trail = [Adopted("epoch", 0, NO_HASH)]
    for version, one in enumerate(entries, 1):
        log.trail.append(Seen(version, one))
        if one.client == own:
            at = 10.0 + version
            log.made += markers_in(one.op)
            log.sent.append(Sent(own, one.seq, markers_in(one.op), at))
            log.acknowledged.append(Acknowledged(own, one.seq, version, at, at + 0.1))
    replayed = replay_log(entries)
    log.end = Standing("epoch", len(entries), replayed.hash, replayed.text)
    log.members = [(0.0, frozenset({"ann", "bob"}))]
    return log


def evidence(entries: list[Entry] = LOG) -> Evidence:
    copy = JournalCopy(DOC, lines_of(entries), replay_log(entries).text)
    stranger = ClientLog("eve", "elsewhere", heard=['{"event": "ready", "user": "eve"}'])
    sample = Sample(0.0, "n0", 20, 4, 60 * MIB)
    return Evidence(
        {DOC: copy},
        [client("ann", ANN, entries), client("bob", BOB, entries)],
        [stranger],
        [replace(sample, at=20.0)],
        [sample],
        healed_at=9.0,
        ended_at=30.0,
    )


def copy_of(found: Evidence) -> JournalCopy:
    return found.journals[DOC]


def with_copy(found: Evidence, **changes: Any) -> None:
    found.journals = {DOC: replace(copy_of(found), **changes)}


def relog(found: Evidence, entries: list[Entry]) -> None:
    """Let the journal hold something else; who saw what stays as it was."""
    with_copy(found, lines=lines_of(entries), text=replay_log(entries).text)


def test_what_is_sound_holds() -> None:
    verdict = judge(evidence())
    assert verdict.holds, verdict
    assert verdict.figures["acks"] == 4
    assert verdict.figures["versions"] == 4


def lose_the_tail(found: Evidence) -> None:
    relog(found, LOG[:3])
    _forget_the_end(found)


def lose_one_and_close_the_gap(found: Evidence) -> None:
    relog(found, [LOG[0], entry(BOB, 1, 6, " world"), *LOG[2:]])
    _forget_the_end(found)
    for log in found.clients:
        log.trail = []


def acknowledge_what_never_came(found: Evidence) -> None:
    found.clients[0].acknowledged.append(Acknowledged(ANN, 3, 5, 14.0, 14.1))


def lose_an_edit_before_it_left(found: Evidence) -> None:
    found.clients[0].made.append(D)


def commit_twice(found: Evidence) -> None:
    relog(found, [*LOG, entry(BOB, 3, C)])
    _follow(found)


def commit_one_seq_twice(found: Evidence) -> None:
    relog(found, [*LOG, entry(BOB, 2, "again")])
    _follow(found)


def mean_two_things(found: Evidence) -> None:
    found.clients[1].sent.append(Sent(BOB, 2, (D,), 15.0))


def skip_a_version(found: Evidence) -> None:
    del found.clients[1].trail[2]


def swap_two_versions(found: Evidence) -> None:
    trail = found.clients[1].trail
    trail[1], trail[2] = Seen(1, LOG[1]), Seen(2, LOG[0])


def see_another_operation(found: Evidence) -> None:
    found.clients[0].trail[2] = Seen(2, entry(BOB, 1, 6, f"{B} World"))


def show_another_text(found: Evidence) -> None:
    log = found.clients[0]
    assert log.end is not None
    log.end = replace(log.end, text=log.end.text + "!")


def end_behind(found: Evidence) -> None:
    log = found.clients[0]
    assert log.end is not None
    log.end = replace(log.end, version=3)


def end_with_another_hash(found: Evidence) -> None:
    log = found.clients[0]
    assert log.end is not None
    log.end = replace(log.end, hash="f" * 16)


def spoil_the_snapshot(found: Evidence) -> None:
    with_copy(found, text="something else")


def break_the_chain(found: Evidence) -> None:
    lines = [dict(line) for line in copy_of(found).lines]
    lines[2]["hash"] = "0" * 16
    with_copy(found, lines=lines)


def fail_the_verification(found: Evidence) -> None:
    with_copy(found, verdict="notes: the snapshot at 3 is not the log's text")


def tell_a_stranger_the_text(found: Evidence) -> None:
    found.strangers[0].heard.append(f'{{"event": "ops", "ops": ["{B} world"]}}')


def tell_a_stranger_who_is_there(found: Evidence) -> None:
    found.strangers[0].heard.append('{"event": "presence", "joined": [{"id": "bob"}]}')


def keep_files_open(found: Evidence) -> None:
    found.samples = [replace(found.samples[0], files=200)]


def leak_threads(found: Evidence) -> None:
    found.samples = [replace(found.samples[0], threads=50)]


def eat_memory(found: Evidence) -> None:
    found.samples = [replace(found.samples[0], resident_bytes=600 * MIB), *found.samples]


def stay_slow(found: Evidence) -> None:
    for log in found.clients:
        log.acknowledged = [replace(ack, at=ack.sent_at + 0.4) for ack in log.acknowledged]


def come_back_late(found: Evidence) -> None:
    found.healed_at = 0.0


def never_come_back(found: Evidence) -> None:
    found.healed_at = 12.5
    found.clients[1].acknowledged.pop()


def keep_a_ghost(found: Evidence) -> None:
    found.deaths = [Death("bob", 20.0, 5.0)]


def _forget_the_end(found: Evidence) -> None:
    for log in found.clients:
        log.end = None


def _follow(found: Evidence) -> None:
    """Let everybody see and end with what the journal has."""
    entries = [Entry.from_payload(line) for line in copy_of(found).lines]
    for log in found.clients:
        seen = client(log.name, "", entries)
        log.trail, log.end = seen.trail, seen.end


DEFECTS: list[tuple[Callable[[Evidence], None], str]] = [
    (lose_the_tail, "LT"),
    (lose_one_and_close_the_gap, "L"),
    (acknowledge_what_never_came, "L"),
    (lose_an_edit_before_it_left, "L"),
    (commit_twice, "O"),
    (commit_one_seq_twice, "OC"),
    (mean_two_things, "O"),
    (skip_a_version, "T"),
    (swap_two_versions, "T"),
    (see_another_operation, "T"),
    (show_another_text, "C"),
    (end_behind, "C"),
    (end_with_another_hash, "C"),
    (spoil_the_snapshot, "C"),
    (break_the_chain, "C"),
    (fail_the_verification, "C"),
    (tell_a_stranger_the_text, "P"),
    (tell_a_stranger_who_is_there, "P"),
    (keep_files_open, "B"),
    (leak_threads, "B"),
    (eat_memory, "B"),
    (stay_slow, "R"),
    (come_back_late, "R"),
    (never_come_back, "R"),
    (keep_a_ghost, "G"),
]


@pytest.mark.parametrize(
    ("plant", "broken"), DEFECTS, ids=lambda value: getattr(value, "__name__", value)
)
def test_each_defect_is_found(plant: Callable[[Evidence], None], broken: str) -> None:
    found = evidence()
    plant(found)
    verdict = judge(found, Bounds())
    assert verdict.broken() == broken, verdict
    assert not verdict.holds
    assert all(f"{letter}✗" in str(verdict) for letter in broken)


def test_a_loss_that_the_class_allows_must_be_told() -> None:
    found = evidence()
    relog(found, LOG[:3])
    _forget_the_end(found)
    found.may_lose = True
    assert judge(found).broken() == "LT"
    for log in found.clients:
        log.trail.append(Adopted("next", 3, "?"))
    assert judge(found).broken() == "L"
    found.clients[1].returned.append(f"{A}{B}{C}")
    assert judge(found).holds


def test_another_epoch_starts_another_sequence() -> None:
    found = evidence()
    found.may_lose = True
    log = found.clients[0]
    log.trail = [
        Adopted("older", 0, NO_HASH),
        Seen(1, entry(ANN, 1, "other")),
        *log.trail,
    ]
    assert judge(found).holds


def test_the_beginning_that_a_journal_forgot_is_taken_from_those_who_saw_it() -> None:
    found = evidence()
    lines = copy_of(found).lines[2:]
    with_copy(found, lines=lines)
    assert judge(found).holds
    for log in found.clients:
        log.trail = [Adopted("epoch", 2, "?"), *log.trail[3:]]
    assert "nobody saw version 1" in str(judge(found))
    with_copy(found, earlier=lines_of(LOG[:2]))
    assert judge(found).holds


def test_what_was_refused_took_no_seq() -> None:
    found = evidence()
    log = found.clients[1]
    log.sent.insert(0, Sent(BOB, 2, (D,), 5.0))
    log.refused.append(Refused("unavailable", 5.0, 5.1))
    assert judge(found).broken() == "O"
    log.refused.append(Refused("too_large", 5.0, 5.1))
    assert judge(found).holds


def test_a_ghost_may_be_shown_until_its_time_is_over() -> None:
    found = evidence()
    found.deaths = [Death("bob", 20.0, 5.0)]
    log = found.clients[0]
    log.members += [(24.0, frozenset({"ann"}))]
    found.clients[1].end = None  # nobody asks the dead
    assert judge(found).holds
    log.members += [(26.0, frozenset({"ann", "bob"}))]
    assert judge(found).broken() == "G"


def test_recovery_is_when_commits_are_quick_for_good() -> None:
    found = evidence()
    found.healed_at = 10.0
    verdict = judge(found)
    assert verdict.figures["recovery_s"] == pytest.approx(2.1)  # bob's first commit
    log = found.clients[0]
    log.acknowledged[1] = replace(log.acknowledged[1], at=13.9)
    assert judge(found).figures["recovery_s"] == pytest.approx(4.0)


def test_many_problems_are_told_in_few_lines() -> None:
    verdict = Verdict({"L": [f"problem {number}" for number in range(9)]})
    assert "and 4 more" in str(verdict)
    assert "problem 5" not in str(verdict)


def test_markers_are_single_characters_and_no_surrogates() -> None:
    for number in (0, 0xD800 - FIRST_MARKER - 1, 0xD800 - FIRST_MARKER, MARKERS - 1):
        assert len(marker(number)) == 1
        assert marker(number).encode()
        assert markers_in([3, f"ab{marker(number)}c", -1]) == (marker(number),)
    assert len({marker(number) for number in range(0, MARKERS, 97)}) == len(range(0, MARKERS, 97))
    with pytest.raises(ValueError, match="so many"):
        marker(MARKERS)
