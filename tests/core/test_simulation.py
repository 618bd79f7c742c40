import dataclasses
from collections.abc import Callable, Sequence

import pytest

from stretto_core import following
from stretto_core.authority import Authority, Submission
from stretto_core.entries import ClientRecord, Entry
from stretto_core.following import Frame, News
from stretto_core.ot import Operation, compose, transform
from stretto_core.staging import Stage
from stretto_core.unconfirmed import Unconfirmed
from tests.core.journal import Journal
from tests.core.model import Node
from tests.core.simulation import Simulation, SimulationError, main

SEEDS = 500
SEEDS_FOR_A_DEFECT = 500


@pytest.mark.parametrize("first", range(0, SEEDS, 50))
def test_everyone_ends_with_the_log_and_the_log_has_every_edit_once(first: int) -> None:
    for seed in range(first, first + 50):
        Simulation(seed).run()


def test_a_run_is_repeatable() -> None:
    runs = [Simulation(7) for _ in range(2)]
    for run in runs:
        run.run()
    assert runs[0].journal.log == runs[1].journal.log


def test_a_failure_tells_how_to_see_it_again() -> None:
    simulation = Simulation(41)
    simulation.ledger.acknowledged.append(("nobody", 1, 1))
    with pytest.raises(SimulationError) as caught:
        simulation.run()
    assert "python -m tests.core.simulation --first 41 --seeds 1" in str(caught.value)


def test_the_command_reports_progress(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "2", "--first", "5"]) == 0
    assert "2 seeds, 0 failed" in capsys.readouterr().out


def test_the_command_runs_for_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "0.001"]) == 0
    assert "0 failed" in capsys.readouterr().out


def test_the_command_fails_with_its_seeds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Simulation) -> None:
        raise SimulationError(f"seed {self.seed}")

    monkeypatch.setattr(Simulation, "run", fail)
    assert main(["--seeds", "1", "--first", "5"]) == 1
    assert "seed 5" in capsys.readouterr().out


# A simulation that finds nothing proves nothing: each of these defects must be found.


def found(make: Callable[[int], Simulation]) -> bool:
    for seed in range(SEEDS_FOR_A_DEFECT):
        try:
            make(seed).run()
        except SimulationError:
            return True
    return False


class Forgetful(Authority):
    """Takes every operation for a new one."""

    def _stage_one(self, stage: Stage, submission: Submission, at_ms: int) -> int:
        record = ClientRecord(submission.seq - 1, 0, submission.user)
        stage.records[submission.client] = record
        return super()._stage_one(stage, submission, at_ms)


def test_it_finds_an_authority_that_commits_a_seq_twice() -> None:
    assert found(
        lambda seed: Simulation(seed, journal=Journal(checks_seqs=False), authority=Forgetful)
    )


def test_it_finds_an_ack_before_the_append() -> None:
    assert found(lambda seed: Simulation(seed, acks_early=True))


def test_it_finds_a_fence_that_is_ignored() -> None:
    assert found(lambda seed: Simulation(seed, journal=Journal(keeps_fences=False)))


def test_it_finds_a_replica_that_transforms_over_a_composition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pass_below(self: Unconfirmed, op: Operation) -> Operation:
        own, buffer, over = self.in_flight, self.buffer, op
        if own is not None:
            self.in_flight = dataclasses.replace(own, op=transform(own.op, op, "left"))
            over = transform(op, own.op, "right")
        self.buffer = transform(buffer, over, "left")
        self._settle(0)
        return transform(op, compose(own.op if own is not None else (), buffer), "right")

    monkeypatch.setattr(Unconfirmed, "pass_below", pass_below)
    assert found(Simulation)


def test_it_finds_a_replica_that_takes_a_refused_seq_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Unconfirmed, "doubt", lambda self: None)
    assert found(Simulation)


# Defects in following other nodes.


def misjudge(monkeypatch: pytest.MonkeyPatch, wrong: News) -> None:
    """Let frames be taken for the next one that are something else."""
    judge = following.judge_frame

    def judge_frame(authority: Authority, frame: Frame) -> News:
        news = judge(authority, frame)
        return News.NEXT if news is wrong and frame.entries else news

    monkeypatch.setattr(following, "judge_frame", judge_frame)
    monkeypatch.setattr(following, "news_of", lambda authority, frame: frame.entries)


def test_it_finds_a_gap_that_is_taken_for_the_next_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    misjudge(monkeypatch, News.GAP)
    assert found(Simulation)


def test_it_finds_a_frame_that_is_learned_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    misjudge(monkeypatch, News.KNOWN)
    assert found(Simulation)


def test_it_finds_nodes_that_ignore_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless(Node):
        names_base_hash = False

        def _continues(self, known: Authority) -> bool:
            return known.epoch != self.journal.epoch or known.version <= self.journal.version

    def continues(authority: Authority, entries: Sequence[Entry], digest: str) -> bool:
        return True

    monkeypatch.setattr(following, "continues", continues)
    monkeypatch.setattr(following, "_judge_known", lambda authority, version, digest: News.KNOWN)
    assert found(lambda seed: Simulation(seed, node=Careless))


def test_it_finds_a_lost_tail_after_which_the_epoch_stays() -> None:
    assert found(lambda seed: Simulation(seed, journal=Journal(renews=False)))


def test_it_finds_frames_that_are_dropped_during_an_append() -> None:
    class Deaf(Node):
        def take_heard(self) -> None:
            self.heard.clear()

    assert found(lambda seed: Simulation(seed, node=Deaf))


def test_it_finds_seats_that_are_forgotten_when_a_history_is_loaded_anew() -> None:
    class Forgetting(Node):
        def enroll_seats(self) -> None:
            pass

    assert found(lambda seed: Simulation(seed, node=Forgetting, themes=("compact", "cut_bus")))


def test_it_finds_nodes_that_do_not_tell_how_far_back_history_goes() -> None:
    class Silent(Node):
        tells_floor = False

    themes = ("fall_back", "kill", "break_off", "flee")
    assert found(lambda seed: Simulation(seed, node=Silent, themes=themes))
