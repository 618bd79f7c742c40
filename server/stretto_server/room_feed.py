"""What a node hears of a room that is kept in Redis, and the order of answers in it.

All changes come on the room's channel, in one order for everybody. They go to the members
of this node as they come. The answer to an own change leaves where that change is heard:
behind all changes before it, and before all that follow.
"""

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

from stretto_core.errors import NotFound, Unavailable
from stretto_core.protocol import ROOMS, ServerEvent
from stretto_server import wire_json
from stretto_server.auth import user_of
from stretto_server.bus.interface import Bus
from stretto_server.presence.records import PRESENCE
from stretto_server.room_store.interface import RoomStore
from stretto_server.room_store.messages import Told, read_told
from stretto_server.roster_service import LiveRoster

logger = logging.getLogger(__name__)

T = TypeVar("T")

ECHO_S: Final = 1.0
"""An own change that was made and is not heard for so long is answered without."""
RETRY_S: Final = 1.0
SERVER_USER: Final = "server"
"""Whom messages and changes from this process are by; as a member id too, which nobody has."""
SERVER: Final[Mapping[str, Any]] = {"id": SERVER_USER, "user": user_of(SERVER_USER).to_payload()}


@dataclass(frozen=True, slots=True)
class _OwnChange(Generic[T]):
    answer: "asyncio.Future[T]"
    read: Callable[[Told], T]


class RoomFeed:
    """Follows the channel of one room for the members of this node."""

    def __init__(self, room: str, store: RoomStore, bus: Bus, roster: LiveRoster) -> None:
        self.revision = 0
        """The newest revision that a member of this node may know of."""
        self._room = room
        self._channel = f"room:{room}"
        self._store = store
        self._bus = bus
        self._roster = roster
        self._recordings: list[list[Told]] = []
        self._changes: dict[str, _OwnChange[Any]] = {}
        self._held: deque[Told] | None = None
        """What was heard behind an own change whose answer is just leaving."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    # The channel.

    def hear(self, message: bytes) -> None:
        """Take a message of the channel."""
        if self._closed:
            return
        if message.startswith(PRESENCE):
            self._roster.hear(message)
            return
        told = read_told(message)
        if told is None:
            return
        if self._held is not None:
            self._held.append(told)
        else:
            self._take(told)

    def missed(self) -> None:
        """Find out what may have been missed, and let the members find out."""
        if not self._closed:
            self._roster.resync()
            self._run(self._remind())

    @contextlib.contextmanager
    def recording(self) -> Iterator[list[Told]]:
        """Give a list of what is heard meanwhile."""
        heard: list[Told] = []
        self._recordings.append(heard)
        try:
            yield heard
        finally:
            self._recordings = [one for one in self._recordings if one is not heard]

    def close(self) -> None:
        """Hear nothing more and stop every task."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    def _take(self, told: Told) -> None:
        for heard in self._recordings:
            heard.append(told)
        self.revision = max(self.revision, told.revision)
        self._bus.deliver_json(ROOMS, self._channel, told.event, told.payload, skip=told.skip)
        own = self._changes.get(told.mark)
        if own is not None and not own.answer.done():
            own.answer.set_result(own.read(told))
            # Whoever waits for it runs in the next turn, before what is scheduled here.
            self._held = deque()
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        held, self._held = self._held or deque(), None
        while held:
            self._take(held.popleft())
            if self._held is not None:
                self._held = held
                return

    # Own changes.

    async def in_order(
        self, mark: str, change: Coroutine[Any, Any, T], read: Callable[[Told], T]
    ) -> T:
        """Make a change that the channel calls ``mark``; return its result when it is its turn.

        ``read`` gives the result as it is heard; one that is not heard in time is that of
        ``change``. Raises what that raises.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._changes[mark] = _OwnChange(answer, read)
        self._run(change).add_done_callback(partial(_changed, answer))
        try:
            return await answer
        finally:
            del self._changes[mark]

    async def answered(self) -> None:
        """Wait until every own change was answered."""
        while self._changes:
            await asyncio.wait([own.answer for own in self._changes.values()])

    def _run(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # After a loss.

    async def _remind(self) -> None:
        """Tell the members the newest change again: they see from it whether they missed any.

        Of a room that Redis has lost they hear of a revision out of reach, upon which they
        join again and so make it anew.
        """
        while True:
            try:
                with self.recording() as heard:
                    snapshot = await self._store.snapshot(self._room)
                break
            except NotFound:
                self._deliver(ServerEvent.STATE, _out_of_reach(self._room, self.revision))
                return
            except Unavailable as error:
                logger.info("room %s was not looked up: %s", self._room, error)
            await asyncio.sleep(random.uniform(RETRY_S / 2, RETRY_S))
        if snapshot.last is not None:
            self.revision = max(self.revision, snapshot.revision)
            self._deliver(ServerEvent.STATE, snapshot.last)
        if all(told.event != ServerEvent.METADATA for told in heard):
            told = {"room": self._room, "metadata": snapshot.metadata}
            self._deliver(ServerEvent.METADATA, wire_json.dumps(told))

    def _deliver(self, event: ServerEvent, payload: str) -> None:
        self._bus.deliver_json(ROOMS, self._channel, event, payload)


def _out_of_reach(room: str, known: int) -> str:
    told = {"room": room, "revision": known + 2, "changes": {}, "by": SERVER}
    return wire_json.dumps(told)


def _changed(answer: "asyncio.Future[T]", change: "asyncio.Task[T]") -> None:
    """Answer what went wrong at once, and what went well when it is not heard in time."""
    if change.cancelled():
        answer.cancel()
        return
    error = change.exception()
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
        return

    def give_up() -> None:
        if not answer.done():
            answer.set_result(change.result())

    timer = asyncio.get_running_loop().call_later(ECHO_S, give_up)
    answer.add_done_callback(lambda _: timer.cancel())
