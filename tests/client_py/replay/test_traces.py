"""Reading both formats, and refusing what is neither."""

import gzip
import json
from pathlib import Path

import pytest

from stretto_client.replay.traces import Patch, Row, TraceError, read_trace, replayed

TRACES = Path(__file__).parents[3] / "bench" / "traces"


def test_a_sequential_trace_gives_its_end() -> None:
    trace = read_trace(TRACES / "sveltecomponent.json.gz")
    assert trace.sequential
    assert trace.authors == 1
    assert trace.patch_count == 19_749
    assert replayed(trace.start, trace.rows) == trace.end


def test_a_schedule_has_several_authors() -> None:
    trace = read_trace(TRACES / "friendsforever.schedule.jsonl.gz")
    assert not trace.sequential
    assert trace.authors == 2
    assert trace.patch_count == 26_078
    assert all(row.received <= index for index, row in enumerate(trace.rows))


def test_a_limited_trace_knows_its_end() -> None:
    trace = read_trace(TRACES / "sveltecomponent.json.gz").limited(100)
    assert trace.patch_count == 100
    assert trace.end == replayed(trace.start, trace.rows)
    whole = read_trace(TRACES / "friendsforever.schedule.jsonl.gz")
    assert whole.limited(None) is whole
    assert whole.limited(10).end is None


def test_small_files_are_read_plain_and_zipped(tmp_path: Path) -> None:
    data = {"startContent": "ab", "endContent": "aXb", "txns": [{"patches": [[1, 0, "X"]]}]}
    plain, zipped = tmp_path / "a.json", tmp_path / "b.json.gz"
    plain.write_text(json.dumps(data))
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_trace(plain) == read_trace(zipped)
    assert read_trace(plain).rows == (Row(0, 0, (Patch(1, 0, "X"),)),)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"txns": 5}', "\x00"])
def test_anything_else_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(TraceError):
        read_trace(path)
    with pytest.raises(TraceError):
        read_trace(tmp_path / "missing.json")
