"""Each attack by itself: the bystander is answered, and nothing is left or said."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.server.engine.hostile.arena import SUMMARY, Attack, Victim, clean, withstand
from tests.server.engine.hostile.catalog import BUSY, PATIENT
from tests.server.engine.hostile.repetitions import repeat_quickly

SCALE = 0.1
"""Of repetitions; the attacks by themselves are larger."""


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    victim = Victim()
    yield victim
    victim.kill()


@pytest.mark.parametrize("attack", BUSY, ids=lambda attack: str(attack.__name__))
async def test_an_attack(victim: Victim, attack: Attack) -> None:
    await withstand(victim, attack)


async def test_attacks_that_wait(victim: Victim) -> None:
    await withstand(victim, *PATIENT)


async def test_a_third_repetition_leaves_no_more_than_the_second(victim: Victim) -> None:
    second = await repeat_quickly(victim, BUSY, PATIENT, SCALE)
    third = await repeat_quickly(victim, BUSY, PATIENT, SCALE)
    assert third.adds_little_to(second), f"{second}; then {third}"


async def test_no_timer_is_left(victim: Victim) -> None:
    await clean(victim, timers=True)


async def test_the_end_says_once_what_happened(victim: Victim) -> None:
    said = await asyncio.to_thread(victim.stop)
    assert len(said) <= 2  # another line was due after a minute
    assert all(SUMMARY in line for line in said)
