"""The whole server under attack."""

from collections.abc import Iterator

import pytest

from tests.server.engine.hostile.arena import Attack, Victim, clean, withstand
from tests.server.engine.hostile.stretto import ATTACKS, StrettoVictim


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    victim = StrettoVictim("--uvloop")
    yield victim
    victim.kill()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: str(attack.__name__))
async def test_an_attack(victim: Victim, attack: Attack) -> None:
    await withstand(victim, attack)


async def test_no_timer_is_left(victim: Victim) -> None:
    await clean(victim, timers=True)
