"""The handlers of an application that uses the Engine.IO server by itself."""

import inspect
import logging
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Protocol

from aiohttp import web

from stretto_core.eio.actions import CloseReason
from stretto_server.engine.engine_socket import EngineSocket


class Owner(Protocol):
    """The server, as its handlers see it."""

    handlers: dict[str, Callable[..., Any]]
    sockets: dict[str, EngineSocket]
    logger: logging.Logger

    def keep(self, work: Awaitable[Any]) -> object:
        """Hold a reference to a task until it ends."""


class Handlers:
    """The observer of a server that is used by itself: runs the registered handlers."""

    def __init__(self, server: Owner) -> None:
        self._server = server

    async def connecting(self, socket: EngineSocket, request: web.BaseRequest) -> Any:
        """Ask the ``connect`` handler; one that raises refuses."""
        self._server.sockets[socket.sid] = socket
        answer = await self._run("connect", socket.sid, socket.handshake.environ(request))
        if answer is None or answer is True:
            return None
        self._server.sockets.pop(socket.sid, None)
        return "Unauthorized" if answer is False else answer

    def message(self, socket: EngineSocket, data: str | bytes) -> None:
        """Run the ``message`` handler, in the order of arrival where it is no coroutine."""
        handler = self._server.handlers.get("message")
        if handler is None:
            return
        if inspect.iscoroutinefunction(handler):
            self._server.keep(self._run("message", socket.sid, data))
        else:
            try:
                handler(socket.sid, data)
            except Exception:
                self._server.logger.exception("the message handler failed")

    def drained(self, socket: EngineSocket) -> None:
        """Tell nobody."""

    def closed(self, socket: EngineSocket, reason: CloseReason) -> None:
        """Run the ``disconnect`` handler."""
        handler = self._server.handlers.get("disconnect")
        if handler is not None:
            arguments = (socket.sid, reason.value)[: takes(handler, 2)]
            self._server.keep(self._run("disconnect", *arguments))

    async def _run(self, event: str, *arguments: Any) -> Any:
        handler = self._server.handlers.get(event)
        if handler is None:
            return None
        try:
            answer = handler(*arguments)
            return await answer if inspect.isawaitable(answer) else answer
        except Exception:
            self._server.logger.exception("the %s handler failed", event)
            return False


@lru_cache(1_000)
def takes(handler: Callable[..., Any], most: int) -> int:
    """Return how many positional arguments a handler takes, ``most`` at the most."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return most
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return most
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return min(most, sum(one.kind in positional for one in parameters))
