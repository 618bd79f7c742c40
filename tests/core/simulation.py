"""A seeded simulation: replicas, nodes, a bus and a journal, and everything that may go wrong.

Two to four nodes share a journal. Messages wait until a random step moves them; connections
break, nodes and replicas die, sleep and come back, appends happen that nobody hears of, the
bus loses, repeats and mixes up what it carries, operations are refused, old history is
compacted away, the journal loses its tail or is replaced. At the end everything is repaired,
and all must agree with the log. It must hold every edit exactly once, but for those that were
in a lost tail: their text must have been offered to their authors.

    python -m tests.core.simulation --seeds 10000 [--first N]
    python -m tests.core.simulation --minutes 30
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Collection, Sequence

from stretto_core.authority import Authority
from tests.core.journal import Journal
from tests.core.ledger import demand
from tests.core.model import Node
from tests.core.trouble import TroubledWorld
from tests.core.world import LIMITS, Peer

__all__ = ["LIMITS", "Simulation", "SimulationError", "main"]

PROGRESS_S = 10
MOST_STEPS = 2_000
"""That a node may take until it has nothing more to do."""

Weighted = list[tuple[Callable[[], None], float]]


class SimulationError(AssertionError):
    """What was promised does not hold; the message tells how to see it again."""


class Simulation(TroubledWorld):
    """One run; ``themes`` names what goes wrong more often than else.

    The other arguments but ``seed`` and ``steps`` are where defects are planted.
    """

    def __init__(
        self,
        seed: int,
        *,
        steps: int = 800,
        journal: Journal | None = None,
        authority: type[Authority] = Authority,
        node: type[Node] = Node,
        acks_early: bool = False,
        themes: Collection[str] = (),
    ) -> None:
        super().__init__(
            seed, journal=journal, authority=authority, node=node, acks_early=acks_early
        )
        self.steps = steps
        self.bus_fails = self.random.random() < 0.6 or "cut_bus" in themes
        self.history_fails = self.random.random() < 0.4 or "fall_back" in themes
        self._themes = themes
        self._actions = self._weighted()

    @property
    def checks_heads(self) -> bool:
        """Whether nodes look at the journal's head by themselves.

        They need not where the bus carries everything, and what is missed then is an error.
        """
        return self.bus_fails or self.history_fails

    def _weighted(self) -> Weighted:
        """Return what may happen with its weight; each seed has a temper of its own."""
        calm: Weighted = [
            (self.insert, 5.0),
            (self.erase, 2.0),
            (self.poll, 9.0),
            (self.read, 7.0),
            (self.work, 16.0),
            (self.deliver, 9.0),
            (self.hear, 6.0),
        ]
        if self.checks_heads:
            calm.append((self.check_head, 1.5))
        trouble: Weighted = [
            (self.break_off, 0.6),
            (self.crash, 0.3),
            (self.kill, 0.3),
            (self.sleep, 0.8),
            (self.flee, 2.0),
            (self.forget, 0.8),
            (self.arrive, 0.5),
            (self.refuse, 0.6),
            (self.demote, 0.08),
            (self.snapshot, 1.0),
            (self.compact, 0.8),
            (self.swap, 1.0),
            (self.repeat, 0.5),
            (self.lose_frames, 0.8),
        ]
        if self.bus_fails:
            trouble += [
                (self.lose_news, 0.8),
                (self.repeat_news, 0.8),
                (self.swap_news, 0.8),
                (self.cut_bus, 0.8),
            ]
        if self.history_fails:
            trouble += [(self.fall_back, 0.6), (self.replace, 0.04)]
        temper = self.random.choice([0.3, 1.0, 2.5])
        names = [action.__name__ for action, _ in trouble]
        themes = {*self.random.sample(names, 3), *self._themes}
        return calm + [
            (action, weight * temper * (6 if name in themes else self.random.choice([0, 1, 1])))
            for name, (action, weight) in zip(names, trouble, strict=True)
        ]

    def run(self) -> None:
        """Run to the end. Raises SimulationError, which names the seed."""
        try:
            actions, weights = zip(*self._actions, strict=True)
            for action in self.random.choices(actions, weights, k=self.steps):
                action()
            self._quiesce()
            self._judge()
        except Exception as error:
            again = f"python -m tests.core.simulation --first {self.seed} --seeds 1"
            raise SimulationError(f"seed {self.seed}: {error!r}; again with: {again}") from error

    def hear(self) -> None:
        """Hear something; who has heard everything, of a bus that loses nothing, knows it."""
        super().hear()
        if not self.checks_heads:
            for node in self.awake:
                heard_all = not (node.is_busy or self.bus.waits(node))
                demand(
                    not heard_all or node.authority.version == self.journal.version,
                    "a node heard everything and does not know it",
                )

    # The end.

    def _quiesce(self) -> None:
        """Repair everything and let all messages arrive; who sleeps wakes last."""
        for peer in self.peers:
            if peer.node in self.asleep:
                self.cut(peer)
                self.take(peer)
            if peer.wire is not None:
                self.set_right(peer.wire, True)
        self._rounds(count=20)
        self.asleep.clear()
        while self.travelling:
            self.arrive()
        for node in self.nodes:
            self.bus.mend(node)
        self._rounds(count=600)
        demand(self._is_quiet(), "this never comes to rest")

    def _rounds(self, count: int) -> None:
        quiet = 0
        for _ in range(count):
            for peer in self.peers:
                self._settle(peer)
            for node in self.awake:
                self._finish(node)
            quiet = quiet + 1 if self._is_quiet() else 0
            if quiet == 2:  # so that everybody heard what the last node found out
                return

    def _finish(self, node: Node) -> None:
        """Let a node do everything that it has to do."""
        self._exhaust(node)
        while self.bus.deliver(node):
            self._exhaust(node)
        if self.checks_heads:
            node.missed()
        self._exhaust(node)

    def _exhaust(self, node: Node) -> None:
        for _ in range(MOST_STEPS):
            if not node.is_busy:
                return
            node.advance()
        raise AssertionError("a node is busy for ever")

    def _settle(self, peer: Peer) -> None:
        peer.replica.resend()
        self.send(peer)
        while peer.wire is not None and not peer.wire.is_cut and peer.wire.up:
            peer.node.receive(peer.wire)
        self.take(peer)
        while peer.wire is not None and peer.wire.down:
            self.take(peer)

    def _is_quiet(self) -> bool:
        return all(
            peer.wire is not None
            and not (peer.wire.is_cut or peer.wire.up or peer.wire.down)
            and peer.replica.is_open
            and peer.replica.is_saved
            and peer.replica.is_current
            for peer in self.peers
        )

    def _judge(self) -> None:
        journal, text = self.journal, self.journal.text()
        for peer in self.peers:
            replica = peer.replica
            demand(replica.text == text, f"{peer.name} has another text")
            demand(replica.version == journal.version, f"{peer.name} has another version")
            demand(replica.hash == journal.hashes[-1], f"{peer.name} has another hash")
            demand(replica.epoch == journal.epoch, f"{peer.name} has another epoch")
            demand(not peer.waiting, f"edits of {peer.name} are lost")
            demand(replica.settled == replica.made, f"{peer.name} waits for ever")
        self.ledger.judge()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run many seeds; return 1 when one of them failed."""
    parser = argparse.ArgumentParser(description="Simulate replicas, nodes and a journal.")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seeds", type=int, default=10_000, help="how many")
    length.add_argument("--minutes", type=float, help="as many as fit into this time")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    given = parser.parse_args(arguments)
    began = told = time.monotonic()
    failed = 0
    for count, seed in enumerate(itertools.count(given.first)):
        now = time.monotonic()
        late = given.minutes is not None and now - began > given.minutes * 60
        is_over = late or (given.minutes is None and count == given.seeds)
        if is_over or now - told > PROGRESS_S:
            told = now
            rate = count / max(now - began, 0.001)
            print(f"{count} seeds, {failed} failed, {rate:.0f} seeds/s", flush=True)
        if is_over:
            break
        try:
            Simulation(seed).run()
        except SimulationError as error:
            failed += 1
            print(error, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
