"""The engine's benchmark counts and judges as it says; how fast anything is, no test asserts."""

import json
import struct
import sys
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from bench.engine import generator, suite
from bench.engine.__main__ import build_parser
from bench.engine.contenders import OURS, SOCKETIO, contender
from bench.engine.process import generate, serving
from bench.engine.report import (
    README,
    RESULTS,
    Claim,
    markdown,
    row_of,
    table_of,
    with_table,
    write,
)
from bench.engine.rounds import Figures, Found, Measurement, run_rounds

ABOUT = {
    "machine": {"date": "2026-11-25T00:00:00Z", "cpu": "CPU", "cores": 2, "system": "Linux 6"},
    "versions": {"Python": "3.11"},
    "rounds": 3,
}
CLAIM = Claim("broadcast", "one", "cpu_us", "µs", 0.55)


def found(ours: Iterable[float], theirs: Iterable[float], share: float = 0.5) -> Found:
    """Return rounds with these figures."""
    rounds: list[dict[str, Figures]] = [
        {
            OURS: {"cpu_us": a, "generator_share": share},
            SOCKETIO: {"cpu_us": b, "generator_share": 0.4},
        }
        for a, b in zip(ours, theirs, strict=True)
    ]
    return Found(rounds)


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    row = row_of(CLAIM, found([1, 9, 4], [10, 10, 5]))
    assert row["value"] == 0.8  # of 0.1, 0.9 and 0.8: not 4 / 10, the ratio of the medians
    assert row["medians"] == {OURS: 4, SOCKETIO: 10}
    assert row["verdict"] == "missed"


@pytest.mark.parametrize(
    ("claim", "ours", "verdict"),
    [
        (CLAIM, 5.4, "met"),
        (CLAIM, 5.5, "met"),
        (CLAIM, 5.6, "missed"),
        (Claim("", "", "cpu_us", "", 0.55, strict=True), 5.5, "missed"),
        (Claim("", "", "cpu_us", "", 1.3, is_upper=False), 12, "missed"),
        (Claim("", "", "cpu_us", "", 1.3, is_upper=False), 13, "met"),
        (Claim("", "", "cpu_us", "", 12, baseline=None), 12, "met"),
        (Claim("", "", "cpu_us", "", 12, baseline=None), 13, "missed"),
    ],
)
def test_verdicts(claim: Claim, ours: float, verdict: str) -> None:
    assert row_of(claim, found([ours], [10]))["verdict"] == verdict


def test_a_busy_generator_measures_itself() -> None:
    assert row_of(CLAIM, found([1], [10], share=0.85))["verdict"] == "met"
    assert row_of(CLAIM, found([1], [10], share=0.86))["verdict"] == "generator-bound"


def test_disturbed_rounds_do_not_count_when_three_are_left() -> None:
    one = found([1, 2, 3, 9], [10, 10, 10, 10])
    disturbed = {"generator_share": 0.5, "cpu_us": 9, "server_share": 0.6, "waited_share": 0.3}
    one.rounds[3][OURS] = disturbed
    assert row_of(CLAIM, one)["value"] == 0.2
    assert row_of(CLAIM, one)["rounds"] == 3
    one.rounds[2][OURS] = disturbed
    assert row_of(CLAIM, one)["rounds"] == 4
    assert row_of(CLAIM, one)["value"] == 0.55
    # a server that used its whole core waited for its own threads
    one.rounds[2][OURS] = {**disturbed, "server_share": 0.99}
    one.rounds[3][OURS] = {**disturbed, "generator_waited_share": 0.2, "waited_share": 0}
    assert row_of(CLAIM, one)["rounds"] == 3


def test_a_round_without_a_contender_has_failed() -> None:
    one = found([1, 1], [10, 10])
    del one.rounds[1][SOCKETIO]
    assert row_of(CLAIM, one)["verdict"] == "failed"
    assert row_of(CLAIM, None)["verdict"] == "not measured"


def test_contenders_take_turns_and_a_failure_stops_nobody() -> None:
    turns: list[str] = []

    def measure(name: str) -> Figures:
        turns.append(name)
        if len(turns) == 2:
            raise RuntimeError("lost a message")
        return {"cpu_us": 1.0}

    result = run_rounds([Measurement("one", ("a", "b"), measure)], 2)["one"]
    assert turns == ["a", "b", "b", "a"]
    assert [set(one) for one in result.rounds] == [{"a"}, {"a", "b"}]
    assert result.errors == ["round 1 of 2, one, b: lost a message"]


def test_a_disturbed_turn_is_taken_again_three_times_at_the_most() -> None:
    turns: list[float] = []

    def measure(_name: str) -> Figures:
        turns.append(1.0 if len(turns) in (1, 4) else 0.5)
        return {"cpu_us": float(len(turns)), "server_share": turns[-1], "waited_share": 0.4}

    result = run_rounds([Measurement("one", ("a",), measure)], 3)["one"]
    assert [one["a"]["cpu_us"] for one in result.rounds] == [2, 5, 8]


