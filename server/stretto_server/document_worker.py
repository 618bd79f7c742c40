"""What a document's actor cannot do in place: one piece of work at a time, in a task."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from stretto_core.errors import Unavailable
from stretto_server.document_queue import Waiting, refuse


class Worker:
    """Runs a piece of work; whoever waits for it is answered, whatever becomes of it.

    ``failed`` is told of what went wrong, ``ended`` when the next piece may begin.
    """

    __slots__ = ("_ended", "_failed", "_task", "_waiting", "_work")

    def __init__(
        self,
        failed: Callable[[Sequence[Waiting], Exception], None],
        ended: Callable[[], None],
    ) -> None:
        self._failed = failed
        self._ended = ended
        self._task: asyncio.Task[None] | None = None
        self._work: Coroutine[Any, Any, None] | None = None
        """What will be done, while it has not begun."""
        self._waiting: Sequence[Waiting] = ()

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return self._task is not None

    def begin(self, waiting: Sequence[Waiting], work: Coroutine[Any, Any, None]) -> None:
        """Begin a piece of work that ``waiting`` wait for; nothing else may be under way."""
        self._work, self._waiting = work, waiting
        self._task = asyncio.get_running_loop().create_task(self._do(work))

    async def stop(self) -> None:
        """End what is being done; its outcome stays unknown to who waits for it."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        work, self._work = self._work, None
        if work is not None:  # a task cancelled before its first step does not run at all
            work.close()
        refuse(self._waiting, Unavailable("the server stopped"))
        await asyncio.wait([task])

    async def _do(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = None
        waiting = self._waiting
        try:
            await work
        except Exception as error:  # whatever it is reaches those who wait, and no one else
            self._failed(waiting, error)
        self._task = None
        self._ended()
