"""Replicas with their users and shells, the nodes they talk to, a bus and a journal.

Nothing happens here by itself: each method is one thing that may happen, if it can.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from stretto_core.authority import Authority
from stretto_core.effects import Changed, Closed, Effect, Returned
from stretto_core.following import Frame
from stretto_core.ot import apply
from stretto_core.protocol import Limits
from stretto_core.replica import Replica
from tests.core.bus import Bus
from tests.core.history import DOC, Answer, Append, Event, Wire
from tests.core.journal import Journal, Message
from tests.core.ledger import Ledger, demand, inserted, markers
from tests.core.model import Node

LIMITS = Limits(op_components=6, op_inserted=5, document_chars=250)
PAGE = 7
FILLING = ["a", "b", " ", "\n", '"', "\\", "é", "e\u0301", "\u2028", "😀", "👩‍👧", "🇩🇪"]


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
    clients: set[str] = field(default_factory=set)

    @property
    def unsettled(self) -> set[str]:
        """The markers that are on their way to the log."""
        return markers("".join(map(inserted, self.replica.pending)))


class World:
    """Everything that there is in one run."""

    def __init__(
        self,
        seed: int,
        *,
        journal: Journal | None = None,
        authority: type[Authority] = Authority,
        node: type[Node] = Node,
        acks_early: bool = False,
    ) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.journal = journal or Journal()
        self.journal.publish = self._publish
        self.bus = Bus(self.random)
        self.ledger = Ledger(self.journal)
        self.travelling: list[Append] = []
        """Appends that nobody waits for any more, and that may reach the journal yet."""
        self.asleep: set[Node] = set()
        self.nodes = [
            self._node(node, authority, acks_early) for _ in range(self.random.randint(2, 4))
        ]
        self._clients = 0
        self._joining: set[str] = set()
        self.peers = [self._peer(name) for name in "abcd"[: self.random.randint(2, 4)]]

    def _node(self, kind: type[Node], authority: type[Authority], acks_early: bool) -> Node:
        node = kind(
            self.journal,
            LIMITS,
            page=PAGE,
            authority=authority,
            acked=lambda client, seq, version: self.ledger.acknowledged.append(
                (client, seq, version)
            ),
        )
        node.acks_early = acks_early
        self.bus.follow(node)
        return node

    def _peer(self, name: str) -> Peer:
        self._joining = set()
        return Peer(name, self._replica(), self.nodes[0], clients=self._joining)

    def _replica(self) -> Replica:
        return Replica(DOC, self._fresh_client, limits=LIMITS)

    def _fresh_client(self) -> str:
        self._clients += 1
        client = f"client-{self._clients:010d}"
        self._joining.add(client)
        return client

    def _publish(self, message: Message) -> None:
        """Let the journal tell what happened; large frames go without their entries."""
        if isinstance(message, Frame) and self.random.random() < 0.1:
            message = replace(message, entries=None)
        self.bus.publish(message)

    @property
    def awake(self) -> list[Node]:
        return [node for node in self.nodes if node not in self.asleep]

    # What users do.

    def insert(self) -> None:
        peer = self._editor()
        if peer is None:
            return
        marker = self.ledger.make_marker(peer.name)
        filling = "".join(self.random.choices(FILLING, k=self.random.choice([0, 0, 1, 2, 6])))
        at = self.random.randint(0, len(filling))
        text = filling[:at] + marker + filling[at:]
        position = self.random.randint(0, peer.replica.length)
        self.absorb(peer, peer.replica.edit([position, text]))
        peer.waiting[marker] = peer.replica.made

    def erase(self) -> None:
        peer = self._editor()
        if peer is None or not peer.replica.length:
            return
        start = self.random.randrange(peer.replica.length)
        most = self.random.choice([1, 3, 30])
        count = self.random.randint(1, min(most, peer.replica.length - start))
        erased = peer.replica.text[start : start + count]
        self.ledger.erase(erased)
        self.excuse(peer, peer.unsettled & markers(erased))
        self.absorb(peer, peer.replica.edit([start, -count]))

    def _editor(self) -> Peer | None:
        peer = self.random.choice(self.peers)
        replica = peer.replica
        return peer if replica.known and replica.role != "viewer" else None

    def excuse(self, peer: Peer, lost: set[str]) -> None:
        self.ledger.excuse(lost)
        for marker in lost:
            peer.waiting.pop(marker, None)

    # What shells do.

    def poll(self) -> None:
        self.send(self.random.choice(self.peers))

    def send(self, peer: Peer) -> None:
        if peer.wire is None:
            anywhere = self.random.random() < 0.1 or not self.awake
            peer.node = self.random.choice(self.nodes if anywhere else self.awake)
            peer.wire = Wire("user-" + peer.name)
        self._joining = peer.clients
        request = peer.replica.next_request()
        if request is None:
            return
        peer.stored = json.dumps(peer.replica.state())
        if not peer.wire.is_cut:
            peer.wire.up.append(request)

    def deliver(self) -> None:
        self.take(self.random.choice(self.peers))

    def take(self, peer: Peer) -> None:
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
        self._joining = peer.clients
        replica, before = peer.replica, peer.unsettled
        if isinstance(message, Event):
            effects = replica.received(message.name, message.payload)
        elif message.error is not None:
            effects = replica.failed(message.request, message.error)
        else:
            effects = replica.answered(message.request, message.payload or {})
        self.absorb(peer, effects, before)

    def absorb(
        self, peer: Peer, effects: Sequence[Effect], unsettled: set[str] | None = None
    ) -> None:
        """Do what an editor does with effects, and compare it with the replica."""
        for effect in effects:
            if isinstance(effect, Changed):
                peer.editor = apply(peer.editor, effect.op)
            elif isinstance(effect, Returned):
                invalid = effect.error is not None and effect.error.code.startswith("invalid_")
                demand(not invalid, f"{peer.name} is told that it sent what is {effect.error}")
                self.ledger.give_back(peer.name, effect, unsettled or set())
                for marker in markers(effect.text) - peer.unsettled:
                    peer.waiting.pop(marker, None)
            demand(not isinstance(effect, Closed), f"nothing closes the document: {effect}")
        replica = peer.replica
        demand(peer.editor == replica.text, f"{peer.name} shows what it does not have")
        shown = replica.confirmed
        for pending in replica.pending:
            shown = apply(shown, pending)
        demand(shown == replica.text, f"{peer.name} shows more than it has")
        self._check_saved(peer)

    def _check_saved(self, peer: Peer) -> None:
        settled = peer.replica.made if peer.replica.is_saved else peer.replica.settled
        for marker in [marker for marker, edit in peer.waiting.items() if edit <= settled]:
            del peer.waiting[marker]
            demand(self.ledger.was_logged(marker), f"{peer.name} says saved, and it is not")

    # What the server does.

    def wired(self) -> Peer | None:
        wired = [peer for peer in self.peers if peer.wire is not None]
        return self.random.choice(wired) if wired else None

    def read(self) -> None:
        peer = self.wired()
        if peer is not None and peer.wire is not None and peer.wire.up:
            peer.node.receive(peer.wire)

    def work(self) -> None:
        node = self.random.choice(self.nodes)
        if node not in self.asleep:
            node.advance(self.random.choice([1, 2, 64]))

    def hear(self) -> None:
        node = self.random.choice(self.nodes)
        if node not in self.asleep:
            self.bus.deliver(node)

    def check_head(self) -> None:
        """Take one step in comparing a node's head with the journal's."""
        node = self.random.choice(self.awake or [None])
        if node is not None:
            self.random.choice([node.ask_head, node.read_head, node.judge_head])()
