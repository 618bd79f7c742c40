"""The benchmark of the document path runs and counts; how fast it is, no test asserts."""

import json
from pathlib import Path

import pytest

from bench import commit_path

SIZES = commit_path.Sizes(
    runs=1, warm_up=8, operations=40, workloads=(commit_path.Workload(2, 3, 100),)
)


def test_every_journal_is_measured(tmp_path: Path) -> None:
    table = commit_path.run(SIZES, tmp_path)
    assert [(row["workload"], row["journal"]) for row in table.rows] == [
        ("2 × 3", "memory"),
        ("2 × 3", "sqlite"),
    ]
    for row in table.rows:
        assert float(row["ops/s"]) > 0
        assert 1 <= float(row["ops per frame"]) <= 3
    assert float(table.rows[1]["ops per commit"]) >= 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commit_path, "QUICK", SIZES)
    output = tmp_path / "figures.json"
    arguments = ["--quick", "--runs", "1", "--folder", str(tmp_path), "--output", str(output)]
    assert commit_path.main(arguments) == 0
    written = json.loads(output.read_text())
    assert set(written) == {"machine", "rows"}
    assert "without sockets" in capsys.readouterr().out
