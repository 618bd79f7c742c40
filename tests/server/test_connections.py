"""Who is connected, until when, and how many there may be."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from stretto_core.errors import Forbidden, TokenExpired, Unauthenticated, Unavailable
from stretto_core.protocol import Limits
from stretto_server.auth import Principal, user_of
from stretto_server.connections import LONGEST_TIMER_S, Connection, Connections


def principal(sub: str = "ann", ttl_s: float = 60) -> Principal:
    return Principal(user_of(sub), (), time.time() + ttl_s)


def make(connect_timeout: float = 60, token_grace: float = 60, **limits: int) -> Connections:
    return Connections(
        Limits(**limits),
        rate_limits=True,
        connect_timeout=connect_timeout,
        token_grace=token_grace,
    )


def admit(connections: Connections, name: str = "one", address: str = "10.0.0.1") -> Connection:
    connection = connections.admit(name, address)
    assert connection is not None
    return connection


class Heard:
    """Callbacks that note when they were called."""

    def __init__(self, connections: Connections) -> None:
        self.expired: list[Connection] = []
        self.overdue: list[Connection] = []
        self.news = asyncio.Event()
        connections.on_expired = self._note(self.expired)
        connections.on_overdue = self._note(self.overdue)

    def _note(self, into: list[Connection]) -> Any:
        async def note(connection: Connection) -> None:
            into.append(connection)
            self.news.set()

        return note

    async def next(self) -> None:
        self.news.clear()
        async with asyncio.timeout(3):
            await self.news.wait()


async def test_a_stranger_is_nobody_until_a_token_was_accepted() -> None:
    connections = make()
    connection = admit(connections)
    with pytest.raises(Unauthenticated):
        _ = connection.who
    with pytest.raises(Unauthenticated):
        connection.require_live_token()
    connections.identify(connection, principal())
    assert connection.who.user.id == "ann"
    connection.require_live_token()
    connections.depart("one")


async def test_a_stranger_is_overdue_after_the_connect_timeout() -> None:
    connections = make(connect_timeout=0.01)
    heard = Heard(connections)
    connection = admit(connections)
    await heard.next()
    assert heard.overdue == [connection]
    assert heard.expired == []
    connections.depart("one")


async def test_a_token_expires_then_its_grace_ends() -> None:
    connections = make(token_grace=0.02)
    heard = Heard(connections)
    connection = admit(connections)
    connections.identify(connection, principal(ttl_s=0.02))
    connection.require_live_token()
    await heard.next()
    assert (heard.expired, heard.overdue) == ([connection], [])
    assert connection.expired
    with pytest.raises(TokenExpired):
        connection.require_live_token()
    await heard.next()
    assert heard.overdue == [connection]
    connections.depart("one")


async def test_a_refresh_within_the_grace_makes_it_live_again() -> None:
    connections = make(token_grace=0.05)
    heard = Heard(connections)
    connection = admit(connections)
    connections.identify(connection, principal(ttl_s=0.01))
    await heard.next()
    connections.identify(connection, principal(ttl_s=60))
    connection.require_live_token()
    assert connection.timer is not None
    assert connection.timer.when() - asyncio.get_running_loop().time() > 50
    connections.depart("one")
    assert connection.timer is None
    assert heard.overdue == []


async def test_an_expiry_that_the_timer_has_not_reached_counts_at_once() -> None:
    connection = admit(make())
    connection.principal = principal(ttl_s=-1)
    with pytest.raises(TokenExpired):
        connection.require_live_token()
    connection.cancel_timer()


async def test_far_expiries_are_waited_for_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    connections = make()
    heard = Heard(connections)
    set_for: list[tuple[float, Callable[[], None]]] = []
    monkeypatch.setattr(
        Connection, "set_timer", lambda _self, delay, callback: set_for.append((delay, callback))
    )
    connection = admit(connections)
    now = time.time()
    monkeypatch.setattr("stretto_server.connections.time.time", lambda: now)
    connections.identify(connection, Principal(user_of("ann"), (), now + 2 * LONGEST_TIMER_S + 5))
    for left in (LONGEST_TIMER_S, LONGEST_TIMER_S, 5):
        delay, fire = set_for[-1]
        assert delay == pytest.approx(left, abs=0.1)
        assert not connection.expired
        now += delay
        fire()
    assert connection.expired
    await heard.next()
    assert heard.expired == [connection]


async def test_a_token_that_never_expires_is_no_trouble() -> None:
    connections = make()
    connection = admit(connections)
    connections.identify(connection, Principal(user_of("ann"), (), float("inf")))
    connection.require_live_token()
    connections.depart("one")


async def test_another_user_on_the_same_connection_is_forbidden() -> None:
    connections = make()
    connection = admit(connections)
    connections.identify(connection, principal("ann"))
    with pytest.raises(Forbidden):
        connections.identify(connection, principal("bob"))
    assert connection.who.user.id == "ann"
    connections.depart("one")


async def test_a_user_has_so_many_connections() -> None:
    connections = make(user_connections=2)
    for name in ("one", "two"):
        connections.identify(admit(connections, name), principal())
    third = admit(connections, "three")
    with pytest.raises(Unavailable):
        connections.identify(third, principal())
    connections.identify(third, principal("bob"))
    connections.depart("one")
    connections.identify(admit(connections, "four"), principal())
    for name in ("two", "three", "four"):
        connections.depart(name)


async def test_a_second_token_of_a_user_counts_once() -> None:
    connections = make(user_connections=1)
    connection = admit(connections)
    for _ in range(3):
        connections.identify(connection, principal())
    connections.depart("one")
    connections.identify(admit(connections), principal())
    connections.depart("one")


async def test_an_address_has_so_many_strangers() -> None:
    connections = make(address_unauthenticated=1, address_connections=10)
    connection = admit(connections, "one")
    assert connections.admit("two", "10.0.0.1") is None
    admit(connections, "three", "10.0.0.2")
    connections.identify(connection, principal())
    admit(connections, "four")
    for name in ("one", "three", "four"):
        connections.depart(name)


async def test_an_address_has_so_many_connections() -> None:
    connections = make(address_unauthenticated=10, address_connections=2)
    for name in ("one", "two"):
        connections.identify(admit(connections, name), principal(name))
    assert connections.admit("three", "10.0.0.1") is None
    connections.depart("one")
    admit(connections, "four")
    for name in ("two", "four"):
        connections.depart(name)


async def test_nothing_is_left_of_those_who_are_gone() -> None:
    connections = make()
    for number in range(5):
        connection = admit(connections, f"c{number}", f"10.0.0.{number}")
        if number % 2:
            connections.identify(connection, principal(f"user-{number}"))
    assert connections.admit("c9", "10.0.0.9") is not None
    for number in (*range(5), 9, 9, 77):
        connections.depart(f"c{number}")
    assert len(connections) == 0
    for census in (connections._users, connections._addresses, connections._strangers):
        assert not census._counts


async def test_namespaces_are_joined_and_left() -> None:
    connections = make()
    connection = admit(connections)
    connections.join(connection, "/docs", "sid-1")
    assert connections.find("/docs", "sid-1") is connection
    assert connections.find("/", "sid-1") is None
    assert connections.of_engine("one") is connection
    assert connections.leave("/docs", "sid-1") is connection
    assert connections.leave("/docs", "sid-1") is None
    assert connection.sids == {}
    connections.depart("one")
    assert connections.of_engine("one") is None
    assert connection.closed


async def test_leaving_with_an_old_sid_keeps_the_new_one() -> None:
    connections = make()
    connection = admit(connections)
    connections.join(connection, "/docs", "old")
    connections.join(connection, "/docs", "new")
    connections.leave("/docs", "old")
    assert connection.sids == {"/docs": "new"}
    connections.depart("one")


async def test_waiting_until_all_are_gone() -> None:
    connections = make()
    await asyncio.wait_for(connections.empty(), 1)
    admit(connections, "one")
    admit(connections, "two")
    waiting = asyncio.ensure_future(connections.empty())
    connections.depart("one")
    await asyncio.sleep(0)
    assert not waiting.done()
    connections.depart("two")
    await asyncio.wait_for(waiting, 1)


async def test_connections_may_depart_while_they_are_gone_through() -> None:
    connections = make()
    for name in ("one", "two"):
        admit(connections, name)
    for connection in connections:
        connections.depart(connection.engine_sid)
    assert len(connections) == 0
