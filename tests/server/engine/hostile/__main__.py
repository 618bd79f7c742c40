"""Attacks for minutes, larger than those of the tests, on the engine and on the whole server.

python -m tests.server.engine.hostile [--seconds 300] [--scale 2]
"""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Callable, Sequence

from tests.server.engine.hostile.arena import SUMMARY, Attack, Victim, clean
from tests.server.engine.hostile.catalog import BUSY, PATIENT
from tests.server.engine.hostile.repetitions import Repetition, repeat
from tests.server.engine.hostile.stretto import ATTACKS, StrettoVictim

SLOW = ("--patience", "2")
"""Many attackers take their time too."""
VICTIMS: Sequence[tuple[str, Callable[[], Victim], Sequence[Attack], Sequence[Attack], float]] = [
    ("engine", lambda: Victim(*SLOW), BUSY, PATIENT, 1.0),
    ("engine on uvloop", lambda: Victim("--uvloop", *SLOW), BUSY, PATIENT, 1.0),
    # Most of its attackers are strangers, of whom only so many are let in.
    ("whole server", lambda: StrettoVictim("--uvloop", *SLOW), ATTACKS, [], 0.3),
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Raise AssertionError for whatever an attack broke, or left."""
    parser = argparse.ArgumentParser(prog="python -m tests.server.engine.hostile")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--scale", type=float, default=2.0)
    options = parser.parse_args(arguments)
    # Attackers go on writing to connections that are reset.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    for name, start, busy, patient, part in VICTIMS:
        victim = start()
        try:
            seconds, scale = options.seconds / len(VICTIMS), options.scale * part
            asyncio.run(_attack(name, victim, busy, patient, scale, seconds))
        finally:
            victim.kill()
    return 0


async def _attack(
    name: str,
    victim: Victim,
    busy: Sequence[Attack],
    patient: Sequence[Attack],
    scale: float,
    seconds: float,
) -> None:
    until = time.monotonic() + seconds
    repetitions: list[Repetition] = []
    while time.monotonic() < until or len(repetitions) < 3:
        repetitions.append(await repeat(victim, busy, patient, scale))
        print(f"{name}: {repetitions[-1]}", flush=True)
    assert repetitions[-1].adds_little_to(repetitions[1]), "memory grows"
    await clean(victim, timers=True)
    said = await asyncio.to_thread(victim.stop)
    assert all(SUMMARY in line for line in said), "\n".join(said)


if __name__ == "__main__":
    sys.exit(main())
