"""Plays a trace live: one real client per author, as concurrent as it was recorded.

One operation in flight per client means that several rows of an author may travel as one;
what an author sees can then be a little more than was recorded, and positions are carried
over the difference of the two texts.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from stretto_client.client import RealtimeClient
from stretto_client.document import LiveDocument
from stretto_client.replay.recorded import Edit, operation_of
from stretto_core.errors import StrettoError, Unavailable
from stretto_core.ot import apply, transform
from stretto_core.protocol import DOCS
from stretto_core.replica import Confirmed
from stretto_core.textdiff import difference

MOST_BUFFERED: Final = 2
"""An author pauses while so many patches wait behind the operation in flight, so that the
trace travels in many operations and not in a few large ones."""

SENT_TWICE: Final = 0.02

STALL_S: Final = 60.0
"""So long nothing moves only where something is broken: a killed server is back in seconds."""

Submitted = Callable[["asyncio.Future[dict[str, Any]]"], Awaitable[None]]


@dataclass(slots=True)
class Measured:
    """What was seen on the way. Times in seconds."""

    latencies: list[float] = field(default_factory=list)
    acked: dict[tuple[str, int], int] = field(default_factory=dict)
    """``(client, seq)`` → the version that the server acknowledged."""
    patches_per_submit: list[int] = field(default_factory=list)
    patches: int = 0
    sent_twice: int = 0
    problems: list[str] = field(default_factory=list)


class MeasuredClient(RealtimeClient):
    """A client that remembers every acknowledgement, and sends some operations twice.

    A client that heard nothing may send an operation again; here it does so now and then
    without waiting, so that the server's answer to a duplicate is part of every replay.
    """

    def __init__(
        self,
        url: str,
        token: str,
        measured: Measured,
        chance: random.Random,
        submitted: Submitted | None,
    ) -> None:
        super().__init__(url, token, backoff_scale=0.1)
        self._measured = measured
        self._chance = chance
        self._submitted = submitted

    async def request(self, namespace: str, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send a request; note how long a submit took and what it was answered."""
        if event != "submit":
            return await super().request(namespace, event, payload)
        started = time.perf_counter()
        answering = asyncio.ensure_future(super().request(namespace, event, payload))
        if self._chance.random() < SENT_TWICE:
            self._measured.sent_twice += 1
            self._start(self._again(payload))
        if self._submitted is not None:
            await self._submitted(answering)
        answer = await answering
        self._measured.latencies.append(time.perf_counter() - started)
        self._note((payload["client"], payload["seq"]), answer["version"])
        return answer

    async def _again(self, payload: dict[str, Any]) -> None:
        with suppress(StrettoError):  # the connection may go meanwhile; nobody waits for this
            answer = await super().request(DOCS, "submit", payload)
            self._note((payload["client"], payload["seq"]), answer["version"])

    def _note(self, key: tuple[str, int], version: int) -> None:
        known = self._measured.acked.setdefault(key, version)
        if known != version:
            self._measured.problems.append(f"{key} was acknowledged as {known} and as {version}")


