"""Probes: is the loop turning, and should traffic come here."""

from enum import StrEnum

from aiohttp import web


class NodeState(StrEnum):
    """Where a node is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Health:
    """The node's state and the two probes that tell of it."""

    def __init__(self) -> None:
        self.state = NodeState.STARTING

    def add_routes(self, app: web.Application) -> None:
        """Serve ``GET /livez`` and ``GET /readyz``."""
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        ready = self.state is NodeState.READY
        return web.json_response({"status": self.state}, status=200 if ready else 503)
