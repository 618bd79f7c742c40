"""Each check finds the forgery that it is there for."""

from typing import Any

from stretto_client.replay.audit import (
    compare_texts,
    entries_of_history,
    missing_acks,
    replay_log,
)
from stretto_core.entries import Entry, next_hash
from stretto_core.ot import Operation

ANN, BOB = "client-of-ann-0001", "client-of-bob-0001"


def entry(client: str, seq: int, *op: int | str) -> Entry:
    operation: Operation = op
    return Entry(client, seq, operation, "user", 1)


LOG = [entry(ANN, 1, "ab"), entry(BOB, 1, 1, "X"), entry(ANN, 2, -1)]
ACKED = {(ANN, 1): 1, (BOB, 1): 2, (ANN, 2): 3}


def test_a_sound_log_is_clean() -> None:
    replayed = replay_log(LOG)
    assert (replayed.text, replayed.problems) == ("Xb", ())
    assert missing_acks(ACKED, LOG) == []


def test_a_lost_acknowledgement_is_found() -> None:
    assert "lost" in missing_acks(ACKED, LOG[:2])[0]


def test_a_duplicate_is_found() -> None:
    log = [*LOG, entry(BOB, 1, 1, "X")]
    assert "2 times" in missing_acks(ACKED, log)[0]
    assert "again" in replay_log(log).problems[0]


def test_another_version_than_acknowledged_is_found() -> None:
    assert "acknowledged as 9" in missing_acks({(ANN, 1): 9}, LOG)[0]


def test_a_gap_and_an_operation_that_does_not_fit_are_found() -> None:
    problems = replay_log([entry(ANN, 2, "ab"), entry(BOB, 1, 9, "X")]).problems
    assert "too early" in problems[0]
    assert "does not apply" in problems[1]


def test_different_texts_and_hashes_are_found() -> None:
    texts = {"log": "a", "server": "a", "author 1": "b"}
    assert compare_texts(texts, {"log": "0", "server": "1"}) == [
        "the text of author 1 differs from that of log",
        "the hash of server differs from that of log",
    ]


def history() -> list[dict[str, Any]]:
    reached, lines = "0" * 16, []
    for version, one in enumerate(LOG, 1):
        reached = next_hash(reached, one)
        lines.append({"version": version, **one.to_payload(), "hash": reached})
    return lines


def test_a_history_is_read_back_and_its_hashes_checked() -> None:
    assert entries_of_history(history()) == (LOG, [])
    forged = history()
    forged[1]["op"] = [1, "Y"]
    assert "version 2 has the hash" in entries_of_history(forged)[1][0]
    assert "stands where 1 belongs" in entries_of_history(history()[1:])[1][0]
