"""The connection itself, against a server and against worse."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stretto_client.transport import SocketTransport, _answer, _Json
from stretto_core.errors import (
    Forbidden,
    InternalError,
    InvalidRequest,
    NotFound,
    StrettoError,
    Unauthenticated,
    Unavailable,
)
from stretto_core.protocol import DOCS, NAMESPACES, SESSION
from stretto_server.server import RealtimeServer
from tests.server.wire import SECRET, VIEWER, token

Join = Callable[..., Awaitable["Line"]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RealtimeServer]:
    async with RealtimeServer(
        port=0, secret=SECRET, host="127.0.0.1", journal="memory://", data=tmp_path, drain=1.0
    ) as server:
        yield server


class Line:
    """A transport and what came through it."""

    def __init__(self, url: str, **options: Any) -> None:
        self.events: list[tuple[str, str, Any]] = []
        self.lost: list[StrettoError | None] = []
        self.is_lost = asyncio.Event()
        self.transport = SocketTransport(url, self._heard, self._lost, **options)

    def _heard(self, namespace: str, event: str, payload: Any) -> None:
        self.events.append((namespace, event, payload))

    def _lost(self, error: StrettoError | None) -> None:
        self.lost.append(error)
        self.is_lost.set()

    async def open(self, doc: str = "notes") -> Any:
        payload = {"doc": doc, "client": "client-0000000001"}
        return await self.transport.request(DOCS, "open", payload)


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Serve TCP connections; give their URL, and end when all of them have."""
    serving: set[asyncio.Task[Any]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(5):
            await asyncio.gather(*serving)


@pytest.fixture
async def join(server: RealtimeServer) -> AsyncIterator[Join]:
    lines = []

    async def start(jwt: str | None = None, **options: Any) -> Line:
        lines.append(Line(server.url, **options))
        await lines[-1].transport.connect(token() if jwt is None else jwt)
        return lines[-1]

    yield start
    for line in lines:
        await line.transport.close()


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_requests_are_answered_and_events_arrive(join: Join, transport: str) -> None:
    line = await join(transports=[transport])
    answer = await line.open()
    assert "ok" not in answer
    assert answer["content"] == ""
    payload = {
        "doc": "notes",
        "epoch": answer["epoch"],
        "client": "client-0000000001",
        "seq": 1,
        "base": 0,
        "op": ["🎉é\u0000"],
    }
    assert (await line.transport.request(DOCS, "submit", payload))["version"] == 1
    async with asyncio.timeout(5):
        while not [event for _, event, _ in line.events if event == "ops"]:
            await asyncio.sleep(0.01)
    assert [event for namespace, event, _ in line.events if namespace == SESSION] == ["ready"]
    (ops,) = [payload for _, event, payload in line.events if event == "ops"]
    assert ops["ops"][0]["op"] == ["🎉é\u0000"]


async def test_errors_are_those_of_the_contract(join: Join) -> None:
    line = await join(token("vic", VIEWER))
    with pytest.raises(NotFound):
        await line.open()
    with pytest.raises(InvalidRequest) as caught:
        await line.transport.request(DOCS, "open", {"doc": 7})
    assert caught.value.details
    with pytest.raises(InvalidRequest):
        await line.transport.request(DOCS, "dance", {})


@pytest.mark.parametrize("value", ["\ud800", object(), {1: b""}.keys()])
async def test_what_json_cannot_hold_is_refused_here(join: Join, value: Any) -> None:
    line = await join()
    with pytest.raises(InvalidRequest):
        await line.transport.request(DOCS, "open", {"doc": value})
    assert (await line.open())["version"] == 0


async def test_a_bad_token_is_refused_once_and_cleanly(server: RealtimeServer) -> None:
    for jwt in ("", "nonsense", token()[:-3] + "abc"):
        line = Line(server.url)
        with pytest.raises(Unauthenticated):
            await line.transport.connect(jwt)
        assert line.lost == []


async def test_an_unknown_namespace_is_refused(server: RealtimeServer) -> None:
    line = Line(server.url, namespaces=("/", "/elsewhere"))
    with pytest.raises(NotFound, match="Invalid namespace"):
        await line.transport.connect(token())


async def test_a_server_that_is_not_there(unused_tcp_port: int) -> None:
    line = Line(f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(Unavailable, match="cannot connect") as caught:
        await line.transport.connect("token")
    assert caught.value.retry_after_ms == 0  # nobody asked us to wait
    with pytest.raises(Unavailable):
        await line.open()


async def test_a_server_that_says_nothing_is_given_up() -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1_000):
            pass

    async with listening(swallow) as url:
        line = Line(url, connect_timeout=0.4)
        with pytest.raises(Unavailable, match="in time"):
            await line.transport.connect("token")


async def test_a_proxy_that_swallows_websockets_leaves_polling(server: RealtimeServer) -> None:
    upstream = int(server.url.rpartition(":")[2])
    swallowed = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"upgrade: websocket" in head.lower():
            swallowed.append(head)
            await reader.read()
            return
        there, back = await asyncio.open_connection("127.0.0.1", upstream)
        back.write(head)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65_536):
                target.write(data)
            target.close()

        await asyncio.gather(pump(reader, back), pump(there, writer))
        await back.wait_closed()

    async with listening(forward) as url:
        line = Line(url, connect_timeout=1.0)
        await line.transport.connect(token())
        assert (await line.open())["version"] == 0
        assert swallowed
        await line.transport.close()


