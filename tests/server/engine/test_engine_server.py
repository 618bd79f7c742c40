"""What a server is made of, counts and remembers; its clients are fakes."""

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import Any

import engineio
import pytest

from stretto_core.eio import actions as do
from stretto_core.eio.actions import CloseReason
from stretto_core.eio.handshake import Transport
from stretto_core.eio.violations import Reason
from stretto_core.eio.websocket import message_frame
from stretto_server.engine import engine_server
from stretto_server.engine.engine_server import EngineServer
from stretto_server.engine.engine_socket import EngineSocket
from tests.server.engine.engines import Serve, enter, told, turn
from tests.server.engine.fakes import HANDSHAKE, transport_of

# How it is made.


def test_seconds_become_milliseconds_exactly() -> None:
    server = EngineServer(
        ping_interval=2.345, ping_timeout=0.0155, upgrade_timeout=1.1, write_timeout=0.25
    )
    settings = server.settings
    assert (settings.ping_interval, settings.ping_timeout) == (2_345, 16)
    assert (settings.upgrade_timeout, server.write_timeout_ms) == (1_100, 250)


def test_the_defaults_are_those_of_python_engineio() -> None:
    ours, theirs = EngineServer(), engineio.AsyncServer(async_mode="aiohttp")
    settings = ours.settings
    assert settings.ping_interval == theirs.ping_interval * 1000
    assert settings.ping_timeout == theirs.ping_timeout * 1000
    assert settings.max_payload == theirs.max_http_buffer_size
    assert ours.transports == theirs.transports
    assert ours.http_compression_from == theirs.compression_threshold
    assert ours.deflate_from is None
    for name in ("SERVER_DISCONNECT", "CLIENT_DISCONNECT", "PING_TIMEOUT", "TRANSPORT_CLOSE"):
        assert getattr(ours.reason, name) == getattr(theirs.reason, name)


def test_a_grace_is_added_to_the_interval() -> None:
    assert EngineServer(ping_interval=(25, 1.5)).settings.ping_interval == 26_500


def test_sizes_and_switches() -> None:
    server = EngineServer(
        max_http_buffer_size=500, max_send_buffer=600, http_compression=False, compression=True
    )
    assert (server.settings.max_payload, server.settings.unsent_bytes) == (500, 600)
    assert (server.http_compression_from, server.deflate_from) == (None, 1024)


@pytest.mark.parametrize(
    ("transports", "served", "upgrades"),
    [
        (None, ["polling", "websocket"], True),
        ([], ["polling", "websocket"], True),
        ("websocket", ["websocket"], True),
        (["polling"], ["polling"], False),
        (["websocket", "webtransport"], ["websocket"], True),
    ],
)
def test_transports(transports: Any, served: list[str], upgrades: bool) -> None:
    server = EngineServer(transports=transports)
    assert server.transports == served
    assert server.transports_served == {Transport(name) for name in served}
    assert server.settings.upgrades is upgrades
    assert not EngineServer(transports=transports, allow_upgrades=False).settings.upgrades


