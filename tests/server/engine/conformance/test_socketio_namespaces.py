"""The interface of python-socketio's AsyncServer, for an application that moves over."""

import asyncio
from typing import Any

import pytest
import socketio

from stretto_server.engine import SocketServer
from tests.server.engine.conformance.conftest import Serve
from tests.server.engine.conformance.host import eventually
from tests.server.engine.conformance.peer import KINDS, WebSocketPeer, join


class Chat(socketio.AsyncNamespace):  # type: ignore[misc]
    """Handlers of both kinds."""

    heard: list[Any]

    async def on_connect(self, sid: str, environ: dict[str, Any], auth: Any) -> bool:
        self.heard.append(("connect", auth))
        await self.emit("welcome", to=sid)
        await self.enter_room(sid, "all")
        return bool(auth != "no")

    def on_disconnect(self, sid: str, reason: str) -> None:
        self.heard.append(("disconnect", reason))

    async def on_say(self, sid: str, text: str, data: bytes = b"") -> Any:
        await self.emit("said", (text, data), room="all", skip_sid=sid)
        return text, data

    def on_plain(self, sid: str, *data: Any) -> Any:
        return data

    async def on_note(self, sid: str, name: str) -> dict[str, Any]:
        async with self.session(sid) as session:
            session["name"] = name
        return dict(await self.get_session(sid))

    async def on_ask(self, sid: str) -> Any:
        return await self.call("question", to=sid, timeout=5)

    async def on_leave(self, sid: str) -> None:
        await self.disconnect(sid)


def chat(sio: Any, kind: type[Chat] = Chat, namespace: str = "/chat") -> Chat:
    instance = kind(namespace)
    instance.heard = []
    sio.register_namespace(instance)
    return instance


@pytest.mark.parametrize("kind", KINDS)
async def test_a_class_of_handlers(serve: Serve, kind: str) -> None:
    """``AsyncNamespace``: events by method name, and the server's methods for its namespace."""
    sio = SocketServer()
    handlers = chat(sio)
    host = await serve(sio)
    peer, other = await join(host, kind), await WebSocketPeer.open(host)
    for one in (peer, other):
        await one.enter("/chat", {"token": "x"})
        assert await one.receive() == '2/chat,["welcome"]'
    await peer.send('2/chat,1["say","hi"]')
    expected = '["said","hi",{"_placeholder":true,"num":0}]'
    assert await other.take(2) == ["51-/chat," + expected, b""]
    assert await peer.take(2) == ['61-/chat,1["hi",{"_placeholder":true,"num":0}]', b""]
    await peer.send('2/chat,2["plain",1,2]', '2/chat,3["note","ann"]')
    assert sorted(map(str, await peer.take(2))) == ["3/chat,2[1,2]", '3/chat,3[{"name":"ann"}]']
    await peer.send('2/chat,4["ask"]')
    assert await peer.receive() == '2/chat,1["question"]'
    await peer.send('3/chat,1["answer"]')
    assert await peer.receive() == '3/chat,4["answer"]'
    await peer.send('2/chat,["leave"]')
    assert await peer.receive() == "1/chat,"
    await eventually(lambda: ("disconnect", "server disconnect") in handlers.heard)
    assert handlers.heard[0] == ("connect", {"token": "x"})


async def test_a_class_refuses(serve: Serve) -> None:
    """``AsyncNamespace``: ``on_connect`` may return False."""
    sio = SocketServer()
    chat(sio)
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.send('0/chat,{"a":1}')
    assert str(await peer.receive()).startswith('0/chat,{"sid":"')


class Older(Chat):
    """Handlers with the arguments of earlier versions."""

    async def on_connect(self, sid: str, environ: dict[str, Any]) -> None:  # type: ignore[override]
        self.heard.append(("connect", environ["REQUEST_METHOD"]))

    async def on_disconnect(self, sid: str) -> None:  # type: ignore[override]
        self.heard.append("disconnect")


async def test_a_class_of_an_earlier_version(serve: Serve) -> None:
    """``AsyncNamespace``: ``on_connect`` without auth, ``on_disconnect`` without a reason."""
    sio = SocketServer()
    handlers = chat(sio, Older)
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.enter("/chat", {"token": "x"})
    await peer.send("1/chat,")
    await eventually(lambda: handlers.heard == [("connect", "GET"), "disconnect"])


class Everything(Chat):
    """Takes events into its own hands."""

    async def trigger_event(self, event: str, *args: Any) -> Any:
        if event in ("connect", "disconnect"):
            return None
        return [event, *args[1:]]


async def test_a_class_that_dispatches_itself(serve: Serve) -> None:
    """``AsyncNamespace.trigger_event`` may be overridden."""
    sio = SocketServer()
    chat(sio, Everything)
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.enter("/chat")
    await peer.send('2/chat,1["whatever",2]')
    assert await peer.receive() == '3/chat,1[["whatever",2]]'


class Wide(Chat):
    """A class for every namespace: its handlers get the name first."""

    async def on_connect(self, namespace: str, sid: str, environ: Any, auth: Any) -> None:  # type: ignore[override]
        self.heard.append(namespace)

    async def on_disconnect(self, namespace: str, sid: str, reason: str) -> None:  # type: ignore[override]
        self.heard.append((namespace, reason))

    async def on_say(self, namespace: str, sid: str, text: str) -> Any:  # type: ignore[override]
        return namespace, text


async def test_a_class_for_every_namespace(serve: Serve) -> None:
    """``AsyncNamespace("*")`` serves the namespaces that nothing else serves."""
    sio = SocketServer(namespaces="*")
    wide = chat(sio, Wide, "*")
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.enter("/a")
    await peer.send('2/a,1["say","hi"]')
    assert await peer.receive() == '3/a,1["/a","hi"]'
    await peer.send("1/a,")
    await eventually(lambda: wide.heard == ["/a", ("/a", "client disconnect")])


