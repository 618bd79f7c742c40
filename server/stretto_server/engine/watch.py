"""Notices that a client hangs up while its request waits, and when an answer has left.

aiohttp tells a handler neither. For the time of one long poll this protocol stands between
the transport and aiohttp's, and passes everything on.
"""

import asyncio
from types import TracebackType
from typing import Any, Self, cast

from stretto_server.engine.reset import reset


class Watch(asyncio.Protocol):
    """A context manager around a request's transport; ``lost`` tells that the client is gone."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._watched = cast(Any, transport.get_protocol())
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._drained: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        self._transport.set_protocol(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.lost.done():
            self._transport.set_write_buffer_limits()
            self._transport.set_protocol(self._watched)

    def expect_everything(self) -> None:
        """From now on let :meth:`written` wait for the last byte."""
        if not self.lost.done():
            self._transport.set_write_buffer_limits(high=0)

    async def written(self, timeout_s: float) -> bool:
        """Wait until the transport holds nothing; False when the client is gone or stalls."""
        if self._drained is not None:
            await asyncio.wait(
                [self._drained, self.lost],
                timeout=timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        if not self.lost.done() and self._drained is not None:
            reset(self._transport)
            return False
        # A write that failed is told in the next turn only.
        return not self.lost.done() and not self._transport.is_closing()

    def data_received(self, data: bytes) -> None:
        """Pass it on: the next request may come already."""
        self._watched.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return cast(bool | None, self._watched.eof_received())

    def connection_lost(self, error: Exception | None) -> None:
        """Tell both."""
        self._transport.set_protocol(self._watched)
        if not self.lost.done():
            self.lost.set_result(None)
        self._watched.connection_lost(error)

    def pause_writing(self) -> None:
        """Pass it on, and remember it."""
        self._drained = asyncio.get_running_loop().create_future()
        self._watched.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on, and tell who waits for it."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        self._watched.resume_writing()
