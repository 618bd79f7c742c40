"""A bus in memory between several nodes of one test, which loses and holds back on demand."""

from collections import deque
from typing import Any

from stretto_server.bus.interface import Follower
from tests.server.stubs import RecordingBus


class Hub:
    """The channels; messages wait until :meth:`deliver`."""

    def __init__(self) -> None:
        self.buses: list[HubBus] = []

    def bus(self) -> "HubBus":
        """Return the bus of one more node."""
        bus = HubBus(self)
        self.buses.append(bus)
        return bus

    def deliver(self) -> None:
        """Let every node hear what waits for it."""
        for bus in self.buses:
            bus.deliver_messages()


class HubBus(RecordingBus):
    """The bus of one node; what is told to its members is remembered."""

    shared = True

    def __init__(self, hub: Hub) -> None:
        super().__init__()
        self.waiting: deque[tuple[str, bytes]] = deque()
        self._hub = hub
        self._followers: dict[str, Follower] = {}

    @property
    def followed(self) -> set[str]:
        """The rooms whose channels this node hears."""
        return set(self._followers)

    async def broadcast(
        self,
        namespace: str,
        room: str,
        event: str,
        payload: dict[str, Any],
        *,
        skip: str | None = None,
        binary: bool = False,
    ) -> None:
        for bus in self._hub.buses:
            bus.deliver(namespace, room, event, payload)

    async def publish(self, room: str, message: bytes) -> None:
        for bus in self._hub.buses:
            if room in bus.followed:
                bus.waiting.append((room, message))

    async def follow(self, room: str, follower: Follower) -> None:
        self._followers[room] = follower

    async def unfollow(self, room: str, follower: Follower) -> None:
        if self._followers.get(room) is follower:
            del self._followers[room]

    def deliver_messages(self) -> None:
        """Let this node hear what waits for it."""
        while self.waiting:
            room, message = self.waiting.popleft()
            if room in self._followers:
                self._followers[room].hear(message)

    def miss(self) -> None:
        """Lose what waits, and notice that something was lost."""
        self.waiting.clear()
        for follower in list(self._followers.values()):
            follower.missed()
