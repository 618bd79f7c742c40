"""Which channels are asked for, and what followers are told."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from stretto_server.bus import channels as module
from stretto_server.bus.channels import Channels, name_of
from stretto_server.redis_client.names import channel_of
from stretto_server.redis_client.subscriptions import Subscriptions
from tests.server.bus.nodes import Ear, until


class Asked:
    """Notes what is subscribed; confirms it at once if told to."""

    def __init__(self) -> None:
        self.now: list[str] = []
        self.channels: Channels | None = None

    def subscribe(self, channel: bytes) -> None:
        self.now.append(channel.decode())
        if self.channels is not None:
            asyncio.get_running_loop().call_soon(self.channels.confirmed, channel)

    def unsubscribe(self, channel: bytes) -> None:
        self.now.remove(channel.decode())


@pytest.fixture
async def asked() -> Asked:
    return Asked()


@pytest.fixture
async def channels(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Channels]:
    monkeypatch.setattr(module, "WAIT_S", 0.05)
    channels = Channels(linger_s=0.02, spread_s=0.0)
    channels.use(cast(Subscriptions, asked))
    yield channels
    channels.close()


def test_rooms_have_channels_of_their_own() -> None:
    assert name_of("/docs", "doc:x") == channel_of("doc:x") == name_of("/", "doc:x")
    rooms = [("/", None), ("/docs", None), ("/", "5"), ("/", 5), ("/", "namespace:/"), ("/", "")]
    assert len({name_of(*room) for room in rooms}) == len(rooms)


async def test_a_channel_lasts_while_it_has_members(channels: Channels, asked: Asked) -> None:
    channels.occupy("a")
    channels.occupy("a")
    assert asked.now == ["a"]
    channels.vacate("a")
    channels.vacate("a")
    assert asked.now == ["a"]
    channels.occupy("a")  # they came back
    await asyncio.sleep(0.06)
    assert asked.now == ["a"]
    channels.vacate("a")
    channels.occupy("b")
    channels.vacate("b")
    channels.vacate("c")
    await until(lambda: asked.now == [])


async def test_or_followers(channels: Channels, asked: Asked) -> None:
    asked.channels = channels
    one, other = Ear(), Ear()
    await channels.follow("a", one)
    await channels.follow("a", other)
    channels.unfollow("a", one)
    channels.unfollow("a", one)
    channels.unfollow("b", one)
    await asyncio.sleep(0.06)
    assert asked.now == ["a"]
    channels.unfollow("a", other)
    await until(lambda: asked.now == [])
    assert one.heard == other.heard == []


async def test_what_was_asked_for_early_is_asked_for_later(asked: Asked) -> None:
    channels = Channels()
    channels.occupy("a")
    channels.use(cast(Subscriptions, asked))
    assert asked.now == ["a"]
    channels.close()


async def test_a_first_member_waits_and_others_do_not(channels: Channels, asked: Asked) -> None:
    assert channels.untried("a")
    waiting = asyncio.create_task(channels.prepare("a"))
    await asyncio.sleep(0.03)
    assert not waiting.done()
    assert channels.untried("a")
    channels.confirmed(b"a")
    channels.prepared(await waiting)
    assert not channels.untried("a")
    channels.silenced([b"a", b"unknown"])
    assert not channels.untried("a")
    await until(lambda: asked.now == [])


async def test_nobody_waits_longer_than_that(channels: Channels, asked: Asked) -> None:
    channel = await channels.prepare("a")
    await asyncio.sleep(0.05)
    assert asked.now == ["a"]
    assert not channels.untried("a")
    channels.prepared(channel)
    await until(lambda: asked.now == [])


async def test_who_is_cancelled_holds_nothing(channels: Channels, asked: Asked) -> None:
    waiting = asyncio.create_task(channels.prepare("a"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await until(lambda: asked.now == [])


async def test_members_of_what_is_followed_do_not_wait(channels: Channels) -> None:
    following = asyncio.create_task(channels.follow("a", Ear()))
    await asyncio.sleep(0)
    assert not channels.untried("a")
    await following


async def test_a_follower_is_told_what_it_missed(channels: Channels) -> None:
    early, late = Ear(), Ear()
    following = asyncio.create_task(channels.follow("a", early))
    await asyncio.sleep(0)
    channels.confirmed(b"a")
    await following
    await asyncio.sleep(0.01)
    assert early.heard == []
    channels.silenced([b"a"])
    channels.silenced([b"a"])
    await channels.follow("a", late)  # waits in vain
    await asyncio.sleep(0.01)
    assert early.heard == late.heard == []
    channels.confirmed(b"a")
    await until(lambda: early.heard == late.heard == [None])
    channels.confirmed(b"a")
    channels.silenced([b"a"])
    channels.unfollow("a", late)
    channels.confirmed(b"a")
    await until(lambda: early.heard == [None, None])
    assert late.heard == [None]


async def test_a_follower_is_told_once_of_what_happened_before(asked: Asked) -> None:
    channels = Channels(spread_s=0.05)
    channels.use(cast(Subscriptions, asked))
    asked.channels = channels
    ears = [Ear() for _ in range(20)]
    for ear in ears:
        await channels.follow("a", ear)
    for _ in range(3):
        channels.silenced([b"a"])
        channels.confirmed(b"a")
    channels.unfollow("a", ears[0])
    await until(lambda: all(ear.heard for ear in ears[1:]))
    await asyncio.sleep(0.06)
    assert [ear.heard for ear in ears] == [[], *[[None]] * 19]
    channels.silenced([b"a"])
    channels.confirmed(b"a")
    channels.close()
    await asyncio.sleep(0.06)
    assert ears[1].heard == [None]


async def test_a_follower_that_fails_keeps_none_from_hearing(channels: Channels) -> None:
    class Failing(Ear):
        def missed(self) -> None:
            super().missed()
            raise ValueError

    ears = [Failing(), Ear()]
    for ear in ears:
        await channels.follow("a", ear)
    channels.confirmed(b"a")
    await until(lambda: [ear.heard for ear in ears] == [[None], [None]])
