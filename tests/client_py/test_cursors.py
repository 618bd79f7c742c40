"""The own cursor: when it is sent, and where it points."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from stretto_client.cursors import OwnCursor, Ranges
from stretto_core.effects import Changed, Origin
from tests.client_py.scripted import settle, warp_time


class Stage:
    """An own cursor, and what it sent."""

    def __init__(self) -> None:
        self.may = True
        self.again = False
        self.sent: list[Ranges | None] = []
        self.cursor = OwnCursor(lambda: self.may, self._send)

    async def _send(self, ranges: Ranges | None) -> bool:
        self.sent.append(ranges)
        again, self.again = self.again, False
        return again


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    warp_time(asyncio.get_running_loop())
    stage = Stage()
    yield stage
    await stage.cursor.stop()


async def test_a_moving_cursor_is_sent_ten_times_a_second(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.0
    position = 0
    while loop.time() < end:
        stage.cursor.set([(position, position)])
        position += 1
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert 8 <= len(stage.sent) <= 12
    assert stage.sent[-1] == [(position - 1, position - 1)]


async def test_it_is_held_back_while_it_may_not_be_sent(stage: Stage) -> None:
    stage.may = False
    stage.cursor.set([(1, 2)])
    await settle()
    assert stage.sent == []
    stage.may = True
    stage.cursor.advance()
    await settle()
    assert stage.sent == [[(1, 2)]]


async def test_it_is_not_sent_when_it_may_no_longer_be_at_its_turn(stage: Stage) -> None:
    stage.cursor.set([(1, 2)])
    stage.may = False  # an edit, before the task could run
    await settle()
    assert stage.sent == []
    stage.may = True
    await asyncio.sleep(0.2)
    assert stage.sent == [[(1, 2)]]


async def test_it_follows_the_text(stage: Stage) -> None:
    stage.may = False
    stage.cursor.set([(2, 4)])
    stage.cursor.carry(Changed(("ab",), Origin.REMOTE))
    stage.cursor.carry(Changed((4, "x"), Origin.REMOTE))  # at the anchor: it stays before
    stage.cursor.carry(Changed((7, "y"), Origin.LOCAL))  # at the head: it goes behind
    stage.may = True
    stage.cursor.advance()
    await settle()
    assert stage.sent == [[(4, 8)]]


async def test_a_new_member_is_shown_the_cursor_again(stage: Stage) -> None:
    stage.cursor.set([(1, 1)])
    await asyncio.sleep(0.2)
    stage.cursor.reopened()
    stage.cursor.advance()
    await asyncio.sleep(0.2)
    assert stage.sent == [[(1, 1)]] * 2
    stage.cursor.set(None)
    await asyncio.sleep(0.2)
    stage.cursor.reopened()
    stage.cursor.advance()
    await asyncio.sleep(0.2)
    assert stage.sent == [[(1, 1)], [(1, 1)], None]


async def test_what_was_held_back_by_the_server_is_sent_again(stage: Stage) -> None:
    stage.again = True
    stage.cursor.set([(1, 1)])
    await asyncio.sleep(0.5)
    assert stage.sent == [[(1, 1)]] * 2
