"""A seeded simulation: replicas, nodes and a journal, and everything that may go wrong.

Two nodes share a journal. Messages wait until a random step moves them; connections break,
nodes and replicas die and come back, appends happen that nobody hears of, frames are lost or
come twice, operations are refused, old history is compacted away. At the end everything is
repaired, and all must agree with the log, which must hold every edit exactly once.

    python -m tests.core.simulation --seeds 10000 [--first N]
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stretto_core.authority import Authority
from stretto_core.effects import Changed, Closed, Effect, Origin, Returned
from stretto_core.errors import ERRORS, StrettoError
from stretto_core.ot import Component, apply
from stretto_core.protocol import Limits
from stretto_core.replica import Replica
from tests.core.model import DOC, Answer, Event, Journal, Node, Wire

LIMITS = Limits(op_components=6, op_inserted=5, document_chars=250)
PAGE = 7
FIRST_MARKER = 0x20000
"""Every insertion holds one character of its own, from here on (CJK, extension B)."""
FILLING = ["a", "b", " ", "\n", '"', "\\", "é", "e\u0301", "\u2028", "😀", "👩‍👧", "🇩🇪"]

NOT_LOOKED_AT = ["rate_limited", "token_expired", "not_joined", "forbidden", "too_large"]
UNKNOWN = ["busy", "unavailable", "internal_error", "shutting_down"]


class SimulationError(AssertionError):
    """What was promised does not hold; the message tells how to see it again."""


def markers(text: str) -> set[str]:
    """Return the characters of ``text`` that each mark one insertion."""
    return {char for char in text if ord(char) >= FIRST_MARKER}


def inserted(op: Sequence[Component]) -> str:
    """Return what an operation inserts."""
    return "".join(part for part in op if isinstance(part, str))


@dataclass(eq=False)
class Peer:
    """A replica with its shell: what is stored, and what an editor would show."""

    name: str
    replica: Replica
    node: Node
    stored: str | None = None
    wire: Wire | None = None
    editor: str = ""
    waiting: dict[str, int] = field(default_factory=dict)
    """Markers that are not known to be in the log, with the number of their edit."""


class Simulation:
    """One run; ``journal``, ``authority`` and ``acks_early`` are where defects are planted."""

    def __init__(
        self,
        seed: int,
        *,
        steps: int = 800,
        journal: Journal | None = None,
        authority: type[Authority] = Authority,
        acks_early: bool = False,
    ) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.steps = steps
        self.journal = journal or Journal()
        self.nodes = [self._node(authority, acks_early) for _ in range(2)]
        self.acknowledged: list[tuple[str, int, int]] = []
        self.logged: dict[str, int] = {}
        """How often each marker is in the log."""
        self.given_back: set[str] = set()
        self.excused: set[str] = set()
        """Markers that need not arrive: deleted before they were sent, or lost in a crash."""
        self._frozen: Node | None = None
        self._judged = 0
        self._clients = 0
        self._markers = FIRST_MARKER
        self.peers = [
            Peer(name, self._replica(), self.nodes[0])
            for name in "abcd"[: self.random.randint(2, 4)]
        ]
        self._actions = self._weighted()

    def _node(self, authority: type[Authority], acks_early: bool) -> Node:
        node = Node(
            self.journal,
            LIMITS,
            page=PAGE,
            authority=authority,
            acked=lambda client, seq, version: self.acknowledged.append((client, seq, version)),
        )
        node.acks_early = acks_early
        return node

    def _replica(self) -> Replica:
        return Replica(DOC, self._fresh_client, limits=LIMITS)

    def _fresh_client(self) -> str:
        self._clients += 1
        return f"client-{self._clients:010d}"

    def _weighted(self) -> list[tuple[Callable[[], None], float]]:
        """Return what may happen with its weight; each seed has a temper of its own."""
        calm = [
            (self._insert, 5.0),
            (self._erase, 2.0),
            (self._poll, 9.0),
            (self._read, 7.0),
            (self._work, 6.0),
            (self._deliver, 9.0),
            (self._hear, 3.0),
        ]
        trouble = [
            (self._break_off, 0.6),
            (self._crash, 0.3),
            (self._kill, 0.25),
            (self._freeze, 0.8),
            (self._flee, 2.0),
            (self._fail, 0.5),
            (self._refuse, 0.6),
            (self._demote, 0.08),
            (self._compact, 0.4),
            (self._swap, 1.0),
            (self._repeat, 0.5),
            (self._lose_frames, 0.8),
        ]
        temper = self.random.choice([0.3, 1.0, 2.5])
        return calm + [
            (action, weight * temper * self.random.choice([0, 1, 1, 3]))
            for action, weight in trouble
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

    # What users do.

    def _insert(self) -> None:
        peer = self._editor()
        if peer is None:
            return
        marker = chr(self._markers)
        self._markers += 1
        filling = "".join(self.random.choices(FILLING, k=self.random.choice([0, 0, 1, 2, 6])))
        at = self.random.randint(0, len(filling))
        text = filling[:at] + marker + filling[at:]
        position = self.random.randint(0, peer.replica.length)
        self._absorb(peer, peer.replica.edit([position, text]))
        peer.waiting[marker] = peer.replica.made

    def _erase(self) -> None:
        peer = self._editor()
        if peer is None or not peer.replica.length:
            return
        start = self.random.randrange(peer.replica.length)
        most = self.random.choice([1, 3, 30])
        count = self.random.randint(1, min(most, peer.replica.length - start))
        unsent = markers("".join(map(inserted, peer.replica.pending)))
        self._excuse(peer, unsent & markers(peer.replica.text[start : start + count]))
        self._absorb(peer, peer.replica.edit([start, -count]))

    def _editor(self) -> Peer | None:
        peer = self.random.choice(self.peers)
        replica = peer.replica
        return peer if replica.known and replica.role != "viewer" else None

    def _excuse(self, peer: Peer, lost: set[str]) -> None:
        self.excused |= lost
        for marker in lost:
            peer.waiting.pop(marker, None)

    # What shells do.

    def _poll(self) -> None:
        self._send(self.random.choice(self.peers))

    def _send(self, peer: Peer) -> None:
        if peer.wire is None:
            awake = [node for node in self.nodes if node is not self._frozen]
            peer.node = self.random.choice(self.nodes if self.random.random() < 0.1 else awake)
            peer.wire = Wire("user-" + peer.name)
        request = peer.replica.next_request()
        if request is None:
            return
        peer.stored = json.dumps(peer.replica.state())
        if not peer.wire.is_cut:
            peer.wire.up.append(request)

    def _deliver(self) -> None:
        self._take(self.random.choice(self.peers))

    def _take(self, peer: Peer) -> None:
        wire = peer.wire
        if wire is None:
            return
        if wire.is_cut:
            peer.wire = None
            peer.replica.disconnected()
        elif wire.down:
            self._hand(peer, wire.down.popleft())
        elif self.random.random() < 0.1:
            peer.replica.resend()

    def _hand(self, peer: Peer, message: Answer | Event) -> None:
        replica = peer.replica
        if isinstance(message, Event):
            self._absorb(peer, replica.received(message.name, message.payload))
        elif message.error is not None:
            self._absorb(peer, replica.failed(message.request, message.error))
        else:
            self._absorb(peer, replica.answered(message.request, message.payload or {}))

    def _absorb(self, peer: Peer, effects: Sequence[Effect]) -> None:
        """Do what an editor does with effects, and compare it with the replica."""
        for effect in effects:
            if isinstance(effect, Changed):
                peer.editor = apply(peer.editor, effect.op)
            elif isinstance(effect, Returned):
                self._demand(effect.origin is Origin.REFUSED, "no history was replaced here")
                self.given_back |= markers(effect.text)
                for marker in markers(effect.text):
                    peer.waiting.pop(marker, None)
            self._demand(not isinstance(effect, Closed), "nothing closes the document")
        replica = peer.replica
        self._demand(peer.editor == replica.text, f"{peer.name} shows what it does not have")
        shown = replica.confirmed
        for pending in replica.pending:
            shown = apply(shown, pending)
        self._demand(shown == replica.text, f"{peer.name} shows more than it has")
        self._check_saved(peer)

    def _check_saved(self, peer: Peer) -> None:
        self._read_log()
        settled = peer.replica.made if peer.replica.is_saved else peer.replica.settled
        done = [marker for marker, edit in peer.waiting.items() if edit <= settled]
        for marker in done:
            del peer.waiting[marker]
            self._demand(marker in self.logged, f"{peer.name} says saved, and it is not")

    def _read_log(self) -> None:
        for entry in self.journal.log[self._judged :]:
            for char in inserted(entry.op):
                if ord(char) >= FIRST_MARKER:
                    self.logged[char] = self.logged.get(char, 0) + 1
        self._judged = len(self.journal.log)

    # What the server does.

    def _wired(self) -> Peer | None:
        wired = [peer for peer in self.peers if peer.wire is not None]
        return self.random.choice(wired) if wired else None

    def _read(self) -> None:
        peer = self._wired()
        if peer is not None and peer.wire is not None and peer.wire.up:
            peer.node.receive(peer.wire)

    def _work(self) -> None:
        node = self.random.choice(self.nodes)
        if node is not self._frozen:
            node.work(self.random.choice([1, 2, 64]))

    def _hear(self) -> None:
        self._tell(self.random.choice(self.nodes))

    def _tell(self, node: Node) -> None:
        try:
            node.hear()
        except StrettoError:  # it slept while the log was compacted: only a new start helps
            node.kill()

    # What goes wrong.

    def _break_off(self) -> None:
        peer = self._wired()
        if peer is not None:
            self._cut(peer)

    def _cut(self, peer: Peer) -> None:
        wire = peer.wire
        if wire is None:
            return
        while wire.up and self.random.random() < 0.7:  # read before the server notices
            peer.node.receive(wire)
        wire.cut()
        peer.node.seats.pop(wire, None)

    def _freeze(self) -> None:
        """Let a node sleep, or wake; what it read stays queued."""
        if self._frozen is None:
            busy = [node for node in self.nodes if node.queue]
            self._frozen = self.random.choice(busy or [None])
        elif self.random.random() < 0.15:
            self._frozen = None

    def _flee(self) -> None:
        """Let somebody who waits for a sleeping node go to the other one."""
        waiting = [] if self._frozen is None else [one.wire for one in self._frozen.queue]
        for peer in self.peers:
            if peer.wire in waiting:
                self._cut(peer)
                self._take(peer)
                peer.node = self._other(peer.node)
                peer.wire = Wire("user-" + peer.name, may_edit=self.random.random() < 0.8)
                if self.random.random() < 0.5:
                    self.journal.compact(self.journal.version)
                return

    def _other(self, node: Node) -> Node:
        return self.nodes[1 - self.nodes.index(node)]

    def _crash(self) -> None:
        """Let a replica die and come back as it was stored."""
        peer = self.random.choice(self.peers)
        if peer.stored is None:
            return
        if peer.wire is not None:
            peer.wire.cut()
            peer.wire = None
        restored = Replica.restore(json.loads(peer.stored), self._fresh_client, limits=LIMITS)
        peer.replica, peer.editor = restored, restored.text
        kept = markers("".join(map(inserted, restored.pending)))
        self._excuse(peer, set(peer.waiting) - kept)
        self.given_back -= kept  # it died before that was stored, and tries again
        peer.waiting = dict.fromkeys(peer.waiting, restored.made)

    def _kill(self) -> None:
        self.random.choice(self.nodes).kill()

    def _fail(self) -> None:
        fault = self.random.choice(["unwritten", "untold", "unknown"])
        node = self.random.choice(self.nodes)
        if node is not self._frozen:
            node.work(64, fault)

    def _refuse(self) -> None:
        """Answer an operation with an error; it may commit where the error leaves that open."""
        peer = self._wired()
        if peer is None or peer.wire is None or not peer.wire.up:
            return
        request = peer.wire.up[0]
        codes = UNKNOWN
        if request.event == "submit":
            codes = [*NOT_LOOKED_AT, *UNKNOWN, "version_ahead"]
        error = ERRORS[self.random.choice(codes)]()
        if error.code in UNKNOWN and self.random.random() < 0.5:
            peer.node.receive(peer.wire)
        else:
            peer.wire.up.popleft()
        peer.wire.send(Answer(request, error=error))

    def _demote(self) -> None:
        peer = self._wired()
        if peer is not None and peer.wire is not None:
            self._set_right(peer.wire, not peer.wire.may_edit)

    def _set_right(self, wire: Wire, may_edit: bool) -> None:
        wire.may_edit = may_edit
        if wire.client is not None:
            wire.send(Event("role", {"doc": DOC, "role": "editor" if may_edit else "viewer"}))

    def _compact(self) -> None:
        self.journal.compact(self.journal.version - self.random.choice([0, 2, 10]))
        if self.random.random() < 0.5:
            for node in self.nodes:
                node.authority.floor = self.journal.floor

    def _swap(self) -> None:
        """Let an answer and a frame that are neighbours change places."""
        peer = self._wired()
        if peer is None or peer.wire is None or len(peer.wire.down) < 2:
            return
        down = peer.wire.down
        at = self.random.randrange(len(down) - 1)
        pair = {_kind(down[at]), _kind(down[at + 1])}
        if "ops" in pair and pair & {"submit", "fetch"}:
            down[at], down[at + 1] = down[at + 1], down[at]

    def _repeat(self) -> None:
        peer = self._wired()
        if peer is not None and peer.wire is not None:
            frames = [message for message in peer.wire.down if _kind(message) == "ops"]
            if frames:
                peer.wire.down.append(self.random.choice(frames))

    def _lose_frames(self) -> None:
        """Drop the frames that a slow reader did not take, and tell it so."""
        peer = self._wired()
        if peer is None or peer.wire is None or peer.wire not in peer.node.seats:
            return
        kept = [message for message in peer.wire.down if _kind(message) != "ops"]
        if len(kept) < len(peer.wire.down):
            peer.wire.down.clear()
            peer.wire.down.extend(kept)
            version = peer.node.authority.version
            peer.wire.send(Event("behind", {"doc": DOC, "version": version}))

    # The end.

    def _quiesce(self) -> None:
        """Repair everything and let all messages arrive; who sleeps wakes last."""
        for peer in self.peers:
            if self._frozen is not None and peer.node is self._frozen:
                self._cut(peer)
                self._take(peer)
            if peer.wire is not None:
                self._set_right(peer.wire, True)
        self._round(count=20)
        self._frozen = None
        self._round(count=600)
        self._demand(self._is_quiet(), "this never comes to rest")

    def _round(self, count: int) -> None:
        for _ in range(count):
            for peer in self.peers:
                self._settle(peer)
            for node in self.nodes:
                if node is not self._frozen:
                    while node.queue:
                        node.work()
                    self._tell(node)
            if self._is_quiet():
                return

    def _settle(self, peer: Peer) -> None:
        peer.replica.resend()
        self._send(peer)
        while peer.wire is not None and not peer.wire.is_cut and peer.wire.up:
            peer.node.receive(peer.wire)
        self._take(peer)
        while peer.wire is not None and peer.wire.down:
            self._take(peer)

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
            self._demand(replica.text == text, f"{peer.name} has another text")
            self._demand(replica.version == journal.version, f"{peer.name} has another version")
            self._demand(replica.hash == journal.hashes[-1], f"{peer.name} has another hash")
            self._demand(not peer.waiting, f"edits of {peer.name} are lost")
            self._demand(replica.settled == replica.made, f"{peer.name} waits for ever")
        names = [(entry.client, entry.seq) for entry in journal.log]
        self._demand(len(set(names)) == len(names), "a (client, seq) took two versions")
        for client, seq, version in self.acknowledged:
            kept = version <= len(names) and names[version - 1] == (client, seq)
            self._demand(kept, "an acknowledged operation is not in the log")
        self._judge_markers()

    def _judge_markers(self) -> None:
        self._read_log()
        self._demand(max(self.logged.values(), default=1) == 1, "an edit is in the log twice")
        self._demand(not self.given_back & set(self.logged), "what was given back is in the log")
        made = set(map(chr, range(FIRST_MARKER, self._markers)))
        lost = made - set(self.logged) - self.excused - self.given_back
        self._demand(not lost, "an edit is not in the log")

    def _demand(self, holds: bool, promise: str) -> None:
        if not holds:
            raise AssertionError(promise)


def _kind(message: Answer | Event) -> str:
    return message.name if isinstance(message, Event) else message.request.event


def main(arguments: Sequence[str] | None = None) -> int:
    """Run many seeds; return 1 when one of them failed."""
    parser = argparse.ArgumentParser(description="Simulate replicas, nodes and a journal.")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    given = parser.parse_args(arguments)
    began, failed = time.monotonic(), 0
    for count, seed in enumerate(range(given.first, given.first + given.seeds), 1):
        try:
            Simulation(seed).run()
        except SimulationError as error:
            failed += 1
            print(error, flush=True)
        if count % 500 == 0 or count == given.seeds:
            rate = count / (time.monotonic() - began)
            print(f"{count} seeds, {failed} failed, {rate:.0f} seeds/s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
