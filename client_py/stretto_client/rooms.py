"""All rooms of one client: joined once each, and told of the connection's ups and downs."""

from collections.abc import Callable, Mapping
from typing import Any

from stretto_client.room import Link, LiveRoom, patiently
from stretto_core.errors import NotJoined, StrettoError
from stretto_core.protocol import ROOMS
from stretto_core.roster import NO_STATUS


class ClientRooms:
    """The rooms of one client."""

    def __init__(
        self, link: Link, tell: Callable[[str, Any], None], rand: Callable[[], float]
    ) -> None:
        self._link = link
        self._tell = tell
        self._random = rand
        self._rooms: dict[str, LiveRoom] = {}

    async def join(
        self, room: str, *, status: Any = NO_STATUS, metadata: Mapping[str, Any] | None = None
    ) -> LiveRoom:
        """Join a room, or return it if it is joined already; see :meth:`RealtimeClient.room`."""
        if self._link.error is not None:
            raise self._link.error
        while (live := self._rooms.get(room)) is not None and live.error is not None:
            # What is still under way of a former visit would look like news of this one.
            await live.gone.wait()
            self._open()
        if live is not None:
            await live.joined()
            if status is not NO_STATUS:
                await live.set_status(status)
            return live
        self._open()
        live = self._rooms[room] = LiveRoom(
            room, self._link, self._tell, status=status, metadata=metadata, rand=self._random
        )
        live.connected()
        try:
            await live.joined()
        except BaseException:
            if not live.is_known:
                await live.leave()
            raise
        return live

    async def find(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the rooms that match; keys of ``query`` that are None ask for nothing."""
        asked = {key: value for key, value in query.items() if value is not None}
        answer = await patiently(lambda: self._link.request(ROOMS, "find", asked), self._random)
        rooms: list[dict[str, Any]] = answer["rooms"]
        return rooms

    def connected(self) -> None:
        """Join every room: the client is connected."""
        for room in self._open():
            room.connected()

    def disconnected(self) -> None:
        """Wait: the connection is lost."""
        for room in self._open():
            room.disconnected()

    def failed(self, error: StrettoError) -> None:
        """End: the client gave up for good."""
        for room in self._open():
            room.close(error)

    def received(self, event: str, payload: dict[str, Any]) -> None:
        """Take an event of the namespace."""
        room = self._rooms.get(payload.get("room", ""))
        if room is not None:
            room.received(event, payload)

    def stop(self) -> None:
        """End every room, as when the client closes."""
        for room in self._open():
            room.end(NotJoined("the client was closed"))
            room.gone.set()
        self._rooms.clear()

    def _open(self) -> list[LiveRoom]:
        """Forget the rooms that are over; return the others."""
        for id, room in list(self._rooms.items()):
            if room.gone.is_set():
                del self._rooms[id]
        return [room for room in self._rooms.values() if room.error is None]