@pytest.mark.parametrize(
    "options",
    [
        {"async_mode": "sanic"},
        {"transports": ["carrier pigeon"]},
        {"ping_interval": 0},
        {"max_http_buffer_size": 0},
        {"max_send_buffer": -1},
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        EngineServer(**options)


def test_a_logger_may_be_given() -> None:
    mine = logging.getLogger("tests.engine_server")
    assert EngineServer(logger=mine).logger is mine
    before = engine_server.default_logger.level
    try:
        assert EngineServer(logger=True).logger.level == logging.INFO
    finally:
        engine_server.default_logger.setLevel(before)
    assert EngineServer(async_mode="aiohttp").is_asyncio_based()


# Handlers.


def test_handlers_are_registered_in_two_ways() -> None:
    server = EngineServer()

    def message(sid: str, data: Any) -> None:
        """Do nothing."""

    assert server.on("message")(message) is message
    assert server.handlers["message"] is message
    assert server.on("connect", message) is None
    with pytest.raises(ValueError, match="there is no event 'mesage'"):
        server.on("mesage")


# Clients.


async def test_messages_of_every_kind(serve: Serve) -> None:
    server = serve(json=SimpleNamespace(dumps=lambda value, **_options: "JSON"))
    socket = enter(server, "sid")
    for data in ("é", b"\x00", bytearray(b"\x00"), memoryview(b"\x00"), {"a": 1}, None):
        await server.send("sid", data)
    await server.send_packet("sid", engineio.packet.Packet(engineio.packet.MESSAGE, "p"))
    await server.send("nobody", "a")
    await turn()
    messages: list[str | bytes] = ["4é", *[b"\x00"] * 3, "4JSON", "4JSON", "4p"]
    frames = [message_frame(each) for each in messages]
    assert transport_of(socket).written == b"".join(frames)
    with pytest.raises(UnicodeEncodeError):
        await server.send("sid", "\ud800")


async def test_one_or_all_are_disconnected(serve: Serve) -> None:
    server = serve()
    sockets = [enter(server, sid) for sid in ("a", "b", "c")]
    await server.disconnect("a")
    await server.disconnect("nobody")
    assert [socket.closed for socket in sockets] == [True, False, False]
    await server.disconnect()
    assert all(socket.closed for socket in sockets)
    assert server.sockets == {}


async def test_transports_of_clients(serve: Serve) -> None:
    server = serve()
    enter(server, "a")
    enter(server, "b", polling=True)
    assert [server.transport(sid) for sid in "ab"] == ["websocket", "polling"]
    with pytest.raises(KeyError, match="not found"):
        server.transport("nobody")


async def test_what_an_application_keeps_of_a_client(serve: Serve) -> None:
    server = serve()
    enter(server, "sid")
    assert await server.get_session("sid") == {}
    async with server.session("sid") as session:
        session["name"] = "Ann"
    assert await server.get_session("sid") == {"name": "Ann"}
    await server.save_session("sid", {"name": "Bob"})
    assert await server.get_session("sid") == {"name": "Bob"}

    async def change_and_fail() -> None:
        async with server.session("sid") as session:
            session["name"] = "Cid"
            raise RuntimeError("within")

    with pytest.raises(RuntimeError, match="within"):
        await change_and_fail()
    assert await server.get_session("sid") == {"name": "Cid"}


async def test_a_client_that_closes_has_no_session_anymore(serve: Serve) -> None:
    server = serve()
    enter(server, "sid", polling=True)
    await server.disconnect("sid")
    for ask in (server.get_session("sid"), server.save_session("sid", {})):
        with pytest.raises(KeyError, match="disconnected"):
            await ask
    with pytest.raises(KeyError, match="not found"):
        await server.get_session("nobody")


def test_ids_are_long_and_never_the_same() -> None:
    ids = {EngineServer().generate_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert {len(each) for each in ids} == {20}


def test_numbers_are_never_the_same() -> None:
    server = EngineServer()
    assert len({server.number() for _ in range(10)}) == 10


async def test_tools_of_the_loop(serve: Serve) -> None:
    server = serve()
    queue, event = server.create_queue(1), server.create_event()
    with pytest.raises(server.get_queue_empty_exception()):
        queue.get_nowait()

    async def work(value: int, *, more: int) -> int:
        event.set()
        return value + more

    task = server.start_background_task(work, 1, more=2)
    await server.sleep()
    assert await task == 3
    assert event.is_set()


# Cookies.


@pytest.mark.parametrize(
    ("cookie", "header"),
    [
        (None, {}),
        ("", {}),
        ("io", {"Set-Cookie": "io=sid; path=/; HttpOnly; SameSite=Lax"}),
        ({"name": "my", "Max-Age": 5}, {"Set-Cookie": "my=sid; Max-Age=5"}),
        ({"Secure": True, "Domain": lambda: "a.b"}, {"Set-Cookie": "io=sid; Secure; Domain=a.b"}),
    ],
)
def test_cookies(cookie: Any, header: dict[str, str]) -> None:
    server = EngineServer(cookie=cookie)
    assert server.cookie_header("sid") == server.cookie_header("sid") == header


# What peers do wrong, and what they do not read.


async def test_violations_are_counted_and_said_once_in_a_while(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_server, "REPORT_S", 0.0)
    server = serve()
    for reason in (Reason.TOO_LARGE, Reason.EMPTY, Reason.TOO_LARGE):
        server.note_violation(reason)
    assert caplog.records == []
    await asyncio.sleep(0.001)
    await turn()
    server.note_violation(Reason.EMPTY)
    await asyncio.sleep(0.001)
    await turn()
    assert server.violations == {Reason.TOO_LARGE: 2, Reason.EMPTY: 2}
    assert [record.getMessage() for record in caplog.records] == [
        "closed connections for what they sent: too_large 2, empty 1",
        "closed connections for what they sent: empty 1",
    ]


async def test_a_server_that_stops_says_what_it_did_not_yet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = EngineServer()
    server.note_violation(Reason.EMPTY)
    await server.shutdown()
    await server.shutdown()
    assert len(caplog.records) == 1


async def test_connections_that_are_cut_off_are_counted(serve: Serve) -> None:
    server = serve()
    server.note_aborted()
    assert server.aborted == 1


@pytest.mark.parametrize(
    ("answer", "kept"), [(True, True), (1, True), (False, False), (None, False)]
)
async def test_the_application_is_asked_about_slow_clients(
    serve: Serve, answer: Any, kept: bool
) -> None:
    server = serve()
    socket = enter(server, "sid")
    assert not server.ask_about_slow(socket, 5)
    asked: list[Any] = []

    def on_slow(sid: str, unsent_bytes: int) -> Any:
        asked.append((sid, unsent_bytes))
        return answer

    server.on_slow = on_slow
    assert server.ask_about_slow(socket, 5) is kept
    assert asked == [("sid", 5)]


async def test_a_hook_that_fails_keeps_nobody(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()

    def fail(_sid: str, _unsent: int) -> bool:
        raise RuntimeError("the hook failed")

    server.on_slow = fail
    assert not server.ask_about_slow(enter(server, "sid"), 5)
    (record,) = caplog.records
    assert record.exc_info is not None


# Writing and ending.


async def test_a_turn_of_the_loop_is_one_write_for_each(serve: Serve) -> None:
    server = serve()
    sockets = [enter(server, sid) for sid in "ab"]
    for _ in range(2):
        for sid in "aba":
            await server.send(sid, "x")
        assert [transport_of(socket).take_written() for socket in sockets] == [b"", b""]
        await turn()
        frame = message_frame("4x")
        assert [transport_of(one).take_written() for one in sockets] == [frame * 2, frame]


async def test_what_writing_gathers_leaves_in_the_next_turn(serve: Serve) -> None:
    server = serve()
    one, two = enter(server, "one"), enter(server, "two")

    class Echoing:
        def flush(self) -> None:
            server.sockets["two"].send_text(b"4b")

    stand_in: Any = Echoing()
    one.send_text(b"4a")
    server.gathered.append(stand_in)
    await turn()
    assert transport_of(one).written == message_frame("4a")
    assert transport_of(two).written == message_frame("4b")
    assert server.gathered == []


async def test_shutdown_waits_a_moment_for_those_who_are_polite(serve: Serve) -> None:
    server = serve()
    ends = told(server, "disconnect")
    socket = enter(server, "polite", polling=True)
    socket.send_text(b"4last words")
    stopping = asyncio.ensure_future(server.shutdown())
    await turn()
    assert not stopping.done()
    assert socket.core is not None
    socket.perform(socket.core.poll(7, server.timers.now()))
    socket.perform(socket.core.poll_sent(7))
    async with asyncio.timeout(3):
        if "polite" in server.sockets:
            socket.perform(socket.core.poll(8, server.timers.now()))
            socket.perform(socket.core.poll_sent(8))
        await stopping
    assert ends == [("polite", CloseReason.SERVER_DISCONNECT.value)]


async def test_shutdown_does_not_wait_for_the_others(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_server, "LEAVE_S", 0.01)
    server = serve()
    socket = enter(server, "stubborn", polling=True)
    socket.send_text(b"4never read")
    never_ready = EngineSocket(server, "still deciding", HANDSHAKE)
    server.sockets["still deciding"] = never_ready
    async with asyncio.timeout(3):
        await server.shutdown()
    assert list(server.sockets) == ["still deciding"]
    assert socket.closed


async def test_nobody_enters_a_server_that_shuts_down() -> None:
    asked: list[Any] = []

    def allow(request: Any) -> bool:
        asked.append(request)
        return True

    server = EngineServer(allow_request=allow)
    request: Any = object()
    assert server.allows(request)
    await server.shutdown()
    assert not server.allows(request)
    assert len(asked) == 1


async def test_a_close_frame_that_nobody_answers_is_not_waited_for(serve: Serve) -> None:
    server = serve()
    transport = transport_of(enter(server, "sid"))
    async with asyncio.timeout(3):
        await server.shutdown()
    assert transport.aborted


async def test_shutdown_waits_for_handlers(serve: Serve) -> None:
    server = serve()
    ended: list[str] = []

    async def disconnect(sid: str) -> None:
        await asyncio.sleep(0.01)
        ended.append(sid)

    server.on("disconnect", disconnect)
    enter(server, "sid")
    async with asyncio.timeout(3):
        await server.shutdown()
    assert ended == ["sid"]


async def test_an_answer_for_nobody_is_passed_over(serve: Serve) -> None:
    serve().answer(do.Respond(99, b"ok"))


def test_json_is_written_by_the_module_given() -> None:
    assert json.loads(EngineServer().dumps({"a": [1]})) == {"a": [1]}
