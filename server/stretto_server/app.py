"""The composition root: settings in, a served application out. Nothing here decides."""

import asyncio
import contextlib
import importlib.util
import logging
import random
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

from aiohttp import web

from stretto_core.protocol import DOCS, ROOMS, SESSION, ServerEvent
from stretto_server.api import add_document_api
from stretto_server.auth import TokenVerifier
from stretto_server.bus.local import LocalBus
from stretto_server.bus.redis import RedisBus
from stretto_server.bus.stock import StockBus
from stretto_server.connections import Connection, Connections
from stretto_server.documents import Documents
from stretto_server.health import Health, NodeState
from stretto_server.history import expire_clients
from stretto_server.journal.interface import Journal
from stretto_server.journal.memory import MemoryJournal
from stretto_server.journal.published import PublishedJournal
from stretto_server.journal.redis import RedisJournal
from stretto_server.journal.sqlite import SqliteJournal
from stretto_server.metrics import Metrics
from stretto_server.namespaces.boundary import Context, end_connection
from stretto_server.namespaces.documents import DocumentsNamespace
from stretto_server.namespaces.rooms import RoomsNamespace
from stretto_server.namespaces.session import SessionNamespace
from stretto_server.page import add_guest_tokens, add_page
from stretto_server.presence.redis import RedisPresence
from stretto_server.presence.redis_session import RedisSession
from stretto_server.redis_client.url import RedisUrl
from stretto_server.room_store.redis import RedisRoomStore
from stretto_server.rooms import Rooms
from stretto_server.settings import Settings, SettingsError
from stretto_server.shared_limits import SharedLimits
from stretto_server.slow_readers import SlowReaders
from stretto_server.sockets import Sockets
from stretto_server.stock_sockets import StockSockets

logger = logging.getLogger(__name__)

DOCUMENTS = web.AppKey("documents", Documents)

RECONNECT_PER_S = 200
"""A draining node asks its clients to come back no faster than this, together."""
SHORTEST_SPREAD_S = 2.0
BODY_BYTES_PER_CHAR = 13
"""JSON that escapes everything takes twelve bytes for one code point; the rest is around it."""
LEAVE_S = 0.5
"""So long clients have to leave by themselves before their transports are closed."""


def open_journal(settings: Settings, *, read_only: bool = False) -> Journal:
    """Return the journal that the settings name, not started yet."""
    path = sqlite_path(settings.journal)
    if path is not None:
        return SqliteJournal(path, read_only=read_only)
    if settings.journal == "memory://":
        return MemoryJournal()
    if settings.journal_scheme in ("redis", "rediss"):
        return RedisJournal(settings.journal, read_only=read_only)
    _require_asyncpg()
    from stretto_server.journal.postgres import PostgresJournal

    return PostgresJournal(settings.journal, read_only=read_only)


async def migrate_journal(settings: Settings) -> list[int] | None:
    """Run the migrations that the journal lacks; return which. None where there are none.

    Raises Unavailable with what to do.
    """
    if settings.journal_scheme not in ("postgres", "postgresql"):
        return None
    _require_asyncpg()
    from stretto_server.journal.postgres_session import migrate_database

    return await migrate_database(settings.journal)


def _require_asyncpg() -> None:
    """Check for what only one kind of journal needs, and not everybody installs."""
    if importlib.util.find_spec("asyncpg") is None:
        raise SettingsError(
            "a postgresql:// journal needs asyncpg: pip install 'stretto[server,postgres]'"
        )


def sqlite_path(url: str) -> Path | None:
    """Return the file of ``sqlite:///path`` (four slashes for an absolute one), or None."""
    prefix, found, rest = url.partition("sqlite:///")
    return Path(unquote(rest)) if found and not prefix and rest else None


def open_bus(settings: Settings, metrics: Metrics, node: str) -> LocalBus | StockBus:
    """Return how the node called ``node`` reaches clients, on other nodes too; not started."""
    if settings.redis_url is not None:
        return RedisBus(settings.redis_url, metrics, node=node)
    return StockBus() if settings.engine == "stock" else LocalBus()


def open_sockets(
    settings: Settings, bus: LocalBus | StockBus, connections: Connections
) -> Sockets | StockSockets:
    """Return the Socket.IO server that goes with ``bus``."""
    if isinstance(bus, StockBus):
        return StockSockets(settings, bus, connections)
    return Sockets(settings, bus, connections)


