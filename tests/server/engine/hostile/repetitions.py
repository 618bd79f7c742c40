"""The same attacks again and again: what each repetition costs, and what it leaves in memory."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.server.engine.hostile.arena import Arena, Attack, Victim, withstand

MORE: Final = 1.05
"""How much more memory a repetition may leave than the one before."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """``rss`` and ``blocks`` (allocated by Python) are what is left."""

    seconds: float
    longest_wait: float
    blocks: int
    rss: int

    def __str__(self) -> str:
        return (
            f"{self.seconds:.1f} s, longest wait {self.longest_wait * 1000:.0f} ms, "
            f"{self.rss / 2**20:.1f} MB left in {self.blocks} blocks"
        )

    def adds_little_to(self, before: "Repetition") -> bool:
        """Tell whether about as much is left as before."""
        return self.rss < before.rss * MORE and self.blocks < before.blocks * MORE


async def repeat(
    victim: Victim, busy: Sequence[Attack], patient: Sequence[Attack], scale: float
) -> Repetition:
    """Run the busy attacks one after the other, then the patient ones together."""
    began = time.monotonic()
    longest = [await withstand(victim, attack, scale=scale) for attack in busy]
    if patient:
        longest.append(await withstand(victim, *patient, scale=scale))
    return await _measure(victim, began, max(longest))


async def repeat_quickly(
    victim: Victim, busy: Sequence[Attack], patient: Sequence[Attack], scale: float
) -> Repetition:
    """Run the busy attacks one after the other, and all patient ones meanwhile."""

    async def one_by_one(arena: Arena) -> None:
        for attack in busy:
            await attack(arena)

    began = time.monotonic()
    longest = await withstand(victim, one_by_one, *patient, scale=scale)
    return await _measure(victim, began, longest)


async def _measure(victim: Victim, began: float, longest: float) -> Repetition:
    seconds = time.monotonic() - began
    left = await asyncio.to_thread(victim.ask, "memory")
    return Repetition(seconds, longest, left["blocks"], left["rss"])
