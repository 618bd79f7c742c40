"""Mutations without feedback, the same for the same seed: what runs where atheris does not."""

import random
from collections.abc import Iterator, Sequence

from tests.core.eio.fuzz.targets import WORDS, Target

LONGEST = 8_192
KEPT = 200


def inputs(target: Target, chance: random.Random) -> Iterator[bytes]:
    """Give the target's examples, then what becomes of them, without end."""
    pool = list(target.examples)
    yield from pool
    while True:
        data = mutate(chance.choice(pool), pool, chance)
        yield data
        if chance.random() < 0.05:
            # Mutations of mutations: no feedback tells which ones are worth it.
            pool[len(target.examples) :] = [*pool[len(target.examples) :][-KEPT:], data]


def mutate(data: bytes, pool: Sequence[bytes], chance: random.Random) -> bytes:
    """Change some places of ``data``."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        start = chance.randint(0, len(changed))
        end = min(len(changed), start + chance.choice([0, 1, 1, 2, 4, 16]))
        match chance.randrange(7):
            case 0:
                changed[start:end] = b""
            case 1:
                changed[start:end] = chance.choice(WORDS)
            case 2:
                changed[start:end] = chance.randbytes(chance.randint(1, 4))
            case 3 if start < len(changed):
                changed[start] ^= 1 << chance.randrange(8)
            case 4:
                changed[start:start] = changed[start:end] * chance.choice([1, 2, 30])
            case 5:
                other = chance.choice(pool)
                changed[start:] = other[chance.randint(0, len(other)) :]
            case _:
                changed[start:start] = chance.choice(WORDS)
    return bytes(changed[:LONGEST])
