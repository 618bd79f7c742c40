"""A bus that carries the journal's messages to every node, and not always.

Each node has a queue of its own. What is in it may get lost, come twice or out of order,
and a node can be cut off: whatever is told meanwhile, it misses.
"""

import random
from collections import deque
from typing import Protocol

from tests.core.journal import Message


class Listener(Protocol):
    def hear(self, message: Message) -> None: ...

    def missed(self) -> None: ...


class Bus:
    """The messages under way to each node."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng
        self._queues: dict[Listener, deque[Message]] = {}
        self._cut: set[Listener] = set()

    def follow(self, listener: Listener) -> None:
        """Begin to carry messages to a node, and forget what was under way to it."""
        self._queues[listener] = deque()
        self._cut.discard(listener)

    def publish(self, message: Message) -> None:
        for listener, queue in self._queues.items():
            if listener not in self._cut:
                queue.append(message)

    def waits(self, listener: Listener) -> bool:
        """Tell whether a message is under way to a node."""
        return bool(self._queues[listener])

    def deliver(self, listener: Listener) -> bool:
        """Hand over the next message; tell whether there was one."""
        queue = self._queues[listener]
        if not queue:
            return False
        listener.hear(queue.popleft())
        return True

    # What goes wrong.

    def lose(self, listener: Listener) -> None:
        queue = self._queues[listener]
        if queue:
            del queue[self._random.randrange(len(queue))]

    def repeat(self, listener: Listener) -> None:
        queue = self._queues[listener]
        if queue:
            queue.append(self._random.choice(queue))

    def swap(self, listener: Listener) -> None:
        queue = self._queues[listener]
        if len(queue) > 1:
            at = self._random.randrange(len(queue) - 1)
            queue[at], queue[at + 1] = queue[at + 1], queue[at]

    def cut(self, listener: Listener) -> None:
        self._queues[listener].clear()
        self._cut.add(listener)

    def mend(self, listener: Listener) -> None:
        """Carry messages again, and let the node know that it missed some."""
        if listener in self._cut:
            self._cut.discard(listener)
            listener.missed()
