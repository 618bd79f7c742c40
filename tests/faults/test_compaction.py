"""Logs that are cut while somebody comes back, and nodes that die between snapshot and cut."""

import signal
from pathlib import Path

import pytest

from tests.faults.points import AFTER_COMPACTION, BEFORE_COMPACTION, Order
from tests.faults.stage import DOC, SLACK, Stage, read_journal, staged
from tests.faults.test_input import write_history

FORGETFUL = {"STRETTO_HISTORY_HOURS": "0"}
LONG = 1_500
"""Operations: the last thousand are kept in any case."""
IDLE_S = 5.0
"""A document that nobody has open leaves memory after this long; then its log is cut."""


async def visit(stage: Stage) -> None:
    """Write something and be gone, so that the document leaves memory."""
    visitor = stage.crowd.add(stage.front.url, DOC)
    await stage.crowd.open()
    stage.crowd.begin()
    await stage.crowd.committed(3)
    await visitor.pause()
    assert visitor.document is not None
    await visitor.document.saved()

    await visitor.leave()
    stage.earlier[DOC] = (await read_journal(stage.journal_url, [DOC]))[DOC]


async def passed(stage: Stage, order: Order) -> None:
    trigger = stage.nodes[0].trigger
    trigger.arm(order)
    await visit(stage)
    await stage.crowd.until(lambda: not trigger.armed, (IDLE_S + 5) * SLACK, order.point)


@pytest.mark.soak
@pytest.mark.parametrize("point", [BEFORE_COMPACTION, AFTER_COMPACTION])
async def test_a_node_dies_while_it_cuts_a_log(tmp_path: Path, point: str) -> None:
    async with staged(tmp_path, seed=29, settings=FORGETFUL) as stage:
        await write_history(stage.journal_url, DOC, LONG, LONG)
        await passed(stage, Order(point))
        assert await stage.nodes[0].died(5 * SLACK)
        await stage.nodes[0].restart()
        stage.add_writers(3)
        await stage.crowd.open()
        stage.crowd.begin()
        stage.healed()
        await stage.recover()
        verdict = await stage.finish(f"29 node killed {point}")
        assert verdict.figures["versions"]


async def test_clients_come_back_while_a_log_is_cut(tmp_path: Path) -> None:
    async with staged(tmp_path, seed=29, settings=FORGETFUL) as stage:
        await write_history(stage.journal_url, DOC, LONG, LONG)
        # The signal does nothing: it only tells that the moment has come.
        await passed(stage, Order(BEFORE_COMPACTION, 1, int(signal.SIGCONT)))
        stage.add_writers(4)
        await stage.crowd.open()
        stage.crowd.begin()
        stage.healed()
        await stage.recover()
        await stage.finish("29 clients back while a log is cut")
