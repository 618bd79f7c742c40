import pytest

from stretto_core.eio.packets import decode_frame
from stretto_core.eio.upgrade import Outcome, Trial

WORKS, UPGRADE, BROKEN = Outcome.WORKS, Outcome.UPGRADE, Outcome.BROKEN


@pytest.mark.parametrize(
    ("frames", "outcomes"),
    [
        (["2probe", "5"], [WORKS, UPGRADE]),
        (["5"], [BROKEN]),
        (["2"], [BROKEN]),
        (["3probe"], [BROKEN]),
        (["6"], [BROKEN]),
        (["4a"], [BROKEN]),
        (["x"], [BROKEN]),
        ([""], [BROKEN]),
        ([b"2probe"], [BROKEN]),
        (["2probe", "2probe"], [WORKS, BROKEN]),
        (["2probe", "4a"], [WORKS, BROKEN]),
        (["2probe", "6"], [WORKS, BROKEN]),
    ],
)
def test_trials(frames: list[str | bytes], outcomes: list[Outcome]) -> None:
    trial = Trial(1, by=100)
    assert [trial.take(decode_frame(frame, 100), 7) for frame in frames] == outcomes
    assert trial.release_at == (7 if trial.works else 0)
