"""A TCP proxy that does what networks do: delays, swallows, halves, resets, throttles."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

CHUNK: Final = 65_536
QUEUED: Final = 256
"""Chunks on the way in one direction; then the sender waits, as on a full line."""
NARROW: Final = 4_096


class Way(StrEnum):
    """One direction: ``up`` is from whoever connected to the target."""

    UP = "up"
    DOWN = "down"


@dataclass
class Lane:
    """What happens to the bytes of one direction, at the moment."""

    delay_s: float = 0.0
    bytes_per_s: float | None = None
    swallows: bool = False
    """Bytes vanish; a connection that lost some is reset once this is over."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Closed, bytes wait and arrive later, as those that TCP repeats after a short cut."""
    carried: int = 0

    def __post_init__(self) -> None:
        self.gate.set()


class _Pair:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.target: asyncio.StreamWriter | None = None
        self.has_hole = False
        self.is_deaf = False
        self.tasks: list[asyncio.Task[None]] = []

    def ends(self) -> list[asyncio.StreamWriter]:
        return [end for end in (self.client, self.target) if end is not None]

    def abort(self) -> None:
        """End both sides with a reset."""
        for end in self.ends():
            _reset(end)
        for task in self.tasks:
            task.cancel()


class FaultProxy:
    """Listens on a port of its own and forwards to the first of its targets that answers.

    Every fault applies to the connections that there are and to new ones.
    """

    def __init__(self, *targets: int) -> None:
        self.targets: Sequence[int] = targets
        self.lanes = {way: Lane() for way in Way}
        self.accepted = 0
        self.refuses = False
        """New connections are reset at once."""
        self.narrow = False
        """New connections to the target have as small a buffer as can be."""
        self.port = 0
        self._turn = 0
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """How many connections stand."""
        return len(self._pairs)

    async def start(self) -> None:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Faults.

    def delay(self, seconds: float, *ways: Way) -> None:
        """Let every byte arrive so much later."""
        for way in ways or Way:
            self.lanes[way].delay_s = seconds

    def throttle(self, bytes_per_s: float | None, *ways: Way) -> None:
        for way in ways or Way:
            self.lanes[way].bytes_per_s = bytes_per_s

    def hold(self, *ways: Way) -> None:
        """Let nothing through; after :meth:`heal` it arrives."""
        for way in ways or Way:
            self.lanes[way].gate.clear()

    def swallow(self, *ways: Way) -> None:
        """Lose every byte without a word."""
        for way in ways or Way:
            self.lanes[way].swallows = True

    def reset(self) -> None:
        """Reset every connection that stands."""
        for pair in list(self._pairs):
            pair.abort()

    def half_close(self) -> None:
        """Let the target's side end, and never tell the other: a half-open connection."""
        self.lanes[Way.DOWN].gate.clear()
        for pair in list(self._pairs):
            if pair.target is not None:
                _reset(pair.target)

    def deafen(self, ports: Collection[int]) -> int:
        """Let no byte come down any more on those connections; return how many they are.

        ``ports`` are those that the target sees: so one that only listens can be told apart.
        """
        deaf = 0
        for pair in self._pairs:
            if pair.target is not None and pair.target.get_extra_info("sockname")[1] in ports:
                pair.is_deaf = True
                deaf += 1
        return deaf

    def heal(self) -> None:
        """Be a good line again; connections with a hole in them are reset."""
        for lane in self.lanes.values():
            lane.delay_s, lane.bytes_per_s, lane.swallows = 0.0, None, False
            lane.gate.set()
        self.refuses = False
        for pair in list(self._pairs):
            if pair.has_hole:
                pair.abort()

    # Carrying.

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refuses:
            _reset(writer)
            return
        pair = _Pair(writer)
        self._pairs.add(pair)
        task = asyncio.ensure_future(self._carry(pair, reader))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, pair: _Pair, reader: asyncio.StreamReader) -> None:
        try:
            # While nothing gets through, neither does the handshake with the target.
            await self.lanes[Way.UP].gate.wait()
            back = await self._reach(pair)
            if back is None or pair.target is None:
                return
            pair.tasks = [
                asyncio.ensure_future(self._pump(pair, reader, pair.target, self.lanes[Way.UP])),
                asyncio.ensure_future(self._pump(pair, back, pair.client, self.lanes[Way.DOWN])),
            ]
            await asyncio.wait(pair.tasks)
        finally:
            for task in pair.tasks:
                task.cancel()
            await asyncio.gather(*pair.tasks, return_exceptions=True)
            for end in pair.ends():
                end.close()
            self._pairs.discard(pair)

    async def _reach(self, pair: _Pair) -> asyncio.StreamReader | None:
        """Connect to a target, each in its turn; None where nobody answers."""
        targets = list(self.targets)
        self._turn += 1
        for number in range(len(targets)):
            port = targets[(self._turn + number) % len(targets)]
            with suppress(OSError):
                reader, pair.target = await self._open(port)
                return reader
        _reset(pair.client)
        return None

    async def _open(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self.narrow:
            return await asyncio.open_connection("127.0.0.1", port)
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
        raw.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        except BaseException:
            raw.close()
            raise
        return await asyncio.open_connection(sock=raw, limit=NARROW)

    async def _pump(
        self, pair: _Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter, lane: Lane
    ) -> None:
        """Carry bytes until the source ends, then end the sink: one direction of one pair."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(2 if self.narrow else QUEUED)
        writing = asyncio.ensure_future(_write(queue, sink, lane))
        try:
            while data := await source.read(CHUNK):
                is_deaf = pair.is_deaf and lane is self.lanes[Way.DOWN]
                if lane.swallows or is_deaf or writing.done():
                    pair.has_hole = True
                    continue
                await queue.put((loop.time() + lane.delay_s, data))
            await queue.put((loop.time() + lane.delay_s, b""))
            await writing
        except OSError:
            await lane.gate.wait()  # a reset does not get through either
            _reset(sink)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


async def _write(
    queue: "asyncio.Queue[tuple[float, bytes]]", sink: asyncio.StreamWriter, lane: Lane
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due, data = await queue.get()
        await asyncio.sleep(max(0.0, due - loop.time()))
        await lane.gate.wait()
        if not data:
            if sink.can_write_eof():
                sink.write_eof()
            return
        while data:
            rate = lane.bytes_per_s
            size = len(data) if rate is None else max(1, int(rate / 20))
            piece, data = data[:size], data[size:]
            sink.write(piece)
            await sink.drain()
            lane.carried += len(piece)
            if rate is not None:
                await asyncio.sleep(len(piece) / rate)


def _reset(end: asyncio.StreamWriter) -> None:
    raw = end.get_extra_info("socket")
    if raw is not None:
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.transport.abort()


@asynccontextmanager
async def proxied(*targets: int) -> AsyncIterator[FaultProxy]:
    """Give a proxy that runs meanwhile."""
    proxy = FaultProxy(*targets)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
