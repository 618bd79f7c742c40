"""``/rooms``: join, leave, send, set_state, set_status, set_metadata, find."""

from collections.abc import Mapping
from typing import Any

from stretto_core.protocol import ROOMS
from stretto_server.connections import Connection
from stretto_server.live_room import Place
from stretto_server.namespaces.boundary import Context, Handler, Namespace
from stretto_server.rooms import Rooms


class RoomsNamespace(Namespace):
    """The namespace of rooms."""

    name = ROOMS

    def __init__(self, context: Context, rooms: Rooms) -> None:
        super().__init__(context)
        self._rooms = rooms

    def handlers(self) -> Mapping[str, Handler]:
        """Return the table of handlers."""
        return {
            "join": self._join,
            "leave": self._leave,
            "send": self._send,
            "set_state": self._set_state,
            "set_status": self._set_status,
            "set_metadata": self._set_metadata,
            "find": self._find,
        }

    async def left(self, connection: Connection) -> None:
        """Give up every place."""
        await self._rooms.leave_all(connection)

    async def _join(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        return await self._rooms.join(connection, request)

    async def _leave(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        await self._rooms.joined(connection, request["room"])
        await self._rooms.leave(connection, request["room"])
        return {}

    async def _send(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        place = await self._place(connection, request)
        await place.send(request["event"], request["data"])
        return {}

    async def _set_state(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        place = await self._place(connection, request)
        revision = await place.set_state(request["changes"], request.get("if_revision"))
        return {"revision": revision}

    async def _set_status(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        place = await self._place(connection, request)
        place.set_status(request["status"])
        return {}

    async def _set_metadata(
        self, connection: Connection, request: dict[str, Any]
    ) -> dict[str, Any]:
        place = await self._place(connection, request)
        return {"metadata": await place.set_metadata(request["metadata"])}

    async def _find(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        return {"rooms": await self._rooms.find(connection, request)}

    async def _place(self, connection: Connection, request: dict[str, Any]) -> Place:
        await self._rooms.joined(connection, request["room"])
        return self._rooms.place(connection, request["room"])
