"""The connections of this node: who each one is, and until when.

A connection is one Engine.IO transport, on which a client joins namespaces. It is a
stranger until the first of them accepted its token.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from stretto_core.errors import Forbidden, TokenExpired, Unauthenticated, Unavailable
from stretto_core.protocol import Limits
from stretto_server.auth import Principal
from stretto_server.limits import Allowances, Census, Rates

LONGEST_TIMER_S: Final = 12 * 3600.0
"""Timers further away are set in steps; event loops do not take arbitrarily long ones."""


@dataclass(eq=False, slots=True)
class Connection:
    """One transport. ``sids`` maps each joined namespace to its Socket.IO id.

    ``documents`` and ``rooms`` are the ids open here, kept by the services that own them.
    """

    engine_sid: str
    address: str
    rates: Rates
    principal: Principal | None = None
    sids: dict[str, str] = field(default_factory=dict)
    documents: set[str] = field(default_factory=set)
    rooms: set[str] = field(default_factory=set)
    expired: bool = False
    closed: bool = False
    timer: asyncio.TimerHandle | None = None

    @property
    def who(self) -> Principal:
        """Who this is. Raises Unauthenticated before a namespace was joined."""
        if self.principal is None:
            raise Unauthenticated
        return self.principal

    def require_live_token(self) -> None:
        """Raise TokenExpired from the token's expiry on."""
        if self.expired or time.time() >= self.who.expires_at:
            raise TokenExpired

    def set_timer(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Replace the connection's one timer."""
        self.cancel_timer()
        self.timer = asyncio.get_running_loop().call_later(max(0.0, delay_s), callback)

    def cancel_timer(self) -> None:
        """Stop the connection's timer, if one runs."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


Callback = Callable[[Connection], Awaitable[None]]


class Connections:
    """Finds connections, counts them, and watches their tokens."""

    def __init__(
        self, limits: Limits, *, rate_limits: bool, connect_timeout: float, token_grace: float
    ) -> None:
        self._limits = limits
        self.allowances = Allowances(limits) if rate_limits else None
        """What users may do; None lets everything through."""
        self._connect_timeout = connect_timeout
        self._token_grace = token_grace
        self._by_engine_sid: dict[str, Connection] = {}
        self._by_sid: dict[tuple[str, str], Connection] = {}
        self._users = Census()
        self._addresses = Census()
        self._strangers = Census()
        self._tasks: set[asyncio.Future[None]] = set()
        self._emptied = asyncio.Event()
        self.on_expired: Callback | None = None
        """Called at a token's expiry."""
        self.on_overdue: Callback | None = None
        """Called when the grace after it is over, or no namespace was joined in time."""

    def __len__(self) -> int:
        return len(self._by_engine_sid)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._by_engine_sid.values()))

    async def empty(self) -> None:
        """Wait until no connection is left. Cancelling is safe."""
        while self._by_engine_sid:
            self._emptied.clear()
            await self._emptied.wait()

    def admit(self, engine_sid: str, address: str) -> Connection | None:
        """Count a new transport in; None when its address has too many."""
        if not self._addresses.enter(address, self._limits.address_connections):
            return None
        if not self._strangers.enter(address, self._limits.address_unauthenticated):
            self._addresses.leave(address)
            return None
        rates = Rates(None if self.allowances is None else self._limits)
        connection = Connection(engine_sid, address, rates)
        self._by_engine_sid[engine_sid] = connection
        connection.set_timer(self._connect_timeout, lambda: self._run(self.on_overdue, connection))
        return connection

    def depart(self, engine_sid: str) -> None:
        """Forget a transport that is gone."""
        connection = self._by_engine_sid.pop(engine_sid, None)
        if connection is None:
            return
        connection.closed = True
        connection.cancel_timer()
        if not self._by_engine_sid:
            self._emptied.set()
        self._addresses.leave(connection.address)
        if connection.principal is None:
            self._strangers.leave(connection.address)
        else:
            self._users.leave(connection.principal.user.id)
            if self.allowances is not None:
                self.allowances.leave(connection.principal.user.id)

    def of_engine(self, engine_sid: str) -> Connection | None:
        """Return the connection of a transport."""
        return self._by_engine_sid.get(engine_sid)

    def find(self, namespace: str, sid: str) -> Connection | None:
        """Return the connection that has ``sid`` in ``namespace``."""
        return self._by_sid.get((namespace, sid))

    def join(self, connection: Connection, namespace: str, sid: str) -> None:
        """Note that a connection joined a namespace."""
        connection.sids[namespace] = sid
        self._by_sid[namespace, sid] = connection

    def leave(self, namespace: str, sid: str) -> Connection | None:
        """Note that it left; return the connection."""
        connection = self._by_sid.pop((namespace, sid), None)
        if connection is not None and connection.sids.get(namespace) == sid:
            del connection.sids[namespace]
        return connection

    def identify(self, connection: Connection, principal: Principal) -> None:
        """Give a connection the rights and the expiry of a token just verified.

        Raises Forbidden for another user than before, Unavailable when the user has too
        many connections.
        """
        if connection.principal is None:
            if not self._users.enter(principal.user.id, self._limits.user_connections):
                raise Unavailable("this user has too many connections")
            self._strangers.leave(connection.address)
            if self.allowances is not None:
                connection.rates.share(self.allowances.enter(principal.user.id))
        elif connection.principal.user.id != principal.user.id:
            raise Forbidden("another user's token on the same connection")
        connection.principal = principal
        connection.expired = False
        self._watch_token(connection)

    def _watch_token(self, connection: Connection) -> None:
        remaining = connection.who.expires_at - time.time()
        if remaining > LONGEST_TIMER_S:
            connection.set_timer(LONGEST_TIMER_S, lambda: self._watch_token(connection))
        else:
            connection.set_timer(remaining, lambda: self._expire(connection))

    def _expire(self, connection: Connection) -> None:
        connection.expired = True
        connection.set_timer(self._token_grace, lambda: self._run(self.on_overdue, connection))
        self._run(self.on_expired, connection)

    def _run(self, callback: Callback | None, connection: Connection) -> None:
        if callback is not None:
            task = asyncio.ensure_future(callback(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