async def test_catch_all_handlers(serve: Serve) -> None:
    """``on("*")``: what has no handler of its own, but never connect and disconnect."""
    sio = SocketServer(namespaces="*")
    sio.on("own", lambda sid, *data: ("own", *data))
    sio.on("*", lambda event, sid, *data: ("event", event, *data))
    sio.on("own", lambda space, sid, *data: ("space", space, *data), namespace="*")
    sio.on("*", lambda event, space, sid, *data: ("both", event, space, *data), namespace="*")
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.enter()
    await peer.enter("/a")
    await peer.send('21["own",0]', '22["other",0]', '2/a,3["own",0]', '2/a,4["other",0]')
    assert await peer.take(4) == [
        '31["own",0]',
        '32["event","other",0]',
        '3/a,3["space","/a",0]',
        '3/a,4["both","other","/a",0]',
    ]


async def test_catch_all_handlers_of_both_kinds(serve: Serve) -> None:
    """``on("*")`` with a coroutine function, and connect in every namespace."""
    sio = SocketServer(namespaces="*")
    seen: list[Any] = []

    async def connect(namespace: str, sid: str, environ: Any, auth: Any) -> None:
        seen.append((namespace, auth))

    async def everything(event: str, namespace: str, sid: str, *data: Any) -> Any:
        await asyncio.sleep(0)
        return event, namespace, *data

    sio.on("connect", connect, namespace="*")
    sio.on("*", everything, namespace="*")
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.enter("/a", {"b": 1})
    await peer.enter("/c")
    await peer.send('2/c,1["e",2]')
    assert await peer.receive() == '3/c,1["e","/c",2]'
    assert seen == [("/a", {"b": 1}), ("/c", None)]


async def test_decorators(serve: Serve) -> None:
    """``@sio.on``, ``@sio.event`` and ``@sio.event(namespace=...)``."""
    sio = SocketServer()

    @sio.on("one")  # type: ignore[untyped-decorator]
    async def handler(sid: str) -> str:
        return "one"

    @sio.event  # type: ignore[untyped-decorator]
    def two(sid: str) -> str:
        return "two"

    @sio.event(namespace="/three")  # type: ignore[untyped-decorator]
    async def three(sid: str) -> str:
        return "three"

    peer = await WebSocketPeer.open(await serve(sio))
    await peer.enter()
    await peer.enter("/three")
    await peer.send('21["one"]')
    assert await peer.receive() == '31["one"]'
    await peer.send('22["two"]')
    assert await peer.receive() == '32["two"]'
    await peer.send('2/three,3["three"]')
    assert await peer.receive() == '3/three,3["three"]'


async def test_sessions(serve: Serve) -> None:
    """``get_session``, ``save_session`` and ``session``: per client and namespace."""
    sio = SocketServer(namespaces=["/", "/b"])
    host = await serve(sio)
    peer, other = await WebSocketPeer.open(host), await WebSocketPeer.open(host)
    a, b, c = await peer.enter(), await peer.enter("/b"), await other.enter()
    await sio.save_session(a, {"name": "ann"})
    async with sio.session(b, namespace="/b") as session:
        session["name"] = "bob"
    async with sio.session(a) as session:
        session["age"] = 7
    assert await sio.get_session(a) == {"name": "ann", "age": 7}
    assert await sio.get_session(b, namespace="/b") == {"name": "bob"}
    assert await sio.get_session(c) == {}
    with pytest.raises(KeyError):
        await sio.get_session("unknown")


async def test_a_session_in_connect(serve: Serve) -> None:
    """A connect handler may keep what it learned, and the client's handlers find it."""
    sio = SocketServer()

    async def connect(sid: str, environ: Any, auth: Any) -> None:
        await sio.save_session(sid, {"user": auth["user"]})
        await sio.enter_room(sid, auth["user"])

    async def who(sid: str) -> Any:
        return (await sio.get_session(sid))["user"], sorted(set(sio.rooms(sid)) - {sid})

    sio.on("connect", connect)
    sio.on("who", who)
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.enter(auth={"user": "ann"})
    await peer.send('21["who"]')
    assert await peer.receive() == '31["ann",["ann"]]'


@pytest.mark.parametrize("kind", KINDS)
async def test_transport(serve: Serve, kind: str) -> None:
    """``transport`` tells what a client uses at the moment."""
    sio = SocketServer()
    peer = await join(await serve(sio), kind)
    sid = await peer.enter()
    assert sio.transport(sid) == ("polling" if kind == "polling" else "websocket")


async def test_background_tasks(serve: Serve) -> None:
    """``start_background_task`` and ``sleep``."""
    sio = SocketServer()
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.enter()

    async def tick() -> None:
        for number in range(3):
            await sio.emit("tick", number)
            await sio.sleep(0)

    await sio.start_background_task(tick)
    assert await peer.take(3) == [f'2["tick",{number}]' for number in range(3)]


class Loud:
    """A JSON module of the application's own."""

    @staticmethod
    def dumps(value: Any, **options: Any) -> str:
        import json

        return json.dumps(value, **options).replace("quiet", "LOUD")

    @staticmethod
    def loads(text: str, **options: Any) -> Any:
        import json

        return json.loads(text.replace("whisper", "quiet"), **options)


async def test_another_json(serve: Serve) -> None:
    """``json``: a module with ``dumps`` and ``loads``."""
    sio = SocketServer(json=Loud)
    sio.on("e", lambda sid, data: data)
    peer = await WebSocketPeer.open(await serve(sio))
    await peer.enter()
    await peer.send('21["e","whisper"]')
    assert await peer.receive() == '31["LOUD"]'
