"""Which handler is run for what, and how it is called."""

from types import SimpleNamespace
from typing import Any

import pytest

from stretto_server.engine.engine_socket import EngineSocket
from stretto_server.engine.handlers import takes
from tests.server.engine.engines import Serve, enter, told, turn
from tests.server.engine.fakes import HANDSHAKE


@pytest.mark.parametrize(
    ("handler", "count"),
    [
        (lambda sid: None, 1),
        (lambda sid, reason: None, 2),
        (lambda sid, reason, more: None, 2),
        (lambda *arguments: None, 2),
        (lambda sid, *, reason=None: None, 1),
        (lambda: None, 0),
        (dict, 2),
    ],
)
def test_how_many_arguments_a_handler_takes(handler: Any, count: int) -> None:
    assert takes(handler, 2) == count


async def test_messages_and_the_end_reach_the_handlers(serve: Serve) -> None:
    server = serve()
    messages, ends = told(server, "message"), told(server, "disconnect")
    socket = enter(server, "sid")
    server.observer.message(socket, "a")
    server.observer.drained(socket)
    socket.close()
    await turn()
    assert messages == [("sid", "a")]
    assert ends == [("sid", "server disconnect")]
    assert server.sockets == {}


async def test_without_handlers_nothing_happens(serve: Serve) -> None:
    server = serve()
    socket = enter(server, "sid")
    server.observer.message(socket, "a")
    socket.close()
    await turn()


async def test_handlers_that_fail_are_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()

    def fail(*_arguments: Any) -> None:
        raise RuntimeError("a handler failed")

    async def fail_later(*_arguments: Any) -> None:
        raise RuntimeError("a handler failed")

    socket = enter(server, "sid")
    for handler in (fail, fail_later):
        server.on("message", handler)
        server.observer.message(socket, "a")
        await turn()
    assert [str(record.exc_info and record.exc_info[1]) for record in caplog.records] == [
        "a handler failed"
    ] * 2


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (None, None),
        (True, None),
        (False, "Unauthorized"),
        ("no", "no"),
        ({"a": 1}, {"a": 1}),
    ],
)
async def test_the_connect_handler_decides(serve: Serve, answer: Any, refusal: Any) -> None:
    server = serve()
    seen: list[Any] = []

    def connect(sid: str, environ: dict[str, Any]) -> Any:
        seen.append((sid, sid in server.sockets, environ["REMOTE_ADDR"]))
        return answer

    server.on("connect", connect)
    socket = EngineSocket(server, "sid", HANDSHAKE)
    request: Any = SimpleNamespace(content=None)
    connecting: Any = server.observer.connecting(socket, request)
    assert await connecting == refusal
    assert seen == [("sid", True, "192.0.2.1")]
    assert ("sid" in server.sockets) is (refusal is None)
