"""The requests of a document: sent when a connection allows, and again when they must be."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from stretto_client.backoff import Random, repeat_delay
from stretto_core.errors import InternalError, StrettoError
from stretto_core.protocol import DOCS
from stretto_core.replica import Effect, Replica, Request

logger = logging.getLogger(__name__)

UNREADABLE: Final = (AttributeError, KeyError, TypeError, ValueError)
"""What it raises to read a payload that is not what the contract says."""


class Link(Protocol):
    """What a document needs of its client to send something."""

    @property
    def is_connected(self) -> bool:
        """Whether requests can be sent now."""

    async def request(self, namespace: str, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send one request."""

    def token_refused(self) -> None:
        """Get another token, then call :meth:`LiveDocument.token_renewed`."""


class Keep(Protocol):
    """What stores unsent edits, so that another process can go on with them."""

    def changed(self, doc: str, unsent: Callable[[], dict[str, Any] | None]) -> None:
        """Store what ``unsent`` returns, soon; nothing is kept where it returns None."""

    async def stored(self) -> None:
        """Wait until everything that changed so far is stored. Raises Unavailable."""


class Sender:
    """Sends what a replica wants to send, and hands it the outcomes."""

    def __init__(
        self,
        link: Link,
        replica: Replica,
        *,
        keep: Keep | None,
        store: Callable[[], None],
        report: Callable[[Sequence[Effect]], None],
        rand: Random = random.random,
    ) -> None:
        """``store`` is called before, and ``report`` with the effects of, each request."""
        self._link = link
        self._replica = replica
        self._keep = keep
        self._store = store
        self._report = report
        self._random = rand
        self._tasks: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._failures = 0
        self._connection = 0
        self._stopped = False

    def advance(self) -> None:
        """Send what may be sent now."""
        while self._link.is_connected and self._retry is None and not self._stopped:
            request = self._replica.next_request()
            if request is None:
                break
            self._store()
            task = asyncio.create_task(self._perform(request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def connected(self) -> None:
        """Start without the waits of the last connection."""
        self._failures = 0
        self._cancel_retry()

    def disconnected(self) -> None:
        """Forget what was sent: its outcome is unknown."""
        self._connection += 1
        self._replica.disconnected()
        self._cancel_retry()

    def token_renewed(self) -> None:
        """Send what an expired token held up."""
        self._replica.resend()
        self._cancel_retry()

    def unreadable(self) -> None:
        """Open again, after a while: what could not be read must be told anew."""
        self._replica.disconnected()
        self._wait_after(InternalError())

    async def stop(self) -> None:
        """Send nothing any more."""
        self._stopped = True
        self._cancel_retry()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _perform(self, request: Request) -> None:
        connection = self._connection
        try:
            if request.event == "submit" and self._keep is not None:
                await self._keep.stored()  # before it leaves: a seq means one operation
            if connection != self._connection:
                return  # another connection would not know what to do with it
            answer = await self._link.request(DOCS, request.event, request.payload)
            effects = self._replica.answered(request, answer)
            self._failures = 0
        except StrettoError as error:
            effects = self._failed(request, error, connection)
        except UNREADABLE:
            logger.exception("cannot read the answer to %s", request.event)
            effects = self._failed(request, InternalError(), connection)
        self._report(effects)

    def _failed(self, request: Request, error: StrettoError, connection: int) -> list[Effect]:
        effects = self._replica.failed(request, error)
        if connection == self._connection:
            self._wait_after(error)
        return effects

    def _wait_after(self, error: StrettoError) -> None:
        """Do not send again at once what was just refused for a while."""
        if error.code == "token_expired":
            self._link.token_refused()
        if not (error.retryable or error.code in ("token_expired", "internal_error")):
            return
        delay = repeat_delay(self._failures, self._random, error.retry_after_ms)
        self._failures += 1
        self._cancel_retry()
        self._retry = asyncio.get_running_loop().call_later(delay, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._report([])

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
