"""``RealtimeServer``: the whole server as one object, to embed or to run."""

import os
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from stretto_core.errors import Unavailable
from stretto_server.app import NODE, create_app
from stretto_server.documents import Documents
from stretto_server.rooms import Rooms
from stretto_server.settings import Settings

IDLE_S: Final = 75.0
"""How long a connection may ask nothing, or not finish asking. More than the 60 s for which
proxies keep theirs, and less than aiohttp's hour, in which silent ones would pile up."""


class RealtimeServer:
    """A Stretto server in this process.

    ::

        async with RealtimeServer(port=8080, secret=SECRET) as server:
            await server.documents.edit("notes", ["Hello"])
            print(await server.documents.read("notes"))

    ``secret`` signs tokens (HS256, at least 32 bytes); with ``dev=True`` a key is made and
    guests are let in, on loopback only. ``journal`` is a URL such as ``sqlite:///stretto.db``
    or ``memory://``; what is not given comes from the environment. Times are in seconds.
    ``port=0`` takes a free port: see :attr:`url`.

    Raises SettingsError from the constructor when something is missing or wrong.
    """

    def __init__(
        self,
        port: int | None = None,
        secret: str | None = None,
        dev: bool = False,
        ping_interval: float | None = None,
        compression: bool = False,
        redis: str | None = None,
        journal: str | None = None,
        **settings: Any,
    ) -> None:
        self.settings = Settings.from_environ(
            os.environ,
            port=port,
            secret=secret,
            dev=dev or None,
            ping_interval=ping_interval,
            compression=compression or None,
            redis_url=redis,
            journal=journal,
            # One process, whatever the environment says; workers are told how many they are.
            **{"workers": 1, **settings},
        )
        self._runner: web.AppRunner | None = None
        self._begun = False
        self._app = create_app(self.settings)
        self._port = self.settings.port

    @property
    def documents(self) -> Documents:
        """Read and edit documents in process, live for everyone."""
        return self._app[NODE].documents

    @property
    def rooms(self) -> Rooms:
        """Speak to rooms and look into them in process."""
        return self._app[NODE].rooms

    @property
    def url(self) -> str:
        """Where the server listens; the port is known once it has started."""
        return self.settings.url_at(self._port)

    async def start(self) -> None:
        """Open the journal and listen; a server starts once.

        Raises Unavailable with what to do.
        """
        if self._begun:
            raise RuntimeError("this server was started already: make another one")
        self._begun = True
        runner = web.AppRunner(
            self._app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=1.0,
            keepalive_timeout=IDLE_S,
        )
        try:
            await runner.setup()
            several = self.settings.workers > 1
            site = web.TCPSite(
                runner, self.settings.host, self.settings.port, reuse_port=several or None
            )
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise Unavailable(f"cannot listen at {self.url}: {error.strerror or error}") from error
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = runner.addresses[0][1]
        self._app[NODE].announce(self.url)

    async def stop(self) -> None:
        """Drain and close everything; twice is fine. Cancelled, it leaves the rest undone."""
        runner, self._runner = self._runner, None
        if runner is not None:
            # Before the runner stops listening: polling clients still ask for their
            # answers, and probes hear that the node is draining.
            await self._app[NODE].drain()
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
