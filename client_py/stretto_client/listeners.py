"""Handlers by event name, and what happens when one of them fails."""

import asyncio
import inspect
import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

logger = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Any], Awaitable[None] | None]
HandlerT = TypeVar("HandlerT", bound=Handler)


class Listeners:
    """Calls handlers in the order in which they were added; a failing one harms nobody else.

    All handlers hear of one event before any hears of the next, also when it is a handler
    that causes the next.
    """

    def __init__(self) -> None:
        self._handlers: defaultdict[str, list[Handler]] = defaultdict(list)
        self._waiting: deque[tuple[str, Any]] = deque()
        self._emitting = False
        self._tasks: set[asyncio.Future[None]] = set()

    def add(self, event: str, handler: HandlerT) -> HandlerT:
        """Call ``handler`` with the payload of every ``event`` from now on."""
        self._handlers[event].append(handler)
        return handler

    def has(self, event: str) -> bool:
        """Tell whether anybody listens to ``event``."""
        return bool(self._handlers.get(event))

    def remove(self, event: str, handler: Handler) -> None:
        """Stop calling ``handler``; one that was not added is fine."""
        if handler in self._handlers[event]:
            self._handlers[event].remove(handler)

    def emit(self, event: str, payload: Any) -> None:
        """Call the handlers of ``event``; coroutines run as tasks."""
        self.put(event, payload)
        self.flush()

    def put(self, event: str, payload: Any) -> None:
        """Let :meth:`flush` emit ``event``, after those that were put before."""
        self._waiting.append((event, payload))

    def flush(self) -> None:
        """Emit what was put; within a handler, once all heard of the present event."""
        if self._emitting:
            return
        self._emitting = True
        try:
            while self._waiting:
                self._call(*self._waiting.popleft())
        finally:
            self._emitting = False

    def _call(self, event: str, payload: Any) -> None:
        for handler in list(self._handlers[event]):
            try:
                result = handler(payload)
            except Exception:  # the application's: the next handler must hear of it, too
                logger.exception("a handler of %s failed", event)
                continue
            if inspect.isawaitable(result):
                task = asyncio.ensure_future(_guarded(event, result))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel handlers that still run, but for the one that calls this."""
        running = self._tasks - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _guarded(event: str, running: Awaitable[None]) -> None:
    try:
        await running
    except Exception:  # the application's, and nobody waits for it
        logger.exception("a handler of %s failed", event)
