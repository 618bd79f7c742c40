"""Everything that may go wrong in a :class:`~tests.core.world.World`."""

import json

from stretto_core.errors import ERRORS
from stretto_core.replica import Replica
from tests.core.history import DOC, Answer, Append, Event, Wire
from tests.core.model import Node
from tests.core.world import LIMITS, Peer, World

NOT_LOOKED_AT = ["rate_limited", "token_expired", "not_joined", "forbidden", "too_large"]
UNKNOWN = ["busy", "unavailable", "internal_error", "shutting_down"]


class TroubledWorld(World):
    """A world in which things go wrong, one at a time."""

    # Connections and replicas.

    def break_off(self) -> None:
        peer = self.wired()
        if peer is not None:
            self.cut(peer)

    def cut(self, peer: Peer) -> None:
        wire = peer.wire
        if wire is None:
            return
        while wire.up and self.random.random() < 0.7:  # read before the server notices
            peer.node.receive(wire)
        wire.cut()
        peer.node.seats.pop(wire, None)

    def crash(self) -> None:
        """Let a replica die and come back as it was stored."""
        peer = self.random.choice(self.peers)
        if peer.stored is None:
            return
        if peer.wire is not None:
            peer.wire.cut()
            peer.wire = None
        restored = Replica.restore(json.loads(peer.stored), self._fresh_client, limits=LIMITS)
        peer.replica, peer.editor = restored, restored.text
        kept = peer.unsettled
        self.excuse(peer, set(peer.waiting) - kept)
        self.ledger.withdraw(kept)  # it died before that was stored, and tries again
        peer.waiting = dict.fromkeys(peer.waiting, restored.made)

    def refuse(self) -> None:
        """Answer an operation with an error; it may commit where the error leaves that open."""
        peer = self.wired()
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

    def demote(self) -> None:
        peer = self.wired()
        if peer is not None and peer.wire is not None:
            self.set_right(peer.wire, not peer.wire.may_edit)

    def set_right(self, wire: Wire, may_edit: bool) -> None:
        wire.may_edit = may_edit
        if wire.client is not None:
            wire.send(Event("role", {"doc": DOC, "role": "editor" if may_edit else "viewer"}))

    def swap(self) -> None:
        """Let an answer and a frame that are neighbours change places."""
        peer = self.wired()
        if peer is None or peer.wire is None or len(peer.wire.down) < 2:
            return
        down = peer.wire.down
        at = self.random.randrange(len(down) - 1)
        pair = {_kind(down[at]), _kind(down[at + 1])}
        if "ops" in pair and pair & {"submit", "fetch"}:
            down[at], down[at + 1] = down[at + 1], down[at]

    def repeat(self) -> None:
        peer = self.wired()
        if peer is not None and peer.wire is not None:
            frames = [message for message in peer.wire.down if _kind(message) == "ops"]
            if frames:
                peer.wire.down.append(self.random.choice(frames))

    def lose_frames(self) -> None:
        """Drop the frames that a slow reader did not take, and tell it so."""
        peer = self.wired()
        if peer is None or peer.wire is None or peer.wire not in peer.node.seats:
            return
        kept = [message for message in peer.wire.down if _kind(message) != "ops"]
        if len(kept) < len(peer.wire.down):
            peer.wire.down.clear()
            peer.wire.down.extend(kept)
            version = peer.node.authority.version
            peer.wire.send(Event("behind", {"doc": DOC, "version": version}))

    # Nodes.

    def sleep(self) -> None:
        """Let a node sleep, or wake; what it read or heard stays queued."""
        for node in self.nodes:
            if node in self.asleep and self.random.random() < 0.15:
                self.asleep.discard(node)
        busy = [node for node in self.awake if node.is_busy]
        if busy and len(self.awake) > 1 and self.random.random() < 0.5:
            self.asleep.add(self.random.choice(busy))

    def flee(self) -> None:
        """Let somebody who waits for a sleeping node go to another one."""
        for peer in self.peers:
            if peer.node in self.asleep and peer.wire in peer.node.waiting_wires():
                self.cut(peer)
                self.take(peer)
                peer.node = self.random.choice([one for one in self.nodes if one is not peer.node])
                peer.wire = Wire("user-" + peer.name, may_edit=self.random.random() < 0.8)
                if self.random.random() < 0.5:
                    self.journal.compact(self.journal.version)
                return

    def kill(self) -> None:
        self.restart(self.random.choice(self.nodes))

    def restart(self, node: Node) -> None:
        """Let a node die and a new one take its place; what it sent travels on."""
        if node.appending is not None and not node.appending.answered:
            self.travelling.append(node.appending)
        self.bus.follow(node)
        node.kill()

    def forget(self) -> None:
        """Let a node get no answer from the journal, or not in time."""
        writing = [node for node in self.awake if node.is_writing]
        if writing:
            node = self.random.choice(writing)
            appending = node.forget_outcome()
            if appending is not None and not appending.answered:
                self.travelling.append(appending)

    def arrive(self) -> None:
        """Let an append that nobody waits for reach the journal, or get lost."""
        if self.travelling:
            append: Append = self.travelling.pop(self.random.randrange(len(self.travelling)))
            if self.random.random() < 0.6:
                append.write(self.journal)

    # The bus.

    def lose_news(self) -> None:
        self.bus.lose(self.random.choice(self.nodes))

    def repeat_news(self) -> None:
        self.bus.repeat(self.random.choice(self.nodes))

    def swap_news(self) -> None:
        self.bus.swap(self.random.choice(self.nodes))

    def cut_bus(self) -> None:
        node = self.random.choice(self.nodes)
        if self.random.random() < 0.5:
            self.bus.cut(node)
        elif node not in self.asleep:
            self.bus.mend(node)

    # The journal.

    def snapshot(self) -> None:
        """Let a node write a snapshot and forget what is old."""
        node = self.random.choice(self.awake or self.nodes)
        known = node.authority
        self.journal.keep(known.epoch, known.version, known.hash)
        if not node.is_writing:
            known.trim(known.version - self.random.choice([0, 2, 10]))

    def compact(self) -> None:
        self.journal.compact(self.journal.version - self.random.choice([0, 2, 10]))
        if self.random.random() < 0.3:
            for node in self.nodes:
                if node.authority.epoch == self.journal.epoch:
                    node.authority.floor = self.journal.floor

    def fall_back(self) -> None:
        """Let a copy that lags behind take the journal's place."""
        most = self.journal.lossy_lags
        if not most:
            return
        fenced = {one for one, record in self.journal.records.items() if record.fenced}
        lost = self.journal.fall_back(self.random.randint(1, most))
        self.ledger.lose(lost)
        for client in fenced:
            record = self.journal.record(client)
            if record is None or not record.fenced:
                for peer in self.peers:
                    if client in peer.clients:
                        self.ledger.lose_fence(peer.name)

    def replace(self) -> None:
        """Let a node import another text in the place of the document."""
        replaced = list(self.journal.log)
        self.journal.replace(self.journal.fresh_epoch(), self.random.choice(["", "imported\n"]))
        self.ledger.lose(replaced)


def _kind(message: Answer | Event) -> str:
    return message.name if isinstance(message, Event) else message.request.event
