"""Documents: reading and editing them in process, and what the namespace asks.

Rights are settled when a document is opened or a token refreshed, and kept on the
:class:`~stretto_server.open_document.Seat`; submitting looks at nothing but that.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from stretto_core.authority import Submission
from stretto_core.errors import (
    EpochChanged,
    Forbidden,
    InvalidRequest,
    NotFound,
    NotJoined,
    SequenceGap,
    ShuttingDown,
    TooLarge,
    Unavailable,
    VersionAhead,
    VersionGone,
)
from stretto_core.protocol import DOCS, PAGE_ENTRIES, Limits, ServerEvent
from stretto_server.auth import Action, Role, authorize
from stretto_server.bus.interface import Bus
from stretto_server.connections import Connection
from stretto_server.document_log import now_ms
from stretto_server.document_queue import Admitted, Answer
from stretto_server.document_registry import DocumentRegistry
from stretto_server.history import new_history
from stretto_server.journal.interface import Head, Journal
from stretto_server.metrics import Metrics
from stretto_server.open_document import OpenDocument, Seat
from stretto_server.presence.interface import Presence
from stretto_server.roster_service import LiveRoster

SERVER_USER: Final = "server"
"""Whom in-process edits are by, unless the caller says."""


@dataclass(frozen=True, slots=True)
class DocumentState:
    """A document at one version."""

    epoch: str
    version: int
    hash: str
    text: str


class Documents:
    """``read``, ``state``, ``edit``, ``delete`` and ``replace`` are for code in this process.

    The other methods serve the ``/docs`` namespace and take its decoded payloads.
    """

    def __init__(
        self,
        journal: Journal,
        bus: Bus,
        limits: Limits,
        *,
        history_hours: float,
        metrics: Metrics | None = None,
        presence: Presence | None = None,
    ) -> None:
        self._journal = journal
        self._limits = limits
        self._registry = DocumentRegistry(
            journal,
            bus,
            limits,
            metrics or Metrics(),
            history_hours=history_hours,
            presence=presence,
        )
        self._draining = False
        self._opening: dict[tuple[Connection, str], asyncio.Future[None]] = {}
        self._own_client = f"server-{secrets.token_urlsafe(12)}"

    def start(self) -> None:
        """Watch for what other nodes do, if there may be any."""
        self._registry.start()

    async def read(self, doc: str) -> str:
        """Return the text of a document. Raises NotFound, Unavailable."""
        return (await self.state(doc)).text

    async def state(self, doc: str) -> DocumentState:
        """Return the text with its version. Raises NotFound, Unavailable."""
        async with self._registry.using(doc, create=False) as document:
            authority = document.actor.authority
            return DocumentState(authority.epoch, authority.version, authority.hash, authority.text)

    def count_open(self) -> int:
        """Return how many documents are in memory."""
        return sum(1 for _ in self._registry)

    async def edit(self, doc: str, op: Sequence[int | str], *, base: int | None = None) -> int:
        """Commit an operation, live for everyone; return its version once it is durable.

        ``op`` applies to version ``base``, or to the head where that is not given. Creates
        the document when there is none. Raises InvalidOperation, TooLarge, VersionAhead,
        VersionGone, Busy, Unavailable. A cancelled call may still commit.
        """
        async with self._registry.using(doc, create=True) as document, document.editing:
            try:
                if base is not None:
                    await document.reach(document.actor.authority.epoch, base)
                return await self._edit(document, op, base)
            except SequenceGap:  # the journal forgot what this process used long ago
                return await self._edit(document, op, base)

    async def _edit(self, document: OpenDocument, op: Sequence[int | str], base: int | None) -> int:
        actor = document.actor
        if base is not None and base >= actor.authority.floor:
            await document.reach_back(base)
        admitted = await actor.admit(self._own_client, SERVER_USER)
        authority = actor.authority
        now = authority.version
        return await actor.submit(
            Submission(
                authority.epoch,
                self._own_client,
                admitted.last_seq + 1,
                now,
                op if base is None else authority.carried(op, base),
                SERVER_USER,
            )
        )

    async def delete(self, doc: str) -> bool:
        """Delete a document for everyone; tell whether there was one.

        Raises ShuttingDown, Unavailable.
        """
        self._refuse_while_draining()
        async with self._registry.exclusive(doc) as document:
            if document is not None:
                await document.actor.flush()
            deleted = await self._journal.delete(doc)
            if document is not None:
                for connection in list(document.seats):
                    await document.dismiss(connection, NotFound("the document was deleted"))
                await self._registry.drop(doc)
            return deleted

    async def replace(self, doc: str, text: str, *, user: str = SERVER_USER) -> Head:
        """Start another history of a document with ``text``; those who have it open follow.

        Raises TooLarge, InvalidOperation for a lone surrogate, ShuttingDown, Unavailable.
        """
        self._refuse_while_draining()
        if len(text) > self._limits.document_chars:
            raise TooLarge(f"a document holds {self._limits.document_chars} characters")
        at_ms = now_ms()
        entries, hashes = new_history(text, user, at_ms, self._limits.op_inserted)
        async with self._registry.exclusive(doc) as document:
            if document is not None:
                await document.actor.flush()
            head = await self._journal.replace(doc, secrets.token_hex(8), entries, hashes, at_ms)
            if document is not None:
                await self._registry.reload(doc)
                document.announce_reset()
            return head

    async def open(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        """Answer ``open``. Nothing suspends between taking the seat and returning.

        So the answer precedes every frame of the document.
        """
        doc, client, fence = request["doc"], request["client"], request.get("fence")
        connection.require_live_token()
        role = authorize(connection.who, f"docs/{doc}", Action.SEE)
        self._refuse_while_draining()
        if fence == client:
            raise InvalidRequest(details={"fence": ["a client cannot fence itself"]})
        self._require_room(connection, doc)
        opening = asyncio.get_running_loop().create_future()
        self._opening[connection, doc] = opening
        try:
            return await self._enter(connection, request, create=role >= Role.EDITOR)
        finally:
            if not opening.done():
                opening.set_result(None)
            if self._opening.get((connection, doc)) is opening:
                del self._opening[connection, doc]

    def is_opening(self, connection: Connection, doc: object) -> bool:
        """Tell whether an ``open`` of this connection is under way."""
        return bool(self._opening) and (connection, doc) in self._opening

    async def opened(self, connection: Connection, doc: str) -> None:
        """Wait for an ``open`` of this connection that arrived before and is under way."""
        opening = self._opening.get((connection, doc))
        if opening is not None:
            await opening

    async def _enter(
        self, connection: Connection, request: dict[str, Any], *, create: bool
    ) -> dict[str, Any]:
        doc, client, fence = request["doc"], request["client"], request.get("fence")
        async with self._registry.entering(doc, create=create) as document:
            admitted = await document.actor.admit(client, connection.who.user.id, fence)
            since = request.get("since")
            entries = await document.continued(since)
            if connection.closed or DOCS not in connection.sids:
                raise Unavailable("the connection was lost")
            # Meanwhile a refresh may have changed the right, and others may have opened.
            role = authorize(connection.who, f"docs/{doc}", Action.SEE)
            self._require_room(connection, doc)
            seat = await document.seat(connection, client, role, secrets.token_urlsafe(9))
            answer = _opened(document, seat, admitted)
        if entries is not None:
            answer["ops"] = [entry.to_payload() for entry in entries]
        else:
            answer["content"] = document.actor.authority.text
            if "since" in request:
                # Above the floor only another history can be why it was not continued.
                answer |= {"reset": True, "floor": document.actor.authority.floor}
        return answer

    def submit(self, connection: Connection, request: dict[str, Any]) -> "asyncio.Future[int]":
        """Queue an operation in the order of arrival; the future gives its version.

        Raises NotJoined, InvalidRequest, TokenExpired, Forbidden, Busy at once; the future
        raises the rest.
        """
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.submit_for(connection, request, answer)
        return answer

    def submit_for(self, connection: Connection, request: dict[str, Any], answer: Answer) -> None:
        """Queue an operation as :meth:`submit` does, for ``answer``."""
        document, seat = self._seated(connection, request["doc"])
        client = request["client"]
        if seat.client != client:
            raise InvalidRequest(details={"client": ["not the client that opened it here"]})
        connection.require_live_token()
        if seat.role < Role.EDITOR:
            raise Forbidden("a viewer may not submit")
        user = connection.who.user.id
        document.actor.submit_for(
            Submission(
                request["epoch"], client, request["seq"], request["base"], request["op"], user
            ),
            answer,
        )

    async def fetch(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        """Answer ``fetch`` from memory, or from the journal what has left it."""
        document, _ = self._seated(connection, request["doc"])
        await document.reach(request["epoch"], request["from_"] - 1)
        authority = document.actor.authority
        first, limit = request["from_"], min(request.get("limit", PAGE_ENTRIES), PAGE_ENTRIES)
        if request["epoch"] != authority.epoch:
            raise EpochChanged(details={"epoch": authority.epoch})
        if first > authority.version + 1:
            raise VersionAhead(details={"version": authority.version})
        if first <= authority.floor:
            raise VersionGone(details={"floor": authority.floor})
        entries, reached = await document.page(first, limit)
        return {
            "from": first,
            "ops": [entry.to_payload() for entry in entries],
            "hash": reached,
            "version": authority.version,
        }

    async def cursor(self, connection: Connection, request: dict[str, Any]) -> None:
        """Keep a member's cursor and tell the others."""
        document, seat = self._seated(connection, request["doc"])
        await document.cursor(seat, request["ranges"], request["version"])

    def roster(self, doc: str) -> LiveRoster | None:
        """Return who has a document open here, live."""
        document = self._registry.get(doc)
        return document.roster if document is not None else None

    async def tell_behind(self, connection: Connection, doc: str) -> None:
        """Tell a member that it missed frames, and which version it can fetch up to."""
        document = self._registry.get(doc)
        if document is not None and connection in document.seats:
            version = document.actor.authority.version
            await document.tell(connection, ServerEvent.BEHIND, {"doc": doc, "version": version})

    async def close(self, connection: Connection, doc: str) -> None:
        """Give up a seat."""
        document, _ = self._seated(connection, doc)
        await document.unseat(connection)
        self._registry.release(doc)

    async def leave_all(self, connection: Connection) -> None:
        """Give up every seat of a connection that is gone."""
        for doc in list(connection.documents):
            document = self._registry.get(doc)
            if document is not None:
                await document.unseat(connection)
                self._registry.release(doc)

    async def rights_changed(self, connection: Connection) -> None:
        """Apply a token just accepted to every seat of its connection."""
        for doc in list(connection.documents):
            document, seat = self._seated(connection, doc)
            role = connection.who.role_on(f"docs/{doc}")
            if role is None:
                await document.dismiss(connection, NotFound("the right to see it is gone"))
                self._registry.release(doc)
            elif role is not seat.role:
                seat.role = role
                await document.tell(connection, ServerEvent.ROLE, {"doc": doc, "role": role.word})

    async def drain(self, timeout_s: float) -> None:
        """Open nothing more; answer what is queued and write snapshots, while time lasts."""
        self._draining = True
        await self._registry.drain(timeout_s)

    async def stop(self) -> None:
        """Stop every timer and task; what is not answered yet stays unknown to its client."""
        await self._registry.close()

    def _refuse_while_draining(self) -> None:
        if self._draining:
            raise ShuttingDown

    def _require_room(self, connection: Connection, doc: str) -> None:
        most = self._limits.open_documents
        if doc not in connection.documents and len(connection.documents) >= most:
            raise TooLarge(f"at most {most} open documents per connection")

    def _seated(self, connection: Connection, doc: str) -> tuple[OpenDocument, Seat]:
        document = self._registry.get(doc)
        seat = document.seats.get(connection) if document is not None else None
        if document is None or seat is None:
            raise NotJoined
        return document, seat


def _opened(document: OpenDocument, seat: Seat, admitted: Admitted) -> dict[str, Any]:
    document.map_cursors()
    authority = document.actor.authority
    answer: dict[str, Any] = {
        "doc": document.actor.doc,
        "type": "text",
        "epoch": authority.epoch,
        "version": authority.version,
        "hash": authority.hash,
        "member_id": seat.member_id,
        "last_seq": admitted.last_seq,
        "role": seat.role.word,
        "members": document.roster.members.snapshot(seat.member_id),
    }
    if admitted.fenced_last_seq is not None:
        answer["fenced"] = {"last_seq": admitted.fenced_last_seq}
    return answer