class Author:
    """One author: a client, its document, and the version that each own row reached."""

    def __init__(self, client: MeasuredClient, document: LiveDocument, measured: Measured) -> None:
        self.client = client
        self.document = document
        self.reached: dict[int, int] = {}
        """Row → the version at which it was in the log."""
        self._measured = measured
        self._unreached: list[tuple[int, int]] = []
        self._edits_counted = 0
        self.moved = asyncio.Event()
        document.on("confirmed", self._confirmed)
        document.on("change", self._changed)
        document.on("closed", self._changed)

    async def play(self, edit: Edit) -> None:
        """Make one row's edit, patch by patch."""
        document, seen = self.document, edit.seen_text
        for patch in edit.row.patches:
            while self._buffered() >= MOST_BUFFERED:
                await self.wait()
            op = operation_of(patch)
            if seen is None:
                document.edit(op)
            else:
                document.edit(transform(op, difference(seen, document.text), "left"))
                seen = apply(seen, op)
            self._measured.patches += 1
        self._unreached.append((edit.index, document.replica.made))
        self._settle()

    async def wait(self) -> None:
        """Wait until something moved: a change, a confirmation.

        Raises the error that closed the document, after which nothing moves.
        """
        if self.document.replica.closed is None:
            self.moved.clear()
            await self.moved.wait()
        if self.document.replica.closed is not None:
            raise self.document.replica.closed

    def describe(self) -> str:
        """Return where this author stands, for a report."""
        replica = self.document.replica
        flying = replica.in_flight
        waiting = "nothing in flight" if flying is None else f"seq {flying.seq} in flight"
        return f"is {self.document.status} at version {replica.version} with {waiting}"

    def _buffered(self) -> int:
        replica = self.document.replica
        flying = replica.in_flight
        return replica.made - (replica.settled if flying is None else flying.edits)

    def _confirmed(self, confirmed: Confirmed) -> None:
        self._measured.patches_per_submit.append(
            self.document.replica.settled - self._edits_counted
        )
        self._edits_counted = self.document.replica.settled
        self._settle(confirmed.version)
        self.moved.set()

    def _settle(self, version: int | None = None) -> None:
        settled = self.document.replica.settled
        while self._unreached and self._unreached[0][1] <= settled:
            index, _ = self._unreached.pop(0)
            self.reached[index] = version or self.document.version
        self.moved.set()

    def _changed(self, _change: object) -> None:
        self.moved.set()


class Stage:
    """All authors, each playing its own rows as soon as it received what was recorded."""

    def __init__(
        self,
        authors: Sequence[Author],
        progress: Callable[[int], None],
        *,
        failure: "asyncio.Future[StrettoError] | None" = None,
        stall_s: float = STALL_S,
    ) -> None:
        """``failure`` is set when going on is of no use."""
        self._authors = authors
        self._progress = progress
        self._failure = failure or asyncio.get_running_loop().create_future()
        self._stall_s = stall_s

    async def play(self, edits: Sequence[Edit]) -> None:
        """Play everything, and wait until it is saved.

        The failures that ended it are raised as a group: the server lost what somebody
        waits for, a document was closed.
        """
        rows: list[list[Edit]] = [[] for _ in self._authors]
        for edit in edits:
            rows[edit.row.author].append(edit)
        owners = [edit.row.author for edit in edits]
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            await asyncio.wait(
                [
                    group.create_task(self._act(number, own, owners))
                    for number, own in enumerate(rows)
                ]
            )
            watching.cancel()

    async def _watch(self) -> None:
        """Raise when it failed, or when nothing moved for so long that nothing ever will."""
        while True:
            before = self._moves()
            await asyncio.wait([self._failure], timeout=self._stall_s)
            if self._failure.done():
                raise self._failure.result()
            if self._moves() == before:
                states = [f"author {n} {a.describe()}" for n, a in enumerate(self._authors, 1)]
                raise Unavailable(f"nothing moved for {self._stall_s:g} s: {', '.join(states)}")

    def _moves(self) -> list[tuple[int, int, int]]:
        replicas = [author.document.replica for author in self._authors]
        return [(one.version, one.made, one.settled) for one in replicas]

    async def _act(self, number: int, edits: Sequence[Edit], owners: Sequence[int]) -> None:
        author = self._authors[number]
        received = 0
        for edit in edits:
            while received < edit.row.received:
                if owners[received] != number:
                    await self._receive(author, self._authors[owners[received]], received)
                received += 1
            await author.play(edit)
            self._progress(len(edit.row.patches))
        await author.document.saved()

    async def _receive(self, author: Author, other: Author, index: int) -> None:
        while (version := other.reached.get(index)) is None:
            await other.wait()
        while author.document.version < version:
            await author.wait()
