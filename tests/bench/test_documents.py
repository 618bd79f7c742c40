"""What the documents table is made of; the C generator and the peers run in the benchmark."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.engine import compiling, documents
from bench.engine.documents import Contender, Sizes, expected_text
from bench.engine.process import generate
from bench.engine.report import MET, MISSED, STATED, table_of
from bench.engine.rounds import Found
from bench.server import Workload

WORKLOAD = Workload(2, 2, 12)


def test_each_client_types_one_run_at_its_place() -> None:
    assert expected_text(12, [2, 1]) == "0123aa4567b8901"
    assert expected_text(10, [0, 3, 1]) == "01234bbb56c789"


def replace_generator(
    monkeypatch: pytest.MonkeyPatch, texts: Mapping[str, str], accepted: list[list[int]]
) -> list[list[str]]:
    """Let a run be what ``accepted`` says, and the server's texts what ``texts`` says."""
    commands: list[list[str]] = []

    @contextmanager
    def running(_contender: str, _workload: Workload, _sizes: Sizes) -> Iterator[Contender]:
        yield Contender(4000, 17, ["one", "two"], lambda doc: texts[doc])

    def generated(command: list[str], _limit_s: float) -> dict[str, Any]:
        commands.append(command)
        return {"ops_per_s": 10.0, "accepted": accepted}

    monkeypatch.setattr(documents, "running", running)
    monkeypatch.setattr(documents, "generate", generated)
    return commands


def measure(contender: str = "ours") -> Mapping[str, float]:
    return documents.measure(
        contender,
        workload=WORKLOAD,
        sizes=Sizes(warm_up_s=0.5, measured_s=1.5),
        generator=Path("load"),
    )


def test_the_generator_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"bench-0": "0123a4567b8901", "bench-1": "012345678901"}
    commands = replace_generator(monkeypatch, texts, [[1, 1], [0, 0]])
    assert measure() == {"ops_per_s": 10.0}
    assert measure("sharedb") == {"ops_per_s": 10.0}
    plan = ["port=4000", "pid=17", "documents=2", "clients=2", "chars=12", "warm=0.5"]
    plan += ["seconds=1.5", "--", "one", "two"]
    assert commands == [["load", "stretto", *plan], ["load", "sharedb", *plan]]


@pytest.mark.parametrize("text", ["0123a45678901", "0123a4567b890", "0123b4567a8901"])
def test_a_text_that_nobody_typed_is_no_measurement(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    texts = {"bench-0": "0123a4567b8901", "bench-1": text}
    replace_generator(monkeypatch, texts, [[1, 1], [1, 1]])
    with pytest.raises(RuntimeError, match="document 1 is not what its 2 typed"):
        measure()


def test_the_generator_types_at_a_real_server(tmp_path: Path) -> None:
    generator = compiling.compiled("documents_load", documents.SOURCES, tmp_path)
    figures = documents.measure(
        "ours",
        workload=Workload(2, 3, 20),
        sizes=Sizes(warm_up_s=0.1, measured_s=0.4, journals=tmp_path / "journals"),
        generator=generator,
    )
    for name in ("operations", "ops_per_s", "cpu_us", "seen_p50_us", "ack_p99_us", "server_share"):
        assert figures[name] > 0, name
    assert figures["seen_p99_us"] >= figures["seen_p50_us"]
    assert "accepted" not in figures
    assert list((tmp_path / "journals").iterdir()) == []


def test_the_generator_fails_with_a_reason(tmp_path: Path) -> None:
    generator = compiling.compiled("documents_load", documents.SOURCES, tmp_path)
    for arguments, reason in (
        (["yjs"], "no protocol yjs"),
        (["stretto", "port=1", "--"], "usage"),
        (["stretto", "port=1", "pid=1", "clients=1", "--", "token"], "2 to 20 clients"),
        (["stretto", "port=1", "pid=1", "--", "token"], "cannot connect"),
    ):
        with pytest.raises(RuntimeError, match=reason):
            generate([str(generator), *arguments], 30)


def figures(ops: float, seen: float, cpu: float) -> dict[str, float]:
    return {"ops_per_s": ops, "seen_p99_us": seen, "cpu_us": cpu, "generator_share": 0.5}


def test_the_rows_and_what_they_promise() -> None:
    one = Found([{"ours": figures(10, 9, 1), "sharedb": figures(2, 9, 1)}])
    one.rounds[0]["hocuspocus"] = figures(4.1, 10, 1)
    many = Found([{"ours": figures(1, 1, 2), "sharedb": figures(4, 1, 4)}])
    many.rounds[0]["hocuspocus"] = figures(4, 1, 3.9)
    found = {"1 document × 20 clients": one, "100 documents × 2 clients": many}
    about = {"machine": {"system": "Linux 6.1"}}
    rows = table_of(documents.TITLE, documents.claims(), found, about)["rows"]
    assert [(row["measurement"][:3], row["unit"], row["baseline"]) for row in rows] == [
        ("1 d", "ops/s", "sharedb"),
        ("1 d", "ops/s", "hocuspocus"),
        ("1 d", "p99 µs to all", "sharedb"),
        ("1 d", "p99 µs to all", "hocuspocus"),
        ("100", "CPU µs/op", "sharedb"),
        ("100", "CPU µs/op", "hocuspocus"),
        ("100", "ops/s", "sharedb"),
        ("100", "ops/s", "hocuspocus"),
    ]
    verdicts = [row["verdict"] for row in rows]
    assert verdicts == [MET, MISSED, MISSED, MET, MET, MISSED, STATED, STATED]
    assert [row["target"] for row in rows] == [
        *("≥ 5×", "≥ 2.5×", "< 1×", "< 1×", "≤ 0.5×", "≤ 0.5×", "", ""),
    ]


def test_every_contender_takes_its_turn_at_both_workloads() -> None:
    made = documents.measurements(Sizes(), Path("load"))
    assert [one.name for one in made] == ["1 document × 20 clients", "100 documents × 2 clients"]
    assert {one.contenders for one in made} == {("ours", "sharedb", "hocuspocus")}
    assert {claim.measurement for claim in documents.claims()} == {one.name for one in made}


def test_without_a_compiler_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="a C compiler is needed"):
        compiling.compiled("load", documents.SOURCES, tmp_path)


def test_what_is_compiled_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cc").write_text(f'#!/bin/sh\nshift 5\n: > "$1"\necho >> "{tmp_path}/times"\n')
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for _ in range(2):
        program = compiling.compiled("load", documents.SOURCES, tmp_path / "made")
    assert program == tmp_path / "made" / "load"
    assert (tmp_path / "times").read_text() == "\n"


def test_what_is_not_compiled_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cc").write_text("#!/bin/sh\necho 'no such thing' >&2\nexit 1\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="load was not compiled:\nno such thing"):
        compiling.compiled("load", documents.SOURCES, tmp_path)
