"""Tokens that expire, are revoked, or were signed with a key that is no longer used."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.stage import DOC, SLACK, staged

TTL_S = 4.0
OTHER_SECRET = "another key of the fault tests, long enough for HS256"


@pytest.mark.soak
async def test_tokens_expire_under_load(tmp_path: Path) -> None:
    """Each client renews its own in time, and nobody notices."""
    async with staged(tmp_path, seed=26, settings={"STRETTO_TOKEN_GRACE": "2"}) as stage:
        stage.add_writers(4, ttl_s=TTL_S)
        await stage.begin()
        await stage.within(2 * TTL_S)
        stage.healed()
        await stage.recover()
        assert all(one.log.connections == 1 for one in stage.crowd.writers)
        await stage.finish("26 tokens that live four seconds")


async def test_a_right_is_withdrawn(tmp_path: Path) -> None:
    """From then on nothing of the document is heard, and nothing committed."""
    async with staged(tmp_path, seed=26, settings={"STRETTO_TOKEN_GRACE": "2"}) as stage:
        stage.add_writers(3)
        loser = stage.crowd.add(stage.front.url, DOC, ttl_s=TTL_S)
        viewer = stage.crowd.add(stage.front.url, DOC, role="viewer")
        stranger = stage.crowd.add(stage.front.url, "elsewhere")
        for log in (loser.log, stranger.log):
            log.keeps_payloads = True
        await stage.begin()
        loser.grants = {"docs/elsewhere": "editor"}
        document = loser.document
        assert document is not None
        await stage.crowd.until(lambda: document.is_over, TTL_S * SLACK, "the end of a right")
        await loser.pause()
        heard = len(loser.log.heard)
        stage.healed()
        await stage.recover()
        assert [one for one in loser.log.heard[heard:] if DOC in one] == []
        assert viewer.log.trail
        assert not viewer.log.sent
        stage.strangers.append(stranger.log)
        await stage.finish("26 a right withdrawn")


@pytest.mark.soak
async def test_the_key_is_another_one(tmp_path: Path) -> None:
    """Old tokens are refused for good; whoever has new ones goes on with its unsaved edits."""
    async with staged(tmp_path, seed=26) as stage:
        stage.add_writers(3)
        await stage.begin()
        node = stage.nodes[0]
        node.kill()
        node.set_environ(stage.node_environ({"STRETTO_SECRET": OTHER_SECRET}))
        for one in stage.crowd.writers:
            one.secret = OTHER_SECRET
        await node.restart()
        stale = stage.crowd.add(stage.front.url, DOC)
        await asyncio.wait([asyncio.ensure_future(stale.client.connect(5.0))])
        assert stale.client.error is not None
        assert stale.client.error.code == "unauthenticated"
        stage.crowd.writers.remove(stale)
        await stale.close()
        stage.healed()
        await stage.recover()
        await stage.finish("26 the key replaced")
