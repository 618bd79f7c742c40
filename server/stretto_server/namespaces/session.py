"""``/``: ready, token refresh, expiry and shutdown."""

import time
from collections.abc import Mapping
from typing import Any

from stretto_core.protocol import PROTOCOL_VERSION, SESSION, Limits, ServerEvent
from stretto_server.connections import Connection
from stretto_server.namespaces.boundary import Context, Handler, Namespace


class SessionNamespace(Namespace):
    """The optional namespace of a connection's own affairs."""

    name = SESSION

    def __init__(
        self,
        context: Context,
        *,
        node: str,
        limits: Limits,
        token_grace: float,
    ) -> None:
        super().__init__(context)
        self._node = node
        self._limits = limits
        self._token_grace = token_grace

    def handlers(self) -> Mapping[str, Handler]:
        """Return the table of handlers."""
        return {"refresh_token": self.refresh_token}

    async def joined(self, connection: Connection) -> None:
        """Send ``ready``."""
        now = time.time()
        await self.tell(
            connection,
            ServerEvent.READY,
            {
                "session_id": connection.engine_sid,
                "user": connection.who.user.to_payload(),
                "protocol": PROTOCOL_VERSION,
                "node": self._node,
                "server_time_ms": int(now * 1000),
                "token_ttl_s": connection.who.ttl_s(now),
                "limits": self._limits.to_payload(),
            },
        )

    async def refresh_token(
        self, connection: Connection, payload: dict[str, Any]
    ) -> dict[str, Any]:
        """Take another token of the same user, for all namespaces."""
        await self.context.identify(connection, payload["token"])
        return {"token_ttl_s": connection.who.ttl_s(time.time())}

    async def tell(
        self, connection: Connection, event: ServerEvent, payload: dict[str, Any]
    ) -> None:
        """Send to one connection, if it joined this namespace."""
        sid = connection.sids.get(SESSION)
        if sid is not None:
            await self.context.bus.send(SESSION, sid, event, payload)

    async def token_expired(self, connection: Connection) -> None:
        """Tell of the expiry, and how long the connection goes on without a new token."""
        await self.tell(connection, ServerEvent.TOKEN_EXPIRED, {"grace_s": int(self._token_grace)})
