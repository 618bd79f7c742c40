"""The client: one connection that comes back by itself, and the documents on it."""

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, overload

from stretto_client.backoff import Backoff, asked_delay
from stretto_client.document import LiveDocument
from stretto_client.edits import build_operation
from stretto_client.listeners import HandlerT, Listeners
from stretto_client.outbox import Outbox
from stretto_client.room import LiveRoom
from stretto_client.rooms import ClientRooms
from stretto_client.sender import UNREADABLE
from stretto_client.tokens import TokenProvider, Tokens
from stretto_client.transport import SocketTransport, Transport, TransportFactory
from stretto_core.errors import InternalError, InvalidRequest, StrettoError, Unavailable
from stretto_core.protocol import DOCS, ROOMS, SESSION, Limits, ServerEvent
from stretto_core.replica import Changed, Origin, Replica
from stretto_core.roster import NO_STATUS

logger = logging.getLogger(__name__)

LEAVE_S: Final = 1.0
"""How long a client that was asked to leave waits for the answers it expects."""


class RealtimeClient:
    """A connection to a Stretto server.

    ::

        async with RealtimeClient("https://example.org", token=fetch_token) as client:
            doc = await client.open("notes")
            await doc.insert(0, "Hello")
            await doc.saved()

    ``token`` is a token, or a callable (plain or async) that returns a fresh one; with a
    callable the client renews it before it expires. A lost connection comes back by itself;
    documents keep working meanwhile. ``outbox`` is a file that carries unsent edits over a
    restart of the process, one per user and process: see :meth:`unsent`. ``compression``
    offers the server to compress long frames on the way.

    Events of :meth:`on`: ``sync.update`` ``{doc, version, op, user}`` after each remote
    change, those of :class:`~stretto_client.room.LiveRoom`, ``connection.ready`` (the server's
    ``ready``), ``connection.lost`` (the reason or None), ``server.shutdown``, ``failed``
    (the error after which the client gave up).
    """

    def __init__(
        self,
        url: str,
        token: str | TokenProvider,
        *,
        outbox: str | Path | None = None,
        compression: bool = False,
        transport: TransportFactory | None = None,
        rand: Callable[[], float] = random.random,
        backoff_scale: float = 1.0,
    ) -> None:
        self.url = url
        self.limits = Limits()
        self.user: dict[str, str] | None = None
        self.error: StrettoError | None = None
        """Why the client gave up for good; None while it goes on."""
        self._tokens = Tokens(token, rand=rand)
        self._outbox = None if outbox is None else Outbox(outbox, fresh_client)
        self._random = rand
        self._backoff = Backoff(rand, scale=backoff_scale)
        self._make_transport = transport or (
            lambda on_event, on_lost: SocketTransport(
                url, on_event, on_lost, compression=compression
            )
        )
        self._transport: Transport | None = None
        self._listeners = Listeners()
        self._documents: dict[str, LiveDocument] = {}
        self._rooms = ClientRooms(self, self._listeners.emit, rand)
        self._runner: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = asyncio.Event()
        self._lost = asyncio.Event()
        self._trouble: StrettoError | None = None
        self._return_at: float | None = None
        self._requests = 0
        self._answered = asyncio.Event()
        self._answered.set()
        self._closed = False

    @property
    def is_connected(self) -> bool:
        """Whether requests can be sent now."""
        return self._transport is not None

    async def connect(self, timeout_s: float | None = 30.0) -> None:
        """Connect, trying again until it succeeds or ``timeout_s`` is over.

        Raises the error of a refusal that will not pass (Unauthenticated, Forbidden …), and
        Unavailable after the timeout; then it goes on trying until :meth:`close`. Cancelling
        is safe.
        """
        runner = await self._begin()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not (self.is_connected or runner.done()):
                    await _first(self._ready.wait(), runner)
        if self.error is not None:
            raise self.error
        if not self.is_connected:
            trouble = f": {self._trouble.message}" if self._trouble is not None else ""
            raise Unavailable(f"no connection to {self.url} within {timeout_s} s{trouble}")

    async def close(self) -> None:
        """Close everything. Unsaved edits are not waited for: await ``saved()`` first.

        With an outbox they are in its file then; raises Unavailable if it cannot be written.
        Cancelled, it leaves the rest undone: call it again.
        """
        self._closed = True
        self._rooms.stop()
        for document in list(self._documents.values()):
            await document.stop()
        tasks = {*self._tasks, self._runner} - {None, asyncio.current_task()}
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()
        await self._listeners.stop()
        if self._outbox is not None:
            await self._outbox.close()
        self._documents.clear()

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @overload
    def on(self, event: str) -> Callable[[HandlerT], HandlerT]: ...

    @overload
    def on(self, event: str, handler: HandlerT) -> HandlerT: ...

    def on(self, event: str, handler: HandlerT | None = None) -> object:
        """Call ``handler`` for every ``event``; without a handler, a decorator."""
        if handler is None:
            return partial(self._listeners.add, event)
        return self._listeners.add(event, handler)

    async def request(self, namespace: str, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send one event of the wire contract and return its answer without ``ok``.

        Raises the error that the server answered, and Unavailable when there is no
        connection or it was lost: what became of the request is then unknown.
        """
        if self._transport is None:
            raise Unavailable("not connected")
        self._requests += 1
        self._answered.clear()
        try:
            return await self._transport.request(namespace, event, payload)
        finally:
            self._requests -= 1
            if self._requests == 0:
                self._answered.set()

    async def open(self, doc: str) -> LiveDocument:
        """Open a document, or return it if it is open already.

        What the outbox has of it is shown at once, also offline, and sent. Raises NotFound,
        Forbidden, TooLarge, RoomFull, InvalidRequest. Waits while there is no connection.
        Cancelling closes a document that was not known yet, unless others wait for it.
        """
        await self._begin()
        document = await self._document(doc)
        document.openers += 1
        try:
            await document.opened()
        except BaseException:
            if document.openers == 1 and not document.replica.known:
                await document.close()
            raise
        finally:
            document.openers -= 1
        return document

    async def unsent(self) -> list[str]:
        """Return the documents that the outbox has unsent edits of, to be opened again.

        Also those with text that was given back and that nobody took: when they are open,
        :meth:`LiveDocument.take_returned` returns it. Raises Unavailable, with what to do,
        when the outbox is in use or damaged.
        """
        if self._outbox is None:
            return []
        await self._outbox.open()
        return self._outbox.unsent()

    async def discard_unsent(self, doc: str) -> None:
        """Give up what the outbox has of a document that is not open.

        For one that was deleted, or that the user may no longer edit. Raises InvalidRequest
        while the document is open.
        """
        document = self._documents.get(doc)
        if document is not None:
            if not document.is_over:
                raise InvalidRequest("the document is open: close it first")
            await document.close()
        if self._outbox is not None:
            await self._outbox.open()
            self._outbox.changed(doc, lambda: None)
            await self._outbox.stored()

    async def send_operation(self, doc: str, operation: Mapping[str, Any]) -> int:
        """Edit a document, opening it first; return the replica's version once it is saved.

        ``operation`` is ``{type: insert|delete|replace|move, position, length?, data?, to?,
        version?}``, in code points; ``to`` counts after the removal. A ``version`` older than
        the replica's means that positions count there (VersionGone if it is no longer
        held); a newer one, or none, means now. Raises InvalidRequest, InvalidOperation, what
        the server refuses the edit with and what :meth:`open` raises. Offline it waits;
        cancelling does not take the edit back.
        """
        document = await self.open(doc)
        return await document.commit(build_operation(document.replica, operation))

    async def room(
        self, room: str, *, status: Any = NO_STATUS, metadata: Mapping[str, Any] | None = None
    ) -> LiveRoom:
        """Join a room, or return it if it is joined already.

        ``metadata`` ``{name, max_members, private, tags}`` counts where the room is made.
        Raises NotFound, RoomFull, TooLarge, InvalidRequest. Waits while there is no connection;
        cancelling leaves a room that was not joined yet.
        """
        await self._begin()
        return await self._rooms.join(room, status=status, metadata=metadata)

    async def join_room(self, id: str, *, status: Any = NO_STATUS) -> tuple[LiveRoom, LiveDocument]:
        """Join room ``id`` and open document ``id``; what succeeds stays if the other fails."""
        return await self.room(id, status=status), await self.open(id)

    async def find_rooms(self, **query: Any) -> list[dict[str, Any]]:
        """Return rooms ``{room, members, metadata}``; ``members`` counts them.

        ``query``: ``owner``, ``tags`` (all of them), ``min_members``, ``max_members``, ``limit``.
        Raises InvalidRequest, and Unavailable without a connection.
        """
        return await self._rooms.find(query)

    # What documents and rooms need.

    def token_refused(self) -> None:
        """Renew the token now: the server no longer takes the one we have."""
        self._tokens.refused()

    def document_changed(self, document: LiveDocument, change: Changed) -> None:
        """Tell listeners of a remote change."""
        if change.origin is Origin.REMOTE and change.entry is not None:
            self._listeners.emit(
                "sync.update",
                {
                    "doc": document.id,
                    "version": change.version,
                    "op": list(change.entry.op),
                    "user": change.entry.user,
                },
            )

    def document_closed(self, document: LiveDocument) -> None:
        """Forget a document that was closed."""
        if self._documents.get(document.id) is document:
            del self._documents[document.id]

    async def _begin(self) -> asyncio.Task[None]:
        """Start connecting, once the outbox is ours."""
        if self._outbox is not None and not self._closed:
            await self._outbox.open()
        if self._closed:
            raise Unavailable("this client was closed; make another one")
        if self.error is not None:
            raise self.error
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return self._runner

    async def _document(self, doc: str) -> LiveDocument:
        """Return the document that is open or opening, else a new one."""
        while (document := self._documents.get(doc)) is not None:
            if not document.is_over:
                return document
            # On the wire its `close` goes first, or it would close the new one.
            await document.close()
        if self._closed:
            raise Unavailable("this client was closed; make another one")
        row = None if self._outbox is None else self._outbox.read(doc)
        if row is None or row["state"] is None:
            replica = Replica(doc, fresh_client, limits=self.limits)
        else:
            replica = Replica.restore(row["state"], fresh_client, limits=self.limits)
        document = self._documents[doc] = LiveDocument(
            self,
            replica,
            keep=self._outbox,
            returned=() if row is None else row["returned"],
            rand=self._random,
        )
        if self.is_connected:
            document.connected()
        return document

    # The connection.

    async def _run(self) -> None:
        """Connect, stay until the connection is lost, and again."""
        while True:
            try:
                await self._connect_once()
            except StrettoError as error:
                self._trouble = error
            except Exception as error:
                logger.exception("connecting failed")
                self._trouble = InternalError(f"connecting failed: {error}")
            else:
                await self._lost.wait()
                await asyncio.sleep(self._pause())
                continue
            if not self._passes(self._trouble):
                self._give_up(self._trouble)
                return
            await asyncio.sleep(self._backoff.next_delay(self._trouble.retry_after_ms))

    def _pause(self) -> float:
        """Return how long to stay away; a server that asked us to leave has drawn it for us."""
        if self._return_at is None:
            return self._backoff.next_delay()
        pause, self._return_at = self._return_at - self._now(), None
        return max(0.0, pause)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _passes(self, error: StrettoError) -> bool:
        """Tell whether trying again can help."""
        return (
            error.retryable
            or error.code == "internal_error"
            or (error.code == "token_expired" and self._tokens.can_renew)
        )

    def _give_up(self, error: StrettoError) -> None:
        self.error = error
        self._listeners.emit("failed", error)
        for document in list(self._documents.values()):
            document.failed(error)
        self._rooms.failed(error)

    async def _connect_once(self) -> None:
        self._lost.clear()
        self._return_at = None
        self._stop_renewing()
        transport = self._make_transport(self._heard, self._on_lost)
        token = await self._tokens.fetch()
        await transport.connect(token)
        self._transport = transport
        self._trouble = None
        self._backoff.reset()
        self._ready.set()
        for document in list(self._documents.values()):
            document.connected()
        self._rooms.connected()
        if self._return_at is not None:  # it drains already
            self._start(self._leave(transport))

    def _on_lost(self, error: StrettoError | None) -> None:
        transport, self._transport = self._transport, None
        if transport is None:
            return
        self._ready.clear()
        self._stop_renewing()
        for document in list(self._documents.values()):
            document.disconnected()
        self._rooms.disconnected()
        self._listeners.emit("connection.lost", error)
        self._start(transport.close())
        self._lost.set()

    # Events.

    def _heard(self, namespace: str, event: str, payload: dict[str, Any]) -> None:
        try:
            self._hear(namespace, event, payload)
        except UNREADABLE:
            logger.exception("cannot read the event %s of %s", event, namespace)

    def _hear(self, namespace: str, event: str, payload: dict[str, Any]) -> None:
        if namespace == DOCS:
            document = self._documents.get(payload["doc"])
            if document is not None:
                document.received(event, payload)
        elif namespace == ROOMS:
            self._rooms.received(event, payload)
        elif namespace == SESSION:
            self._heard_session(event, payload)

    def _heard_session(self, event: str, payload: dict[str, Any]) -> None:
        if event == ServerEvent.READY:
            self.user = payload["user"]
            self.limits = limits_of(payload.get("limits", {}))
            for document in self._documents.values():
                document.replica.limits = self.limits
            self._renew_from(payload["token_ttl_s"])
            self._listeners.emit("connection.ready", payload)
        elif event == ServerEvent.TOKEN_EXPIRED:
            self.token_refused()
        elif event == ServerEvent.SHUTDOWN:
            self._return_at = self._now() + asked_delay(payload["reconnect_after_ms"])
            self._listeners.emit("server.shutdown", payload)
            if self._transport is not None:
                self._start(self._leave(self._transport))

    async def _leave(self, transport: Transport) -> None:
        """Leave a server that shuts down, once it answered what it was asked."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._answered.wait()
        if self._transport is transport:
            self._on_lost(None)

    # The token.

    def _renew_from(self, ttl_s: float) -> None:
        """Keep the connection's token fresh; ``ttl_s`` is how long it lives."""
        self._stop_renewing()
        self._renewing = self._start(
            self._tokens.keep(ttl_s, self._give_token, self._token_renewed)
        )

    def _stop_renewing(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None

    async def _give_token(self, token: str) -> float:
        answer = await self.request(SESSION, "refresh_token", {"token": token})
        try:
            return float(answer["token_ttl_s"])
        except UNREADABLE:
            raise InternalError("the answer does not tell how long the token lives") from None

    def _token_renewed(self) -> None:
        for document in list(self._documents.values()):
            document.token_renewed()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _first(waiting: Coroutine[Any, Any, Any], running: asyncio.Task[Any]) -> None:
    """Wait for either; what runs goes on."""
    task = asyncio.create_task(waiting)
    try:
        await asyncio.wait([task, running], return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()


def fresh_client() -> str:
    """Return a random replica id."""
    return secrets.token_urlsafe(16)


def limits_of(told: Mapping[str, Any]) -> Limits:
    """Return the server's limits; keys that we do not know are ignored."""
    known = Limits().to_payload()
    return Limits(**{key: int(told[key]) for key in known if key in told})
