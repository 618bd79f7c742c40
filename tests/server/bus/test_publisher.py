"""Messages leave in the order of the calls, and failures come back."""

import asyncio
from typing import Any, cast

import pytest

from stretto_core.errors import Unavailable
from stretto_server.bus.publisher import Publisher
from stretto_server.redis_client.link import NoReply, NotSent
from stretto_server.redis_client.resp import ReplyError
from stretto_server.redis_client.servers import Servers


class Slow:
    """Servers that answer when a test lets them."""

    sharded = False

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.gate = asyncio.Event()
        self.problem: Exception | None = None

    async def call(self, _key: str, command: str, *arguments: Any, writes: bool) -> int:
        assert writes
        assert command == ("SPUBLISH" if self.sharded else "PUBLISH")
        self.sent.append(arguments[1])
        await self.gate.wait()
        if self.problem is not None:
            raise self.problem
        return len(self.sent)


def made(servers: Slow) -> tuple[Publisher, list[None]]:
    failures: list[None] = []
    return Publisher(cast(Servers, servers), lambda: failures.append(None)), failures


@pytest.mark.parametrize("sharded", [False, True])
async def test_messages_leave_in_order(sharded: bool) -> None:
    servers = Slow()
    servers.sharded = sharded
    publisher, _ = made(servers)
    calls = [asyncio.create_task(publisher.publish("a", b"%d" % n)) for n in range(20)]
    await asyncio.sleep(0.01)
    assert servers.sent == [b"0"]
    servers.gate.set()
    await asyncio.gather(*calls)
    assert servers.sent == [b"%d" % n for n in range(20)]
    assert await publisher.publish("a", b"last") == 21


async def test_who_is_cancelled_sends_nothing_and_stops_nobody() -> None:
    servers = Slow()
    publisher, _ = made(servers)
    calls = [asyncio.create_task(publisher.publish("a", b"%d" % n)) for n in range(4)]
    await asyncio.sleep(0.01)
    calls[1].cancel()
    calls[0].cancel()
    await asyncio.sleep(0.01)
    calls[2].cancel()  # under way already
    servers.gate.set()
    await asyncio.wait(calls)
    assert servers.sent == [b"0", b"2", b"3"]
    assert await publisher.publish("a", b"x") == 4


@pytest.mark.parametrize(
    "problem", [NotSent("away"), NoReply("hung"), ReplyError("NOPERM not you")]
)
async def test_failures_are_told_and_counted(problem: Exception) -> None:
    servers = Slow()
    publisher, failures = made(servers)
    servers.problem = problem
    calls = [asyncio.create_task(publisher.publish("a", b"x")) for _ in range(3)]
    await asyncio.sleep(0.01)
    servers.gate.set()
    for call in calls:
        with pytest.raises(Unavailable, match="could not be told"):
            await call
    assert len(failures) == 3
    servers.problem = None
    assert await publisher.publish("a", b"x")


async def test_a_server_that_hangs_holds_up_no_other() -> None:
    servers = Slow()
    failures: list[None] = []
    publisher = Publisher(
        cast(Servers, servers), lambda: failures.append(None), lambda channel: channel[0]
    )
    hung = [asyncio.create_task(publisher.publish(name, b"hung")) for name in ("a1", "a2")]
    await asyncio.sleep(0)
    hung_gate, servers.gate = servers.gate, asyncio.Event()
    servers.gate.set()
    assert await publisher.publish("b", b"x")
    assert not any(call.done() for call in hung)
    hung_gate.set()
    await asyncio.gather(*hung)
    assert servers.sent == [b"hung", b"x", b"hung"]
