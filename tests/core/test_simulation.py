import dataclasses
from collections.abc import Callable

import pytest

from stretto_core.authority import Authority, Submission, _Stage
from stretto_core.entries import ClientRecord
from stretto_core.ot import Operation, compose, transform
from stretto_core.unconfirmed import Unconfirmed
from tests.core.model import Journal
from tests.core.simulation import Simulation, SimulationError, main

SEEDS = 300
SEEDS_FOR_A_DEFECT = 300


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
    simulation.acknowledged.append(("nobody", 1, 1))
    with pytest.raises(SimulationError) as caught:
        simulation.run()
    assert "python -m tests.core.simulation --first 41 --seeds 1" in str(caught.value)


def test_the_command_reports_progress(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "2", "--first", "5"]) == 0
    assert "2 seeds, 0 failed" in capsys.readouterr().out


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

    def _stage_one(self, stage: _Stage, submission: Submission, at_ms: int) -> int:
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
