"""The client over a scripted server: connecting, leaving, tokens, opening."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stretto_client import RealtimeClient, Status
from stretto_client.client import LEAVE_S, limits_of
from stretto_client.transport import OnEvent, OnLost
from stretto_core.errors import (
    Forbidden,
    NotFound,
    NotJoined,
    TokenExpired,
    TooLarge,
    Unauthenticated,
    Unavailable,
    VersionGone,
)
from stretto_core.protocol import SESSION, Limits
from tests.client_py.scripted import FakeTransport, ScriptedServer, settle, warp_time


@pytest.fixture
async def server() -> ScriptedServer:
    warp_time(asyncio.get_running_loop())
    return ScriptedServer()


@pytest.fixture
async def client(server: ScriptedServer) -> AsyncIterator[RealtimeClient]:
    async with server.client() as client:
        yield client


def heard(client: RealtimeClient, *events: str) -> list[Any]:
    """Note events as ``(name, payload)``."""
    found: list[Any] = []
    for event in events:
        client.on(event, lambda payload, event=event: found.append((event, payload)))
    return found


# Connecting and losing the connection.


async def test_connecting_tells_who_we_are(server: ScriptedServer) -> None:
    client = server.client("secret")
    events = heard(client, "connection.ready", "connection.lost")
    await client.connect()
    assert client.is_connected
    assert client.user is not None
    assert client.user["id"] == "ann"
    assert server.last.token == "secret"
    assert [name for name, _ in events] == ["connection.ready"]
    await client.close()
    assert not client.is_connected
    assert server.last.closed
    assert [name for name, _ in events] == ["connection.ready"]


async def test_handlers_can_be_added_by_a_decorator(server: ScriptedServer) -> None:
    client = server.client()
    users: list[str] = []

    @client.on("connection.ready")
    def ready(payload: dict[str, Any]) -> None:
        users.append(payload["user"]["id"])

    async with client:
        assert users == ["ann"]


async def test_connecting_tries_until_the_server_is_there(server: ScriptedServer) -> None:
    server.down = True
    client = server.client()
    connecting = asyncio.ensure_future(client.connect())
    await asyncio.sleep(5)
    server.down = False
    await connecting
    assert len(server.connects) > 5
    await client.close()


async def test_connecting_gives_up_waiting_and_says_why(server: ScriptedServer) -> None:
    server.down = True
    client = server.client()
    with pytest.raises(Unavailable, match="within 2 s: nobody listens"):
        await client.connect(timeout_s=2)
    server.down = False
    await client.connect(timeout_s=2)  # it went on meanwhile
    await client.close()


async def test_connecting_again_waits_while_the_connection_is_away(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    server.last.cut()
    assert not client.is_connected
    await client.connect()
    assert len(server.transports) == 2


async def test_connecting_can_be_cancelled(server: ScriptedServer) -> None:
    server.down = True
    client = server.client()
    connecting = asyncio.ensure_future(client.connect())
    await settle()
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    await client.close()
    assert not client._tasks


async def test_a_refusal_for_good_ends_the_client_and_its_documents(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    doc = await client.open("notes")
    closed: list[Any] = []
    doc.on("closed", closed.append)
    failed = heard(client, "failed")
    refusal = Forbidden("banned")
    server.connect_errors.append(refusal)
    server.last.cut()
    await doc.insert(0, "unsent")
    await asyncio.sleep(5)
    assert client.error is refusal
    assert failed == [("failed", refusal)]
    assert closed[0].text == "unsent"
    for call in (client.connect, lambda: client.open("notes"), lambda: client.open("other")):
        with pytest.raises(Forbidden):
            await call()
    assert len(server.connects) == 2


async def test_a_client_that_cannot_connect_for_good_says_so(server: ScriptedServer) -> None:
    server.connect_errors.append(Unauthenticated("bad signature"))
    with pytest.raises(Unauthenticated, match="bad signature"):
        async with server.client():
            pass


async def test_a_bug_in_connecting_is_not_for_good(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.connect_errors.append(ZeroDivisionError())  # type: ignore[arg-type]
    with caplog.at_level("CRITICAL"):
        async with server.client() as client:
            assert client.is_connected
    assert len(server.connects) == 2


async def test_a_lost_connection_is_told_once_and_comes_back(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    events = heard(client, "connection.lost", "connection.ready")
    doc = await client.open("notes")
    first = server.last
    reason = Unavailable("gone")
    first.cut(reason)
    first.on_lost(reason)  # of a connection that is not ours any more
    await client.connect()
    assert [name for name, _ in events] == ["connection.lost", "connection.ready"]
    assert events[0][1] is reason
    assert first.closed
    await settle()
    assert doc.status is Status.SAVED


async def test_attempts_are_spread_and_start_over_after_a_success(server: ScriptedServer) -> None:
    async with server.client(rand=lambda: 0.999) as client:
        server.down = True
        server.last.cut()
        await asyncio.sleep(22)
        gaps = [b - a for a, b in zip(server.connects, server.connects[1:], strict=False)]
        assert gaps == pytest.approx([3, 6, 12], rel=0.1)
        server.down = False
        await client.connect()
        server.last.cut()
        started = server.now()
        await client.connect()
        assert server.now() - started == pytest.approx(3, rel=0.1)


# A server that shuts down.


def shut_down(server: ScriptedServer, after_ms: int) -> None:
    server.tell("shutdown", {"reason": "draining", "reconnect_after_ms": after_ms}, SESSION)


async def test_a_shutdown_is_left_at_once_and_returned_from_at_its_time(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    events = heard(client, "server.shutdown", "connection.lost")
    started = server.now()
    shut_down(server, 7_000)
    await settle()
    assert not client.is_connected
    await client.connect()
    assert server.now() - started == pytest.approx(7.0, abs=0.2)
    assert [name for name, _ in events] == ["server.shutdown", "connection.lost"]


async def test_answers_are_awaited_before_leaving(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    doc = await client.open("notes")
    server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "x")
    await settle()
    shut_down(server, 3_000)
    await asyncio.sleep(0.5)
    assert client.is_connected
    server.gates["submit"].set()
    await settle()
    assert not client.is_connected
    assert doc.replica.is_saved
    await client.connect()
    assert len(server.asked("submit")) == 1


async def test_answers_are_not_awaited_for_ever(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    doc = await client.open("notes")
    server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "x")
    await settle()
    started = server.now()
    shut_down(server, 3_000)
    await asyncio.sleep(LEAVE_S + 0.1)
    assert not client.is_connected
    server.gates.clear()
    await doc.saved()
    assert server.now() - started == pytest.approx(3.0, abs=0.2)  # not LEAVE_S later


async def test_leaving_an_old_connection_leaves_the_new_one_alone(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    doc = await client.open("notes")
    server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "x")
    await settle()
    shut_down(server, 0)
    server.last.cut()  # before we left
    await client.connect()
    await asyncio.sleep(LEAVE_S * 2)
    assert len(server.transports) == 2
    assert client.is_connected


async def test_a_server_that_drains_while_we_connect_is_left(server: ScriptedServer) -> None:
    class Draining:
        def __init__(self, on_event: OnEvent, on_lost: OnLost) -> None:
            self.inner = server.transport(on_event, on_lost)

        async def connect(self, token: str) -> None:
            await self.inner.connect(token)
            if len(server.transports) == 1:
                shut_down(server, 2_000)

        async def request(self, *arguments: Any) -> dict[str, Any]:
            return await self.inner.request(*arguments)

        async def close(self) -> None:
            await self.inner.close()

    client = RealtimeClient("memory:", "token", transport=Draining, rand=lambda: 0.0)
    await client.connect()
    await asyncio.sleep(3)
    assert [transport.is_up for transport in server.transports] == [False, True]
    await asyncio.sleep(30)
    assert len(server.transports) == 2
    await client.close()


async def test_a_server_that_drained_before_we_joined_is_forgotten(
    server: ScriptedServer,
) -> None:
    class Refusing(FakeTransport):
        async def connect(self, token: str) -> None:
            await super().connect(token)
            if len(server.transports) == 1:
                shut_down(server, 2_000)
                self.is_up = False
                raise Unavailable("gone again", retry_after_ms=0)

    def transport(on_event: OnEvent, on_lost: OnLost) -> FakeTransport:
        server.transports.append(Refusing(server, on_event, on_lost))
        return server.last

    async with RealtimeClient("memory:", "token", transport=transport, rand=lambda: 0.0) as client:
        await asyncio.sleep(10)
        assert client.is_connected
        assert len(server.transports) == 2


# Tokens.


async def test_every_connection_gets_a_fresh_token(server: ScriptedServer) -> None:
    numbers = iter(range(100))

    async def fetch() -> str:
        return f"token-{next(numbers)}"

    async with server.client(fetch) as client:
        server.last.cut()
        await client.connect()
    assert [transport.token for transport in server.transports] == ["token-0", "token-1"]


async def test_a_provider_that_fails_is_asked_again(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: list[Any] = [OSError("no network"), "token"]

    def fetch() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return str(outcome)

    with caplog.at_level("CRITICAL"):
        async with server.client(fetch) as client:
            assert client.is_connected


async def test_a_provider_that_hangs_does_not_hang_connecting_or_closing(
    server: ScriptedServer,
) -> None:
    async def hang() -> str:
        await asyncio.Event().wait()
        return ""

    client = server.client(hang)
    with pytest.raises(Unavailable):
        await client.connect(timeout_s=1)
    await client.close()
    assert server.connects == []


async def test_a_provider_may_end_the_client(server: ScriptedServer) -> None:
    def fetch() -> str:
        raise Unauthenticated("signed out")

    with pytest.raises(Unauthenticated, match="signed out"):
        await server.client(fetch).connect()


async def test_the_token_is_renewed_on_the_connection(server: ScriptedServer) -> None:
    numbers = iter(range(100))
    server.ttl_s = 100.0
    async with server.client(lambda: f"token-{next(numbers)}"):
        await asyncio.sleep(170)
        assert [payload["token"] for payload in server.asked("refresh_token")] == [
            "token-1",
            "token-2",
        ]
        server.tell("token_expired", {"grace_s": 30}, SESSION)
        await settle()
        assert server.last.token == "token-3"


async def test_renewing_ends_with_its_connection(server: ScriptedServer) -> None:
    server.ttl_s = 100.0
    async with server.client(lambda: "token") as client:
        for _ in range(5):
            server.last.cut()
            await client.connect()
        await asyncio.sleep(90)
        assert len(server.asked("refresh_token")) == 1
    assert not client._tasks


async def test_an_expired_token_at_the_door_is_replaced_where_there_is_a_provider(
    server: ScriptedServer,
) -> None:
    server.connect_errors.append(TokenExpired())
    async with server.client(lambda: "token") as client:
        assert client.is_connected


async def test_an_expired_token_without_a_provider_ends_the_client(server: ScriptedServer) -> None:
    async with server.client("token") as client:
        doc = await client.open("notes")
        server.refusals["submit"].append(TokenExpired())
        await doc.insert(0, "unsent")
        await asyncio.sleep(60)
        assert doc.status is Status.SAVING  # the grace period: it is not saved, nor lost
        closed: list[Any] = []
        doc.on("closed", closed.append)
        server.connect_errors.append(TokenExpired())
        server.last.cut()
        await asyncio.sleep(5)
        assert isinstance(client.error, TokenExpired)
        assert closed[0].text == "unsent"


# Opening.


async def test_opening_twice_gives_the_same_document(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    first, second = await asyncio.gather(client.open("notes"), client.open("notes"))
    assert first is second
    assert first is await client.open("notes")
    assert len(server.asked("open")) == 1


async def test_opening_starts_connecting(server: ScriptedServer) -> None:
    client = server.client()
    doc = await client.open("notes")
    assert doc.status is Status.SAVED
    await client.close()


async def test_what_may_not_be_opened_raises_and_may_be_tried_again(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    server.refusals["open"].append(NotFound())
    refused = await asyncio.gather(
        client.open("notes"), client.open("notes"), return_exceptions=True
    )
    assert [type(error) for error in refused] == [NotFound, NotFound]
    assert client._documents == {}
    assert (await client.open("notes")).text == ""


async def test_a_cancelled_opening_leaves_nothing_unless_others_wait(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    server.gates["open"] = asyncio.Event()
    first = asyncio.ensure_future(client.open("notes"))
    second = asyncio.ensure_future(client.open("notes"))
    await settle()
    first.cancel()
    await settle()
    server.gates["open"].set()
    assert (await second).status is Status.SAVED
    server.gates["open"] = asyncio.Event()
    alone = asyncio.ensure_future(client.open("other"))
    await settle()
    alone.cancel()
    await asyncio.gather(alone, return_exceptions=True)
    assert list(client._documents) == ["notes"]


async def test_documents_work_offline_and_are_sent_afterwards(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    doc = await client.open("notes")
    server.down = True
    server.last.cut()
    for number in range(10):
        await doc.insert(0, str(number))
    with pytest.raises(Unavailable):
        await client.request("/docs", "fetch", {})
    await asyncio.sleep(10)
    assert doc.text == "9876543210"
    server.down = False
    await doc.saved()
    assert server.logs["notes"].text == "9876543210"
    assert len(server.asked("submit")) == 1


async def test_closing_ends_everything_that_waits(server: ScriptedServer) -> None:
    before = asyncio.all_tasks()
    client = server.client()
    doc = await client.open("notes")
    server.gates["open"] = server.gates["submit"] = asyncio.Event()
    await doc.insert(0, "x")
    waiting: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(doc.saved()),
        asyncio.ensure_future(client.open("other")),
        asyncio.ensure_future(client.request("/docs", "open", {"doc": "x", "client": "y"})),
    ]
    await settle()
    await client.close()
    await client.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NotJoined, NotJoined, Unavailable]
    for call in (client.connect, lambda: client.open("notes"), lambda: client.room("lobby")):
        with pytest.raises(Unavailable, match="closed"):
            await call()
    await settle()
    assert asyncio.all_tasks() == before


async def test_closing_while_connecting(server: ScriptedServer) -> None:
    server.down = True
    client = server.client()
    connecting = asyncio.ensure_future(client.connect())
    opening = asyncio.ensure_future(client.open("notes"))
    await settle()
    await client.close()
    outcomes = await asyncio.gather(connecting, opening, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable, NotJoined]


async def test_a_handler_may_close_the_client(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    closed = asyncio.Event()

    async def close(_: Any) -> None:
        await client.close()
        closed.set()

    client.on("sync.update", close)
    await client.open("notes")
    server.type("notes", ["x"])
    async with asyncio.timeout(5):
        await closed.wait()
    assert server.last.closed


async def test_odd_events_harm_nobody(
    server: ScriptedServer, client: RealtimeClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("CRITICAL"):
        server.tell("ops", {"doc": ["notes"]})
        server.tell("ops", {})
        server.tell("shutdown", {}, SESSION)
        server.tell("news", {"doc": "notes"}, SESSION)
        server.tell("news", {"doc": "notes"}, "/elsewhere")
    assert client.is_connected


def test_limits_of_a_newer_server_are_read_as_far_as_they_are_known() -> None:
    assert limits_of({"op_inserted": 7, "unheard_of": 9}) == Limits(op_inserted=7)


# Operations.


async def send(client: RealtimeClient, **operation: Any) -> int:
    return await client.send_operation("notes", operation)


async def test_operations_open_the_document_and_wait_for_the_journal(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    assert await send(client, type="insert", position=0, data="one two") == 1
    assert await send(client, type="replace", position=0, length=3, data="1") == 2
    assert await send(client, type="move", position=0, length=2, to=3) == 3
    assert await send(client, type="delete", position=0, length=1, version=99) == 4
    assert server.logs["notes"].text == "wo1 "


async def test_positions_of_operations_may_count_at_an_older_version(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    await send(client, type="insert", position=0, data="abc")
    server.type("notes", ["> "])
    await settle()
    assert await send(client, type="insert", position=1, data="X", version=1) == 3
    await send(client, type="move", position=0, length=1, to=2, version=1)
    assert server.logs["notes"].text == "> Xbca"


async def test_operations_raise_what_the_server_refuses(
    server: ScriptedServer, client: RealtimeClient
) -> None:
    server.refusals["submit"].append(TooLarge())
    with pytest.raises(TooLarge):
        await send(client, type="insert", position=0, data="x")
    server.refusals["open"].append(NotFound())
    with pytest.raises(NotFound):
        await client.send_operation("other", {"type": "insert", "position": 0, "data": "x"})
    doc = await client.open("notes")
    server.type("notes", ["y"])
    doc.replica._recent.clear()
    with pytest.raises(VersionGone):
        await send(client, type="insert", position=0, data="x", version=0)
