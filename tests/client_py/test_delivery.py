"""Clients and real servers: whatever dies or is slow, each edit arrives exactly once."""

import asyncio
import os
import random
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stretto_client import Closed, Origin, RealtimeClient, Returned, Status
from stretto_client.replay.child import Child
from stretto_core.errors import Forbidden, NotFound, TokenExpired, TooLarge, VersionGone
from stretto_core.ot import apply
from stretto_core.protocol import Limits
from stretto_server.journal.memory import MemoryJournal
from stretto_server.server import RealtimeServer
from tests.server.wire import EDITOR, SECRET, VIEWER, token

TYPIST = Path(__file__).with_name("typist.py")
ALPHABET = "abc 🎉é\n👩‍🚀"

Enter = Callable[..., Awaitable[RealtimeClient]]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "REDIS_URL", "DATABASE_URL", "WEB_CONCURRENCY", "DYNO"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RealtimeServer]:
    async with RealtimeServer(
        port=0,
        host="127.0.0.1",
        secret=SECRET,
        journal="memory://",
        data=tmp_path,
        drain=1.0,
        token_grace=1,
    ) as server:
        yield server


@pytest.fixture
async def enter() -> AsyncIterator[Enter]:
    """Connect clients that come back quickly."""
    clients: list[RealtimeClient] = []

    async def connect(
        url: str,
        sub: str = "ann",
        grants: dict[str, str] | None = None,
        jwt: Any = None,
        **options: Any,
    ) -> RealtimeClient:
        provider = jwt or (lambda: token(sub, grants))
        client = RealtimeClient(url, provider, backoff_scale=0.05, **options)
        clients.append(client)
        await client.connect(10)
        return client

    yield connect
    for client in clients:
        await client.close()


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[Child]:
    """A server process with an SQLite journal, to be killed."""
    environ = {**os.environ, "STRETTO_SECRET": SECRET}
    child = Child(None, tmp_path, environ)
    await child.start()
    yield child
    await child.kill()


class HeldJournal:
    """Holds a journal's appends: before they happen, or after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.before, self.after = asyncio.Event(), asyncio.Event()
        self.appended = asyncio.Event()
        self.delay_s = 0.0
        self.text = ""
        """What the journal holds of the only document."""
        self.before.set()
        self.after.set()
        append = MemoryJournal.append

        async def held(journal: MemoryJournal, *arguments: Any, **named: Any) -> Any:
            await asyncio.sleep(self.delay_s)
            await self.before.wait()
            result = await append(journal, *arguments, **named)
            for entry in arguments[3]:
                self.text = apply(self.text, entry.op)
            self.appended.set()
            await self.after.wait()
            return result

        monkeypatch.setattr(MemoryJournal, "append", held)


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> HeldJournal:
    return HeldJournal(monkeypatch)


async def until(condition: Callable[[], Any], patience_s: float = 10) -> None:
    async with asyncio.timeout(patience_s):
        while not condition():
            await asyncio.sleep(0.005)


async def test_saved_is_never_said_while_the_journal_is_slow(
    server: RealtimeServer, enter: Enter, journal: HeldJournal
) -> None:
    client = await enter(server.url)
    doc = await client.open("notes")
    lies: list[str] = []

    def told(status: Status) -> None:
        if status is Status.SAVED and journal.text != doc.text:
            lies.append(doc.text)

    doc.on("status", told)
    journal.before.clear()
    journal.delay_s = 0.02
    for number in range(30):
        await doc.insert(0, str(number % 10))
        await asyncio.sleep(0.01)
        assert doc.status is Status.SAVING or journal.text == doc.text
        if number == 10:
            assert journal.text == ""
            journal.before.set()
        if number == 20:
            await doc.saved()
            assert journal.text == doc.text
    await doc.saved()
    assert journal.text == await server.documents.read("notes") == doc.text
    assert doc.status is Status.SAVED
    assert lies == []


async def test_edits_made_while_the_server_is_dead_arrive_once(child: Child, enter: Enter) -> None:
    ann = await enter(child.url)
    bob = await enter(child.url, "bob")
    ours, theirs = await ann.open("notes"), await bob.open("notes")
    lost = asyncio.Event()
    ann.on("connection.lost", lambda _: lost.set())
    for round_ in range(3):
        lost.clear()
        for number in range(10):
            await ours.insert(0, f"<{round_}a{number}>")
            await theirs.insert(len(theirs.text), f"<{round_}b{number}>")
            if number == 5:  # something is in flight
                await child.kill()
                await lost.wait()
        assert ours.status is Status.OFFLINE
        await child.start()
        await asyncio.gather(ours.saved(), theirs.saved())
    await until(lambda: ours.text == theirs.text)
    marks = re.findall(r"<\w+>", ours.text)
    assert len(marks) == len(set(marks)) == 60
    assert len("".join(marks)) == len(ours.text)
    carol = await enter(child.url, "carol")
    assert (await carol.open("notes")).text == ours.text


async def type_and_kill(
    url: str, outbox: Path, first: int, stop: Callable[[int], Awaitable[bool]]
) -> int:
    """Let a process type until ``stop``, then kill it; return the last number it promised."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(TYPIST), url, token("ann"), str(outbox), str(first)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    promised = -1
    async with asyncio.timeout(20):
        while not await stop(promised - first + 1 if promised >= 0 else 0):
            line = await process.stdout.readline()
            assert line, "the typist failed"
            promised = int(line)
        process.kill()
        rest = await process.stdout.read()
        await process.wait()
    return max([promised, *map(int, rest.split())])


