"""``/docs``: open, submit, fetch, close, cursor."""

from collections.abc import Mapping
from typing import Any

from stretto_core.protocol import DOCS
from stretto_server.connections import Connection
from stretto_server.documents import Documents
from stretto_server.namespaces.boundary import Context, Handler, Namespace


class DocumentsNamespace(Namespace):
    """The namespace of documents."""

    name = DOCS

    def __init__(self, context: Context, documents: Documents) -> None:
        super().__init__(context)
        self._documents = documents

    def handlers(self) -> Mapping[str, Handler]:
        """Return the table of handlers."""
        return {
            "open": self._documents_open,
            "submit": self._submit,
            "fetch": self._fetch,
            "close": self._close,
            "cursor": self._cursor,
        }

    async def left(self, connection: Connection) -> None:
        """Give up every seat."""
        await self._documents.leave_all(connection)

    async def _documents_open(
        self, connection: Connection, request: dict[str, Any]
    ) -> dict[str, Any]:
        return await self._documents.open(connection, request)

    async def _submit(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        await self._documents.opened(connection, request["doc"])
        return {"version": await self._documents.submit(connection, request)}

    async def _fetch(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        await self._documents.opened(connection, request["doc"])
        return await self._documents.fetch(connection, request)

    async def _close(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        await self._documents.opened(connection, request["doc"])
        await self._documents.close(connection, request["doc"])
        return {}

    async def _cursor(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        await self._documents.opened(connection, request["doc"])
        await self._documents.cursor(connection, request)
        return {}
