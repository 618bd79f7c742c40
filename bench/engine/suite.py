"""What is measured of the engine, and what it claims."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from bench.engine.contenders import OURS, SOCKETIO, contender
from bench.engine.generator import load, load_compressed
from bench.engine.report import Claim
from bench.engine.rounds import Figures, Measurement

TITLE: Final = "One server process on one core, against socket.io for Node"
PING_S: Final = 10


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of load: a mode of the generator with its options, and those of the server."""

    mode: str
    options: Mapping[str, float]
    quick: Mapping[str, float] = field(default_factory=dict)
    """What a quick run does instead."""
    server: Mapping[str, Any] = field(default_factory=dict)


def _broadcast(clients: int, window: int = 4, **server: Any) -> Work:
    options = {"clients": clients, "window": window, "bytes": 200, "warm": 1.5, "seconds": 3.0}
    return Work("broadcast", options, {"warm": 0.5, "seconds": 1.0}, server)


def _ack(handlers: str) -> Work:
    options = {"clients": 50, "bytes": 100, "warm": 1.5, "seconds": 3.0}
    return Work("ack", options, {"warm": 0.5, "seconds": 1.0}, {"handlers": handlers})


WORKS: Final[Mapping[str, Work]] = {
    "broadcast-100": _broadcast(100),
    "broadcast-1000": _broadcast(1_000),
    "broadcast-5000": _broadcast(5_000),
    "coalescing": _broadcast(200, 16),
    "ack-plain": _ack("plain"),
    "ack-async": _ack("async"),
    "memory": Work("idle", {"clients": 5_000, "first": 50, "hold": 2}, {"hold": 1}),
    "stay": Work("stay", {"clients": 10_000, "hold": PING_S + 2}, {}, {"ping_interval": PING_S}),
    "accept": Work("idle", {"clients": 4_000, "first": 1_000, "hold": 0}),
    "leave": Work("leave", {"clients": 5_000}),
    "compression": Work(
        "broadcast",
        {"clients": 1_000, "window": 4, "bytes": 1_024, "warm": 1.0, "seconds": 4.0},
        {"warm": 0.3, "seconds": 2.0},
        {"compression": True},
    ),
}

_PER_DELIVERY: Final = "server CPU µs per delivery"

CLAIMS: Final = (
    Claim("broadcast 1 → 100", "broadcast-100", "cpu_us", _PER_DELIVERY, 0.55),
    Claim("broadcast 1 → 1,000", "broadcast-1000", "cpu_us", _PER_DELIVERY, 0.55),
    Claim("broadcast 1 → 5,000", "broadcast-5000", "cpu_us", _PER_DELIVERY, 0.55),
    Claim(
        "broadcast 1 → 200, 16 in flight",
        "coalescing",
        "deliveries_per_s",
        "deliveries/s",
        4,
        is_upper=False,
    ),
    Claim(
        "emit with ack, 50 clients, plain handlers",
        "ack-plain",
        "acks_per_s",
        "acks/s",
        1.3,
        is_upper=False,
    ),
    Claim(
        "emit with ack, 50 clients, `async def` handlers",
        "ack-async",
        "acks_per_s",
        "acks/s",
        1.0,
        is_upper=False,
    ),
    Claim(
        "5,000 idle clients",
        "memory",
        "rss_kb",
        "KB of memory per client",
        0.45,
        load="idle_generator_share",
    ),
    Claim(
        "10,000 clients connect and stay",
        "stay",
        "stayed",
        f"clients that answer after a ping interval ({PING_S} s)",
        10_000,
        is_upper=False,
        baseline=None,
    ),
    Claim("accepting: handshake and CONNECT", "accept", "cpu_us", "server CPU µs per accept", 0.6),
    Claim(
        "5,000 clients leave at once, against 500",
        "leave",
        "cpu_growth",
        "times the server's CPU time",
        12,
        baseline=None,
    ),
    Claim("broadcast 1 → 1,000 of 1 KiB, compressed", "compression", "cpu_us", _PER_DELIVERY, 0.5),
)


def measurements(contenders: tuple[str, ...], *, is_quick: bool) -> list[Measurement]:
    """Return everything that can be measured, for these contenders."""
    return [
        Measurement(name, _able(contenders, work), _measure(work, is_quick=is_quick))
        for name, work in WORKS.items()
    ]


def _able(contenders: tuple[str, ...], work: Work) -> tuple[str, ...]:
    """Return the contenders that can be compared here: the others have no such switch."""
    both = (OURS, SOCKETIO)
    return tuple(one for one in contenders if one in both or "compression" not in work.server)


def _measure(work: Work, *, is_quick: bool) -> Callable[[str], Figures]:
    options = {**work.options, **(work.quick if is_quick else {})}
    return partial(_run, work, options)


def _run(work: Work, options: Mapping[str, float], name: str) -> Figures:
    """Measure a fresh server."""
    drive = load_compressed if work.server.get("compression") else load
    with contender(name, work.server) as server:
        return drive(server, work.mode, options)