def test_every_row_is_in_the_table_whatever_was_measured(tmp_path: Path) -> None:
    made = table_of("Title", suite.CLAIMS, {"broadcast-100": found([1], [10])}, ABOUT)
    text = markdown(made)
    assert [row["verdict"] for row in made["rows"]].count("not measured") == len(suite.CLAIMS) - 1
    for claim in suite.CLAIMS:
        assert text.count(f"| {claim.what}") >= 1
        assert claim.measurement in suite.WORKS
        assert claim.target in text


def test_tables_of_other_runs_are_kept(tmp_path: Path) -> None:
    path, readme = tmp_path / "results.json", tmp_path / "README.md"
    readme.write_text(
        "before\n<!-- engine: made by make bench-engine -->\nold\n<!-- end of engine -->\nafter\n"
    )
    path.write_text(json.dumps({"tables": {"other": {"title": "kept"}}}))
    made = table_of("Title", [CLAIM], {"one": found([1], [10])}, ABOUT)
    write({"engine": made}, path, readme)
    assert set(json.loads(path.read_text())["tables"]) == {"other", "engine"}
    text = readme.read_text()
    assert text.startswith("before\n<!--")
    assert text.endswith("-->\nafter\n")
    assert markdown(made) in text
    assert "old" not in text
    with pytest.raises(ValueError, match="0 times"):
        with_table("no markers", "engine", made)


def test_the_readme_shows_what_the_results_say() -> None:
    text = README.read_text()
    for name, table in json.loads(RESULTS.read_text())["tables"].items():
        assert with_table(text, name, table) == text
    table = json.loads(RESULTS.read_text())["tables"]["engine"]
    assert table == table_of(
        suite.TITLE,
        suite.CLAIMS,
        {name: Found(**one) for name, one in table["measurements"].items()},
        {key: table[key] for key in ("machine", "versions", "rounds", "quick")},
    )
    assert table["rounds"] >= 5


def compressed(text: bytes) -> bytes:
    """Return a message as RFC 7692 has it."""
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def watched(events: Mapping[int, Iterable[int]], *, compress: bool = True) -> bytes:
    """Return a file of frames that clients got: the numbers of their messages."""
    content = b""
    for client, numbers in events.items():
        for number in numbers:
            text = b'42["event",{"n":%d,"text":"aaaaaaaaaaaaaaaaaa"}]' % number
            payload = compressed(text) if compress else text
            content += struct.pack("=III", client, 64 * compress, len(payload)) + payload
    return content


def test_compressed_events_are_read() -> None:
    size = len(b'{"n":0,"text":"aaaaaaaaaaaaaaaaaa"}')
    generator.check_watched(watched({1: [0, 1], 7: [0, 1]}), size)
    for wrong in (
        watched({1: [0, 1], 7: [0]}),
        watched({1: [0, 1]}),
        watched({1: [0, 2], 7: [0, 2]}),
        watched({1: [0], 7: [0]}, compress=False),
    ):
        with pytest.raises(RuntimeError):
            generator.check_watched(wrong, size)
    with pytest.raises(RuntimeError):
        generator.check_watched(watched({1: [0], 7: [0]}), size + 1)


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="no such thing"):  # noqa: SIM117
        with serving([sys.executable, "-c", "raise SystemExit('no such thing')"]):
            pass
    with pytest.raises(RuntimeError, match="lost"):
        generate([sys.executable, "-c", "raise SystemExit('lost')"], 30)


def test_rows_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert build_parser().parse_args(["--rows", "ack-plain,memory"]).rows == ["ack-plain", "memory"]
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--rows", "nothing"])
    assert "there is no nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "options", "server"),
    [
        ("broadcast", {"clients": 5, "window": 16, "warm": 0.1, "seconds": 0.2}, {}),
        ("ack", {"clients": 3, "warm": 0.1, "seconds": 0.2}, {"handlers": "async"}),
        ("idle", {"clients": 20, "first": 10, "hold": 0}, {}),
        ("stay", {"clients": 20, "hold": 3}, {"ping_interval": 1}),
        ("leave", {"clients": 20}, {}),
    ],
)
def test_the_generator_drives_our_server(
    mode: str, options: Mapping[str, float], server: Mapping[str, object]
) -> None:
    with contender(OURS, server) as started:
        figures = generator.load(started, mode, options)
        assert started.cpu_s() > 0
        assert started.rss_bytes() > 1_000_000
    assert figures["seconds"] > 0
    assert figures.get("stayed", 20) == 20


def test_compression_is_seen_on_the_wire() -> None:
    options = {"clients": 5, "bytes": 1_024, "warm": 0.1, "seconds": 0.2}
    with contender(OURS, {"compression": True}) as started:
        figures = generator.load_compressed(started, "broadcast", options)
    assert 0 < figures["frame_bytes"] < 1_000
