"""The Redis journal when Redis is killed, hangs, is full, is damaged, or is another one."""

import asyncio
import json
import logging
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from stretto_core.entries import ClientRecord
from stretto_core.errors import StrettoError, Unavailable
from stretto_server.journal.frames import LOST_RACE
from stretto_server.journal.interface import (
    Appended,
    Conflict,
    OutcomeUnknown,
    Snapshot,
    StaleClient,
)
from stretto_server.journal.redis import RedisJournal
from stretto_server.journal.redis_records import keys_of
from stretto_server.redis_client.names import channel_of
from tests.contracts.journal_samples import (
    ALL,
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
from tests.services.redis_server import RedisServer, SentinelServer
from tests.services.writer import Writer, check_log

META, LOG, CLIENTS, SNAPSHOT, INDEX = keys_of(DOC)
TIMEOUT_S = 0.4
RECOVERY_S = 20.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    with running(server):
        yield server


@pytest.fixture
async def journal(server: RedisServer) -> AsyncIterator[RedisJournal]:
    async with opened(RedisJournal(server.url, timeout_s=TIMEOUT_S)) as journal:
        assert isinstance(journal, RedisJournal)
        yield journal


async def until_reachable(journal: RedisJournal) -> None:
    async with asyncio.timeout(RECOVERY_S):
        while True:
            try:
                await journal.load(DOC)
            except Unavailable:
                await asyncio.sleep(0.02)
            else:
                return


async def test_a_killed_redis_loses_nothing_that_was_acknowledged(
    server: RedisServer, journal: RedisJournal
) -> None:
    async with opened(RedisJournal(server.url, timeout_s=TIMEOUT_S)) as other:
        await journal.create(DOC, EPOCH, 1)
        writers = [Writer(journal, DOC, f"client-{n:016}") for n in range(3)]
        writers += [Writer(other, DOC, f"other-{n:016}") for n in range(3)]
        writing = asyncio.gather(*(writer.write(60) for writer in writers))
        dice = random.Random(7)
        for _ in range(5):
            await asyncio.sleep(dice.uniform(0.01, 0.1))
            server.kill()
            await asyncio.to_thread(server.start)
        async with asyncio.timeout(60):
            await writing
        await check_log(journal, DOC, writers)
        assert await other.client(DOC, writers[0].client) == ClientRecord(
            60, max(_versions(await _log(journal), writers[0].client)), "user"
        )


async def test_a_hung_redis_is_told_in_time_and_appends_once_when_it_wakes(
    server: RedisServer, journal: RedisJournal
) -> None:
    await written(journal, typed(1))
    loaded = await journal.load(DOC)
    assert loaded is not None
    late = entry(A, 2)
    hashes = chain([late], loaded.head.hash)
    server.signal(signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        await journal.append(DOC, EPOCH, 1, [late], hashes)
    assert time.monotonic() - started < 3 * TIMEOUT_S
    for _ in range(3):  # nothing is sent any more, so nothing is unknown
        with pytest.raises(Unavailable):
            await journal.append(DOC, EPOCH, 1, [late], hashes)
    with pytest.raises(Unavailable):
        await journal.load(DOC)
    server.signal(signal.SIGCONT)
    await until_reachable(journal)
    result = await journal.append(DOC, EPOCH, 1, [late], hashes)
    # The one that hung was run when Redis woke, or never: never both.
    head = (await whole_log(journal)).head
    assert result in (Appended(), Conflict(head, (late,)))
    assert await append(journal, late, base=2) == StaleClient(A, ClientRecord(2, 2, late.user))
    assert (await whole_log(journal)).entries == (*typed(1), late)


async def test_what_was_cancelled_disturbs_no_other_call(journal: RedisJournal) -> None:
    await written(journal, typed(3))
    for _ in range(20):
        reading = asyncio.create_task(journal.read(DOC, EPOCH, 1, ALL))
        await asyncio.sleep(0)
        reading.cancel()
        assert (await whole_log(journal)).entries == tuple(typed(3))


async def test_two_nodes_race_and_every_entry_takes_one_version(
    server: RedisServer, journal: RedisJournal
) -> None:
    async with opened(RedisJournal(server.url)) as other:
        await journal.create(DOC, EPOCH, 1)
        writers = [
            Writer(node, DOC, f"{name}-{number:012}")
            for name, node in (("here", journal), ("there", other))
            for number in range(4)
        ]
        await asyncio.gather(*(writer.write(50) for writer in writers))
        await check_log(journal, DOC, writers)


async def test_scripts_that_redis_forgot_are_sent_again(
    server: RedisServer, journal: RedisJournal
) -> None:
    await written(journal, typed(1))
    server.say("SCRIPT", "FLUSH")
    assert await append(journal, entry(A, 2), base=1) == Appended()
    assert (await whole_log(journal)).head.version == 2


async def test_a_full_redis_refuses_and_writes_no_part(
    server: RedisServer, journal: RedisJournal
) -> None:
    await written(journal, typed(2))
    server.say("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(Unavailable, match="memory is full"):
        await append(journal, entry(A, 3), base=2)
    assert (await whole_log(journal)).entries == tuple(typed(2))
    server.say("CONFIG", "SET", "maxmemory", "0")
    assert await append(journal, entry(A, 3), base=2) == Appended()


@pytest.mark.parametrize(
    "damage",
    [
        ("SET", META, "text"),
        ("HSET", META, "version", "many"),
        ("HDEL", META, "floor"),
        ("HSET", META, "version", "9"),
        ("XDEL", LOG, "2-0"),
        ("XDEL", LOG, "4-0"),
        ("DEL", LOG),
        ("SET", LOG, "text"),
        ("SET", SNAPSHOT, "text"),
        ("HSET", SNAPSHOT, "version", "x", "hash", "y", "text", "z"),
    ],
    ids=" ".join,
)
async def test_damage_is_told_when_a_document_is_loaded(
    server: RedisServer, journal: RedisJournal, damage: tuple[str, ...]
) -> None:
    await written(journal, typed(4))
    if damage[0] == "SET":
        server.say("DEL", damage[1])
    server.say(*damage)
    with pytest.raises(Unavailable, match=f"document {DOC} is damaged.*restore a backup"):
        await journal.load(DOC)


async def test_entries_that_are_no_json_are_told(
    server: RedisServer, journal: RedisJournal
) -> None:
    await written(journal, typed(1))
    server.say("XADD", LOG, "2-0", "d", "{", "h", "0" * 16)
    server.say("HSET", META, "version", "2")
    with pytest.raises(Unavailable, match="damaged"):
        await journal.read(DOC, EPOCH, 1, ALL)
    with pytest.raises(Unavailable, match="damaged"):
        await append(journal, entry(A, 2), base=1)


async def test_pages_with_entries_missing_are_told(
    server: RedisServer, journal: RedisJournal
) -> None:
    hashes = await written(journal, typed(6))
    server.say("XDEL", LOG, "3-0")
    for first, limit, most in ((1, ALL, None), (2, 2, 10**6), (3, 1, None), (4, 0, None)):
        with pytest.raises(Unavailable, match="damaged"):
            await journal.read(DOC, EPOCH, first, limit, most)
    # A snapshot is compared with the log, so one of a version that is missing is not kept.
    await journal.snapshot(DOC, EPOCH, Snapshot(3, hashes[2], ""))
    assert (await journal.compact(DOC, EPOCH, 3)).floor == 0
    await journal.snapshot(DOC, EPOCH, Snapshot(5, hashes[4], ""))
    with pytest.raises(Unavailable, match="damaged"):
        await journal.compact(DOC, EPOCH, 3)
    server.say("DEL", LOG)
    with pytest.raises(Unavailable, match="damaged"):
        await journal.read(DOC, EPOCH, 2, 10, 1000)


async def test_damaged_client_records_are_told_before_anything_is_written(
    server: RedisServer, journal: RedisJournal
) -> None:
    await written(journal, typed(1))
    server.say("HSET", CLIENTS, A, "garbage")
    with pytest.raises(Unavailable, match="damaged"):
        await journal.client(DOC, A)
    with pytest.raises(Unavailable, match="damaged"):
        await append(journal, entry(A, 2), base=1)
    with pytest.raises(Unavailable, match="damaged"):
        await journal.fence(DOC, EPOCH, A, "alice", 1)
    with pytest.raises(Unavailable, match="damaged"):
        await journal.expire_clients(10**12)
    assert (await whole_log(journal)).head.version == 1


async def test_a_log_ahead_of_its_head_refuses_appends(
    server: RedisServer, journal: RedisJournal
) -> None:
    await written(journal, typed(2))
    server.say("HSET", META, "version", "1")
    with pytest.raises(Unavailable, match="damaged"):
        await append(journal, entry("client-of-carol-00"), base=1)
    assert await journal.client(DOC, "client-of-carol-00") is None


async def test_another_format_is_left_alone(server: RedisServer, journal: RedisJournal) -> None:
    server.say("SET", "stretto:format", "2")
    for read_only in (False, True):
        stranger = RedisJournal(server.url, read_only=read_only)
        with pytest.raises(Unavailable, match="has format 2"):
            await stranger.start()
        await stranger.close()


async def test_reading_alone_writes_nothing(server: RedisServer) -> None:
    async with opened(RedisJournal(server.url, read_only=True)) as journal:
        assert await journal.documents() == []
        with pytest.raises(Unavailable, match="for reading alone"):
            await journal.create(DOC, EPOCH, 1)
    assert server.say("DBSIZE") == 0


async def test_nobody_there_is_told_at_the_start(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    journal = RedisJournal(f"redis://user:hunter2@127.0.0.1:{server.port}", timeout_s=TIMEOUT_S)
    with pytest.raises(Unavailable, match=f"127.0.0.1:{server.port}") as raised:
        await journal.start()
    assert "hunter2" not in str(raised.value)
    with pytest.raises(Unavailable):
        await journal.load(DOC)
    await journal.close()
    await journal.close()


async def test_what_it_would_lose_is_said_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path, appendfsync="everysec", maxmemory_policy="allkeys-lru")
    with running(server):
        async with opened(RedisJournal(server.url)):
            pass
        server.say("CONFIG", "SET", "appendonly", "no")
        async with opened(RedisJournal(server.url)):
            pass
    said = [row.message for row in caplog.records if row.levelno == logging.WARNING]
    assert [word for word in ("allkeys-lru", "everysec") if word not in said[0] + said[1]] == []
    assert any("appendonly is no" in text for text in said)


async def test_a_replica_is_refused_and_a_demoted_primary_left(tmp_path: Path) -> None:
    primary = RedisServer(tmp_path / "primary")
    replica = RedisServer(tmp_path / "replica", replicaof=f"127.0.0.1 {primary.port}")
    with running(primary, replica):
        stranger = RedisJournal(replica.url)
        with pytest.raises(Unavailable, match="it is a replica"):
            await stranger.start()
        async with opened(RedisJournal(primary.url)) as journal:
            await written(journal, typed(1))
            primary.say("REPLICAOF", "127.0.0.1", str(replica.port))
            with pytest.raises(Unavailable, match="it is a replica"):
                await append(journal, entry(A, 2), base=1)
            primary.say("REPLICAOF", "NO", "ONE")
            await until_reachable(journal)  # type: ignore[arg-type]
            assert await append(journal, entry(A, 2), base=1) == Appended()


async def test_sentinels_lead_to_the_new_primary(tmp_path: Path) -> None:
    primary = RedisServer(tmp_path / "primary")
    replica = RedisServer(tmp_path / "replica", replicaof=f"127.0.0.1 {primary.port}")
    sentinel = SentinelServer(tmp_path / "sentinel", primary)
    with running(primary, replica):
        while replica.say("INFO", "replication")["master_link_status"] != "up":
            await asyncio.sleep(0.05)
        with running(sentinel):
            await _knows_replica(sentinel)
            async with opened(RedisJournal(sentinel.url, timeout_s=TIMEOUT_S)) as journal:
                await journal.create(DOC, EPOCH, 1)
                writer = Writer(journal, DOC, "client-0000000000000000")
                await writer.write(5)
                primary.kill()
                async with asyncio.timeout(60):
                    await writer.write(5)
                assert replica.say("HGET", META, "version") == "10"
                await check_log(journal, DOC, [writer])


async def test_frames_are_published_in_the_order_of_commits(
    server: RedisServer, journal: RedisJournal
) -> None:
    with redis.Redis(port=server.port) as client, client.pubsub() as listener:
        listener.subscribe(channel_of(f"doc:{DOC}"))
        entries = [entry(A, 1, ('"é🙂\0',)), entry(A, 2, ("x" * 70_000,)), entry(A, 3)]
        hashes = await written(journal, entries[:1])
        await append(journal, entries[1], base=1)
        await append(journal, entries[2], base=2)
        await journal.replace(DOC, "epoch-two", typed(1), chain(typed(1)), 5)
        await journal.delete(DOC)
        frames = await asyncio.to_thread(_messages, listener, 5)
    assert frames[0] == {
        "doc": DOC,
        "epoch": EPOCH,
        "from": 1,
        "ops": [entries[0].to_payload()],
        "hash": hashes[0],
    }
    assert (frames[1]["from"], frames[1]["version"], "ops" in frames[1]) == (2, 2, False)
    assert frames[1]["hash"] == chain(entries)[1]
    assert (frames[2]["from"], frames[2]["ops"]) == (3, [entries[2].to_payload()])
    assert frames[3]["replaced"] is True
    assert (frames[3]["epoch"], frames[3]["version"]) == ("epoch-two", 1)
    assert frames[4] == {"doc": DOC, "epoch": "epoch-two", "deleted": True}


async def test_a_lost_race_is_published(server: RedisServer, journal: RedisJournal) -> None:
    with redis.Redis(port=server.port) as client, client.pubsub() as listener:
        listener.subscribe(channel_of(f"doc:{DOC}"))
        await written(journal, typed(1))
        assert isinstance(await append(journal, entry(B, 1), base=0), Conflict)
        await append(journal, entry(B, 1), base=1)
        heard: list[bytes] = []
        while len(heard) < 3:
            message = await asyncio.to_thread(listener.get_message, True, 20)
            heard += [message["data"]] if message is not None else []
    assert (heard[0][:1], heard[1], heard[2][:1]) == (b"{", LOST_RACE, b"{")


async def test_a_user_without_channels_still_writes(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    rights = ("~stretto:*", "resetchannels", "+@all", "-config")
    server.say("ACL", "SETUSER", "node", "on", ">hunter2", *rights)
    url = server.url.replace("//", "//node:hunter2@")
    async with opened(RedisJournal(url)) as journal:
        await written(journal, typed(2))
        assert (await whole_log(journal)).entries == tuple(typed(2))
    assert "published nothing" in caplog.text
    assert "CONFIG is not allowed" in caplog.text
    assert "hunter2" not in caplog.text


async def test_a_wrong_password_is_told(server: RedisServer) -> None:
    server.say("CONFIG", "SET", "requirepass", "right")
    for url in (server.url, server.url.replace("//", "//:wrong@")):
        journal = RedisJournal(url, timeout_s=TIMEOUT_S)
        with pytest.raises(StrettoError, match=r"NOAUTH|WRONGPASS"):
            await journal.start()
        await journal.close()


def _messages(listener: "redis.client.PubSub", count: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    while len(found) < count:
        message = listener.get_message(ignore_subscribe_messages=True, timeout=20)
        if message is not None:
            found.append(json.loads(message["data"]))
    return found


async def _log(journal: RedisJournal) -> list[str]:
    return [one.client for one in (await whole_log(journal)).entries]


def _versions(clients: list[str], client: str) -> list[int]:
    return [version for version, one in enumerate(clients, 1) if one == client]


async def _knows_replica(sentinel: SentinelServer) -> None:
    with redis.Redis(port=sentinel.port, decode_responses=True) as client:
        async with asyncio.timeout(RECOVERY_S):
            while not client.execute_command("SENTINEL", "REPLICAS", "stretto"):
                await asyncio.sleep(0.05)
