"""Looks now and then whether the journal has more, or another history, than is known here.

The bus tells of other nodes' commits at once, but may lose a message without anybody
noticing. So the heads of all documents in memory are compared every ten seconds, and at
once after the bus was away, many of them in one question.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

from stretto_core.errors import StrettoError
from stretto_core.following import News, judge_head
from stretto_server.journal.interface import Journal
from stretto_server.metrics import Metrics
from stretto_server.open_document import OpenDocument

logger = logging.getLogger(__name__)

EVERY_S: Final = 10.0
JITTER: Final = 0.2
GATHER_S: Final = 0.05
BATCH: Final = 500
MOST_FAILURES: Final = 20
"""Enough to find one document among a thousand; then the journal itself is away."""


class HeadChecks:
    """Compares heads, periodically once started and on demand."""

    def __init__(
        self,
        documents: Callable[[], Iterable[OpenDocument]],
        journal: Journal,
        metrics: Metrics,
        *,
        every_s: float = EVERY_S,
    ) -> None:
        self._documents = documents
        self._journal = journal
        self._metrics = metrics
        self._every_s = every_s
        self._wanted: dict[OpenDocument, None] = {}
        self._gathering: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Check every ten seconds from now on."""
        self._keep(self._check_for_ever())

    async def close(self) -> None:
        """Check nothing more."""
        if self._gathering is not None:
            self._gathering.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def soon(self, document: OpenDocument) -> None:
        """Check a document with others for which that is asked at about the same time."""
        self._wanted[document] = None
        if self._gathering is None:
            loop = asyncio.get_running_loop()
            self._gathering = loop.call_later(GATHER_S, self._check_wanted)

    async def check(self, documents: Sequence[OpenDocument]) -> None:
        """Check documents; those that are behind, or elsewhere, read what they lack.

        Raises Unavailable. One that cannot be asked for, because its record is damaged or
        its part of a cluster is away, keeps nobody else from being checked.
        """
        problem: StrettoError | None = None
        waiting = [documents[start : start + BATCH] for start in range(0, len(documents), BATCH)]
        failures = 0
        while waiting and failures < MOST_FAILURES:
            batch = waiting.pop()
            try:
                await self._check_batch(batch)
            except StrettoError as error:
                problem, failures = error, failures + 1
                if len(batch) > 1:
                    middle = len(batch) // 2
                    waiting += [batch[:middle], batch[middle:]]
        if problem is not None:
            raise problem

    async def _check_batch(self, documents: Sequence[OpenDocument]) -> None:
        asked = [(document, document.actor, document.actor.authority) for document in documents]
        versions = [authority.version for _, _, authority in asked]
        heads = await self._journal.heads([actor.doc for _, actor, _ in asked])
        for (document, actor, authority), version, head in zip(asked, versions, heads, strict=True):
            if document.actor is not actor or actor.lost:
                continue
            news = News.OTHER
            if head is not None:
                news = judge_head(authority, head.epoch, head.version, head.hash, version)
            if news is not News.KNOWN and actor.idle:  # else what is under way finds it out
                self._metrics.gaps.labels("head").inc()
                actor.look_later()

    def _check_wanted(self) -> None:
        self._gathering = None
        wanted, self._wanted = list(self._wanted), {}
        self._keep(self._check_quietly(wanted))

    async def _check_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._every_s * random.uniform(1 - JITTER, 1 + JITTER))
            await self._check_quietly(list(self._documents()))

    async def _check_quietly(self, documents: Sequence[OpenDocument]) -> None:
        try:
            await self.check(documents)
        except StrettoError as error:
            logger.warning("heads were not compared: %s", error.message)
        except Exception:
            logger.exception("comparing heads failed")

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
