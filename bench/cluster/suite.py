"""What is measured of several nodes on one Redis, and what is promised of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from bench.cluster import idle, thousand
from bench.cluster.load import Work, check, drive
from bench.cluster.nodes import FIRST_CPU, LAST_CPU, Layout, cluster
from bench.engine.report import Claim
from bench.engine.rounds import Figures, Measurement

TITLE: Final = "Several nodes on one Redis"
ONE: Final = "one node"
TWO: Final = "two nodes"
MIXED: Final = "two nodes, clients mixed"
WORKERS: Final = "two workers"

HOT: Final = "1 document × 20 clients"
HOTS: Final = "4 documents × 20 clients, nodes on one CPU"
PACED: Final = "1 document × 20 clients, 4,000 ops/s"
MANY: Final = "100 documents × 2 clients"
SEEN: Final = "100 documents, 1,000 ops/s"
CROWD: Final = "1 document × 1,000 writers"
IDLE: Final = "a node without members, 2,000 ops/s"
NAMES: Final = {
    **{"hot": HOT, "hots": HOTS, "paced": PACED, "many": MANY},
    **{"seen": SEEN, "crowd": CROWD, "idle": IDLE},
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    rounds: int = 5
    warm: float = 2.0
    seconds: float = 5.0
    crowd_warm: float = 5.0
    crowd_seconds: float = 20.0
    crowd: int = 1_000
    replicas: int = 20
    appendfsync: str = "always"


FULL: Final = Sizes()
QUICK: Final = Sizes(rounds=1, warm=1.0, seconds=2.0, crowd_seconds=5.0)

WORKS: Final = {
    HOT: Work(),
    HOTS: Work(documents=4),
    PACED: Work(rate=4_000),
    MANY: Work(documents=100, clients=2, chars=500, by="documents"),
    SEEN: Work(documents=100, clients=3, writers=1, chars=500, rate=1_000),
    IDLE: Work(documents=20, clients=4, chars=500, rate=2_000),
}
LAYOUTS: Final = {
    ONE: Layout((FIRST_CPU,)),
    TWO: Layout((FIRST_CPU, LAST_CPU)),
    MIXED: Layout((FIRST_CPU, LAST_CPU)),
    WORKERS: Layout((None,), workers=2),
}


def claims() -> Sequence[Claim]:
    """Return the rows of the table; times are in milliseconds."""
    against = partial(Claim, contender=TWO, baseline=ONE, limit=None)
    alone = partial(Claim, contender=TWO, baseline=None, limit=None)
    ops, cpu = "ops/s", "CPU µs/op of the nodes"
    return (
        against(HOT, HOT, "ops_per_cpu_s", "ops per second of CPU", limit=0.8, is_upper=False),
        against(HOT, HOT, "ops_per_s", ops),
        against(HOTS, HOTS, "ops_per_cpu_s", "ops per second of CPU"),
        against(PACED, PACED, "ops_per_cpu_s", "ops per second of CPU"),
        against(MANY, MANY, "ops_per_s", ops),
        against(MANY, MANY, "cpu_us", cpu),
        against(f"{MANY}, one of them at each node", MANY, "ops_per_s", ops, contender=MIXED),
        against(f"{MANY}, one of them at each node", MANY, "cpu_us", cpu, contender=MIXED),
        alone(f"{SEEN}: seen at the other node", SEEN, "other_node_p50_ms", "ms p50"),
        alone(f"{SEEN}: seen at the other node", SEEN, "other_node_p99_ms", "ms p99"),
        alone(f"{SEEN}: more than at the same node", SEEN, "extra_p50_ms", "ms p50"),
        alone(f"{SEEN}: more than at the same node", SEEN, "extra_p99_ms", "ms p99"),
        against(f"{SEEN}: seen at the same node", SEEN, "same_node_p50_ms", "ms p50"),
        *(
            against(f"{what}: Redis", what, figure, unit)
            for what in (HOT, MANY)
            for figure, unit in (
                ("redis_cpu_us", "CPU µs/op of Redis"),
                ("redis_bytes_in_per_op", "bytes/op to Redis"),
                ("redis_bytes_out_per_op", "bytes/op from Redis"),
            )
        ),
        alone(f"{IDLE}: what it hears", IDLE, "load_bytes_per_op", "bytes/op", limit=0.1),
        alone(CROWD, CROWD, "all_p50_ms", "ms p50 to all", contender=WORKERS),
        alone(CROWD, CROWD, "all_p95_ms", "ms p95 to all", limit=1_000, contender=WORKERS),
        alone(CROWD, CROWD, "late", "writers that fell behind", limit=0, contender=WORKERS),
        alone(CROWD, CROWD, "deliveries_per_s", "operations delivered/s", contender=WORKERS),
        alone(CROWD, CROWD, "cpu_us", cpu, contender=WORKERS),
    )


def measurements(sizes: Sizes) -> list[Measurement]:
    """Return what takes turns in each round."""
    pairs = {
        **{HOT: (ONE, TWO), HOTS: (ONE, TWO), PACED: (ONE, TWO), MANY: (ONE, TWO, MIXED)},
        **{SEEN: (ONE, TWO), IDLE: (TWO,), CROWD: (WORKERS,)},
    }
    return [
        Measurement(what, contenders, partial(measure, what=what, sizes=sizes))
        for what, contenders in pairs.items()
    ]


def measure(contender: str, *, what: str, sizes: Sizes) -> Figures:
    """Run one contender once. Raises RuntimeError when something was lost, or differs."""
    layout = replace(LAYOUTS[contender], appendfsync=sizes.appendfsync)
    if what == CROWD:
        figures = thousand.measure(
            layout,
            writers=sizes.crowd,
            replicas=sizes.replicas,
            warm=sizes.crowd_warm,
            seconds=sizes.crowd_seconds,
        )
        return in_ms(figures)
    work = replace(WORKS[what], warm=sizes.warm, seconds=sizes.seconds)
    if what == IDLE:
        return in_ms(idle.measure(work))
    if what == HOTS:
        layout = replace(layout, cpus=(FIRST_CPU,) * len(layout.cpus))
    if contender == MIXED:
        work = replace(work, by="clients")
    with cluster(layout) as nodes:
        figures = drive(nodes, work)
        check(nodes, work, figures.pop("documents"))
    return in_ms(figures)


def in_ms(figures: Mapping[str, Any]) -> Figures:
    """Return figures with latencies in milliseconds, and what another node adds to them."""
    found = dict(figures)
    for name, value in figures.items():
        if name.endswith(("p50_us", "p95_us", "p99_us")):
            del found[name]
            found[f"{name.removesuffix('_us')}_ms"] = value / 1000
    for rank in ("p50", "p99"):
        found[f"extra_{rank}_ms"] = found[f"other_node_{rank}_ms"] - found[f"same_node_{rank}_ms"]
    return found
