"""Mixed faults for as long as you like: ``python -m tests.faults --minutes 30 --seed 1``.

First every point of a commit is hit so often as ``--points`` says, by killing nodes and by
hanging the store; then seeded schedules follow, each on a document of its own, and each is
judged. What goes wrong is told with the seed that brings it back.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.faults.oracle import Bounds
from tests.faults.points import COMMIT_POINTS, Order
from tests.faults.schedule import Fault, possible, schedule
from tests.faults.stage import SLACK, Stage, staged
from tests.faults.striking import hang_store_at, kill_one, strike

EPISODE_S: Final = 60.0
WRITERS: Final = 6
HANG_S: Final = 1.7
"""Longer than a call to the store may take."""
PINGS: Final = {"STRETTO_PING_INTERVAL": "2", "STRETTO_PING_TIMEOUT": "2"}


async def begin(stage: Stage, doc: str, seed: int) -> None:
    await stage.clear(seed)
    stage.add_writers(WRITERS, doc)
    await stage.begin()


async def conclude(stage: Stage, title: str) -> bool:
    """Judge what was done to a document, and say it; tell whether all holds."""
    try:
        await stage.recover()
        verdict = await stage.finish(title, Bounds().times(SLACK))
    except AssertionError as error:
        print(f"FAILED {error}", flush=True)
        return False
    print(f"{title}: {verdict}", flush=True)
    return True


async def hit_points(stage: Stage, times: int, seed: int) -> bool:
    """Hit every point of a commit so many times, in both ways."""
    dice, good = random.Random(seed), True
    for point in COMMIT_POINTS:
        await begin(stage, f"killed-{point}", seed)
        for _ in range(times):
            await kill_one(stage, Order(point, dice.randint(1, 8)))
            await stage.crowd.committed(1)
        stage.healed()
        good &= await conclude(stage, f"1 node killed {times} times {point}")
        if stage.journal != "redis":
            continue
        await begin(stage, f"hung-{point}", seed)
        for _ in range(times):
            await hang_store_at(stage, point, dice.randint(1, 8), HANG_S)
            await stage.crowd.committed(1)
        stage.healed()
        good &= await conclude(stage, f"8 Redis hung {times} times {point}")
    return good


async def episode(stage: Stage, seed: int, faults: Sequence[Fault], seconds: float) -> bool:
    """Run one schedule; tell whether all holds afterwards."""
    await begin(stage, f"notes-{seed}", seed)
    strikes = schedule(seed, seconds, faults)
    began, backs = time.monotonic(), [0.0]
    for one in strikes:
        await asyncio.sleep(max(0.0, began + one.at_s - time.monotonic()))
        await strike(stage, one)
        stage.healed()
        backs.append(await stage.crowd.committed(1))
    stage.figures["slowest_back_s"] = max(backs)
    names = " ".join(one.fault.value for one in strikes)
    return await conclude(stage, f"seed {seed} ({names})")


async def soak(given: argparse.Namespace, folder: Path) -> bool:
    faults = [Fault(name) for name in given.faults] or possible(given.journal, given.nodes)
    ends = time.monotonic() + 60 * given.minutes
    good, seed = True, given.seed
    async with staged(folder, given.journal, nodes=given.nodes, seed=seed, settings=PINGS) as stage:
        if given.points:
            good = await hit_points(stage, given.points, seed)
        while time.monotonic() < ends:
            left = min(EPISODE_S, ends - time.monotonic())
            good &= await episode(stage, seed, faults, max(left, EPISODE_S / 4))
            seed += 1
        print(stage.growth(), flush=True)
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="for the schedules")
    parser.add_argument("--seed", type=int, default=1, help="the first; each episode counts on")
    parser.add_argument("--journal", choices=["redis", "postgres", "sqlite"], default="redis")
    parser.add_argument("--nodes", type=int, default=0, help="2, and with sqlite 1")
    parser.add_argument("--points", type=int, default=0, help="how often each point is hit")
    parser.add_argument("--faults", nargs="*", default=[], choices=[one.value for one in Fault])
    given = parser.parse_args(arguments)
    given.nodes = given.nodes or (1 if given.journal == "sqlite" else 2)
    with tempfile.TemporaryDirectory(prefix="stretto-faults-") as folder:
        good = asyncio.run(soak(given, Path(folder)))
    print("all promises held" if good else "SOME PROMISES DID NOT HOLD", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
