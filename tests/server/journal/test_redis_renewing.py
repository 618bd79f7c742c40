"""Histories that Redis lost a piece of go on under another epoch, whatever happens meanwhile."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import redis

from stretto_core.errors import EpochChanged, Unavailable
from stretto_server.journal.interface import (
    Appended,
    Conflict,
    Head,
    OutcomeUnknown,
    Snapshot,
)
from stretto_server.journal.redis import RedisJournal
from stretto_server.journal.redis_records import keys_of
from stretto_server.redis_client.names import channel_of
from tests.contracts.journal_samples import (
    DOC,
    EPOCH,
    A,
    B,
    append,
    chain,
    entry,
    opened,
    typed,
    whole_log,
    written,
)
from tests.services.processes import running
from tests.services.redis_server import RedisServer

META = keys_of(DOC)[0]
LOG = keys_of(DOC)[1]
CLIENTS = keys_of(DOC)[2]
TIMEOUT_S = 0.4
RECOVERY_S = 20.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis", appendfsync="no")
    with running(server):
        yield server


@pytest.fixture
async def journal(server: RedisServer) -> AsyncIterator[RedisJournal]:
    async with opened(RedisJournal(server.url, timeout_s=TIMEOUT_S)) as journal:
        assert isinstance(journal, RedisJournal)
        yield journal


@pytest.fixture
async def other(server: RedisServer) -> AsyncIterator[RedisJournal]:
    async with opened(RedisJournal(server.url, timeout_s=TIMEOUT_S)) as journal:
        assert isinstance(journal, RedisJournal)
        yield journal


@pytest.fixture
def heard(server: RedisServer) -> "Iterator[redis.client.PubSub]":
    with redis.Redis(port=server.port) as client, client.pubsub() as listener:
        listener.subscribe(channel_of(f"doc:{DOC}"))
        listener.get_message(timeout=RECOVERY_S)
        yield listener


def messages(server: RedisServer, heard: "redis.client.PubSub") -> list[dict[str, object]]:
    """Return all that was published to those who follow the document until now."""
    server.say("PUBLISH", channel_of(f"doc:{DOC}"), "null")
    found: list[dict[str, object]] = []
    while True:
        message = heard.get_message(ignore_subscribe_messages=True, timeout=RECOVERY_S)
        if message is None:
            continue
        told = json.loads(message["data"])
        if told is None:
            return found
        found.append(told)


async def test_two_nodes_renew_at_once_and_one_is_first(
    server: RedisServer,
    journal: RedisJournal,
    other: RedisJournal,
    heard: "redis.client.PubSub",
) -> None:
    hashes = await written(journal, typed(2))
    epoch = EPOCH
    for number in range(20):
        rivals = [f"here-{number}", f"there-{number}"]
        heads = await asyncio.gather(
            journal.renew(DOC, epoch, rivals[0]), other.renew(DOC, epoch, rivals[1])
        )
        assert heads[0] == heads[1] == Head(heads[0].epoch, 2, hashes[1], 0)
        epoch = heads[0].epoch
        assert epoch in rivals
        (*_, told) = await asyncio.to_thread(messages, server, heard)
        assert told == {
            "doc": DOC,
            "epoch": epoch,
            "version": 2,
            "hash": hashes[1],
            "replaced": True,
        }
    await journal.delete(DOC)
    assert len(await asyncio.to_thread(messages, server, heard)) == 1


async def test_only_who_renewed_tells_the_others(
    server: RedisServer,
    journal: RedisJournal,
    other: RedisJournal,
    heard: "redis.client.PubSub",
) -> None:
    await written(journal, typed(1))
    await asyncio.gather(
        *(node.renew(DOC, EPOCH, f"epoch-{n}") for n, node in enumerate([journal, other] * 5))
    )
    told = await asyncio.to_thread(messages, server, heard)
    assert ["replaced" in message for message in told] == [False, True]


async def test_a_node_that_did_not_notice_writes_nothing(
    server: RedisServer, journal: RedisJournal, other: RedisJournal
) -> None:
    hashes = await written(journal, typed(4))
    lose_tail(server, 2, hashes)
    # `other` came first and went on from what is left; `journal` has the lost versions.
    late = [entry(B, seq, (f"b{seq}",)) for seq in (1, 2)]
    ours = chain(late, hashes[1])
    assert await other.append(DOC, EPOCH, 2, late, ours, base_hash=hashes[1]) == Appended()
    more = entry(A, 5)
    theirs = chain([more], hashes[3])
    result = await journal.append(DOC, EPOCH, 4, [more], theirs, base_hash=hashes[3])
    assert result == Conflict(Head(EPOCH, 4, ours[1], 0), ())
    await journal.snapshot(DOC, EPOCH, Snapshot(4, hashes[3], "lost"))
    await journal.snapshot(DOC, EPOCH, Snapshot(3, hashes[2], "lost"))
    assert await journal.renew(DOC, EPOCH, "epoch-two") == Head("epoch-two", 4, ours[1], 0)
    for node in (journal, other):
        with pytest.raises(EpochChanged) as changed:
            await append(node, entry(B, 3), base=4)
        assert changed.value.details == {"epoch": "epoch-two"}
        await node.snapshot(DOC, EPOCH, Snapshot(4, ours[1], "stale"))
    loaded = await other.load(DOC)
    assert loaded is not None
    assert loaded.snapshot.version == 0
    assert loaded.entries == (*typed(2), *late)


async def test_renewing_while_others_append_loses_no_acknowledged_entry(
    journal: RedisJournal, other: RedisJournal
) -> None:
    await journal.create(DOC, EPOCH, 1)
    epochs = [EPOCH, *(f"epoch-{number}" for number in range(10))]
    acknowledged: list[int] = []

    async def write() -> None:
        head = (await other.heads([DOC]))[0]
        assert head is not None
        for seq in range(1, 201):
            new = entry(A, seq)
            while True:
                (digest,) = chain([new], head.hash)
                try:
                    result = await other.append(
                        DOC, head.epoch, head.version, [new], [digest], base_hash=head.hash
                    )
                except EpochChanged:
                    (now,) = await other.heads([DOC])
                    assert now == Head(now.epoch if now else "", seq - 1, head.hash, 0)
                    head = now
                else:
                    assert result == Appended()
                    break
            acknowledged.append(seq)
            head = Head(head.epoch, seq, digest, 0)

    writing = asyncio.create_task(write())
    for old, new in pairwise(epochs):
        assert (await journal.renew(DOC, old, new)).epoch == new
        await asyncio.sleep(0.005)
    async with asyncio.timeout(RECOVERY_S):
        await writing
    page = await whole_log(journal, epoch=epochs[-1])
    assert [one.seq for one in page.entries] == acknowledged
    assert page.hash == chain(page.entries)[-1]


async def test_a_renewal_that_nobody_answered_is_repeated_safely(
    server: RedisServer, journal: RedisJournal, heard: "redis.client.PubSub"
) -> None:
    hashes = await written(journal, typed(2))
    server.signal(signal.SIGSTOP)
    started = time.monotonic()
    try:
        with pytest.raises(OutcomeUnknown):
            await journal.renew(DOC, EPOCH, "epoch-two")
        with pytest.raises(Unavailable):  # not sent any more
            await journal.renew(DOC, EPOCH, "epoch-two")
        with pytest.raises(Unavailable):
            await journal.heads([DOC])
        assert time.monotonic() - started < 3 * (3 * TIMEOUT_S)
    finally:
        server.signal(signal.SIGCONT)
    async with asyncio.timeout(RECOVERY_S):
        while True:
            try:
                head = await journal.renew(DOC, EPOCH, "epoch-three")
            except (Unavailable, OutcomeUnknown):
                await asyncio.sleep(0.02)
            else:
                break
    assert head.epoch in ("epoch-two", "epoch-three")
    assert head == Head(head.epoch, 2, hashes[1], 0)
    assert await journal.heads([DOC]) == [head]
    told = await asyncio.to_thread(messages, server, heard)
    renewed = [message["epoch"] for message in told if "replaced" in message]
    assert renewed == [head.epoch]


@pytest.mark.parametrize("field", ["version", "hash"])
async def test_a_damaged_head_is_not_renewed(
    server: RedisServer, journal: RedisJournal, field: str
) -> None:
    await written(journal, typed(1))
    server.say("HDEL", META, field)
    with pytest.raises(Unavailable, match="damaged"):
        await journal.renew(DOC, EPOCH, "epoch-two")
    with pytest.raises(Unavailable, match="damaged"):
        await journal.heads(["unknown", DOC])
    assert server.say("HGET", META, "epoch") == EPOCH


async def test_reading_alone_renews_nothing(server: RedisServer, journal: RedisJournal) -> None:
    await written(journal, typed(1))
    async with opened(RedisJournal(server.url, read_only=True)) as reader:
        with pytest.raises(Unavailable, match="for reading alone"):
            await reader.renew(DOC, EPOCH, "epoch-two")
        assert await reader.heads([DOC]) == await journal.heads([DOC])


def lose_tail(server: RedisServer, version: int, hashes: list[str]) -> None:
    """Make Redis what it was at ``version``, as a failover to an old replica does."""
    for lost in range(version + 1, len(hashes) + 1):
        server.say("XDEL", LOG, f"{lost}-0")
    server.say("XSETID", LOG, f"{version}-0")
    server.say("HSET", META, "version", str(version), "hash", hashes[version - 1])
    server.say("HSET", CLIENTS, A, f"{version} {version} 0 1000 alice")
