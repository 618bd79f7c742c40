"""The boundary: every client event passes here, and every event gets exactly one reply.

Decode by schema, find the connection, spend its rate, call the handler, turn what was
raised into an error object. A namespace is a table from event names to functions, so an
event that is not in the table reaches nothing, whatever it is called.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from stretto_core.errors import (
    InternalError,
    InvalidRequest,
    RateLimited,
    ShuttingDown,
    StrettoError,
)
from stretto_core.protocol import (
    REQUESTS,
    Budget,
    ServerEvent,
    decode_request,
    holds_lone_surrogate,
    is_whole,
)
from stretto_server.auth import TokenVerifier
from stretto_server.bus.interface import Bus
from stretto_server.connections import Connection, Connections

logger = logging.getLogger(__name__)

Handler = Callable[[Connection, dict[str, Any]], Awaitable[dict[str, Any]]]
Immediate = Callable[[Connection, dict[str, Any], "Reply"], None]
"""A handler that suspends nowhere: it answers by its reply, at once or later."""
RightsChanged = Callable[[Connection], Awaitable[None]]


class Closing(Protocol):
    """What ends connections."""

    async def disconnect(self, sid: str, namespace: str | None = None) -> None:
        """Tell a client that it left a namespace."""

    async def close_transport(self, engine_sid: str) -> None:
        """Close one transport, and with it all its namespaces."""

    def keep(self, work: Awaitable[Any]) -> object:
        """Run something that nobody waits for, and keep it until it ends."""


@dataclass(slots=True)
class Context:
    """What all namespaces of one server share."""

    sockets: Closing
    bus: Bus
    connections: Connections
    verifier: TokenVerifier
    draining: bool = False
    rights_changed: Sequence[RightsChanged] = ()
    """Told of every connection whose token became another one."""

    async def identify(self, connection: Connection, token: object) -> None:
        """Give a connection the rights of ``token``, in everything that it has open too.

        Raises Unauthenticated, TokenExpired, Forbidden, Unavailable.
        """
        self.connections.identify(connection, self.verifier.verify(token))
        for notify in self.rights_changed:
            await notify(connection)


class Reply:
    """Turns the outcome of one event into its ack object."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Callable[[dict[str, Any]], None]) -> None:
        self._answer = answer

    def answer(self, payload: dict[str, Any]) -> None:
        """Answer that it went well."""
        self._answer({"ok": True, **payload})

    def fail(self, error: StrettoError) -> None:
        """Answer what went wrong."""
        self._answer({"ok": False, "error": error.to_payload()})


