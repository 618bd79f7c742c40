"""A client that writes its packets itself, so that no library hides what the server does."""

import asyncio
import json
from collections import Counter
from typing import Any, Self

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from stretto_core.replies import ANSWERS, EVENTS, REFUSAL
from stretto_server.server import RealtimeServer
from tests.server.wire import token

PATH = "/socket.io/?EIO=4&transport=websocket"


class Packets:
    """One WebSocket connection; ``log`` has everything that arrived, in order.

    Its rows are ``(namespace, "ack" or an event's name, id or None, payload)``.
    """

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.log: list[tuple[str, str, int | None, Any]] = []
        self.acks: Counter[tuple[str, int]] = Counter()
        self.disconnected: list[str] = []
        self.problems: list[str] = []
        self.closed = asyncio.Event()
        self._asked: dict[int, tuple[str, str, asyncio.Future[Any]]] = {}
        self._joined: dict[str, asyncio.Future[Any]] = {}
        self._number = 0
        self._reader = asyncio.ensure_future(self._read())

    @classmethod
    async def connect(
        cls, session: ClientSession, server: RealtimeServer, *namespaces: str, **claims: Any
    ) -> Self:
        client = cls(await session.ws_connect(server.url + PATH, max_msg_size=0))
        for namespace in namespaces:
            answer = await client.join(namespace, {"token": token(**claims)})
            assert "sid" in answer, answer
        return client

    async def join(self, namespace: str, auth: Any) -> Any:
        """Return the payload of CONNECT or CONNECT_ERROR."""
        self._joined[namespace] = asyncio.get_running_loop().create_future()
        await self.socket.send_str(f"40{namespace},{json.dumps(auth)}")
        return await asyncio.wait_for(self._joined[namespace], 5)

    async def send(
        self, namespace: str, event: str, *arguments: Any, ack: bool = True
    ) -> "asyncio.Future[dict[str, Any]]":
        """Send an event; the future gives its answer, if one was asked for."""
        self._number += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        attached: list[bytes] = []
        body = _encoded(_placed([event, *arguments], attached))
        head = f"45{len(attached)}-" if attached else "42"
        if ack:
            self._asked[self._number] = (namespace, event, answer)
        if not self.socket.closed:
            number = self._number if ack else ""
            await self.socket.send_str(f"{head}{namespace},{number}{body}")
            for data in attached:
                await self.socket.send_bytes(data)
        return answer

    async def call(self, namespace: str, event: str, *arguments: Any) -> dict[str, Any]:
        """Return the answer to an event."""
        return await asyncio.wait_for(await self.send(namespace, event, *arguments), 10)

    async def ok(self, namespace: str, event: str, /, **payload: Any) -> dict[str, Any]:
        """Return the answer to what must succeed."""
        answer = await self.call(namespace, event, payload)
        assert answer["ok"], answer
        return answer

    async def code(self, namespace: str, event: str, *arguments: Any) -> str:
        """Return the code of what must fail."""
        answer = await self.call(namespace, event, *arguments)
        assert not answer["ok"], answer
        return str(answer["error"]["code"])

    def unanswered(self) -> list[tuple[str, str]]:
        """Return the namespaces and names of events that wait for an answer."""
        return [
            (where, event) for where, event, answer in self._asked.values() if not answer.done()
        ]

    def events(self, name: str) -> list[Any]:
        """Return the payloads of an event."""
        return [payload for _, event, _, payload in self.log if event == name]

    async def close(self) -> None:
        await self.socket.close()
        await self._reader

    async def _read(self) -> None:
        async for message in self.socket:
            if message.type is WSMsgType.TEXT:
                await self._take(message.data)
        self.closed.set()

    async def _take(self, text: str) -> None:
        if text == "2":
            await self.socket.send_str("3")
        if not text.startswith("4") or text[:2] == "45":
            return
        kind, rest = text[1], text[2:]
        namespace = "/"
        if rest.startswith("/"):
            namespace, _, rest = rest.partition(",")
        digits = len(rest) - len(rest.lstrip("0123456789"))
        number = int(rest[:digits]) if digits else None
        payload: Any = json.loads(rest[digits:] or "null")
        if kind in "04":
            self._joined[namespace].set_result(payload)
        elif kind == "1":
            self.disconnected.append(namespace)
        elif kind == "3":
            assert number is not None
            self._acknowledged(namespace, number, payload)
        elif kind == "2":
            name, body = payload
            self.log.append((namespace, name, None, body))
            self._judge(f"{namespace} {name}", EVENTS[namespace][name].validate(body))

    def _acknowledged(self, namespace: str, number: int, payload: Any) -> None:
        self.log.append((namespace, "ack", number, payload[0]))
        self.acks[namespace, number] += 1
        where, event, answer = self._asked[number]
        self._judge("an ack's namespace", where != namespace)
        self._judge("an ack's arguments", len(payload) != 1)
        body = dict(payload[0])
        if body.get("ok") is True:
            del body["ok"]
            self._judge(f"answer to {event}", ANSWERS[namespace][event].validate(body))
        else:
            self._judge(f"refusal of {event}", REFUSAL.validate(body))
        if not answer.done():
            answer.set_result(payload[0])

    def _judge(self, what: str, problem: Any) -> None:
        if problem:
            self.problems.append(f"{what}: {problem}")


def _encoded(value: Any) -> str:
    """Return JSON with as few escapes as it can have."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def _placed(value: Any, attached: list[bytes]) -> Any:
    """Return ``value`` with its bytes moved to ``attached``, as binary events have it."""
    if isinstance(value, bytes):
        attached.append(value)
        return {"_placeholder": True, "num": len(attached) - 1}
    if isinstance(value, dict):
        return {key: _placed(each, attached) for key, each in value.items()}
    if isinstance(value, list):
        return [_placed(each, attached) for each in value]
    return value
