"""The client: one connection that comes back by itself, and the documents on it."""

import asyncio
import inspect
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from stretto_client.backoff import Backoff, asked_delay
from stretto_client.document import LiveDocument
from stretto_client.edits import build_operation
from stretto_client.listeners import HandlerT, Listeners
from stretto_client.room import LiveRoom
from stretto_client.rooms import ClientRooms
from stretto_client.transport import SocketTransport, Transport, TransportFactory
from stretto_core.errors import StrettoError, Unauthenticated, Unavailable
from stretto_core.protocol import DOCS, ROOMS, SESSION, Limits, ServerEvent
from stretto_core.replica import Changed, Origin, Replica
from stretto_core.roster import NO_STATUS

logger = logging.getLogger(__name__)

TokenProvider: TypeAlias = Callable[[], str | Awaitable[str]]

REFRESH_AT: Final = 0.8
"""A token is renewed when this part of its life is over, a little earlier by chance."""
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
    documents keep working meanwhile.

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
        transport: TransportFactory | None = None,
        rand: Callable[[], float] = random.random,
        backoff_scale: float = 1.0,
    ) -> None:
        self.url = url
        self.limits = Limits()
        self.user: dict[str, str] | None = None
        self.error: StrettoError | None = None
        """Why the client gave up for good; None while it goes on."""
        self._token = token
        self._random = rand
        self._backoff = Backoff(rand, scale=backoff_scale)
        self._make_transport = transport or (
            lambda on_event, on_lost: SocketTransport(url, on_event, on_lost)
        )
        self._transport: Transport | None = None
        self._listeners = Listeners()
        self._documents: dict[str, LiveDocument] = {}
        self._rooms = ClientRooms(self, self._listeners.emit, rand)
        self._runner: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._lost = asyncio.Event()
        self._asked_ms: int | None = None
        self._refresh: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests = 0
        self._answered = asyncio.Event()
        self._answered.set()

    @property
    def is_connected(self) -> bool:
        """Whether requests can be sent now."""
        return self._transport is not None

    async def connect(self, timeout_s: float | None = 30.0) -> None:
        """Connect, trying again until it succeeds or ``timeout_s`` is over.

        Raises the error of a refusal that will not pass (Unauthenticated, Forbidden …),
        Unavailable after the timeout. Cancelling is safe; call :meth:`close` afterwards.
        """
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        waiting = asyncio.ensure_future(self._ready.wait())
        try:
            await asyncio.wait(
                [waiting, self._runner], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()
        if self.error is not None:
            raise self.error
        if not self.is_connected:
            raise Unavailable(f"no connection to {self.url} within {timeout_s} s")

    async def close(self) -> None:
        """Close everything. Unsaved edits are not waited for: await ``saved()`` first."""
        for document in list(self._documents.values()):
            await document.stop()
        self._documents.clear()
        self._rooms.stop()
        self._cancel_refresh()
        tasks = [*self._tasks, *([self._runner] if self._runner else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()
        await self._listeners.stop()

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

    def on(self, event: str, handler: HandlerT | None = None) -> Any:
        """Call ``handler`` for every ``event``; without a handler, a decorator."""
        if handler is None:
            return lambda decorated: self._listeners.add(event, decorated)
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

        Raises NotFound, Forbidden, TooLarge, RoomFull, InvalidRequest. Waits while there is
        no connection. A cancelled call leaves the document closed.
        """
        document = self._documents.get(doc)
        if document is None:
            replica = Replica(doc, fresh_client, limits=self.limits)
            document = self._documents[doc] = LiveDocument(self, replica, rand=self._random)
            if self.is_connected:
                document.connected()
        try:
            await document.opened()
        except BaseException:
            if not document.replica.known:
                await document.close()
            raise
        return document

    async def send_operation(self, doc: str, operation: Mapping[str, Any]) -> int:
        """Edit a document, opening it first; return the replica's version once it is saved.

        ``operation`` is ``{type: insert|delete|replace|move, position, length?, data?, to?,
        version?}``, in code points; ``to`` counts after the removal. A ``version`` older than
        the replica's means that positions count there (VersionGone if it is no longer
        held); a newer one, or none, means now. Raises InvalidRequest, InvalidOperation and
        what :meth:`open` raises. Offline it waits; cancelling does not take the edit back.
        """
        document = await self.open(doc)
        document.edit(build_operation(document.replica, operation))
        await document.saved()
        return document.version

    async def room(
        self, room: str, *, status: Any = NO_STATUS, metadata: Mapping[str, Any] | None = None
    ) -> LiveRoom:
        """Join a room, or return it if it is joined already.

        ``metadata`` ``{name, max_members, private, tags}`` counts where the room is made.
        Raises NotFound, RoomFull, TooLarge, InvalidRequest. Waits while there is no connection;
        cancelling leaves a room that was not joined yet.
        """
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
        self._start(self._renew())

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

    # The connection.

    async def _run(self) -> None:
        """Connect, stay until the connection is lost, and again."""
        while True:
            try:
                await self._connect_once()
            except StrettoError as error:
                if not self._passes(error):
                    self._give_up(error)
                    return
                await asyncio.sleep(self._backoff.next_delay(error.retry_after_ms))
                continue
            except Exception as error:
                logger.exception("connecting failed")
                self._give_up(Unauthenticated(f"the token provider failed: {error}"))
                return
            await self._lost.wait()
            await self._disconnect()
            if self._asked_ms is None:
                await asyncio.sleep(self._backoff.next_delay())
            else:
                await asyncio.sleep(asked_delay(self._asked_ms))
                self._asked_ms = None

    def _passes(self, error: StrettoError) -> bool:
        """Tell whether trying again can help."""
        return (
            error.retryable
            or error.code == "internal_error"
            or (error.code == "token_expired" and callable(self._token))
        )

    def _give_up(self, error: StrettoError) -> None:
        self.error = error
        self._listeners.emit("failed", error)
        for document in list(self._documents.values()):
            document.failed(error)
        self._rooms.failed(error)

    async def _connect_once(self) -> None:
        self._lost.clear()
        transport = self._make_transport(self._heard, self._on_lost)
        token = await self._fresh_token()
        await transport.connect(token)
        self._transport = transport
        self._backoff.reset()
        self._ready.set()
        for document in list(self._documents.values()):
            document.connected()
        self._rooms.connected()

    async def _disconnect(self) -> None:
        transport, self._transport = self._transport, None
        self._cancel_refresh()
        for document in list(self._documents.values()):
            document.disconnected()
        self._rooms.disconnected()
        if transport is not None:
            await transport.close()

    def _on_lost(self, error: StrettoError | None) -> None:
        self._lost.set()
        self._transport, transport = None, self._transport
        for document in list(self._documents.values()):
            document.disconnected()
        self._rooms.disconnected()
        self._listeners.emit("connection.lost", error)
        if transport is not None:
            self._start(transport.close())

    async def _fresh_token(self) -> str:
        if not callable(self._token):
            return self._token
        token = self._token()
        return await token if inspect.isawaitable(token) else token

    # Events.

    def _heard(self, namespace: str, event: str, payload: dict[str, Any]) -> None:
        if namespace == DOCS:
            document = self._documents.get(payload.get("doc", ""))
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
            self._schedule_refresh(payload["token_ttl_s"])
            self._listeners.emit("connection.ready", payload)
        elif event == ServerEvent.TOKEN_EXPIRED:
            self.token_refused()
        elif event == ServerEvent.SHUTDOWN:
            self._asked_ms = payload["reconnect_after_ms"]
            self._listeners.emit("server.shutdown", payload)
            self._start(self._leave())

    async def _leave(self) -> None:
        """Leave a server that shuts down, once it answered what it was asked."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._answered.wait()
        if self._transport is not None:
            self._on_lost(None)

    # The token.

    def _schedule_refresh(self, ttl_s: float) -> None:
        self._cancel_refresh()
        if callable(self._token):
            delay = ttl_s * (REFRESH_AT - 0.1 * self._random())
            self._refresh = asyncio.get_running_loop().call_later(
                min(delay, 12 * 3600.0), lambda: self._start(self._renew())
            )

    def _cancel_refresh(self) -> None:
        if self._refresh is not None:
            self._refresh.cancel()
            self._refresh = None

    async def _renew(self) -> None:
        """Give the server a fresh token; what fails is tried again when it is refused."""
        if not callable(self._token) or not self.is_connected:
            return
        try:
            token = await self._fresh_token()
            answer = await self.request(SESSION, "refresh_token", {"token": token})
        except StrettoError as error:
            logger.warning("the token was not renewed: %s", error.message)
        except Exception:
            logger.exception("the token provider failed")
        else:
            self._schedule_refresh(answer["token_ttl_s"])
            for document in list(self._documents.values()):
                document.token_renewed()

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def fresh_client() -> str:
    """Return a random replica id."""
    return secrets.token_urlsafe(16)


def limits_of(told: Mapping[str, Any]) -> Limits:
    """Return the server's limits; keys that we do not know are ignored."""
    known = Limits().to_payload()
    return Limits(**{key: int(told[key]) for key in known if key in told})