async def test_a_killed_process_is_continued_by_the_next(
    server: RealtimeServer, enter: Enter, tmp_path: Path
) -> None:
    outbox, chance, first, promised = tmp_path / "unsent.db", random.Random(11), 0, set[int]()
    for _ in range(3):
        most = chance.randint(20, 120)

        async def enough(count: int, most: int = most) -> bool:
            return count >= most

        last = await type_and_kill(server.url, outbox, first, enough)
        promised |= set(range(first, last + 1))
        first += 10_000
    client = await enter(server.url, outbox=outbox)
    doc = await client.open("notes")
    await doc.saved()
    marks = [int(mark) for mark in re.findall(r"<(\d+)>", await server.documents.read("notes"))]
    assert len(marks) == len(set(marks))
    assert promised <= set(marks)
    assert doc.text == await server.documents.read("notes")
    assert "".join(f"<{mark}>" for mark in marks) == doc.text
    assert doc.returned == []


@pytest.mark.parametrize("committed", [True, False])
async def test_a_process_killed_with_an_operation_in_flight_delivers_it_once(
    server: RealtimeServer, enter: Enter, journal: HeldJournal, tmp_path: Path, committed: bool
) -> None:
    outbox = tmp_path / "unsent.db"
    (journal.after if committed else journal.before).clear()

    async def in_flight(count: int) -> bool:
        if count < 5:
            return False
        if committed:
            await journal.appended.wait()
        return True

    last = await type_and_kill(server.url, outbox, 0, in_flight)
    journal.before.set()
    journal.after.set()
    client = await enter(server.url, outbox=outbox)
    assert await client.unsent() == ["notes"]
    doc = await client.open("notes")
    await doc.saved()
    text = await server.documents.read("notes")
    numbers = [int(mark) for mark in re.findall(r"<(\d+)>", text)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > last
    await until(lambda: not client._outbox or not client._outbox.unsent())


async def test_two_who_type_at_once_agree(server: RealtimeServer, enter: Enter) -> None:
    clients = [await enter(server.url, name) for name in ("ann", "bob")]
    docs = [await client.open("notes") for client in clients]
    mirrors = [(doc, doc.changes()) for doc in docs]

    async def type_away(number: int) -> None:
        doc, chance = docs[number], random.Random(number)
        for count in range(500):
            length = len(doc.text)
            position = chance.randint(0, length)
            if length and chance.random() < 0.4:
                await doc.delete(position, min(length - position, chance.randint(0, 3)))
            else:
                await doc.insert(position, "".join(chance.choices(ALPHABET, k=3)))
            if count % 10 == 0:
                await asyncio.sleep(chance.random() * 0.01)
            if count == 250:
                clients[number]._on_lost(None)

    await asyncio.gather(*(type_away(number) for number in range(2)))
    await asyncio.gather(*(doc.saved() for doc in docs))
    await until(lambda: docs[0].version == docs[1].version)
    text = await server.documents.read("notes")
    assert docs[0].text == docs[1].text == text
    assert docs[0].replica.hash == docs[1].replica.hash
    assert [doc.returned for doc in docs] == [[], []]
    for doc, changes in mirrors:
        mirrored = ""
        await doc.close()
        async for change in changes:
            mirrored = apply(mirrored, change.op)
        assert mirrored == text


async def test_tokens_are_renewed_before_and_after_they_expire(
    server: RealtimeServer, enter: Enter
) -> None:
    given: list[float] = []

    def short_lived() -> str:
        given.append(2.0)
        return token("ann", ttl_s=2)

    client = await enter(server.url, jwt=short_lived)
    lost: list[Any] = []
    client.on("connection.lost", lost.append)
    doc = await client.open("notes")
    for number in range(7):
        await doc.insert(len(doc.text), str(number))
        await doc.saved()
        await asyncio.sleep(0.5)
    assert await server.documents.read("notes") == "0123456"
    assert lost == []
    assert len(given) >= 3


async def test_edits_wait_for_a_token_when_the_provider_was_late(
    server: RealtimeServer, enter: Enter, caplog: pytest.LogCaptureFixture
) -> None:
    ttls = iter([1, None, 60])

    def provider() -> str:
        ttl_s = next(ttls)
        if ttl_s is None:
            raise OSError("no network")
        return token("ann", ttl_s=ttl_s)

    with caplog.at_level("CRITICAL"):
        client = await enter(server.url, jwt=provider)
        doc = await client.open("notes")
        await asyncio.sleep(1.1)
        await doc.insert(0, "late")
        assert doc.status is not Status.SAVED
        await doc.saved()
    assert await server.documents.read("notes") == "late"


async def test_a_fixed_token_ends_the_client_with_its_grace(
    server: RealtimeServer, enter: Enter
) -> None:
    client = await enter(server.url, jwt=token("ann", ttl_s=1))
    doc = await client.open("notes")
    closed: list[Closed] = []
    doc.on("closed", closed.append)
    await asyncio.sleep(1.1)
    await doc.insert(0, "unsent")
    await until(lambda: client.error is not None)
    assert isinstance(client.error, TokenExpired)
    assert [one.text for one in closed] == ["unsent"]
    with pytest.raises(TokenExpired):
        await doc.saved()


async def test_operations_at_older_and_newer_versions(server: RealtimeServer, enter: Enter) -> None:
    ann, bob = await enter(server.url), await enter(server.url, "bob")

    async def send(**operation: Any) -> int:
        return await ann.send_operation("notes", operation)

    assert await send(type="insert", position=0, data="one 🎉 three") == 1
    assert await bob.send_operation("notes", {"type": "insert", "position": 0, "data": "> "}) == 2
    doc = await ann.open("notes")
    await until(lambda: doc.version == 2)
    assert await send(type="replace", position=4, length=1, data="two", version=1) == 3
    assert doc.text == "> one two three"
    assert await send(type="move", position=2, length=4, to=4, version=2) == 4
    assert doc.text == await server.documents.read("notes") == "> two one three"
    assert await send(type="delete", position=0, length=2, version=1_000) == 5
    assert await server.documents.read("notes") == "two one three"
    doc.replica._recent.popleft()
    with pytest.raises(VersionGone):
        await send(type="insert", position=0, data="x", version=0)


async def test_an_edit_that_the_server_refuses_is_raised_where_it_was_asked_for(
    tmp_path: Path, enter: Enter
) -> None:
    async with RealtimeServer(
        port=0,
        host="127.0.0.1",
        secret=SECRET,
        journal="memory://",
        data=tmp_path,
        drain=0.5,
        limits=Limits(document_chars=10),
    ) as server:
        client = await enter(server.url)
        with pytest.raises(TooLarge):
            await client.send_operation(
                "notes", {"type": "insert", "position": 0, "data": "x" * 11}
            )
        await client.send_operation("notes", {"type": "insert", "position": 0, "data": "x" * 10})
        doc = await client.open("notes")
        assert [given.text for given in doc.returned] == ["x" * 11]
        await client.close()


async def test_cursors_follow_the_text_of_others(server: RealtimeServer, enter: Enter) -> None:
    ann, bob = await enter(server.url), await enter(server.url, "bob")
    ours, theirs = await ann.open("notes"), await bob.open("notes")
    await ours.insert(0, "one 🎉 three")
    await ours.set_cursor([(4, 5)])
    await until(lambda: theirs.cursors)
    assert [cursor.ranges for cursor in theirs.cursors] == [[(4, 5)]]
    assert theirs.cursors[0].user["id"] == "ann"
    await theirs.insert(0, "> ")
    assert theirs.cursors[0].ranges == [(6, 7)]
    await theirs.saved()
    await ours.set_cursor(None)
    await until(lambda: not theirs.cursors)
    await ann.close()
    await until(lambda: [member["user"]["id"] for member in theirs.members] == ["bob"])


async def test_a_role_that_changes_with_the_token(server: RealtimeServer, enter: Enter) -> None:
    grants = [EDITOR]
    client = await enter(server.url, jwt=lambda: token("ann", grants[0]))
    doc = await client.open("notes")
    await doc.insert(0, "mine")
    await doc.saved()
    roles: list[str] = []
    closed: list[Closed] = []
    doc.on("role", roles.append)
    doc.on("closed", closed.append)
    grants[0] = VIEWER
    client.token_refused()
    await until(lambda: roles == ["viewer"])
    with pytest.raises(Forbidden):
        await doc.insert(0, "x")
    grants[0] = {"docs/other": "editor"}
    client.token_refused()
    await until(lambda: closed)
    assert doc.is_over
    with pytest.raises(NotFound):
        await client.open("notes")
    grants[0] = EDITOR
    client.token_refused()
    await asyncio.sleep(0.1)
    assert (await client.open("notes")).text == "mine"


async def test_a_document_that_the_server_deletes(
    server: RealtimeServer, enter: Enter, journal: HeldJournal
) -> None:
    client = await enter(server.url)
    doc = await client.open("notes")
    await doc.insert(0, "old")
    await doc.saved()
    closed: list[Closed] = []
    doc.on("closed", closed.append)
    await server.documents.delete("notes")
    await until(lambda: closed)
    assert closed[0].error.code == "not_found"
    assert closed[0].text == ""  # nothing of it was unsent
    assert (await client.open("notes")).text == ""


async def test_a_document_that_the_server_replaces(server: RealtimeServer, enter: Enter) -> None:
    client = await enter(server.url)
    doc = await client.open("notes")
    await doc.insert(0, "the old text")
    await doc.saved()
    given: list[Returned] = []
    doc.on("returned", given.append)
    client._on_lost(None)
    await doc.insert(12, " and mine")
    await server.documents.replace("notes", "the new text")
    await doc.saved()
    await until(lambda: doc.status is Status.SAVED)
    assert doc.text == await server.documents.read("notes")
    assert doc.text == "the new text and mine"
    assert [(one.text, one.origin) for one in given] == [("the old text and mine", Origin.REPLACED)]


async def test_a_server_that_stops_is_left_and_come_back_to(tmp_path: Path, enter: Enter) -> None:
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "secret": SECRET,
        "journal": f"sqlite:///{tmp_path / 'stretto.db'}",
        "data": tmp_path,
        "drain": 6.0,
    }
    first = RealtimeServer(port=0, **settings)
    await first.start()
    client = await enter(first.url)
    doc = await client.open("notes")
    told: list[Any] = []
    client.on("server.shutdown", told.append)
    typing = True

    async def type_away() -> None:
        while typing:
            await doc.insert(len(doc.text), ".")
            await asyncio.sleep(0.005)

    task = asyncio.ensure_future(type_away())
    await asyncio.sleep(0.1)
    started = asyncio.get_running_loop().time()
    await first.stop()
    assert asyncio.get_running_loop().time() - started < 3
    assert len(told) == 1
    second = RealtimeServer(port=int(first.url.rpartition(":")[2]), **settings)
    await second.start()
    typing = False
    await task
    await doc.saved()
    assert await second.documents.read("notes") == doc.text
    assert set(doc.text) == {"."}
    await client.close()
    await second.stop()
