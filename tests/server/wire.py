"""A raw client of the wire contract, for tests: python-socketio and nothing of ours."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any, Protocol, Self

import socketio

from stretto_core.protocol import ServerEvent
from stretto_core.replies import ANSWERS, EVENTS, REFUSAL
from stretto_server.auth import issue_token

SECRET = "a key of the tests that is long enough for HS256"
EDITOR = {"docs/*": "editor", "rooms/*": "editor"}
VIEWER = {"docs/*": "viewer", "rooms/*": "viewer"}
OWNER = {"docs/*": "owner", "rooms/*": "owner"}

_clients = itertools.count(1)


def client_id() -> str:
    """Return a replica id that no other test has."""
    return f"client-{next(_clients):012d}"


def token(
    sub: str = "ann", grants: Mapping[str, str] | None = None, ttl_s: float = 60, **claims: Any
) -> str:
    """Return a token that the tests' servers accept."""
    return issue_token(
        SECRET, sub, grants=EDITOR if grants is None else grants, ttl_s=ttl_s, **claims
    )


class Reachable(Protocol):
    """A server, in this process or in another one."""

    @property
    def url(self) -> str: ...


class Wire:
    """One connection; ``heard`` has every event in the order of arrival."""

    def __init__(self) -> None:
        self.sio = socketio.AsyncClient(reconnection=False, logger=False)
        self.heard: list[tuple[str, str, Any]] = []
        self.undescribed: list[str] = []
        """What the server sent that the contract does not describe so."""
        self._news = asyncio.Event()

    @classmethod
    async def connect(
        cls,
        server: Reachable,
        sub: str = "ann",
        grants: Mapping[str, str] | None = None,
        *,
        namespaces: tuple[str, ...] = ("/", "/docs"),
        ttl_s: float = 60,
        auth: Any = None,
        transport: str = "websocket",
        patience_s: float = 5,
    ) -> Self:
        wire = cls()
        for namespace in namespaces:
            wire.sio.on("*", wire._listener(namespace), namespace=namespace)
        await wire.sio.connect(
            server.url,
            auth=auth if auth is not None else {"token": token(sub, grants, ttl_s)},
            namespaces=list(namespaces),
            transports=[transport],
            wait_timeout=patience_s,
        )
        return wire

    def _listener(self, namespace: str) -> Any:
        async def hear(event: str, *arguments: Any) -> None:
            if event in tuple(ServerEvent):
                problems = EVENTS[namespace][ServerEvent(event)].validate(arguments[0])
                self.undescribed += [f"{namespace} {event}: {problems}"] if problems else []
            self.heard.append((namespace, event, arguments[0] if arguments else None))
            self._news.set()

        return hear

    async def call(self, event: str, payload: Any, namespace: str = "/docs") -> dict[str, Any]:
        """Return the ack object."""
        answer: dict[str, Any] = await self.sio.call(event, payload, namespace=namespace, timeout=5)
        if not answer["ok"]:
            problems = REFUSAL.validate(answer)
        else:
            described = {key: value for key, value in answer.items() if key != "ok"}
            problems = ANSWERS[namespace][event].validate(described)
        self.undescribed += [f"answer to {event}: {problems}"] if problems else []
        return answer

    async def ok(self, event: str, payload: Any, namespace: str = "/docs") -> dict[str, Any]:
        """Return the ack object of what must succeed."""
        answer = await self.call(event, payload, namespace)
        assert answer["ok"], answer
        return answer

    async def code(self, event: str, payload: Any, namespace: str = "/docs") -> str:
        """Return the error code of what must fail, after checking the error's shape."""
        answer = await self.call(event, payload, namespace)
        assert set(answer) == {"ok", "error"}, answer
        assert answer["ok"] is False
        error = answer["error"]
        assert {"code", "message", "retryable"} <= set(error)
        assert error["retryable"] is ("retry_after_ms" in error)
        code: str = error["code"]
        return code

    async def open(self, doc: str = "notes", client: str | None = None, **more: Any) -> "Paper":
        """Open a document that must open."""
        client = client or client_id()
        answer = await self.ok("open", {"doc": doc, "client": client, **more})
        return Paper(self, doc, client, answer)

    def events(self, name: str) -> list[Any]:
        """Return the payloads heard under a name."""
        return [payload for _, event, payload in self.heard if event == name]

    async def hear(self, name: str, count: int = 1) -> Any:
        """Wait until an event was heard ``count`` times; return the last payload."""
        async with asyncio.timeout(5):
            while len(self.events(name)) < count:
                self._news.clear()
                await self._news.wait()
        return self.events(name)[count - 1]

    async def closed(self) -> None:
        """Wait until the connection is gone."""
        async with asyncio.timeout(5):
            while self.sio.connected:
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        await self.sio.disconnect()
        await self.sio.shutdown()
        assert self.undescribed == []


class Paper:
    """A document open on a connection."""

    def __init__(self, wire: Wire, doc: str, client: str, answer: dict[str, Any]) -> None:
        self.wire, self.doc, self.client, self.answer = wire, doc, client, answer
        self.epoch: str = answer["epoch"]
        self.seq: int = answer["last_seq"]

    def payload(self, op: Any, base: int, **changes: Any) -> dict[str, Any]:
        """Return a ``submit`` for the next seq."""
        return {
            "doc": self.doc,
            "epoch": self.epoch,
            "client": self.client,
            "seq": self.seq + 1,
            "base": base,
            "op": op,
            **changes,
        }

    async def submit(self, op: Any, base: int) -> int:
        """Submit what must be accepted; return its version."""
        answer = await self.wire.ok("submit", self.payload(op, base))
        self.seq += 1
        version: int = answer["version"]
        return version
