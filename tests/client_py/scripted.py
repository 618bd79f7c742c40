"""A server in memory that does what a test says, and time that costs none."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stretto_client import RealtimeClient
from stretto_client.transport import OnEvent, OnLost, Payload
from stretto_core.entries import Entry, next_hash
from stretto_core.errors import NotFound, NotJoined, SequenceGap, StrettoError, Unavailable
from stretto_core.ot import apply, normalize, transform
from stretto_core.protocol import DOCS, NO_HASH, SESSION, Limits

ANN = {"id": "ann", "name": "Ann", "color": "#aa0000"}
BOB = {"id": "bob", "name": "Bob", "color": "#00bb00"}


@dataclass
class Log:
    """One document of the scripted server."""

    epoch: str = "epoch-1"
    role: str = "editor"
    text: str = ""
    entries: list[Entry] = field(default_factory=list)
    hashes: list[str] = field(default_factory=lambda: [NO_HASH])
    fenced: dict[str, int] = field(default_factory=dict)
    start: str = ""

    def last_seq(self, client: str) -> int:
        return max((entry.seq for entry in self.entries if entry.client == client), default=0)

    def append(self, client: str, seq: int, op: Any, user: str) -> dict[str, Any]:
        """Commit an operation that applies to the head; return its frame."""
        entry = Entry(client, seq, normalize(op), user, 0)
        self.text = apply(self.text, entry.op)
        self.entries.append(entry)
        self.hashes.append(next_hash(self.hashes[-1], entry))
        return self.page(len(self.entries))

    def page(self, first: int) -> dict[str, Any]:
        ops = [entry.to_payload() for entry in self.entries[first - 1 :]]
        return {"epoch": self.epoch, "from": first, "ops": ops, "hash": self.hashes[-1]}


class FakeTransport:
    """One connection to a :class:`ScriptedServer`."""

    def __init__(self, server: "ScriptedServer", on_event: OnEvent, on_lost: OnLost) -> None:
        self.server, self.on_event, self.on_lost = server, on_event, on_lost
        self.token = ""
        self.clients: dict[str, str] = {}
        self.waiting: set[asyncio.Future[Any]] = set()
        self.is_up = False
        self.closed = False

    async def connect(self, token: str) -> None:
        self.token = token
        self.server.connects.append(self.server.now())
        if self.server.connect_errors:
            raise self.server.connect_errors.popleft()
        if self.server.down:
            raise Unavailable("nobody listens", retry_after_ms=0)
        self.is_up = True
        ready = {"user": ANN, "token_ttl_s": self.server.ttl_s, "limits": Limits().to_payload()}
        self.on_event(SESSION, "ready", ready)

    async def request(self, namespace: str, event: str, payload: Payload) -> Payload:
        if not self.is_up:
            raise Unavailable("not connected", retry_after_ms=0)
        self.server.requests.append((event, payload))
        gate = self.server.gates.get(event)
        if gate is not None:
            await self._pass(gate)
        if self.server.refusals[event]:
            raise self.server.refusals[event].popleft()
        answer = self.server.answer(self, event, payload)
        after = self.server.ack_gates.get(event)
        if after is not None:
            await self._pass(after)
        return answer

    async def _pass(self, gate: asyncio.Event) -> None:
        lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.add(lost)
        passing = asyncio.ensure_future(gate.wait())
        try:
            await asyncio.wait([lost, passing], return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                lost.result()
        finally:
            self.waiting.discard(lost)
            passing.cancel()

    def cut(self, error: StrettoError | None = None) -> None:
        """Lose the connection."""
        self._end()
        self.on_lost(error)

    def _end(self) -> None:
        self.is_up = False
        for waiting in self.waiting:
            if not waiting.done():
                waiting.set_exception(Unavailable("the connection was lost", retry_after_ms=0))

    async def close(self) -> None:
        self._end()
        self.closed = True


class ScriptedServer:
    """Commits what it gets, unless a test says otherwise."""

    def __init__(self) -> None:
        self.transports: list[FakeTransport] = []
        self.logs: defaultdict[str, Log] = defaultdict(Log)
        self.requests: list[tuple[str, Payload]] = []
        self.connects: list[float] = []
        self.connect_errors: deque[StrettoError] = deque()
        self.refusals: defaultdict[str, deque[StrettoError]] = defaultdict(deque)
        self.gates: dict[str, asyncio.Event] = {}
        """Requests wait here before they have an effect."""
        self.ack_gates: dict[str, asyncio.Event] = {}
        """Answers wait here after it."""
        self.odd_answers: dict[str, Payload] = {}
        self.down = False
        self.ttl_s = 3600.0

    def client(self, token: Any = "token", **options: Any) -> RealtimeClient:
        options = {"rand": lambda: 0.0, **options}
        return RealtimeClient("memory:", token, transport=self.transport, **options)

    def transport(self, on_event: OnEvent, on_lost: OnLost) -> FakeTransport:
        self.transports.append(FakeTransport(self, on_event, on_lost))
        return self.transports[-1]

    @property
    def last(self) -> FakeTransport:
        return self.transports[-1]

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def asked(self, event: str) -> list[Payload]:
        return [payload for name, payload in self.requests if name == event]

    def tell(self, event: str, payload: Payload, namespace: str = DOCS) -> None:
        """Send an event on every connection that stands."""
        for transport in self.transports:
            if transport.is_up:
                transport.on_event(namespace, event, payload)

    def type(self, doc: str, op: Any) -> None:
        """Let bob edit."""
        frame = self.logs[doc].append(
            "bob-client-0000000", len(self.logs[doc].entries) + 1, op, "bob"
        )
        for transport in self.transports:
            if transport.is_up and doc in transport.clients:
                transport.on_event(DOCS, "ops", {"doc": doc, **frame})

    def answer(self, transport: FakeTransport, event: str, payload: Payload) -> Payload:
        if event in self.odd_answers:
            return self.odd_answers.pop(event)
        handler: Callable[..., Payload] | None = getattr(self, f"_{event}", None)
        return handler(transport, payload) if handler is not None else {}

    def _refresh_token(self, transport: FakeTransport, payload: Payload) -> Payload:
        transport.token = payload["token"]
        return {"token_ttl_s": self.ttl_s}

    def _open(self, transport: FakeTransport, payload: Payload) -> Payload:
        doc, client = payload["doc"], payload["client"]
        log = self.logs[doc]
        transport.clients[doc] = client
        answer: Payload = {
            "doc": doc,
            "type": "text",
            "epoch": log.epoch,
            "version": len(log.entries),
            "hash": log.hashes[-1],
            "member_id": "me",
            "last_seq": log.last_seq(client),
            "role": log.role,
            "members": [{"id": "me", "user": ANN}],
        }
        if "fence" in payload:
            old = payload["fence"]
            log.fenced[old] = log.last_seq(old)
            answer["fenced"] = {"last_seq": log.fenced[old]}
        since = payload.get("since")
        if (
            since is not None
            and since["epoch"] == log.epoch
            and since["version"] <= len(log.entries)
        ):
            return {**answer, "ops": log.page(since["version"] + 1)["ops"]}
        return {**answer, "content": log.text, **({"reset": True} if since else {})}

    def _submit(self, transport: FakeTransport, payload: Payload) -> Payload:
        doc, client, seq = payload["doc"], payload["client"], payload["seq"]
        if transport.clients.get(doc) != client:
            raise NotJoined
        log = self.logs[doc]
        last = log.last_seq(client)
        if client in log.fenced or seq not in (last, last + 1):
            raise SequenceGap(details={"last_seq": last})
        if seq == last:
            versions = [(e.client, e.seq) for e in log.entries]
            return {"version": versions.index((client, seq)) + 1}
        op = normalize(payload["op"])
        for entry in log.entries[payload["base"] :]:
            op = transform(op, entry.op, "left")
        frame = log.append(client, seq, op, "ann")
        self.tell("ops", {"doc": doc, **frame})
        return {"version": len(log.entries)}

    def _fetch(self, transport: FakeTransport, payload: Payload) -> Payload:
        log = self.logs[payload["doc"]]
        page = log.page(payload["from"])
        del page["epoch"]
        return {**page, "version": len(log.entries)}

    def _close(self, transport: FakeTransport, payload: Payload) -> Payload:
        if transport.clients.pop(payload["doc"], None) is None:
            raise NotJoined
        return {}

    def delete(self, doc: str) -> None:
        """Delete a document: another history begins."""
        self.logs[doc] = Log(epoch=self.logs[doc].epoch + "+")
        self.tell("closed", {"doc": doc, "error": NotFound().to_payload()})


def warp_time(loop: asyncio.AbstractEventLoop) -> None:
    """Let a loop jump to its next timer instead of sleeping."""
    selector = loop._selector  # type: ignore[attr-defined]
    select, clock, ahead = selector.select, loop.time, 0.0

    def jump(timeout: float | None) -> Any:
        nonlocal ahead
        if timeout is None or timeout <= 0:
            return select(timeout)
        events = select(0)
        if not events:
            ahead += timeout
        return events

    selector.select = jump
    loop.time = lambda: clock() + ahead  # type: ignore[method-assign]


async def settle() -> None:
    """Let everything happen that needs no time."""
    for _ in range(30):
        await asyncio.sleep(0)
