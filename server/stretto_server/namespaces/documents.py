"""``/docs``: open, submit, fetch, close, cursor."""

from collections.abc import Mapping
from typing import Any

from stretto_core.errors import StrettoError
from stretto_core.protocol import DOCS
from stretto_server.connections import Connection
from stretto_server.documents import Documents
from stretto_server.namespaces.boundary import Context, Handler, Immediate, Namespace, Reply


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

    def immediate(self) -> Mapping[str, Immediate]:
        """Return the handlers that suspend nowhere."""
        return {"submit": self._submit_at_once}

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

    def _submit_at_once(
        self, connection: Connection, request: dict[str, Any], reply: Reply
    ) -> None:
        self._documents.submit_for(connection, request, _Version(reply))

    def must_wait(self, connection: Connection, payload: dict[str, Any]) -> bool:
        """Tell whether a request is about a document that is being opened."""
        doc = payload.get("doc")
        return isinstance(doc, str) and self._documents.is_opening(connection, doc)

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


class _Version:
    """Answers a ``submit`` in place, as soon as its outcome is known."""

    __slots__ = ("_reply",)

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def done(self) -> bool:
        return False

    def set_result(self, version: int) -> None:
        self._reply.answer({"version": version})

    def set_exception(self, error: StrettoError) -> None:
        self._reply.fail(error)
