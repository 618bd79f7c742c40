"""A server that is broken on purpose: ``python faulty_server.py FAULT serve …``.

``early-ack`` answers before the journal has the operation; ``no-dedup`` commits a resent
operation once more; ``once FILE`` starts a single time. The replay must notice them all.
"""

import asyncio
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stretto_core.authority import Authority, Staged, Submission
from stretto_core.entries import ClientRecord, Entry
from stretto_server import document_queue
from stretto_server.cli import main
from stretto_server.journal import sqlite_appends
from stretto_server.journal.interface import Appended, AppendResult
from stretto_server.journal.sqlite import SqliteJournal

append = SqliteJournal.append
record = Authority.record


async def append_later(
    journal: SqliteJournal,
    doc: str,
    epoch: str,
    base: int,
    entries: Sequence[Entry],
    hashes: Sequence[str],
    *,
    base_hash: str | None = None,
) -> AppendResult:
    """Say that it is durable, and make it so a little later."""
    queue = _queue_of(journal)
    queue.put_nowait((doc, epoch, base, entries, hashes))
    return Appended()


def _queue_of(journal: Any) -> "asyncio.Queue[Any]":
    if not hasattr(journal, "late"):
        journal.late = asyncio.Queue()
        journal.late_task = asyncio.ensure_future(_write_late(journal))
    queue: asyncio.Queue[Any] = journal.late
    return queue


async def _write_late(journal: Any) -> None:
    while True:
        work = await journal.late.get()
        await asyncio.sleep(0.02)
        await append(journal, *work)


stage = Authority.stage


def stage_again(authority: Authority, submissions: Sequence[Submission], at_ms: int) -> Staged:
    """Forget every seq, so that a resent operation looks new."""
    for submission in submissions:
        known = record(authority, submission.client) or ClientRecord()
        if submission.seq <= known.last_seq:
            forgotten = dataclasses.replace(known, last_seq=submission.seq - 1, last_version=0)
            authority.enroll(submission.client, forgotten)
    return stage(authority, submissions, at_ms)


def advance_anyway(
    known: Mapping[str, ClientRecord], base: int, entries: Sequence[Entry]
) -> dict[str, ClientRecord]:
    """Take whatever comes."""
    return {
        entry.client: ClientRecord(entry.seq, version, entry.user)
        for version, entry in enumerate(entries, base + 1)
    }


if __name__ == "__main__":
    fault = sys.argv.pop(1)
    if fault == "early-ack":
        SqliteJournal.append = append_later  # type: ignore[method-assign, assignment]
    elif fault == "no-dedup":
        # One operation a batch: else a copy that arrives with its original is told apart in it.
        document_queue.MAX_BATCH = 1  # type: ignore[misc]
        Authority.stage = stage_again  # type: ignore[method-assign, assignment]
        sqlite_appends.advance_clients = advance_anyway  # type: ignore[attr-defined]
    elif fault == "once":
        started = Path(sys.argv.pop(1))
        if started.exists():
            print("this server starts once", file=sys.stderr)
            sys.exit(3)
        started.write_text(str(os.getpid()))
    sys.exit(main(sys.argv[1:]))
