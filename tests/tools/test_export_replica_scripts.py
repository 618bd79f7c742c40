"""The exported lives are up to date, and hold every kind of call."""

import gzip
from typing import Any

from tools.export_replica_scripts import TARGET, encoded, scripts


def test_the_file_is_up_to_date() -> None:
    assert gzip.decompress(TARGET.read_bytes()) == gzip.decompress(encoded())


def test_lives_hold_every_kind_of_call() -> None:
    steps: list[dict[str, Any]] = [step for life in scripts() for step in life["steps"]]
    calls = {step["call"] for step in steps}
    assert calls == {
        *("client", "edit", "next_request", "answered", "failed", "received", "disconnected")
    }
    events = {step["event"] for step in steps if step["call"] == "received"}
    assert {"ops", "behind"} <= events
    errors = {step["error"]["code"] for step in steps if step["call"] == "failed"}
    assert len(errors) >= 2
