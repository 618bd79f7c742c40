"""Several nodes are measured as the table says; how fast they are, no test asserts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench.cluster import suite, thousand
from bench.cluster.__main__ import build_parser, redis_version
from bench.cluster.idle import received_by
from bench.cluster.load import SOURCES, Work, check, drive, parsed_info
from bench.cluster.nodes import Cluster, Layout, cluster
from bench.cluster.replicas import FIRST_LETTER, Company, differences, without_letters
from bench.engine.compiling import compiled
from bench.engine.process import generate
from bench.engine.report import MET, MISSED, NOT_MEASURED, STATED, markdown, table_of, with_table
from bench.engine.rounds import Found, is_disturbed

SMALL = Work(documents=2, clients=4, chars=20, warm=0.1, seconds=0.5)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(Layout((None, None)), tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


def test_the_generator_drives_two_nodes(nodes: Cluster) -> None:
    figures = drive(nodes, SMALL)
    for name in ("ops_per_s", "cpu_us", "redis_cpu_us", "all_p50_us", "ack_p99_us"):
        assert figures[name] > 0, name
    assert figures["other_node_p50_us"] > 0
    assert figures["same_node_p50_us"] > 0
    assert figures["redis_bytes_in_per_op"] > 100
    check(nodes, SMALL, figures["documents"])
    (document, *_) = figures["documents"]
    with pytest.raises(RuntimeError, match="another history"):
        check(nodes, SMALL, [{**document, "hash": "0123456789abcdef"}])
    with pytest.raises(RuntimeError, match="not what was typed"):
        check(nodes, SMALL, [{**document, "accepted": [1, 0, 0, 0]}])


def test_a_pace_is_kept(tmp_path: Path) -> None:
    work = Work(2, 3, writers=1, chars=20, rate=100, by="roles", warm=0.1, seconds=0.5)
    with cluster(Layout((None, None)), tmp_path) as nodes:
        figures = drive(nodes, work)
        check(nodes, work, figures["documents"])
    assert figures["same_node_p50_us"] == 0
    assert figures["other_node_p50_us"] > 0
    assert [sum(one["accepted"][1:]) for one in figures["documents"]] == [0, 0]
    assert figures["all_operations"] > 0


def test_one_node_without_redis_will_do(tmp_path: Path) -> None:
    with cluster(Layout((None,), redis=False), tmp_path) as nodes:
        figures = drive(nodes, SMALL)
        check(nodes, SMALL, figures["documents"])
    assert figures["redis_cpu_us"] == 0
    assert "redis_bytes_in_per_op" not in figures


def test_sdk_replicas_nodes_and_journal_agree_with_the_generator() -> None:
    figures = thousand.measure(Layout((None, None)), writers=10, replicas=2, warm=1.0, seconds=3.0)
    assert figures["late"] == 0
    assert figures["all_p95_us"] > 0
    assert "documents" not in figures


def test_the_generator_fails_with_a_reason(tmp_path: Path) -> None:
    generator = compiled("cluster_load", SOURCES, tmp_path)
    for arguments, reason in (
        (["ports=1", "--"], "usage"),
        (["--", "token"], "at least one node"),
        (["ports=1,2", "pids=1", "--", "token"], "as many process ids"),
        (["ports=1", "pids=1", "clients=1", "--", "token"], "two clients"),
        (["ports=1", "pids=1", "chars=2", "--", "token"], "more characters"),
        (["speed=1", "--", "token"], "no setting speed"),
        (["ports=1", "pids=1", "--", "token"], "cannot connect"),
    ):
        with pytest.raises(RuntimeError, match=reason):
            generate([str(generator), *arguments], 30)


def test_what_replicas_typed_is_left_out() -> None:
    text = f"a{chr(FIRST_LETTER)}b{chr(FIRST_LETTER + 1)}c{chr(FIRST_LETTER + 2)}"
    assert without_letters(text, 2) == f"abc{chr(FIRST_LETTER + 2)}"


def test_replicas_are_compared() -> None:
    one = {"version": 3, "hash": "h", "text": "abc", "doc": "any"}
    assert differences([one, {**one, "doc": "other"}]) == []
    assert differences([one, {**one, "hash": "i"}, {**one, "text": ""}]) == ["hash", "text"]


def test_a_company_is_told_in_one_argument() -> None:
    company = Company(["http://a"], ["t1", "t2"], "notes", 2.0)
    assert '"every_s": 2.0' in company.to_argument()


def test_bytes_are_counted_by_process_and_port() -> None:
    line = (
        '0 0 127.0.0.1:{} 127.0.0.1:6379 users:(("python",pid={},fd=9)) cubic rto:201 {}'
        "bytes_sent:99 segs_out:5"
    )
    owners = ((1001, 7, "bytes_received:123 "), (1002, 7, ""), (1003, 8, "bytes_received:5 "))
    output = "\n".join(["nothing", *(line.format(*owner) for owner in owners)])
    assert received_by(output, 7) == {1001: 123, 1002: 0}


def test_what_redis_says_of_itself_is_read() -> None:
    found = parsed_info("# Stats\r\ntotal_net_input_bytes:12\r\nmode:a:b\r\n")
    assert found == {"total_net_input_bytes": "12", "mode": "a:b"}
    assert parsed_info({"a": 1}) == {"a": 1}
    assert redis_version("Redis server v=7.0.15 sha=0 bits=64") == "7.0.15"
    assert redis_version("Valkey 8") == "Valkey 8"


def test_times_are_in_milliseconds() -> None:
    times = {
        f"{where}_node_{rank}_us": value
        for where, value in (("same", 1000.0), ("other", 3500.0))
        for rank in ("p50", "p99")
    }
    found = suite.in_ms({**times, "cpu_us": 7.0})
    assert found == {
        **{"same_node_p50_ms": 1.0, "same_node_p99_ms": 1.0, "cpu_us": 7.0},
        **{"other_node_p50_ms": 3.5, "other_node_p99_ms": 3.5},
        **{"extra_p50_ms": 2.5, "extra_p99_ms": 2.5},
    }


def test_other_processes_disturb() -> None:
    assert is_disturbed({"foreign_share": 0.2, "server_share": 0.99})
    assert not is_disturbed({"foreign_share": 0.1})


def hot(ratio: float) -> Found:
    redis = dict.fromkeys(("redis_cpu_us", "redis_bytes_in_per_op", "redis_bytes_out_per_op"), 1.0)
    one = {"generator_share": 0.2, "ops_per_cpu_s": 10.0, "ops_per_s": 5.0, **redis}
    two = {"generator_share": 0.3, "ops_per_cpu_s": 10 * ratio, "ops_per_s": 4.0, **redis}
    return Found([{suite.ONE: one, suite.TWO: two}])


@pytest.mark.parametrize(("ratio", "verdict"), [(0.8, MET), (0.79, MISSED)])
def test_the_rows_and_what_they_promise(ratio: float, verdict: str) -> None:
    machine = {"system": "Linux 6.1", "date": "2026-01-01T00:00", "cpu": "x", "cores": 2}
    about = {
        **{"maker": "bench-cluster", "columns": [suite.TWO, suite.ONE], "rounds": 1},
        **{"machine": machine, "versions": {}},
    }
    table = table_of(suite.TITLE, suite.claims(), {suite.HOT: hot(ratio)}, about)
    verdicts: Sequence[str] = [row["verdict"] for row in table["rows"]]
    assert verdicts[:3] == [verdict, STATED, NOT_MEASURED]
    assert "| what | figure | two nodes | one node |" in markdown(table)
    text = "<!-- cluster: made by make bench-cluster -->\n<!-- end of cluster -->"
    assert suite.TITLE in with_table(text, "cluster", table)


def test_every_row_is_measured() -> None:
    made = {one.name: one.contenders for one in suite.measurements(suite.QUICK)}
    for claim in suite.claims():
        names = {claim.contender, claim.baseline} - {None}
        assert names <= set(made[claim.measurement]), claim.what
    assert set(made) == set(suite.NAMES.values())


def test_rows_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert build_parser().parse_args(["--rows", "hot,crowd"]).rows == ["hot", "crowd"]
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--rows", "nothing"])
    assert "there is no nothing" in capsys.readouterr().err