def told_to_others(journal: Journal, bus: LocalBus | StockBus) -> Journal:
    """Return ``journal`` such that other nodes hear of what is written to it.

    A Redis journal publishes by itself, which other nodes hear if it lies where the bus is.
    """
    if not isinstance(bus, RedisBus):
        return journal
    if isinstance(journal, RedisJournal) and _lies_with(journal.url, bus.url):
        return journal
    return PublishedJournal(journal, bus.publish)


def _lies_with(one: RedisUrl, other: RedisUrl) -> bool:
    return (one.addresses, one.sentinel) == (other.addresses, other.sentinel)


@contextlib.asynccontextmanager
async def open_documents(settings: Settings) -> AsyncIterator[Documents]:
    """Give the documents of a journal that no server holds, or that several share.

    Nobody is connected here; servers that share it hear of what is done. Raises Unavailable
    with what to do.
    """
    metrics = Metrics()
    bus = open_bus(settings, metrics, secrets.token_hex(4))
    journal = told_to_others(open_journal(settings), bus)
    documents = Documents(
        journal, bus, settings.limits, history_hours=settings.history_hours, metrics=metrics
    )
    await journal.start()
    try:
        if isinstance(bus, RedisBus):
            await bus.start()
        yield documents
    finally:
        await documents.stop()
        await journal.close()
        if isinstance(bus, RedisBus):
            await bus.close()


