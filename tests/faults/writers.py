"""Clients under load: each marks its edits, writes down what it was told, and comes back alone."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

from stretto_client.client import RealtimeClient
from stretto_client.document import LiveDocument
from stretto_client.transport import OnEvent, OnLost, Payload, SocketTransport, Transport
from stretto_core.errors import StrettoError
from stretto_core.protocol import DOCS
from stretto_core.replica import Changed, Closed, Confirmed, Origin, Returned
from stretto_server.auth import issue_token
from tests.faults.evidence import (
    Adopted,
    ClientLog,
    Seen,
    Standing,
    marker,
)
from tests.faults.nodes import SECRET
from tests.faults.transports import LoggingTransport, Mischief, RepeatingTransport

BACKLOG: Final = 40
"""A writer that could not save so many edits pauses: offline it is no flood."""
SPYING: Final[tuple[tuple[str, Payload], ...]] = (
    ("open", {"client": "client-of-a-stranger"}),
    ("fetch", {"epoch": "any", "from": 1}),
    ("cursor", {"version": 1, "ranges": [[0, 0]]}),
    ("close", {}),
)
"""What a stranger asks of a document; each is refused."""
LONGEST: Final = 4_000
"""Beyond so many characters filler is deleted rather than added."""
CONNECT_S: Final = 4.0
BACKOFF: Final = 0.2
"""Clients come back so much faster than users' do, for tests are shorter than days."""


class Writer:
    """One user: a client, one document, and edits at a steady pace until it is told to stop."""

    def __init__(
        self,
        url: str,
        log: ClientLog,
        numbers: Iterator[int],
        *,
        seed: int = 0,
        per_s: float = 20.0,
        role: str = "editor",
        grants: dict[str, str] | None = None,
        ttl_s: float = 3600.0,
        outbox: Path | None = None,
        mischief: Mischief | None = None,
        reopens: bool = False,
        filler: int = 6,
    ) -> None:
        """With ``reopens`` a document that was closed for it is opened again."""
        self.url = url
        self.log = log
        self.document: LiveDocument | None = None
        self.grants = grants if grants is not None else {f"docs/{log.doc}": role}
        self.ttl_s = ttl_s
        self.mischief = mischief
        self.role = role
        self.gone = False
        self.secret = SECRET
        self._reopens = reopens
        self._filler = filler
        self._reopening: asyncio.Task[LiveDocument] | None = None
        self._numbers = numbers
        self._dice = random.Random(f"{seed}-{log.name}")
        self._per_s = per_s
        self._writing: asyncio.Task[None] | None = None
        self.client = RealtimeClient(
            url,
            self._token,
            transport=self._transport,
            outbox=outbox,
            rand=random.Random(f"{seed}-{log.name}-way").random,
            backoff_scale=BACKOFF,
        )

    def _token(self) -> str:
        return issue_token(self.secret, self.log.name, grants=self.grants, ttl_s=self.ttl_s)

    def _transport(self, on_event: OnEvent, on_lost: OnLost) -> Transport:
        mischief = self.mischief
        told = on_event if mischief is None else mischief.hearing(on_event)

        def hear(namespace: str, event: str, payload: Payload) -> None:
            self.log.events[event] += 1
            self.log.hear({"event": event, **payload})
            told(namespace, event, payload)

        # WebSocket alone: a proxy that swallows must not cost two time limits.
        inner = SocketTransport(
            self.url, hear, on_lost, transports=["websocket"], connect_timeout=CONNECT_S
        )
        if mischief is not None:
            return RepeatingTransport(inner, self.log, mischief)
        return LoggingTransport(inner, self.log)

    async def open(self) -> LiveDocument:
        document = self.document = await self.client.open(self.log.doc)
        if not self.log.trail:  # restored from an outbox, it did not ask for the text
            replica = document.replica
            self.log.trail.append(Adopted(replica.epoch, replica.version, replica.hash))
        document.on("change", self._changed)
        document.on("confirmed", self._confirmed)
        document.on("returned", self._returned)
        document.on("presence", self._presence)
        document.on("closed", self._closed)
        self._presence(document.members)
        return document

    def _changed(self, change: Changed) -> None:
        if change.origin is Origin.REMOTE and change.entry is not None:
            assert change.version is not None
            self.log.trail.append(Seen(change.version, change.entry))

    def _confirmed(self, confirmed: Confirmed) -> None:
        self.log.trail.append(Seen(confirmed.version, confirmed.entry))

    def _returned(self, returned: Returned) -> None:
        self.log.returned.append(returned.text)

    def _closed(self, _closed: Closed) -> None:
        """Keep the text, as a user does who sees it in a window that went dead."""
        assert self.document is not None
        self.log.returned.append(self.document.text)
        if self._reopens:
            self._reopening = asyncio.ensure_future(self.open())

    def _presence(self, members: Sequence[dict[str, Any]]) -> None:
        names = frozenset(member["user"]["id"] for member in members)
        self.log.members.append((time.monotonic(), names))

    # Writing.

    def begin(self) -> None:
        self._writing = asyncio.ensure_future(self._write())

    async def pause(self) -> None:
        """Make no more edits; what was made is still on its way."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.cancel()
            await asyncio.wait([writing])
            if not writing.cancelled() and (error := writing.exception()) is not None:
                raise error

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(self._dice.expovariate(self._per_s))
            assert self.document is not None
            replica = self.document.replica
            if replica.closed is not None and not self._reopens:
                return
            if (
                replica.closed is None
                and replica.known
                and replica.made - replica.settled < BACKLOG
            ):
                self.edit()

    def edit(self) -> None:
        """Insert a marker with some filler somewhere, and perhaps delete filler elsewhere."""
        assert self.document is not None
        mark = marker(next(self._numbers))
        length = self.document.replica.length
        at = self._dice.randint(0, length)
        filler = "".join(self._dice.choices("abcdefgh \n", k=self._dice.randint(0, self._filler)))
        self.document.edit([at, mark + filler])
        self.log.made.append(mark)
        if self._dice.random() < (0.95 if length > LONGEST else 0.2):
            self._delete()

    def _delete(self) -> None:
        """Delete the filler between two markers, or some of it."""
        assert self.document is not None
        text = self.document.text
        start = end = self._dice.randint(0, len(text))
        while end < len(text) and end - start < 2 * self._filler and ord(text[end]) < 128:
            end += 1
        least = max(0, start - 2 * self._filler) if len(text) > LONGEST else start
        while start > least and ord(text[start - 1]) < 128:
            start -= 1
        if end > start:
            self.document.edit([start, start - end])

    # The end.

    @property
    def is_quiet(self) -> bool:
        document = self.document
        return (
            document is not None
            and document.replica.is_open
            and document.replica.is_saved
            and document.replica.is_current
        )

    def stand(self) -> None:
        """Write down where the replica stands."""
        assert self.document is not None
        replica = self.document.replica
        self.log.end = Standing(replica.epoch, replica.version, replica.hash, replica.text)

    def describe(self) -> str:
        log, replica = self.log, self.document.replica if self.document is not None else None
        where = "not open"
        if replica is not None:
            where = f"version {replica.version}, saved {replica.is_saved}"
            where += f", current {replica.is_current}, open {replica.is_open}"
            where += f", closed {replica.closed!r}"
        last = log.refused[-1].code if log.refused else "nothing"
        return (
            f"  {log.name}: connected {self.client.is_connected}, {where}, "
            f"{len(log.acknowledged)} acks, last refused: {last}"
        )

    async def leave(self) -> None:
        """Be gone for good; what was not saved is nobody's any more."""
        self.gone = True
        await self.close()

    async def close(self) -> None:
        await self.pause()
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.wait([self._reopening])
        await self.client.close()


