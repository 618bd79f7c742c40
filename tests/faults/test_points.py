"""Orders are carried out once, at the passage they name."""

import json
import os
import signal
from pathlib import Path

from tests.faults.points import AFTER_SCRIPT, BEFORE_ACK, Order, Passages, Trigger


def test_an_order_waits_for_its_point_and_its_passage(tmp_path: Path) -> None:
    trigger = Trigger(tmp_path / "order")
    passages = Passages(trigger.path)
    assert not passages.passed(AFTER_SCRIPT)
    trigger.arm(Order(AFTER_SCRIPT, 3, int(signal.SIGCONT)))
    assert [passages.passed(AFTER_SCRIPT) for _ in range(2)] == [False, False]
    assert not passages.passed(BEFORE_ACK)
    assert trigger.armed
    assert passages.passed(AFTER_SCRIPT)
    assert not trigger.armed
    assert not passages.passed(AFTER_SCRIPT)


def test_each_order_counts_from_one(tmp_path: Path) -> None:
    trigger = Trigger(tmp_path / "order")
    passages = Passages(trigger.path)
    for _ in range(2):
        trigger.arm(Order(AFTER_SCRIPT, 2, int(signal.SIGCONT), os.getpid()))
        assert [passages.passed(AFTER_SCRIPT) for _ in range(2)] == [False, True]


def test_what_is_no_order_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "order"
    file.write_text("{")
    assert not Passages(file).passed(AFTER_SCRIPT)
    file.write_text(json.dumps({"point": AFTER_SCRIPT}))
    Trigger(file).disarm()
    assert not Passages(file).passed(AFTER_SCRIPT)
