"""Frames, and snapshots that fail; the rest is tested through the actor."""

import asyncio
import json

import pytest

from stretto_core.authority import Submission
from stretto_core.errors import Unavailable
from stretto_core.protocol import Limits
from stretto_server import document_log, wire_json
from stretto_server.document_log import DocumentLog
from stretto_server.journal.interface import Appended, OutcomeUnknown, Snapshot
from tests.server.stubs import RecordingBus, UnreliableJournal

ANN = "client-of-ann-0001"
DOC = 'a "quoted" \\ id'


async def log_of(journal: UnreliableJournal, bus: RecordingBus) -> DocumentLog:
    await journal.create(DOC, "epoch", 1)
    loaded = await journal.load(DOC)
    assert loaded is not None
    log = DocumentLog(DOC, loaded, journal, bus, Limits())
    await log.enroll(ANN)
    return log


async def commit(log: DocumentLog, text: str) -> None:
    record = log.authority.record(ANN)
    assert record is not None
    version = log.authority.version
    submission = Submission("epoch", ANN, record.last_seq + 1, version, [text], "ann")
    staged = log.authority.stage([submission], 5)
    assert await log.append(staged) == Appended()
    log.take_in(staged)
    log.send(staged.base + 1, staged.entries)


async def test_a_frame_is_what_the_contract_says() -> None:
    bus = RecordingBus()
    log = await log_of(UnreliableJournal(), bus)
    await commit(log, 'é"\n😀')
    log.send(2, [])
    (frame,) = bus.frames
    entry = {"client": ANN, "seq": 1, "op": ['é"\n😀'], "user": "ann", "at_ms": 5}
    payload = {"doc": DOC, "epoch": "epoch", "from": 1, "ops": [entry], "hash": log.authority.hash}
    assert frame == (f"doc:{DOC}", "ops", payload)
    assert json.loads(json.dumps(frame[2])) == payload


async def test_what_a_frame_says_is_known_by_its_ends() -> None:
    bus = RecordingBus()
    log = await log_of(UnreliableJournal(), bus)
    await commit(log, "a")
    await commit(log, "b")
    first, second = (wire_json.dump(payload) for _, _, payload in bus.frames)
    assert log.knows(second)
    assert not log.knows(first)  # known, but not by this
    assert not log.knows(second.replace(b'"epoch":"epoch"', b'"epoch":"other"'))
    assert not log.knows(second.replace(log.authority.hash.encode(), b"0123456789abcdef"))
    assert not log.knows(b"p{}")
    submission = Submission("epoch", ANN, 3, 2, ["c"], "ann")
    staged = log.authority.stage([submission], 5)
    appending = log.append(staged)
    own = second.replace(log.authority.hash.encode(), staged.hashes[-1].encode())
    assert log.knows(own)  # heard before the journal's answer
    assert await appending == Appended()


@pytest.mark.parametrize(
    ("error", "unsure", "logged"),
    [
        (Unavailable(), False, "no snapshot was written"),
        (OutcomeUnknown(), True, ""),
        (ZeroDivisionError(), False, "a snapshot failed"),
    ],
)
async def test_a_snapshot_that_fails_is_tried_again_later(
    error: Exception,
    unsure: bool,
    logged: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(document_log, "SNAPSHOT_OPS", 2)
    journal = UnreliableJournal()
    log = await log_of(journal, RecordingBus())
    keep = journal.snapshot

    async def fail(doc: str, epoch: str, snapshot: Snapshot) -> None:
        raise error

    monkeypatch.setattr(journal, "snapshot", fail)
    await commit(log, "a")
    await commit(log, "b")
    await log.snapshot_written()
    assert log.unsure is unsure
    assert logged in caplog.text
    monkeypatch.setattr(journal, "snapshot", keep)
    await commit(log, "c")
    await commit(log, "d")
    await log.snapshot_written()
    loaded = await journal.load(DOC)
    assert loaded is not None
    assert (loaded.snapshot.version, loaded.snapshot.text) == (4, "dcba")


async def test_stopping_leaves_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_log, "SNAPSHOT_OPS", 1)
    journal = UnreliableJournal()
    log = await log_of(journal, RecordingBus())
    begun = asyncio.Event()

    async def never(doc: str, epoch: str, snapshot: Snapshot) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(journal, "snapshot", never)
    await commit(log, "a")
    await begun.wait()
    await log.stop()
    await log.snapshot_written()