class Crowd:
    """All writers of one test."""

    def __init__(self, seed: int = 0) -> None:
        self.writers: list[Writer] = []
        self.spies: list[Writer] = []
        self._seed = seed
        self._numbers = count()

    def add(self, url: str, doc: str, name: str | None = None, **options: Any) -> Writer:
        name = name or f"user-{len(self.writers)}-of-{doc}"
        writer = Writer(url, ClientLog(name, doc), self._numbers, seed=self._seed, **options)
        self.writers.append(writer)
        return writer

    async def spy(self, url: str) -> ClientLog:
        """Let a stranger in that asks for everything, has a right to none of it, and listens."""
        name = f"stranger-{len(self.spies)}"
        spy = Writer(url, ClientLog(name, name), self._numbers)
        spy.log.keeps_payloads = True
        self.spies.append(spy)
        await spy.client.connect()
        for doc in {one.log.doc for one in self.writers}:
            for event, more in SPYING:
                with suppress(StrettoError):
                    await spy.client.request(DOCS, event, {"doc": doc, **more})
                    spy.log.heard.append(f'{{"answered": "{event}", "doc": "{doc}"}}')
        return spy.log

    async def open(self) -> None:
        """Let everybody open: those first who may create what is not there yet."""
        for role in ("editor", "viewer"):
            waiting = [one for one in self.writers if one.document is None and one.role == role]
            await asyncio.gather(*(one.open() for one in waiting))

    def begin(self) -> None:
        for writer in self.writers:
            if writer._writing is None and not writer.gone and writer.role == "editor":
                writer.begin()

    async def until(
        self, holds: Callable[[], bool], within_s: float, what: str, pause_s: float = 0.02
    ) -> float:
        """Wait until something holds; return how long it took. Raises AssertionError."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > within_s:
                raise AssertionError(
                    f"{what} did not come within {within_s:g} s\n{self.describe()}"
                )
            await asyncio.sleep(pause_s)
        return time.monotonic() - began

    async def committed(self, each: int, within_s: float = 60.0) -> float:
        """Wait until everybody who writes had so many more operations acknowledged."""
        writing = [one for one in self.writers if one._writing is not None]
        wanted = [(one.log, len(one.log.acknowledged) + each) for one in writing]
        return await self.until(
            lambda: all(len(log.acknowledged) >= count for log, count in wanted),
            within_s,
            f"{each} commits of everybody",
        )

    async def quiesce(self, within_s: float = 60.0) -> float:
        """Stop writing, wait until all is saved and everybody equal; write down the end."""
        for writer in self.writers:
            await writer.pause()
        took = await self.until(self._agree, within_s, "quiet")
        for writer in self._staying():
            writer.stand()
        return took

    def nobody_open(self) -> bool:
        """Tell whether no client has its document open."""
        return not any(
            one.document is not None and one.document.replica.is_open for one in self.writers
        )

    def _staying(self) -> list[Writer]:
        return [
            one for one in self.writers if one.document is not None and not one.document.is_over
        ]

    def _agree(self) -> bool:
        staying = self._staying()
        heads: dict[str, int] = {}
        for one in staying:
            assert one.document is not None
            heads[one.log.doc] = max(heads.get(one.log.doc, 0), one.document.version)
        return all(
            one.is_quiet and one.document is not None and one.document.version == heads[one.log.doc]
            for one in staying
        )

    def describe(self) -> str:
        return "\n".join(one.describe() for one in self.writers)

    async def close(self) -> None:
        everybody = [*self.writers, *self.spies]
        await asyncio.gather(*(one.close() for one in everybody), return_exceptions=True)
