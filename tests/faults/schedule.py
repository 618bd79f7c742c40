"""What goes wrong when: a seed in, a list of moments and actions out. Nothing here acts."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """One way in which a cluster is hurt; each heals after a while."""

    KILL_NODE = "kill-node"
    KILL_AT_POINT = "kill-at-point"
    KILL_ALL = "kill-all"
    DRAIN_NODE = "drain-node"
    HANG_NODE = "hang-node"
    KILL_STORE = "kill-store"
    HANG_STORE = "hang-store"
    HANG_STORE_AT_POINT = "hang-store-at-point"
    SLOW_STORE = "slow-store"
    FULL_STORE = "full-store"
    CUT_STORE = "cut-store"
    CUT_STORE_ONE_WAY = "cut-store-one-way"
    CUT_BUS = "cut-bus"
    CUT_CLIENTS = "cut-clients"
    HALF_OPEN_CLIENTS = "half-open-clients"
    RESET_CLIENTS = "reset-clients"
    SLOW_CLIENTS = "slow-clients"


LONGEST_S: Final = {
    Fault.KILL_NODE: 1.0,
    Fault.KILL_AT_POINT: 1.0,
    Fault.KILL_ALL: 1.0,
    Fault.DRAIN_NODE: 0.5,
    Fault.HANG_NODE: 6.0,
    Fault.KILL_STORE: 2.0,
    Fault.HANG_STORE: 6.0,
    Fault.HANG_STORE_AT_POINT: 4.0,
    Fault.SLOW_STORE: 4.0,
    Fault.FULL_STORE: 3.0,
    Fault.CUT_STORE: 6.0,
    Fault.CUT_STORE_ONE_WAY: 6.0,
    Fault.CUT_BUS: 0.1,
    Fault.CUT_CLIENTS: 4.0,
    Fault.HALF_OPEN_CLIENTS: 4.0,
    Fault.RESET_CLIENTS: 0.1,
    Fault.SLOW_CLIENTS: 3.0,
}
"""So long each lasts at most."""

ONE_NODE: Final = frozenset(Fault) - {Fault.CUT_BUS}
OF_STORE: Final = frozenset(fault for fault in Fault if fault.value.endswith("store"))
ONLY_REDIS: Final = frozenset({Fault.FULL_STORE, Fault.HANG_STORE_AT_POINT})


@dataclass(frozen=True)
class Strike:
    """One fault: when it begins, how long it lasts, and whom it hits."""

    at_s: float
    fault: Fault
    lasts_s: float
    victim: int
    """Of the nodes, counted modulo how many there are."""
    passage: int
    """Of the point, where there is one."""
    point: int


def possible(journal: str, nodes: int) -> list[Fault]:
    """Return the faults that a cluster of this kind can suffer."""
    found = set(Fault) if nodes > 1 else set(ONE_NODE)
    if journal != "redis":
        found -= ONLY_REDIS
    if journal == "sqlite":
        found -= OF_STORE | {Fault.CUT_STORE_ONE_WAY}
    return sorted(found)


def schedule(
    seed: int, seconds: float, faults: Sequence[Fault], *, calm_s: float = 3.0
) -> list[Strike]:
    """Return strikes that fit into ``seconds``; between two there are ``calm_s`` or more.

    Every fault comes once before any comes twice.
    """
    dice = random.Random(seed)
    strikes: list[Strike] = []
    bag: list[Fault] = []
    now = calm_s
    while True:
        if not bag:
            bag = list(faults)
            dice.shuffle(bag)
        fault = bag.pop()
        lasts = LONGEST_S[fault] * dice.uniform(0.3, 1.0)
        if now + lasts + calm_s > seconds:
            return strikes
        strikes.append(
            Strike(
                round(now, 3),
                fault,
                round(lasts, 3),
                dice.randrange(1_000),
                dice.randint(1, 12),
                dice.randrange(1_000),
            )
        )
        now += lasts + calm_s * dice.uniform(1.0, 2.0)
