"""python-socketio's AsyncClient, with everything that it hears kept in order."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import socketio

PATIENCE_S = 10.0
MODES: dict[str, dict[str, Any]] = {
    "websocket": {"transports": ["websocket"]},
    "deflate": {"transports": ["websocket"], "websocket_extra_options": {"compress": 15}},
    "polling": {"transports": ["polling"]},
    "upgrade": {"transports": ["polling", "websocket"]},
    "msgpack": {"transports": ["websocket"], "serializer": "msgpack"},
    "msgpack-polling": {"transports": ["polling"], "serializer": "msgpack"},
}


class Peer:
    """One client. ``connect``, ``connect_error`` and ``disconnect`` are heard as events are."""

    def __init__(self, url: str, mode: str, session: aiohttp.ClientSession) -> None:
        options = dict(MODES[mode])
        self.url = url
        self._transports = options.pop("transports")
        self._heard: dict[tuple[str, str], asyncio.Queue[tuple[Any, ...]]] = defaultdict(
            asyncio.Queue
        )
        self.sio = socketio.AsyncClient(
            http_session=session,
            handle_sigint=False,
            reconnection_delay=0.05,
            reconnection_delay_max=0.2,
            **options,
        )

    async def connect(self, *namespaces: str, auth: Any = None, wait: bool = True) -> None:
        for namespace in namespaces or ("/",):
            for event in ("connect", "connect_error", "disconnect"):
                self._listen(event, namespace)
            self.sio.on("*", self._catch(namespace), namespace=namespace)
        await self.sio.connect(
            self.url,
            auth=auth,
            transports=self._transports,
            namespaces=list(namespaces or ("/",)),
            wait=wait,
            wait_timeout=PATIENCE_S,
        )

    async def heard(self, event: str, namespace: str = "/") -> tuple[Any, ...]:
        """Return the arguments of the next ``event``, also one that came before."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._heard[namespace, event].get()

    async def several(self, event: str, count: int) -> list[tuple[Any, ...]]:
        return [await self.heard(event) for _ in range(count)]

    def unheard(self, event: str, namespace: str = "/") -> int:
        """Return how many came that nobody asked for."""
        return self._heard[namespace, event].qsize()

    async def emit(self, event: str, *args: Any, namespace: str = "/") -> None:
        await self.sio.emit(event, args, namespace=namespace)

    async def call(
        self, event: str, *args: Any, namespace: str = "/", timeout: float = PATIENCE_S
    ) -> Any:
        return await self.sio.call(event, args, namespace=namespace, timeout=timeout)

    def _listen(self, event: str, namespace: str) -> None:
        def heard(*args: Any) -> None:
            self._heard[namespace, event].put_nowait(args)

        self.sio.on(event, heard, namespace=namespace)

    def _catch(self, namespace: str) -> Any:
        def heard(event: str, *args: Any) -> None:
            self._heard[namespace, event].put_nowait(args)

        return heard


class Peers:
    """Makes clients, and ends them."""

    def __init__(self, url: str, mode: str) -> None:
        self._url = url
        self._mode = mode
        self._ends: list[tuple[Peer, aiohttp.ClientSession]] = []

    def make(self, mode: str | None = None) -> Peer:
        session = aiohttp.ClientSession()
        peer = Peer(self._url, mode or self._mode, session)
        self._ends.append((peer, session))
        return peer

    async def connected(self, *namespaces: str, mode: str | None = None, auth: Any = None) -> Peer:
        peer = self.make(mode)
        await peer.connect(*namespaces, auth=auth)
        return peer

    async def end(self) -> None:
        for peer, session in self._ends:
            await peer.sio.shutdown()
            await session.close()


@asynccontextmanager
async def peers_of(url: str, mode: str) -> AsyncIterator[Peers]:
    peers = Peers(url, mode)
    try:
        yield peers
    finally:
        await peers.end()


def modes_of(kind: str) -> Sequence[str]:
    """Return the modes whose clients understand those of ``kind``."""
    is_msgpack = kind.startswith("msgpack")
    return [mode for mode in MODES if mode.startswith("msgpack") is is_msgpack]
