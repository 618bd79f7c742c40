"""What a document's actor hears of other nodes, until it has time for it."""

import asyncio
from collections.abc import Sequence
from typing import Final

from stretto_core.errors import StrettoError, Unavailable
from stretto_core.following import Frame, News
from stretto_server.document_log import DocumentLog
from stretto_server.metrics import Metrics

MOST_KEPT: Final = 64
"""So many frames wait for an append that is under way; of more than that the journal tells."""
ANEW_MS: Final = 200
"""When a client may come back to a document that is being loaded anew."""


class Hearing:
    """Frames that wait, and whether the journal must be read for what was missed."""

    __slots__ = ("_frames", "_log", "_lookers", "_metrics", "must_look")

    def __init__(self, log: DocumentLog, metrics: Metrics) -> None:
        self.must_look = False
        """Whether :meth:`look` is due."""
        self._log = log
        self._metrics = metrics
        self._frames: list[Frame] = []
        self._lookers: list[asyncio.Future[None]] = []

    @property
    def is_pending(self) -> bool:
        """Whether there is anything to do."""
        return self.must_look or bool(self._frames)

    def keep(self, frame: Frame) -> None:
        """Let a frame wait for :meth:`take_in_kept`."""
        if len(self._frames) < MOST_KEPT:
            self._frames.append(frame)
        else:
            self._frames.clear()
            self.must_look = True

    def take_in_kept(self) -> None:
        """Take in the frames that waited, unless the journal is to be read anyway."""
        frames, self._frames = self._frames, []
        for frame in frames:
            if self.must_look:
                return
            self.take_in(frame)

    def take_in(self, frame: Frame) -> None:
        """Take in a frame; one that does not continue the history means looking."""
        if self._log.hear(frame) in (News.GAP, News.OTHER):
            self._metrics.gaps.labels("bus").inc()
            self.must_look = True

    def want_look(self) -> "asyncio.Future[None]":
        """Return a future that is done when the journal was read; it raises Unavailable."""
        looked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lookers.append(looked)
        self.must_look = True
        return looked

    async def look(self) -> None:
        """Read from the journal what is not known here.

        Raises HistoryLost. When the journal cannot be reached, only those who wait hear it.
        """
        lookers = self._begin()
        try:
            await self._log.catch_up()
        except BaseException as error:
            told = error if isinstance(error, StrettoError) else Unavailable(retry_after_ms=ANEW_MS)
            _tell(lookers, told)
            if not isinstance(error, StrettoError):
                raise
        _tell(lookers, None)

    def close(self, error: StrettoError) -> None:
        """Forget everything; whoever waits gets ``error``."""
        self._frames.clear()
        _tell(self._begin(), error)

    def _begin(self) -> Sequence["asyncio.Future[None]"]:
        self.must_look = False
        lookers, self._lookers = self._lookers, []
        return lookers


def _tell(lookers: Sequence["asyncio.Future[None]"], error: StrettoError | None) -> None:
    for looked in lookers:
        if looked.done():
            continue
        if error is None:
            looked.set_result(None)
        else:
            looked.set_exception(error)
            looked.exception()  # nobody may be waiting any more