class Namespace(ABC):
    """One Socket.IO namespace; subclasses give its name and its table of handlers."""

    name: ClassVar[str]

    def __init__(self, context: Context) -> None:
        self.context = context
        self._requests = REQUESTS[self.name]
        self._handlers = self.handlers()
        self._immediate = self.immediate()
        if set(self._handlers) != set(self._requests):
            raise AssertionError(f"{self.name} must handle exactly the events of the contract")

    @abstractmethod
    def handlers(self) -> Mapping[str, Handler]:
        """Return the table: event name → what handles it."""

    def immediate(self) -> Mapping[str, Immediate]:
        """Return handlers, of events in the table, that need no task."""
        return {}

    def must_wait(self, connection: Connection, payload: dict[str, Any]) -> bool:
        """Tell whether a request must wait for something under way, whatever its handler."""
        return False

    async def joined(self, connection: Connection) -> None:
        """Continue once a client knows that it joined this namespace."""

    async def left(self, connection: Connection) -> None:
        """Forget what a client had open in this namespace."""

    async def connect(self, engine_sid: str, sid: str, auth: object) -> dict[str, Any] | None:
        """Accept a client by its token, or return the CONNECT_ERROR payload.

        What will pass by itself closes the transport instead: clients take a CONNECT_ERROR
        as final, and come back after a lost transport.
        """
        connection = self.context.connections.of_engine(engine_sid)
        if connection is None:
            return {"message": InternalError.code, "data": InternalError().to_payload()}
        try:
            if self.context.draining:
                raise ShuttingDown
            token = auth.get("token") if isinstance(auth, dict) else None
            await self.context.identify(connection, token)
        except StrettoError as error:
            if error.retryable:
                await self.context.sockets.close_transport(engine_sid)
            return {"message": error.code, "data": error.to_payload()}
        self.context.connections.join(connection, self.name, sid)
        return None

    async def connected(self, sid: str) -> None:
        """Continue after the client was told that it is connected."""
        connection = self.context.connections.find(self.name, sid)
        if connection is not None:
            await self.joined(connection)

    async def disconnect(self, sid: str) -> None:
        """Forget a client that is gone."""
        connection = self.context.connections.leave(self.name, sid)
        if connection is not None:
            await self.left(connection)

    async def receive(self, sid: str, event: str, arguments: list[Any]) -> dict[str, Any]:
        """Return the ack object of one event."""
        connection = self.context.connections.find(self.name, sid)
        try:
            if connection is None:
                raise InternalError("the connection is going away")
            return {"ok": True, **await self._handle(connection, event, arguments)}
        except StrettoError as error:
            if connection is not None and isinstance(error, RateLimited):
                await self._punish(connection)
            return {"ok": False, "error": error.to_payload()}
        except Exception:
            logger.exception("%s %s failed", self.name, event[:64])
            return {"ok": False, "error": InternalError().to_payload()}

    def receive_at_once(
        self, sid: str, event: str, arguments: list[Any], answer: Callable[[dict[str, Any]], None]
    ) -> bool:
        """Handle an event without a task where that is possible; else False, and nothing was done.

        ``answer`` is called once with the ack object, now or later.
        """
        handler = self._immediate.get(event)
        connection = self.context.connections.find(self.name, sid) if handler else None
        if handler is None or connection is None or not arguments:
            return False
        payload = arguments[0]
        if type(payload) is not dict or self.must_wait(connection, payload):
            return False
        spec = self._requests[event]
        reply = Reply(answer)
        try:
            connection.rates.spend(spec.budget)
            handler(connection, decode_request(spec, arguments), reply)
        except RateLimited as error:
            reply.fail(error)
            self.context.sockets.keep(self._punish(connection))
        except StrettoError as error:
            reply.fail(error)
        except Exception:
            logger.exception("%s %s failed", self.name, event)
            reply.fail(InternalError())
        return True

    async def _handle(
        self, connection: Connection, event: str, arguments: list[Any]
    ) -> dict[str, Any]:
        spec = self._requests.get(event)
        if spec is None:
            connection.rates.spend(Budget.READS)
            raise InvalidRequest("unknown event")
        connection.rates.spend(spec.budget)
        return await self._handlers[event](connection, decode_request(spec, arguments))

    async def refuse(
        self, sid: str, event: str, arguments: list[Any], error: dict[str, Any]
    ) -> None:
        """Tell of a failure that no ack callback waits for, naming what it was about."""
        payload: dict[str, Any] = {"event": event, "error": error}
        about = arguments[0] if arguments and isinstance(arguments[0], dict) else {}
        for key in ("doc", "room"):
            value = about.get(key)
            if isinstance(value, str) and not holds_lone_surrogate(value):
                payload[key] = value
        if is_whole(about.get("seq")):
            payload["seq"] = int(about["seq"])
        await self.context.bus.send(self.name, sid, ServerEvent.REFUSED, payload)

    async def _punish(self, connection: Connection) -> None:
        if connection.rates.is_abusive():
            logger.warning("disconnecting a client that ignores rate limits")
            await end_connection(self.context.sockets, connection)


async def end_connection(sockets: Closing, connection: Connection) -> None:
    """Tell a client that it is disconnected on purpose, then close its transport."""
    for namespace, sid in list(connection.sids.items()):
        await sockets.disconnect(sid, namespace=namespace)
    await sockets.close_transport(connection.engine_sid)
