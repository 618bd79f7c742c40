"""Input that is huge, and input that is malicious."""

import asyncio
import secrets
import time
from pathlib import Path
from typing import Any

import pytest

from stretto_client.transport import SocketTransport
from stretto_core.entries import Entry, next_hash
from stretto_core.errors import StrettoError
from stretto_core.protocol import DOCS, NO_HASH, Limits
from stretto_server.auth import issue_token
from stretto_server.journal.interface import Snapshot
from stretto_server.journal.redis import RedisJournal
from tests.faults.nodes import SECRET
from tests.faults.stage import DOC, Stage, staged

BATCH = 500


async def write_history(url: str, doc: str, ops: int, chars: int) -> None:
    """Fill a document straight through the journal: one line, then many small operations."""
    journal = RedisJournal(url)
    await journal.start()
    try:
        await journal.create(doc, "an-epoch", 1)
        reached, version = NO_HASH, 0
        while version < ops:
            entries, hashes = [], []
            for seq in range(version + 1, min(ops, version + BATCH) + 1):
                piece = "x" * (chars // 4) if seq <= 4 else "y"
                entries.append(Entry("a-filling-client", seq, (piece,), "filler", 1))
                reached = next_hash(reached, entries[-1])
                hashes.append(reached)
            await journal.append(doc, "an-epoch", version, entries, hashes)
            version += len(entries)
            if version == BATCH * (ops // BATCH):  # as a server does every so often
                text = "y" * (version - 4) + "x" * (chars // 4 * 4)
                await journal.snapshot(doc, "an-epoch", Snapshot(version, reached, text))
    finally:
        await journal.close()


@pytest.mark.soak
@pytest.mark.parametrize("ops", [5_000, 100_000])
async def test_a_huge_document_holds_nobody_up(tmp_path: Path, ops: int) -> None:
    async with staged(tmp_path, seed=24) as stage:
        stage.add_writers(3)
        await stage.begin()
        await write_history(stage.journal_url, "huge", ops, 900_000)
        before = [len(one.log.acknowledged) for one in stage.crowd.writers]
        began = time.monotonic()
        readers = [stage.crowd.add(stage.front.url, "huge", per_s=2.0) for _ in range(3)]
        await stage.crowd.open()
        stage.figures["open_s"] = time.monotonic() - began
        stage.crowd.begin()
        await stage.crowd.committed(2)
        meanwhile = [
            ack.took_s
            for one, known in zip(stage.crowd.writers, before, strict=False)
            for ack in one.log.acknowledged[known:]
        ]
        stage.figures["others_waited_ms"] = 1000 * max(meanwhile)
        document = readers[0].document
        assert document is not None
        with pytest.raises(StrettoError, match=str(Limits().document_chars)):
            await document.commit([0, "z" * Limits().op_inserted])
        stage.healed()
        await stage.recover(each=3)
        await stage.finish(f"24 document of {ops} operations", within_s=120.0)


def hostile(base: int, last: int) -> list[tuple[dict[str, Any], set[str]]]:
    """Return payloads of ``submit`` with the codes that each may be answered with."""
    bad, invalid = {"invalid_operation"}, {"invalid_request"}
    good = {"seq": last + 1, "base": base}
    ops: list[tuple[Any, set[str]]] = [
        ([-(10**12)], bad),
        ([10**15, "x"], bad),
        ([2**53, "x"], bad),
        ([-1, 10**9], bad),
        ([True], bad),
        ([1.5, "x"], bad),
        ([None], bad),
        ([["x"]], bad),
        (["\ud800"], bad | invalid),
        ([1, -1] * 10_001, {"too_large"}),
        (["x" * 300_000], {"too_large"}),
        ("x", invalid | bad),
        ({}, invalid | bad),
    ]
    rows = [({**good, "op": op}, codes) for op, codes in ops]
    rows += [
        ({**good, "seq": last + 2, "op": ["x"]}, {"sequence_gap"}),
        ({**good, "seq": 0, "op": ["x"]}, {"sequence_gap", "invalid_request"}),
        ({**good, "seq": -1, "op": ["x"]}, {"sequence_gap", "invalid_request"}),
        ({**good, "seq": 2**60, "op": ["x"]}, {"sequence_gap", "invalid_request"}),
        ({**good, "base": 10**9, "op": ["x"]}, {"version_ahead"}),
        ({**good, "base": -1, "op": ["x"]}, invalid | {"version_gone"}),
        ({**good, "op": ["x"], "epoch": "another"}, {"epoch_changed"}),
        ({**good, "op": ["x"], "client": "somebody-elses-client"}, invalid),
        ({**good, "op": ["x"], "doc": "elsewhere"}, {"not_joined"}),
        ({**good, "op": ["x"], "more": 1}, invalid),
    ]
    return rows


async def attack(stage: Stage) -> int:
    """Send what is hostile over one connection, which survives all of it."""
    lost: list[object] = []
    transport = SocketTransport(stage.front.url, lambda *_: None, lost.append)
    await transport.connect(issue_token(SECRET, "mallory", grants={f"docs/{DOC}": "editor"}))
    try:
        client = secrets.token_urlsafe(16)
        opened = await transport.request(DOCS, "open", {"doc": DOC, "client": client})
        common = {"doc": DOC, "epoch": opened["epoch"], "client": client}
        rows = hostile(opened["version"], opened["last_seq"])
        for payload, codes in rows:
            with pytest.raises(StrettoError) as told:
                await transport.request(DOCS, "submit", {**common, **payload})
            assert told.value.code in codes, (payload, told.value)
            assert not lost
        return len(rows)
    finally:
        await transport.close()


async def test_malicious_operations_have_no_effect(tmp_path: Path) -> None:
    async with staged(tmp_path, seed=25) as stage:
        stage.add_writers(4)
        await stage.begin()
        counts = await asyncio.gather(*(attack(stage) for _ in range(3)))
        stage.figures["refused"] = sum(counts)
        stage.healed()
        await stage.recover()
        await stage.finish("25 malicious operations")
        assert "Traceback" not in stage.nodes[0].log
