"""The requests of a document over a link that does what a test says."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from stretto_client.sender import Sender
from stretto_core.errors import InternalError, NotFound, RateLimited, StrettoError, TokenExpired
from stretto_core.protocol import NO_HASH
from stretto_core.replica import Effect, Opened, Replica
from tests.client_py.scripted import settle, warp_time

OPENED = {
    "epoch": "e",
    "version": 0,
    "hash": NO_HASH,
    "content": "",
    "last_seq": 0,
    "role": "editor",
    "member_id": "m",
    "members": [],
}


class Stage:
    """A sender, its link and its outbox."""

    def __init__(self) -> None:
        self.is_connected = True
        self.outcomes: list[Any] = []
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.effects: list[Effect] = []
        self.refused = 0
        self.late: StrettoError | None = None
        """What happens to a request that waited for an event."""
        self.stores = 0
        self.durable = asyncio.Event()
        self.durable.set()
        self.replica = Replica("notes", lambda: "client-0000000001")
        self.sender = Sender(
            self,
            self.replica,
            keep=self,
            store=self._store,
            report=self._report,
            rand=lambda: 0.0,
        )

    async def request(self, namespace: str, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        self.sent.append((event, payload))
        outcome: Any = self.outcomes.pop(0) if self.outcomes else asyncio.Event()
        if isinstance(outcome, asyncio.Event):
            await outcome.wait()
            outcome = self.late
        if isinstance(outcome, Exception):
            raise outcome
        answer: dict[str, Any] = outcome
        return answer

    def token_refused(self) -> None:
        self.refused += 1

    def changed(self, doc: str, unsent: Any) -> None:
        raise AssertionError("the document stores")

    async def stored(self) -> None:
        await self.durable.wait()

    def _store(self) -> None:
        self.stores += 1

    def _report(self, effects: Sequence[Effect]) -> None:
        self.effects += effects
        self.sender.advance()

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.sent]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    warp_time(asyncio.get_running_loop())
    stage = Stage()
    yield stage
    await stage.sender.stop()
    assert not stage.sender._tasks


async def open_with(stage: Stage, *outcomes: Any) -> None:
    stage.outcomes += [OPENED, *outcomes]
    stage.sender.advance()
    await settle()
    assert stage.replica.is_open


async def test_nothing_is_sent_without_a_connection(stage: Stage) -> None:
    stage.is_connected = False
    stage.sender.advance()
    await settle()
    assert stage.sent == []


async def test_outcomes_are_reported(stage: Stage) -> None:
    await open_with(stage)
    assert [type(effect) for effect in stage.effects] == [Opened]
    assert stage.stores == 1


async def test_a_submit_waits_until_it_is_durable(stage: Stage) -> None:
    await open_with(stage)
    stage.durable.clear()
    stage.replica.edit(["x"])
    stage.sender.advance()
    await settle()
    assert stage.events == ["open"]
    assert stage.stores == 2
    stage.durable.set()
    await settle()
    assert stage.events == ["open", "submit"]


async def test_a_submit_of_a_lost_connection_is_not_sent_on_the_next(stage: Stage) -> None:
    await open_with(stage)
    stage.durable.clear()
    stage.replica.edit(["x"])
    stage.sender.advance()
    await settle()
    stage.sender.disconnected()
    stage.durable.set()
    await settle()
    assert stage.events == ["open"]


async def test_a_token_that_expired_is_told(stage: Stage) -> None:
    await open_with(stage, TokenExpired())
    stage.replica.edit(["x"])
    stage.sender.advance()
    await asyncio.sleep(60)
    assert stage.refused == 1
    assert stage.events == ["open", "submit"]
    stage.sender.token_renewed()
    stage.sender.advance()
    await settle()
    assert stage.events == ["open", "submit", "submit"]


async def test_what_an_old_connection_was_told_is_no_reason_to_wait(stage: Stage) -> None:
    held = asyncio.Event()
    await open_with(stage, held)
    stage.replica.edit(["x"])
    stage.sender.advance()
    await settle()
    stage.sender.disconnected()
    stage.late = TokenExpired()
    held.set()
    await settle()
    assert stage.refused == 0
    assert stage.sender._retry is None


@pytest.mark.parametrize("odd", [{}, {"version": 1}, {**OPENED, "content": 7}])
async def test_an_answer_that_cannot_be_read_is_asked_for_again(
    stage: Stage, odd: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    stage.outcomes += [odd, OPENED]
    with caplog.at_level("CRITICAL"):
        stage.sender.advance()
        await asyncio.sleep(1)
    assert stage.events == ["open", "open"]
    assert stage.replica.is_open


async def test_waits_grow_until_something_succeeds(stage: Stage) -> None:
    stage.sender._random = lambda: 1.0
    loop = asyncio.get_running_loop()
    errors: list[StrettoError] = [RateLimited(retry_after_ms=0), InternalError()] * 3
    stage.outcomes += [*errors, OPENED]
    started = loop.time()
    stage.sender.advance()
    await asyncio.sleep(6.0)
    assert stage.events == ["open"] * 6
    await asyncio.sleep(1.0)
    assert stage.replica.is_open
    assert loop.time() - started == pytest.approx(7.0, abs=0.1)
    assert stage.sender._failures == 0


async def test_what_is_refused_for_good_is_not_tried_again(stage: Stage) -> None:
    stage.outcomes.append(NotFound())
    stage.sender.advance()
    await asyncio.sleep(60)
    assert stage.events == ["open"]
    assert stage.replica.closed is not None


async def test_a_stopped_sender_sends_nothing(stage: Stage) -> None:
    stage.sender.advance()
    await settle()
    await stage.sender.stop()
    stage.sender.connected()
    stage.sender.disconnected()
    stage.sender.advance()
    await settle()
    assert stage.events == ["open"]
