"""The benchmarks run and say what they should; how fast anything is, no test asserts."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from bench import operations, server
from bench.__main__ import build_parser, main
from bench.load import percentile
from bench.machine import describe
from bench.recording import Recording
from bench.report import Promise, Report, Row, Table, interleaved, median_ratio
from bench.wire import FrameReader, Tally, WireClient, WireError

OPERATIONS = operations.Sizes(
    runs=1, traces=(operations.SVELTE,), spans=(3, 40), heads=2, loops=1, calls=2, commits=40
)
SERVER = server.Sizes(
    runs=1, warm_up_s=0.05, measured_s=0.6, workloads=(server.Workload(2, 2, 100),)
)


def positive(rows: Iterable[Row]) -> bool:
    return all(cell > 0 for row in rows for cell in row.values() if not isinstance(cell, str))


def test_operations() -> None:
    report = operations.run(OPERATIONS)
    titles = [table.title for table in report.tables]
    assert titles[0] == "Replay, per edit"
    assert titles[1] == "Catching up, insertion over typing"
    assert len(titles) == 1 + 6 + 1
    assert [row["versions"] for row in report.tables[1].rows] == [3, 40]
    assert len(report.promises) == 6  # the paper, which has the seventh, takes too long here
    assert all(positive(table.rows) for table in report.tables)


def test_a_replay_that_ends_with_another_text_is_no_measurement() -> None:
    wrong = Recording("wrong", "", "b", ((0, 0, "a"),))
    with pytest.raises(ValueError, match="recorded text"):
        operations.seconds_of_rope(wrong, wrong.ops)
    with pytest.raises(ValueError, match="recorded text"):
        operations.seconds_of_slicing(wrong)


def test_server(tmp_path: Path) -> None:
    report = server.run(SERVER, tmp_path)
    ends, prices = report.tables
    assert [(row["workload"], row["journal"]) for row in ends.rows] == [
        ("2 × 2", "memory"),
        ("2 × 2", "sqlite"),
    ]
    assert [row["workload"] for row in prices.rows] == ["2 × 2"]
    for row in ends.rows:
        assert positive([{key: row[key] for key in ("ops/s", "ack p50 ms", "frames received")}])
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_start_is_reported(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="STRETTO_SECRET is shorter"),
        server.serving("memory", "short", tmp_path),
    ):
        raise AssertionError("it must not get here")


def test_the_command_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report([Table("Empty", [])], [Promise("this / that", 2.0, 1.0)])
    monkeypatch.setattr("bench.operations.run", lambda _sizes: report)
    monkeypatch.setattr("bench.__main__.RESULTS", tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    output = tmp_path / "figures.json"
    assert main(["operations", "--output", str(output)]) == 0
    written = json.loads(output.read_text())
    assert set(written) == {"machine", "operations"}
    assert {"date", "python", "cpu", "disk"} <= set(written["machine"])
    assert written["operations"]["promises"][0]["kept"] is False
    assert "NOT KEPT: this / that: 2.00 (at most 1)" in capsys.readouterr().out


def test_runs_are_at_least_one() -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--runs", "0"])


def test_machine(tmp_path: Path) -> None:
    disk = describe(tmp_path)["disk"]
    assert set(disk) == {"device", "filesystem", "kind", "sync_us"}
    assert disk["sync_us"] > 0


def test_contenders_take_turns() -> None:
    turns: list[str] = []

    def measure(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    found = interleaved(2, {"a": lambda: measure("a"), "b": lambda: measure("b")})
    assert turns == ["a", "b", "a", "b"]
    assert found == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
    assert median_ratio(found["b"], found["a"]) == pytest.approx((2 + 4 / 3) / 2)


def test_tables_are_aligned() -> None:
    table = Table("Title", [{"name": "a", "value": 1234.5}, {"name": "long", "value": 7}])
    assert table.text() == "Title\nname  value\na     1,234\nlong      7"


def test_percentile() -> None:
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 0.99) == 99.0
    assert percentile([5.0], 0.99) == 5.0


def test_frames_are_parsed_once_and_a_gap_is_found() -> None:
    tally = Tally(reader=FrameReader())
    entry = {"client": "c" * 16, "seq": 1, "op": ["x"], "user": "u", "at_ms": 0}
    text = f'42/docs,["ops",{json.dumps({"from": 2, "ops": [entry]})}]'
    frame = tally.reader.read(text)
    assert (frame.first, frame.last, frame.own) == (2, 2, {"c" * 16: 1})
    assert tally.reader.read(text) is frame
    client = WireClient(None, "notes", "d" * 16, tally)  # type: ignore[arg-type]
    with pytest.raises(WireError, match="a gap: 2 after 0"):
        client._follow(frame)