async def test_a_lost_connection_is_told_once_and_fails_what_waits(
    server: RealtimeServer, join: Join
) -> None:
    line = await join()
    socket = line.transport._sio.eio.ws
    close, socket.close = socket.close, lambda: asyncio.sleep(0)
    waiting = asyncio.ensure_future(line.transport.request(DOCS, "open", {"doc": "notes"}))
    await server.stop()
    outcome = (await asyncio.gather(waiting, return_exceptions=True))[0]
    assert isinstance(outcome, (Unavailable, InvalidRequest))
    async with asyncio.timeout(5):
        await line.is_lost.wait()
    await asyncio.sleep(0.05)
    assert line.lost == [None]
    with pytest.raises(Unavailable):
        await line.open()
    await close()


async def test_a_connection_lost_with_the_last_answer_is_no_connection(
    server: RealtimeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(server.url)
    joined = line.transport._joined

    async def joined_and_lost() -> None:
        await joined()
        line.transport._lose(None)

    monkeypatch.setattr(line.transport, "_joined", joined_and_lost)
    with pytest.raises(Unavailable):
        await line.transport.connect(token())
    assert line.lost == []


async def test_a_request_without_an_answer_ends_in_time(
    server: RealtimeServer, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = await join(request_timeout=0.2)

    async def hang(*_: Any) -> Any:
        await asyncio.sleep(1)

    monkeypatch.setattr(server.documents, "open", hang)
    with pytest.raises(Unavailable, match="no answer to open in time"):
        await line.open()
    assert not line.transport._waiting


async def test_closing_fails_what_waits_and_is_not_a_loss(
    server: RealtimeServer, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = await join()

    async def hang(*_: Any) -> Any:
        await asyncio.sleep(0.5)

    monkeypatch.setattr(server.documents, "open", hang)
    waiting = asyncio.ensure_future(line.open())
    await asyncio.sleep(0.05)
    await line.transport.close()
    with pytest.raises(Unavailable):
        await waiting
    await line.transport.close()
    assert line.lost == []


async def test_nothing_is_left_of_a_connection(server: RealtimeServer) -> None:
    before = asyncio.all_tasks()
    for transports in (["websocket"], ["polling"], ["websocket", "polling"]):
        line = Line(server.url, transports=transports)
        await line.transport.connect(token())
        await line.open()
        await line.transport.close()
    connecting = asyncio.ensure_future(Line(server.url).transport.connect(token()))
    await asyncio.sleep(0)
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    async with asyncio.timeout(5):
        while {task for task in asyncio.all_tasks() if _is_ours(task)} - before:
            await asyncio.sleep(0.01)


def _is_ours(task: "asyncio.Task[Any]") -> bool:
    return (
        "socketio/async_client" in repr(task)
        or "engineio/async_client" in repr(task)
        or ("stretto_client" in repr(task))
    )


async def test_a_large_document_arrives_whole(server: RealtimeServer, join: Join) -> None:
    text = "🎉" * 250_000
    for _ in range(4):
        await server.documents.edit("notes", [text])
    line = await join()
    assert (await line.open())["content"] == text * 4


@pytest.mark.parametrize(
    ("ack", "kind"),
    [
        ((), InternalError),
        ((7,), InternalError),
        (({},), InternalError),
        (({"ok": False},), InternalError),
        (({"ok": False, "error": {"code": "novelty"}},), InternalError),
        (({"ok": False, "error": {"code": "forbidden"}},), Forbidden),
        (({"ok": True}, {}), InternalError),
    ],
)
async def test_odd_answers_are_errors(ack: tuple[Any, ...], kind: type[StrettoError]) -> None:
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    _answer(answer, ack)
    with pytest.raises(kind):
        answer.result()


def test_the_json_is_compact_with_and_without_orjson(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"text": "🎉\u2028", "list": [1, 2.5, None, True]}
    fast = _Json.dumps(value)
    assert _Json.loads(fast) == value
    monkeypatch.setattr("stretto_client.transport.orjson", None)
    assert (
        _Json.dumps(value) == fast == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    )
    assert _Json.loads(fast) == value


def test_all_namespaces_are_joined() -> None:
    assert set(NAMESPACES) == {"/", "/docs", "/rooms"}
