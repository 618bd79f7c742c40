"""Races as short scripts: replicas and a server whose messages move only when told to.

    net = Network("a", "b", text="one")
    net.type("a", 0, "x")
    net.send("a")       # a's next request reaches the server, which works it off
    net.lose("a")       # the connection breaks; what was under way to a is gone
    net.settle()
    net.all_show("xone")

``request`` and ``serve`` are the two halves of ``send``; ``deliver`` hands over what waits.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

from stretto_core.effects import Confirmed, Effect, Opened, Returned
from stretto_core.errors import StrettoError
from stretto_core.ot import Component, apply
from stretto_core.protocol import Limits
from stretto_core.replica import Replica
from tests.core.history import DOC, Answer, Event, Wire
from tests.core.journal import Journal
from tests.core.model import Node


class Network:
    """One document, its server, and replicas named by single letters."""

    def __init__(
        self, *names: str, text: str = "", limits: Limits | None = None, page: int = 500
    ) -> None:
        self.limits = limits or Limits()
        journal = Journal()
        journal.replace("epoch-1", text)
        self.node = Node(journal, self.limits, page=page)
        self.replicas: dict[str, Replica] = {}
        self.wires: dict[str, Wire] = {}
        self.stored: dict[str, str] = {}
        self.effects: dict[str, list[Effect]] = {}
        self._epochs = 1
        self._clients: dict[str, int] = {}
        for name in names:
            self.join(name)

    @property
    def journal(self) -> Journal:
        return self.node.journal

    def join(self, name: str) -> Replica:
        """Let a new replica open the document."""
        self.effects[name] = []
        self.replicas[name] = Replica(DOC, lambda: self._fresh(name), limits=self.limits)
        self.reconnect(name)
        return self.replicas[name]

    def _fresh(self, name: str) -> str:
        self._clients[name] = self._clients.get(name, 0) + 1
        return f"client-of-{name}-{self._clients[name]:05d}"

    # What users do.

    def type(self, name: str, position: int, text: str) -> None:
        self.edit(name, [position, text])

    def erase(self, name: str, position: int, count: int) -> None:
        self.edit(name, [position, -count])

    def edit(self, name: str, op: Sequence[Component]) -> None:
        self.effects[name] += self.replicas[name].edit(op)

    # What the network does.

    def request(self, name: str) -> str:
        """Put the next request under way; return its event, or nothing."""
        replica = self.replicas[name]
        request = replica.next_request()
        if request is None:
            return ""
        self.stored[name] = json.dumps(replica.state())
        self.wires[name].up.append(request)
        return request.event

    def serve(self, name: str, fault: str = "") -> None:
        """Let the server read what is under way from one, and do what is queued."""
        wire = self.wires[name]
        while wire.up:
            self.node.receive(wire)
        while self.node.is_busy:
            self.node.work(fault=fault)

    def send(self, name: str, fault: str = "") -> str:
        event = self.request(name)
        self.serve(name, fault)
        return event

    def deliver(self, name: str, count: int | None = None) -> list[str]:
        """Hand over the next messages, or all; return what they were."""
        wire, kinds = self.wires[name], []
        for _ in range(len(wire.down) if count is None else count):
            message = wire.down.popleft()
            kinds.append(_kind(message))
            self.effects[name] += self._hand(name, message)
        return kinds

    def _hand(self, name: str, message: Answer | Event) -> list[Effect]:
        replica = self.replicas[name]
        if isinstance(message, Event):
            return replica.received(message.name, message.payload)
        if message.error is not None:
            return replica.failed(message.request, message.error)
        return replica.answered(message.request, message.payload or {})

    def drop(self, name: str, index: int = 0) -> str:
        """Let one message to a replica get lost; return what it was."""
        message = self.wires[name].down[index]
        del self.wires[name].down[index]
        return _kind(message)

    def swap(self, name: str) -> None:
        """Let the next two messages to a replica change places."""
        down = self.wires[name].down
        down[0], down[1] = down[1], down[0]

    def repeat(self, name: str) -> None:
        """Let the next message to a replica arrive twice."""
        down = self.wires[name].down
        down.insert(1, down[0])

    def tamper(self, name: str, **changes: object) -> None:
        """Change the payload of the next message to a replica, and of no other's."""
        message = self.wires[name].down[0]
        payload = {**(message.payload or {}), **changes}
        self.wires[name].down[0] = replace(message, payload=payload)

    def refuse(self, name: str, error: StrettoError) -> None:
        """Answer what is under way from one with an error, and do nothing."""
        wire = self.wires[name]
        wire.send(Answer(wire.up.popleft(), error=error))

    def tell(self, name: str, event: str, **payload: object) -> None:
        self.wires[name].send(Event(event, {"doc": DOC, **payload}))

    def lose(self, name: str) -> None:
        """Break a connection, with all that is under way on it."""
        wire = self.wires[name]
        wire.cut()
        self.node.seats.pop(wire, None)
        self.replicas[name].disconnected()

    def connect(self, name: str) -> None:
        self.wires[name] = Wire("user-" + name)

    def reconnect(self, name: str) -> None:
        """Connect, and open up to the head."""
        self.connect(name)
        self.settle(name)

    def crash(self, name: str) -> None:
        """Let a replica die and come back, not connected, as it was stored last."""
        self.lose(name)
        state = json.loads(self.stored[name])
        self.replicas[name] = Replica.restore(state, lambda: self._fresh(name), limits=self.limits)
        self.connect(name)

    def replace(self, text: str) -> None:
        """Let another history begin with ``text``."""
        self._epochs += 1
        self.journal.replace(f"epoch-{self._epochs}", text)
        self.node.load_anew()

    def compact(self) -> None:
        self.journal.keep(self.journal.epoch, self.journal.version, self.journal.hashes[-1])
        self.journal.compact(self.journal.version)
        self.node.authority.floor = self.journal.floor

    def settle(self, *names: str) -> None:
        """Move messages until nothing happens any more."""
        for _ in range(100):
            moved = False
            for name in names or self.replicas:
                moved = bool(self.send(name)) or moved
                moved = bool(self.deliver(name)) or moved
            if not moved:
                return
        raise AssertionError("this never comes to rest")

    # What tests ask.

    def shows(self, name: str, text: str) -> None:
        """Check what one shows, and that it is what its parts make."""
        replica = self.replicas[name]
        shown = replica.confirmed
        for pending in replica.pending:
            shown = apply(shown, pending)
        assert replica.text == shown
        assert replica.text == text

    def all_show(self, text: str) -> None:
        """Check that all messages arrived and everybody agrees on ``text``."""
        journal = self.journal
        assert journal.text() == text
        for name, replica in self.replicas.items():
            self.shows(name, text)
            assert (replica.version, replica.hash) == (journal.version, journal.hashes[-1])
            assert replica.is_saved
            assert replica.made == replica.settled
        ops = [(entry.client, entry.seq) for entry in journal.log]
        assert len(set(ops)) == len(ops)

    def returned(self, name: str) -> list[tuple[str, str]]:
        """Return what was given back to one: ``(origin, text)``."""
        return [
            (effect.origin, effect.text)
            for effect in self.effects[name]
            if isinstance(effect, Returned)
        ]

    def confirmed(self, name: str) -> list[int]:
        """Return the versions of one's own operations, as they were reported."""
        return [one.version for one in self.effects[name] if isinstance(one, Confirmed)]

    def openings(self, name: str) -> int:
        return sum(isinstance(effect, Opened) for effect in self.effects[name])


def _kind(message: Answer | Event) -> str:
    if isinstance(message, Event):
        return message.name
    return message.request.event if message.error is None else message.error.code