class Node:
    """Everything one process runs, and how it starts and drains."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = secrets.token_hex(4)
        self.health = Health()
        self.metrics = Metrics()
        self.bus = open_bus(settings, self.metrics, self.name)
        self.journal = told_to_others(open_journal(settings), self.bus)
        self.connections = Connections(
            settings.limits,
            rate_limits=settings.rate_limits,
            connect_timeout=settings.connect_timeout,
            token_grace=settings.token_grace,
        )
        self.redis = RedisSession(settings.redis_url) if settings.redis_url is not None else None
        self.presence = self._share_presence()
        self.shared_limits = self._limit_users()
        self.sockets = open_sockets(settings, self.bus, self.connections)
        self.documents = Documents(
            self.journal,
            self.bus,
            settings.limits,
            history_hours=settings.history_hours,
            metrics=self.metrics,
            presence=self.presence,
        )
        self.rooms = Rooms(
            self.bus,
            settings.limits,
            idle_ttl=settings.room_idle_ttl,
            store=self._shared_rooms(),
            presence=self.presence,
        )
        self._expiring: asyncio.Task[None] | None = None
        self._serve_namespaces()
        self._watch()

    def _serve_namespaces(self) -> None:
        """Let the services hear of clients and what they ask."""
        settings = self.settings
        self.context = Context(self.sockets, self.bus, self.connections, _verifier(settings))
        self.context.rights_changed = (self.documents.rights_changed, self.rooms.rights_changed)
        self.session = SessionNamespace(
            self.context,
            node=self.name,
            limits=settings.limits,
            token_grace=settings.token_grace,
        )
        if isinstance(self.sockets, Sockets) and isinstance(self.bus, LocalBus):
            slow = SlowReaders(self.bus, self.connections, self.documents, self.rooms)
            self.sockets.slow_readers = slow
        self.sockets.receivers = {
            SESSION: self.session,
            DOCS: DocumentsNamespace(self.context, self.documents),
            ROOMS: RoomsNamespace(self.context, self.rooms),
        }
        self.connections.on_expired = self.session.token_expired
        self.connections.on_overdue = self._end

    async def start(self) -> None:
        """Open the journal and find the other nodes. Raises Unavailable with what to do."""
        await self.journal.start()
        if isinstance(self.bus, RedisBus):
            await self.bus.start()
        if self.redis is not None:
            await self.redis.start()
        if self.presence is not None:
            self.presence.start()
        self.documents.start()
        self._expiring = asyncio.create_task(expire_clients(self.journal))
        self.health.state = NodeState.READY

    def announce(self, url: str) -> None:
        """Say beside the journal where its owner listens, for the command line to find."""
        if isinstance(self.journal, SqliteJournal):
            self.journal.write_owner(url)

    async def drain(self) -> None:
        """Tell every client to go elsewhere, flush, and close those who stayed; once."""
        if self.context.draining:
            return
        self.health.state = NodeState.DRAINING
        self.context.draining = True
        self.rooms.drain()
        spread = max(SHORTEST_SPREAD_S, len(self.connections) / RECONNECT_PER_S)
        spread = min(spread, max(0.0, self.settings.drain - 5.0))
        for connection in self.connections:
            await self.session.tell(
                connection,
                ServerEvent.SHUTDOWN,
                {
                    "reason": "draining",
                    "reconnect_after_ms": int(random.uniform(0, spread) * 1000),
                },
            )
        await self.documents.drain(min(self.settings.drain / 2, 10.0))
        await self._wait_for_clients(min(LEAVE_S, self.settings.drain / 4))
        await asyncio.gather(
            *(self.sockets.close_transport(one.engine_sid) for one in self.connections)
        )

    async def stop(self) -> None:
        """Stop every task and close the journal."""
        await self.sockets.stop()
        if self.presence is not None:
            await self.presence.stop()
        self.rooms.stop()
        await self.documents.stop()
        if self._expiring is not None:
            self._expiring.cancel()
            await asyncio.wait([self._expiring])
        if self.shared_limits is not None:
            await self.shared_limits.stop()
        if self.redis is not None:
            await self.redis.close()
        await self.journal.close()
        if isinstance(self.bus, RedisBus):  # the last: the journal may tell of something yet
            await self.bus.close()

    def _watch(self) -> None:
        """Let the metrics tell what is counted elsewhere."""
        metrics = self.metrics
        metrics.watch("connections", "Clients that are connected.", lambda: len(self.connections))
        metrics.watch("open_documents", "Documents in memory.", self.documents.count_open)
        if isinstance(self.sockets, Sockets):
            engine = self.sockets.eio
            metrics.watch_counts(
                "connections_closed",
                "Connections closed for what their client sent, or did not read.",
                "reason",
                lambda: (
                    {str(one): count for one, count in engine.violations.items()}
                    | {"reads_nothing": engine.aborted}
                ),
            )

    def _share_presence(self) -> RedisPresence | None:
        """Return where several nodes keep who is where."""
        if self.redis is None:
            return None
        return RedisPresence(self.redis, self.name, idle_ttl=self.settings.room_idle_ttl)

    def _shared_rooms(self) -> RedisRoomStore | None:
        """Return where several nodes keep their rooms."""
        if self.redis is None or self.presence is None:
            return None
        return RedisRoomStore(self.redis, self.presence, self.settings.limits)

    def _limit_users(self) -> SharedLimits | None:
        """Count what users spend, and let other nodes hear of it."""
        allowances = self.connections.allowances
        if allowances is None:
            return None
        allowances.on_refused = self.metrics.limited
        if self.redis is None:
            return None
        shared = SharedLimits(self.redis)
        allowances.on_worth = shared.report
        return shared

    async def _wait_for_clients(self, longest_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self.connections.empty()

    async def _end(self, connection: Connection) -> None:
        await end_connection(self.sockets, connection)


NODE = web.AppKey("node", Node)


def create_app(settings: Settings) -> web.Application:
    """Return the application; starting it opens the journal, cleaning it up drains."""
    app = web.Application(client_max_size=BODY_BYTES_PER_CHAR * settings.limits.document_chars)
    node = Node(settings)
    app[NODE] = node
    app[DOCUMENTS] = node.documents
    # Before the engine's own: aiohttp calls them in this order, and draining needs clients.
    app.on_shutdown.append(_drain_node)
    node.sockets.attach(app)
    add_document_api(app, node.documents, node.context.verifier)
    node.health.add_routes(app)
    node.metrics.add_route(app)
    if settings.dev:
        add_guest_tokens(app, settings)
    add_page(app)
    app.cleanup_ctx.append(_run_node)
    return app


async def _run_node(app: web.Application) -> AsyncIterator[None]:
    await app[NODE].start()
    yield
    await app[NODE].stop()


async def _drain_node(app: web.Application) -> None:
    """Drain while the sockets are still open: aiohttp calls this before it closes them."""
    await app[NODE].drain()


def _verifier(settings: Settings) -> TokenVerifier:
    assert settings.secret is not None  # Settings refuses to exist without one
    return TokenVerifier(
        settings.secret,
        audience=settings.token_audience,
        issuer=settings.token_issuer,
        default_role=settings.default_role,
    )
