"""``stretto serve``: run a server until it is asked to stop."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from stretto_server.server import RealtimeServer

logger = logging.getLogger("stretto_server")


def serve(**flags: Any) -> int:
    """Serve until SIGTERM or SIGINT, then drain; return the exit code."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    settings = {name: value for name, value in flags.items() if value is not None}
    return run_loop(_serve(RealtimeServer(**settings)))


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


async def _serve(server: RealtimeServer) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, _stop, stopping, name)
    await server.start()
    _calm_collector()
    settings = server.settings
    logger.info("Stretto listens on %s, journal %s", server.url, settings.journal)
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
