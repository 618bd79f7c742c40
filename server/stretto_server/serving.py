"""``stretto serve``: run a server until it is asked to stop, alone or as one of several workers."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

from stretto_server.settings import Settings

if TYPE_CHECKING:
    from stretto_server.server import RealtimeServer

logger = logging.getLogger("stretto_server")

READY: Final = b"ready"
"""What a worker tells the process that watches over it, once it listens."""


def serve(environ: Mapping[str, str], worker: int | None = None, **flags: Any) -> int:
    """Serve until SIGTERM or SIGINT, then drain; return the exit code.

    ``worker`` is what a worker was given by the process that started it.
    """
    who = "" if worker is None else f"worker {os.getpid()} "
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s {who}%(levelname)s %(message)s", stream=sys.stderr
    )
    given = {name: value for name, value in flags.items() if value is not None}
    if worker is None:
        settings = Settings.from_environ(environ, **given)
        if settings.workers > 1:
            from stretto_server.workers import supervise

            return asyncio.run(supervise(settings, given))
        given["workers"] = 1
    # Only here: who merely watches over workers needs no server's memory.
    from stretto_server.server import RealtimeServer

    watcher = None if worker is None else socket.socket(fileno=worker)
    return run_loop(_serve(RealtimeServer(**given), watcher))


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


async def _serve(server: "RealtimeServer", watcher: socket.socket | None) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, _stop, stopping, name)
    if watcher is not None:
        loop.add_reader(watcher, _left_alone, watcher, stopping)
    await server.start()
    _calm_collector()
    settings = server.settings
    if watcher is not None:
        watcher.send(READY)
    else:
        logger.info("Stretto listens on %s, journal %s", server.url, settings.journal_shown)
        if settings.dev:
            logger.info("Development mode: open %s and edit; guests may do everything", server.url)
    await stopping.wait()
    logger.info("draining")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settings.drain):
            await server.stop()
    logger.info("stopped")
    return 0


def _calm_collector() -> None:
    """Let the cyclic collector look less often at what lives long.

    Open documents and connections are hundreds of thousands of objects without cycles;
    going through them after every 700 new ones was a quarter of a busy server's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _stop(stopping: asyncio.Event, name: signal.Signals) -> None:
    if stopping.is_set():
        logger.warning("second %s: leaving at once", name.name)
        os._exit(1)
    stopping.set()


def _left_alone(watcher: socket.socket, stopping: asyncio.Event) -> None:
    """Stop when the process that watches over the workers is gone: its end of the socket closed."""
    asyncio.get_running_loop().remove_reader(watcher)
    if not stopping.is_set():
        logger.warning("whoever started this worker is gone: stopping too")
        stopping.set()
