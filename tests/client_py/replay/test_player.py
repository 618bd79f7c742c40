"""Playing live: every author after what it had received, in many operations."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import pytest

from stretto_client.replay.player import Author, Measured, MeasuredClient, Stage
from stretto_client.replay.recorded import Edit, edits_of
from stretto_client.replay.traces import Patch, Row, Trace, read_trace
from stretto_core.errors import Forbidden, StrettoError, Unavailable
from stretto_server import RealtimeServer
from stretto_server.auth import issue_token

TRACES = Path(__file__).parents[3] / "bench" / "traces"
SECRET = "a key of the tests that is long enough for HS256"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RealtimeServer]:
    async with RealtimeServer(
        port=0,
        host="127.0.0.1",
        secret=SECRET,
        journal="memory://",
        data=tmp_path,
        drain=1.0,
        rate_limits=False,
    ) as server:
        yield server


@asynccontextmanager
async def cast(
    server: RealtimeServer, measured: Measured, count: int = 2
) -> AsyncIterator[list[Author]]:
    clients = []
    for number in range(count):
        token = issue_token(SECRET, f"author-{number}", grants={"docs/*": "editor"})
        clients.append(MeasuredClient(server.url, token, measured, random.Random(number), None))
    try:
        for client in clients:
            await client.connect()
        yield [Author(one, await one.open("notes"), measured) for one in clients]
    finally:
        for client in clients:
            await client.close()


def no_progress(_patches: int) -> None:
    pass


async def play(server: RealtimeServer, trace: Trace) -> tuple[Measured, list[str]]:
    """Play a trace; return what was measured, and every author's text."""
    measured = Measured()
    async with cast(server, measured, trace.authors) as authors:
        await Stage(authors, no_progress).play(list(edits_of(trace)))
        head = max(author.document.version for author in authors)
        for author in authors:
            while author.document.version < head:
                await author.wait()
        return measured, [author.document.text for author in authors]


async def test_a_single_author_reaches_the_recorded_end(server: RealtimeServer) -> None:
    trace = read_trace(TRACES / "sveltecomponent.json.gz").limited(300)
    measured, texts = await play(server, trace)
    assert texts == [trace.end]
    assert measured.patches == 300
    assert median(measured.patches_per_submit) <= 4
    assert sum(measured.patches_per_submit) == 300
    assert measured.problems == []
    assert measured.sent_twice > 0
    assert len(measured.acked) == len(measured.latencies)


async def test_several_authors_end_with_one_text(server: RealtimeServer) -> None:
    trace = read_trace(TRACES / "friendsforever.schedule.jsonl.gz").limited(300)
    measured, texts = await play(server, trace)
    assert len(set(texts)) == 1
    assert texts[0] == await server.documents.read("notes")
    assert measured.patches == 300


async def test_an_author_waits_for_what_it_had_received(server: RealtimeServer) -> None:
    rows = (
        Row(0, 0, (Patch(0, 0, "first "),)),
        Row(1, 1, (Patch(6, 0, "second "),)),
        Row(0, 2, (Patch(13, 0, "third"),)),
    )
    async with asyncio.timeout(10):
        _, texts = await play(server, Trace("", None, rows, 2, False))
    assert texts == ["first second third"] * 2


WAITING_FOR_EACH_OTHER = [
    Edit(Row(0, 2, (Patch(0, 0, "a"),)), 0, ""),
    Edit(Row(1, 1, (Patch(0, 0, "b"),)), 1, ""),
]


async def test_a_stage_on_which_nothing_moves_says_where_everybody_stands(
    server: RealtimeServer,
) -> None:
    async with cast(server, Measured()) as authors:
        stage = Stage(authors, no_progress, stall_s=0.02)
        with pytest.raises(ExceptionGroup) as raised:
            await stage.play(WAITING_FOR_EACH_OTHER)
    (error,) = raised.value.exceptions
    assert isinstance(error, Unavailable)
    assert "author 2 is saved at version 0 with nothing in flight" in error.message


async def test_a_server_that_does_not_come_back_ends_the_play(server: RealtimeServer) -> None:
    failure: asyncio.Future[StrettoError] = asyncio.get_running_loop().create_future()
    async with cast(server, Measured()) as authors:
        stage = Stage(authors, no_progress, failure=failure)
        asyncio.get_running_loop().call_soon(failure.set_result, Unavailable("it is dead"))
        with pytest.raises(ExceptionGroup) as raised:
            await stage.play(WAITING_FOR_EACH_OTHER)
    assert raised.group_contains(Unavailable, match="it is dead")


async def test_a_document_that_is_closed_ends_the_play(server: RealtimeServer) -> None:
    async with cast(server, Measured()) as authors:
        loop = asyncio.get_running_loop()
        for author in authors:
            loop.call_soon(author.document.failed, Forbidden("no longer"))
        with pytest.raises(ExceptionGroup) as raised:
            await Stage(authors, no_progress).play(WAITING_FOR_EACH_OTHER)
        with pytest.raises(Forbidden):
            await authors[0].wait()
    assert raised.group_contains(Forbidden, match="no longer")
