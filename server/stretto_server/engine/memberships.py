"""Who joins a namespace, who leaves it, and what the application says to that."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

import socketio
from aiohttp import web
from socketio import exceptions

from stretto_core.eio.actions import CloseReason
from stretto_core.eio.socketio import PacketType, SocketPacket
from stretto_server.engine.codecs import Codec
from stretto_server.engine.engine_server import EngineServer
from stretto_server.engine.engine_socket import EngineSocket, Pause
from stretto_server.engine.event_queue import EventQueue
from stretto_server.engine.handlers import takes
from stretto_server.engine.members import Member, MemberState, SocketClient
from stretto_server.engine.recovery import Recoveries, Returning, without_recovery

logger = logging.getLogger("stretto_server.engine")

FAILED: Final = {"message": "Internal server error"}
"""What a client is told whose ``connect`` handler raised."""
MOST_CHANGES: Final = 50
"""How often a client may join or leave at the same time; then it is not read from."""
INVALID_NAMESPACE: Final = {"message": "Invalid namespace"}


class Memberships(socketio.AsyncServer):  # type: ignore[misc]
    """The part of :class:`~.socket_server.SocketServer` that lets clients in and out.

    What a client does in one namespace happens one after the other: it may leave and join
    again in one packet.
    """

    eio: EngineServer
    codec: Codec
    recoveries: Recoveries
    connect_timeout_ms: int
    _clients: dict[str, SocketClient]
    _events: EventQueue
    _initialized = False

    def client(self, eio_sid: str) -> SocketClient | None:
        """Return the client of an Engine.IO session."""
        return self._clients.get(eio_sid)

    def send_packet(self, client: SocketClient, packet: SocketPacket) -> None:
        """Send a packet to one client."""
        client.socket.send(self.codec.encode(packet))

    def connecting(self, socket: EngineSocket, request: web.BaseRequest) -> str | None:
        """Accept every client that :meth:`admit` accepts."""
        if not self._initialized:
            self._initialized = True
            self.manager.initialize()
        refusal = self.admit(socket, request)
        if refusal is None:
            client = SocketClient(socket, self.codec.decoder())
            socket.client = client
            self._clients[socket.sid] = client
            self._watch(client)
        return refusal

    def admit(self, socket: EngineSocket, request: web.BaseRequest) -> str | None:
        """Return why a client is not let in, or None; for subclasses."""
        return None

    def closed(self, socket: EngineSocket, reason: CloseReason) -> None:
        """Let a client that is gone leave its namespaces."""
        client = self._clients.get(socket.sid)
        if client is not None and not client.gone:
            client.gone = True
            self._events.drop(client)
            self.eio.timers.set(client, None)
            self.eio.keep(self._depart(client, reason))

    async def _depart(self, client: SocketClient, reason: CloseReason) -> None:
        if client.changes:
            await asyncio.wait(list(client.changes.values()))
        for member in list(client.members.values()):
            if member.state is MemberState.CONNECTED:
                await self._leave(member, reason)
        self._clients.pop(client.socket.sid, None)

    def _watch(self, client: SocketClient) -> None:
        timers = self.eio.timers
        timers.set(client, timers.now() + self.connect_timeout_ms)

    def _change(
        self, client: SocketClient, namespace: str, work: Coroutine[Any, Any, None]
    ) -> None:
        """Let a client join or leave, after what it did before in the same namespace."""
        before = client.changes.get(namespace) if client.changes is not None else None
        task = self.eio.keep(work if before is None else _after(before, work))
        if client.changes is None:
            client.changes = {}
        client.changes[namespace] = task
        client.changing += 1
        if client.changing == MOST_CHANGES + 1:
            client.socket.pause_reading(Pause.CHANGES)
        task.add_done_callback(lambda _: self._changed(client, namespace, task))

    def _changed(self, client: SocketClient, namespace: str, task: "asyncio.Future[None]") -> None:
        client.changing -= 1
        if client.changing == MOST_CHANGES:
            client.socket.resume_reading(Pause.CHANGES)
        if client.changes is not None and client.changes.get(namespace) is task:
            del client.changes[namespace]
            if not client.changes:
                client.changes = None
        if not task.cancelled() and task.exception() is not None:
            logger.error("joining or leaving failed", exc_info=task.exception())

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        """Let a client into a namespace, if it is served and the application agrees."""
        namespace = namespace or "/"
        client = self.client(eio_sid)
        before = client.members.get(namespace) if client is not None else None
        if before is not None and before.ended is not None:
            await asyncio.wait([before.ended])  # the server took it out, and that takes time
        if client is None or client.gone:
            return
        if not self._serves(namespace):
            self._refuse(client, namespace, INVALID_NAMESPACE)
            return
        returning = await self._returning(namespace, data)
        member = await self._begin(client, namespace, returning)
        if member is None:
            return
        if self.always_connect:
            await self._welcome(member, returning)
        if self.recoveries.log(namespace) is not None:
            data = without_recovery(data)
        refusal = await self.ask(member, data)
        if refusal is None:
            if not self.always_connect and not client.gone:
                await self._welcome(member, returning)
            if not client.gone:
                await self.joined(member)
                return
            untold = member.pid is None
            await self._leave(member, CloseReason.TRANSPORT_CLOSE)
            if returning is not None and untold:
                self.recoveries.give_back(namespace, returning)
            return
        await self.manager.disconnect(member.sid, namespace, ignore_queue=True)
        if returning is not None and not self.always_connect:
            self.recoveries.give_back(namespace, returning)
        if self.always_connect:
            # "Disconnection": a packet without payload.
            self.send_packet(client, SocketPacket(PacketType.DISCONNECT, namespace))
        else:
            self._refuse(client, namespace, refusal)

    def _serves(self, namespace: str) -> bool:
        return (
            namespace in self.handlers
            or namespace in self.namespace_handlers
            or self.namespaces == "*"
            or namespace in self.namespaces
        )

    async def _returning(self, namespace: str, auth: Any) -> Returning | None:
        """Return who comes back, once it has left whatever connection it had."""
        returning = self.recoveries.returning(namespace, auth)
        if returning is None:
            return None
        before: Member | None = self.manager.member(returning.departed.sid, namespace)
        if before is None:
            return returning
        if before.ended is None:
            await self._leave(before, CloseReason.TRANSPORT_ERROR)
        else:
            await asyncio.wait([before.ended])
        # Meanwhile it may have missed more.
        self.recoveries.give_back(namespace, returning)
        return self.recoveries.returning(namespace, auth)

    async def _begin(
        self, client: SocketClient, namespace: str, returning: Returning | None
    ) -> Member | None:
        """Make a member; one that comes back is who it was."""
        log = self.recoveries.log(namespace)
        if returning is None:
            sid = await self.manager.pre_connect(client.socket.sid, namespace)
            fresh = client.members.get(namespace) if sid is not None else None
            if fresh is not None and log is not None:
                fresh.since = log.position
            return fresh
        departed = returning.departed
        member: Member = self.manager.add(Member(client, namespace, departed.sid))
        member.recovered = True
        member.since = departed.since
        if departed.data is not None:
            client.socket.session = {**(client.socket.session or {}), namespace: departed.data}
        for room in departed.rooms:
            self.manager.basic_enter_room(departed.sid, namespace, room)
        return member

    async def _welcome(self, member: Member, returning: Returning | None) -> None:
        """Tell a client that it is connected, and what happened to it meanwhile."""
        self.eio.timers.set(member.client, None)
        await self.manager.connect(member.sid, member.namespace)
        told = {"sid": member.sid}
        pid = self.recoveries.welcome(member, returning)
        if pid is not None:
            told["pid"] = pid
        packet = SocketPacket(PacketType.CONNECT, member.namespace, None, told)
        member.welcome(self.codec.encode(packet), returning.missed if returning else ())

    def _refuse(self, client: SocketClient, namespace: str, error: Any) -> None:
        packet = SocketPacket(PacketType.CONNECT_ERROR, namespace, None, error)
        self.send_packet(client, packet)

    async def joined(self, member: Member) -> None:
        """Continue after a client was told that it is connected; for subclasses."""

    async def ask(self, member: Member, auth: Any) -> Any:
        """Ask the ``connect`` handler: None accepts, anything else is told to the client."""
        namespace, sid = member.namespace, member.sid
        handler, given = self._get_event_handler("connect", namespace, (sid, None, auth))
        if handler is None:
            owner, given = self._get_namespace_handler(namespace, (sid, None, auth))
            handler = getattr(owner, "on_connect", None)
            if owner is None:
                return None
        arguments = [sid, member.client.socket.handshake.environ(), auth]
        if handler is not None and takes(handler, len(given)) < len(given):
            arguments.pop()  # the older form of the handler takes no auth
        try:
            accepted = await self._trigger_event("connect", namespace, *arguments)
        except exceptions.ConnectionRefusedError as refused:
            return refused.error_args
        except ConnectionRefusedError:
            return {"message": "Connection refused by server"}
        except Exception:
            logger.exception("a connect handler failed")
            return FAILED
        if accepted is False:
            return exceptions.ConnectionRefusedError().error_args
        return None

    async def _leave(self, member: Member, reason: CloseReason) -> None:
        """Run the disconnect handler of a member, then forget it."""
        member.state = MemberState.LEAVING
        member.ended = asyncio.get_running_loop().create_future()
        self.recoveries.depart(member, reason)
        try:
            await self.left(member, reason)
        except Exception:
            logger.exception("a disconnect handler failed")
        finally:
            await self.manager.disconnect(member.sid, member.namespace, ignore_queue=True)
            member.ended.set_result(None)
            if not member.client.gone and not member.client.members:
                self._watch(member.client)

    async def _leave_if_joined(self, client: SocketClient, namespace: str) -> None:
        """Let a client leave that asked for it, unless it was refused or left meanwhile."""
        member = client.members.get(namespace)
        if member is not None and member.ended is None:
            await self._leave(member, CloseReason.CLIENT_DISCONNECT)

    async def left(self, member: Member, reason: CloseReason) -> None:
        """Tell the application that a member is gone."""
        await self._trigger_event("disconnect", member.namespace, member.sid, reason.value)

    def is_recovered(self, sid: str, namespace: str | None = None) -> bool:
        """Tell whether a client came back with what it had; ``connect`` handlers may ask."""
        member = self.manager.member(sid, namespace or "/")
        return member is not None and member.recovered


async def _after(before: "asyncio.Future[None]", work: Coroutine[Any, Any, None]) -> None:
    try:
        await asyncio.wait([before])
    except BaseException:
        work.close()
        raise
    await work
