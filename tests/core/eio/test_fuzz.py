"""A seeded slice of ``python -m tests.core.eio.fuzz``, and whether it would find anything."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stretto_core.eio import actions as do
from stretto_core.eio import packets, websocket
from stretto_core.eio.session import Session
from stretto_core.eio.socketio import Decoder
from stretto_core.eio.violations import Violation
from stretto_core.eio.websocket import FrameReader
from tests.core.eio.fuzz import targets
from tests.core.eio.fuzz.__main__ import main
from tests.core.eio.fuzz.mutation import inputs
from tests.core.eio.fuzz.targets import TARGETS, Target, TooDearError

INPUTS = 3_000
INPUTS_FOR_A_DEFECT = 10_000
WEIGHED = 7


def fuzz(target: Target, seed: int, count: int) -> None:
    source = inputs(target, random.Random(seed))
    for at in range(count):
        data = next(source)
        target(data)
        if at % (count // WEIGHED) == 0:
            target.weigh(data)


def named(name: str) -> Target:
    (target,) = (one for one in TARGETS if one.name == name)
    return target


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: str(target.name))
def test_no_bytes_break_a_promise(target: Target) -> None:
    fuzz(target, 1, INPUTS)


def _keep_reading(self: FrameReader, reason: Any, events: list[Any]) -> int:
    events.append(Violation(reason))
    return -1


def _deliver_late(self: Session, packet: Any, now: int) -> None:
    if packet.type is packets.PacketType.MESSAGE:
        self._actions.append(do.Deliver(packet.data))


def _forget_waiting(self: Session, request: int, code: Any) -> None:
    return None


def _forgive(self: Decoder, message: str | bytes) -> Any:
    self._violation = None
    return Decoder._binary(self, message) if isinstance(message, bytes) else self._text(message)


def _beat_late(self: Session, now: int) -> None:
    self._heartbeat.at = now


DEFECTS: list[tuple[str, Any, str, Callable[..., Any]]] = [
    ("stream", FrameReader, "_violate", _keep_reading),
    ("stream", FrameReader, "_refuse_header", lambda self, first, second: None),
    ("stream", websocket, "inflate", lambda data, most: data),
    ("session", Session, "_receive", _deliver_late),
    ("session", Session, "_refuse", _forget_waiting),
    ("session", Session, "_beat", _beat_late),
    ("session", Session, "_drop_trial", lambda self: None),
    ("conversation", Decoder, "decode", _forgive),
    ("body", packets, "_decode_text", lambda text: packets.Packet(packets.PacketType.NOOP)),
    ("json", Decoder, "_plain", lambda self, text: 1 / 0),
]


@pytest.mark.parametrize(("name", "owner", "attribute", "defect"), DEFECTS)
def test_a_defect_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, owner: Any, attribute: str, defect: Any
) -> None:
    monkeypatch.setattr(owner, attribute, defect)
    with pytest.raises((AssertionError, ZeroDivisionError, KeyError)):
        fuzz(named(name), 1, INPUTS_FOR_A_DEFECT)


def test_what_costs_too_much_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    hoards = Target("hoards", lambda data: [bytes(100_000) for _ in data].clear(), [])
    with pytest.raises(TooDearError, match="bytes of memory"):
        hoards.weigh(b"x" * 1_000)
    monkeypatch.setattr(targets, "SECONDS", 0.02)
    monkeypatch.setattr(targets, "SECONDS_PER_BYTE", 0.000_001)
    slow = Target("slow", lambda data: [None for _ in range(len(data) ** 2)].clear(), [])
    slow(b"x")
    with pytest.raises(TooDearError, match="take more than"):
        slow(b"x" * 2_000)


def test_the_command_says_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(FrameReader, "feed", lambda self, data: [])
        with pytest.raises(AssertionError):
            main(["--minutes", "1", "--seed", "1", "--blindly"])
        command = capsys.readouterr().out.rpartition("again with: ")[2].split()
        assert command[:4] == ["python", "-m", "tests.core.eio.fuzz", "--target"]
        with pytest.raises(AssertionError):
            main(command[3:])
    assert main(command[3:]) == 0
    Path(command[-1]).unlink()
    Path(command[-1]).parent.rmdir()


def test_the_command_ends_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "0.001", "--seed", "1", "--blindly"]) == 0
    assert "nothing found" in capsys.readouterr().out
