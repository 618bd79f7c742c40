"""A Socket.IO 5 server: python-socketio's interface on our engine."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from socketio import exceptions

from stretto_core.eio.actions import CloseReason
from stretto_core.eio.socketio import MAX_ATTACHMENTS, PacketType, SocketPacket
from stretto_core.eio.violations import Reason, Violation
from stretto_server.engine.answers import Answer, RoomAnswers, unwrap
from stretto_server.engine.codecs import ClassCodec, Codec, JsonCodec, MsgPackCodec
from stretto_server.engine.compatibility import check_socketio
from stretto_server.engine.engine_server import EngineServer
from stretto_server.engine.engine_socket import EngineSocket
from stretto_server.engine.event_queue import EventQueue
from stretto_server.engine.members import Member, MemberState, SocketClient
from stretto_server.engine.memberships import Memberships
from stretto_server.engine.recovery import Recoveries, Recovery
from stretto_server.engine.room_manager import RoomManager, with_rooms

logger = logging.getLogger("stretto_server.engine")


class SocketServer(Memberships):
    """``socketio.AsyncServer`` that runs on :class:`EngineServer`; it takes the same arguments.

    Besides those of the engine:

    - ``connect_timeout``: seconds until a client that joined no namespace is closed.
    - ``max_inflight_events``: events of one client whose handlers run or wait; beyond it
      the client is not read from until some have ended.
    - ``max_attachments``: pieces of binary data in one packet.
    - ``recovery``: namespaces whose clients come back after a lost connection, each with a
      :class:`~.recovery.Recovery`. There every event has one more argument, its offset.

    With ``async_handlers=True`` the events of one client start in order and run side by
    side; with False each starts when the one before has ended, which keeps neither pongs nor
    acks waiting, so ``call`` works in both. A handler that is no coroutine function runs in
    place. A client is sent nothing of a namespace before its CONNECT packet.
    """

    def __init__(
        self,
        client_manager: Any = None,
        logger: bool | logging.Logger = False,
        serializer: Any = "default",
        json: Any = None,
        async_handlers: bool = True,
        always_connect: bool = False,
        namespaces: list[str] | str | None = None,
        *,
        connect_timeout: float = 45.0,
        max_inflight_events: int = 100,
        max_attachments: int = MAX_ATTACHMENTS,
        recovery: Mapping[str, Recovery] | None = None,
        **engine: Any,
    ) -> None:
        check_socketio()
        manager = RoomManager() if client_manager is None else with_rooms(client_manager)
        self._clients = {}
        super().__init__(
            client_manager=manager,
            logger=logger,
            serializer=serializer,
            async_handlers=async_handlers,
            always_connect=always_connect,
            namespaces=namespaces,
            **engine,
        )
        eio = self.eio
        eio.observer = self
        self.codec = _codec(serializer, json, eio.settings.max_payload, max_attachments)
        self.connect_timeout_ms = round(connect_timeout * 1000)
        self._events = EventQueue(max_inflight_events, one_by_one=not async_handlers)
        self._coroutines: dict[Callable[..., Any], bool] = {}
        self.recoveries = Recoveries(recovery or {}, eio.timers)

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    @property
    def violations(self) -> Any:
        """How many connections were closed for what their peer sent, by reason."""
        return self.eio.violations

    # For applications.

    async def emit(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        room: Any = None,
        skip_sid: str | list[str] | None = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
        volatile: bool = False,
    ) -> None:
        """Send an event, as ``socketio.AsyncServer.emit`` does.

        A ``volatile`` one is dropped for clients that cannot take it now.
        """
        options = {"volatile": True} if volatile else {}
        await self.manager.emit(
            event,
            data,
            namespace or "/",
            room=to or room,
            skip_sid=skip_sid,
            callback=callback,
            ignore_queue=ignore_queue,
            **options,
        )

    async def call(
        self,
        event: str,
        data: Any = None,
        to: str | None = None,
        sid: str | None = None,
        namespace: str | None = None,
        timeout: float = 60,
        ignore_queue: bool = False,
    ) -> Any:
        """Send an event to one client and return its answer. Cancelling is safe.

        Raises socketio.exceptions.TimeoutError, at once when the client is gone.
        """
        target = to or sid
        if target is None:
            raise ValueError("call() needs the sid of one client: use call_room() for many")
        answer = Answer()
        await self.emit(
            event,
            data,
            to=target,
            namespace=namespace,
            callback=answer,
            ignore_queue=ignore_queue,
        )
        try:
            async with asyncio.timeout(timeout):
                received = await answer.future
        except TimeoutError:
            raise exceptions.TimeoutError from None
        if received is None:
            raise exceptions.TimeoutError("the client is gone")
        return unwrap(received)

    async def call_room(
        self,
        event: str,
        data: Any = None,
        room: Any = None,
        namespace: str | None = None,
        timeout: float = 60,
    ) -> RoomAnswers:
        """Send an event to all in a room of this process and gather their answers.

        Waits until everybody answered or left, or for ``timeout`` seconds. Cancelling is safe.
        """
        space = namespace or "/"
        answers = {one.sid: Answer() for one in self.manager.audience(space, room)}
        for sid, answer in answers.items():
            await self.manager.emit(event, data, space, room=sid, callback=answer)
        waiting = [answer.future for answer in answers.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=timeout)
        received = {
            sid: answer.future.result() for sid, answer in answers.items() if answer.future.done()
        }
        given = {sid: unwrap(data) for sid, data in received.items() if data is not None}
        return RoomAnswers(given, frozenset(answers.keys() - given.keys()))

    async def disconnect(
        self,
        sid: str,
        namespace: str | None = None,
        ignore_queue: bool = False,
        close: bool = False,
    ) -> None:
        """Take a client out of a namespace; with ``close`` end its connection as well."""
        space = namespace or "/"
        member = self.manager.member(sid, space)
        if ignore_queue or member is not None:
            mine = member is not None and member.state is MemberState.CONNECTED
        else:
            mine = await self.manager.can_disconnect(sid, space)
            member = self.manager.member(sid, space)
        if member is None:
            return
        if mine:
            member.state = MemberState.LEAVING
            self.send_packet(member.client, SocketPacket(PacketType.DISCONNECT, space))
            await self._leave(member, CloseReason.SERVER_DISCONNECT)
        if close:
            member.client.socket.close()

    async def shutdown(self) -> None:
        """Close every client, run their disconnect handlers and stop every timer."""
        await self.eio.shutdown()

    async def get_session(self, sid: str, namespace: str | None = None) -> dict[str, Any]:
        """Return what the application keeps of a client, also in its ``disconnect`` handler.

        Raises KeyError for who is not connected.
        """
        space = namespace or "/"
        socket = self._socket_of(sid, space)
        if socket.session is None:
            socket.session = {}
        session: dict[str, Any] = socket.session.setdefault(space, {})
        return session

    async def save_session(
        self, sid: str, session: dict[str, Any], namespace: str | None = None
    ) -> None:
        """Keep something of a client. Raises KeyError for who is not connected."""
        space = namespace or "/"
        socket = self._socket_of(sid, space)
        if socket.session is None:
            socket.session = {}
        socket.session[space] = session

    def _socket_of(self, sid: str, namespace: str) -> EngineSocket:
        member: Member | None = self.manager.member(sid, namespace)
        if member is None:
            raise KeyError("Session not found")
        return member.client.socket

    def get_environ(self, sid: str, namespace: str | None = None) -> dict[str, Any] | None:
        """Return the WSGI environ of a client's handshake, or None."""
        member = self.manager.member(sid, namespace or "/")
        return member.client.socket.handshake.environ() if member is not None else None

    def instrument(self, *_arguments: Any, **_options: Any) -> Any:
        """Raise RuntimeError: python-socketio's admin UI looks into python-engineio's sockets."""
        raise RuntimeError("the admin UI needs python-engineio: use socketio.AsyncServer for it")

    # For the manager.

    def forget_callback(self, callback: Any) -> None:
        """Tell what waits for an ack that there will be none."""
        if isinstance(callback, Answer):
            callback.gone()

    async def _send_packet(self, eio_sid: str, pkt: Any) -> None:
        """Send a packet of python-socketio, for managers that make their own."""
        client = self.client(eio_sid)
        if client is not None:
            kind = PacketType(pkt.packet_type - 3 if pkt.packet_type > 4 else pkt.packet_type)
            self.send_packet(client, SocketPacket(kind, pkt.namespace or "/", pkt.id, pkt.data))

    # What the engine tells ("Observer").

    def message(self, socket: EngineSocket, data: str | bytes) -> None:
        """Take a message of a client."""
        client: SocketClient = socket.client
        packet = client.decoder.decode(data)
        if type(packet) is SocketPacket:
            self._take(client, packet)
        elif packet is None:
            if client.decoder.awaited not in client.members:
                # Nobody hoards attachments before it has joined.
                socket.refuse(Reason.UNEXPECTED_BINARY)
        elif isinstance(packet, Violation):
            socket.refuse(packet.reason)

    def drained(self, socket: EngineSocket) -> None:
        """Take note that a slow client has caught up; for subclasses."""

    # Packets.

    def _take(self, client: SocketClient, packet: SocketPacket) -> None:
        member = client.members.get(packet.namespace)
        kind = packet.type
        if kind is PacketType.EVENT and member is not None:
            if member.state is MemberState.CONNECTED:
                self.dispatch(member, packet)
        elif kind is not PacketType.CONNECT and not client.greeted:
            # "Connection to a namespace": nothing comes before it.
            client.socket.refuse(Reason.UNEXPECTED_TYPE)
        elif kind is PacketType.ACK:
            if member is not None and packet.id is not None:
                self._take_ack(member, packet.id, packet.data)
        elif kind is PacketType.CONNECT:
            if member is not None and member.state is not MemberState.LEAVING:
                # "Connection to a namespace": a client joins once.
                client.socket.refuse(Reason.UNEXPECTED_TYPE)
                return
            client.greeted = True
            self._change(
                client,
                packet.namespace,
                self._handle_connect(client.socket.sid, packet.namespace, packet.data),
            )
        elif kind is PacketType.DISCONNECT and (
            member is not None or packet.namespace in (client.changes or ())
        ):
            if member is not None and member.state is MemberState.CONNECTED:
                # From now on no event reaches it; its handler may have to wait.
                member.state = MemberState.LEAVING
            leaving = self._leave_if_joined(client, packet.namespace)
            self._change(client, packet.namespace, leaving)

    # Events.

    def dispatch(self, member: Member, packet: SocketPacket) -> None:
        """Handle an event of a connected member."""
        client, data = member.client, packet.data
        name = data[0]
        handlers = self.handlers.get(packet.namespace)
        handler = handlers.get(name) if handlers is not None and name != "*" else None
        given = data
        if handler is not None:
            given[0] = member.sid
        else:
            arguments = (member.sid, *data[1:])
            handler, given = self._get_event_handler(name, packet.namespace, arguments)
        coroutine = handler is not None and self._is_coroutine(handler)
        if handler is not None and not coroutine and self._events.idle(client):
            try:
                self._answer(member, packet, handler(*given))
            except Exception:
                logger.exception("the handler of an event failed")
        elif handler is not None:
            self._events.put(client, self._run(member, packet, handler, given))
        elif isinstance(name, str):
            self._events.put(client, self._trigger(member, packet))

    def _get_event_handler(self, event: Any, namespace: str, args: Any) -> Any:
        """Find a handler as python-socketio does; an event named ``*`` has none.

        The one for all other events would take the client's data for a sid.
        """
        return (None, args) if event == "*" else super()._get_event_handler(event, namespace, args)

    async def _run(
        self, member: Member, packet: SocketPacket, handler: Callable[..., Any], given: Any
    ) -> None:
        answer = handler(*given)
        self._answer(member, packet, await answer if inspect.isawaitable(answer) else answer)

    async def _trigger(self, member: Member, packet: SocketPacket) -> None:
        name, *arguments = packet.data
        answer = await self._trigger_event(name, member.namespace, member.sid, *arguments)
        if answer is not self.not_handled:
            self._answer(member, packet, answer)

    def _answer(self, member: Member, packet: SocketPacket, answer: Any) -> None:
        if packet.id is None:
            return
        given = () if answer is None else answer if isinstance(answer, tuple) else (answer,)
        data = list(given)
        text = self.codec.ack_text(packet.namespace, packet.id, data)
        if text is not None:
            member.client.socket.send_text(text)
        else:
            ack = SocketPacket(PacketType.ACK, packet.namespace, packet.id, data)
            member.client.socket.send(self.codec.encode(ack))

    def _take_ack(self, member: Member, ack: int, data: list[Any]) -> None:
        if type(self.manager).trigger_callback is RoomManager.trigger_callback:
            try:
                result = self.manager.answered(member, ack, data)
            except Exception:
                logger.exception("the callback of an ack failed")
                return
            if inspect.isawaitable(result):
                self.eio.keep(self._guarded(result))
        else:
            self.eio.keep(self._guarded(self.manager.trigger_callback(member.sid, ack, data)))

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except Exception:
            logger.exception("the callback of an ack failed")

    def _is_coroutine(self, handler: Callable[..., Any]) -> bool:
        known = self._coroutines.get(handler)
        if known is None:
            known = inspect.iscoroutinefunction(handler)
            if len(self._coroutines) < 1_000:
                self._coroutines[handler] = known
        return known


def _codec(serializer: Any, json: Any, max_bytes: int, max_attachments: int) -> Codec:
    if serializer == "default":
        return JsonCodec(json, max_bytes=max_bytes, max_attachments=max_attachments)
    if serializer == "msgpack":
        return MsgPackCodec(max_bytes=max_bytes)
    return ClassCodec(serializer, max_bytes=max_bytes, max_attachments=max_attachments)
