"""Runs the events of one client: in order of arrival, bounded, off the read path."""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any

from stretto_server.engine.engine_socket import Pause
from stretto_server.engine.members import SocketClient

logger = logging.getLogger("stretto_server.engine")

Work = Coroutine[Any, Any, None]


class EventQueue:
    """Starts handlers as tasks, ``most`` per client at the most; the others wait their turn.

    While any wait, the client is not read from, so TCP makes it wait too. ``one_by_one``
    starts an event only when the one before has ended.
    """

    def __init__(self, most: int, *, one_by_one: bool) -> None:
        self._most = 1 if one_by_one else most
        self._patience = most
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def idle(self, client: SocketClient) -> bool:
        """Tell whether a handler that does not wait may run at once without overtaking."""
        return client.waiting is None and (self._most > 1 or not client.running)

    def put(self, client: SocketClient, work: Work) -> None:
        """Run ``work`` when it is its turn."""
        if client.waiting is not None:
            client.waiting.append(work)
        elif client.running >= self._most:
            client.waiting = deque((work,))
        else:
            self._start(client, work)
            return
        if client.running + len(client.waiting) == self._patience + 1:
            client.socket.pause_reading(Pause.EVENTS)

    def drop(self, client: SocketClient) -> None:
        """Forget what a client that is gone still waits for."""
        waiting, client.waiting = client.waiting, None
        for work in waiting or ():
            work.close()

    async def finish(self) -> None:
        """Wait for everything that runs. Cancelling is safe."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _start(self, client: SocketClient, work: Work) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        client.running += 1
        task = self._loop.create_task(self._run(client, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, client: SocketClient, work: Work) -> None:
        try:
            await work
        except Exception:
            logger.exception("an event handler failed")
        finally:
            self._ended(client)

    def _ended(self, client: SocketClient) -> None:
        client.running -= 1
        waiting = client.waiting
        if waiting is None:
            return
        if client.running + len(waiting) == self._patience:
            client.socket.resume_reading(Pause.EVENTS)
        work = waiting.popleft()
        if not waiting:
            client.waiting = None
        self._start(client, work)
