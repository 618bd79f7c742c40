"""A Redis cluster: slots, the nodes that own them, and what to do when they move."""

import asyncio
import binascii
import contextlib
from collections.abc import Sequence
from typing import Final

from stretto_server.redis_client.link import Address, Login, NoReply, NotSent, RedisLink
from stretto_server.redis_client.resp import Argument, Reply, ReplyError
from stretto_server.redis_client.scripts import Script
from stretto_server.redis_client.servers import DEMOTED, PATIENCE_S, TIMEOUT_S, LinkPair, ask
from stretto_server.redis_client.url import RedisUrl

SLOTS: Final = 16_384
MOST_REDIRECTIONS: Final = 5


def slot_of(key: str) -> int:
    """Return the slot of ``key``, which has its hash tag in braces or none."""
    start = key.find("{")
    end = key.find("}", start + 1)
    hashed = key[start + 1 : end] if start >= 0 and end > start + 1 else key
    return binascii.crc_hqx(hashed.encode(), 0) % SLOTS


class Cluster:
    """The primaries of a cluster; a redirection was not run, so it is followed safely."""

    sharded = True

    def __init__(self, url: RedisUrl, *, timeout_s: float = TIMEOUT_S) -> None:
        self._seeds = url.addresses
        self._timeout_s = timeout_s
        self.login = Login(url.username, url.password, tls=url.tls_context())
        self._pairs: dict[Address, LinkPair] = {}
        self._owners: list[Address | None] = [None] * SLOTS
        self._learning: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Learn who owns what, and connect to all of them. Raises NotSent."""
        await self.learn()
        await asyncio.gather(*(self._pair(owner).start() for owner in self.primaries()))

    async def close(self) -> None:
        """Give all connections up; twice is fine."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait([self._learning])
        pairs, self._pairs = self._pairs, {}
        for pair in pairs.values():
            await pair.close()

    async def call(self, key: str, *arguments: Argument, writes: bool) -> Reply:
        """Send a command about ``key`` alone."""
        return await self._follow(slot_of(key), arguments, writes)

    async def read_together(self, commands: Sequence[tuple[Argument, ...]]) -> list[Reply]:
        """Send commands that only read, in one go per primary."""
        shards: dict[Address | None, list[int]] = {}
        for place, command in enumerate(commands):
            shards.setdefault(self._owners[slot_of(str(command[1]))], []).append(place)
        found = await asyncio.gather(
            *(
                self._read_shard(owner, [commands[place] for place in places])
                for owner, places in shards.items()
            )
        )
        replies: list[Reply] = [None] * len(commands)
        for places, answers in zip(shards.values(), found, strict=True):
            for place, answer in zip(places, answers, strict=True):
                replies[place] = answer
        return replies

    async def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Reply:
        """Run ``script`` on ``keys``, which lie in one slot."""
        slot = slot_of(keys[0])
        known = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
        try:
            return await self._follow(slot, known, script.writes)
        except ReplyError as error:
            if error.code != "NOSCRIPT":
                raise
        unknown = ("EVAL", script.text, len(keys), *keys, *arguments)
        return await self._follow(slot, unknown, script.writes)

    async def everywhere(self, *arguments: Argument) -> list[Reply]:
        """Send a command to each primary; return their replies."""
        return [await self._pair(owner).reads.call(*arguments) for owner in self.primaries()]

    def owner(self, key: str) -> Address | None:
        """Return where ``key`` lies, as far as is known."""
        return self._owners[slot_of(key)]

    def primaries(self) -> list[Address]:
        """Return the nodes that own slots."""
        return sorted({one for one in self._owners if one is not None}, key=str)

    def _pair(self, address: Address) -> LinkPair:
        pair = self._pairs.get(address)
        if pair is None:

            async def find() -> Address:
                return address

            def link() -> RedisLink:
                return RedisLink(find, self.login, timeout_s=self._timeout_s, patience_s=PATIENCE_S)

            pair = self._pairs[address] = LinkPair(link(), link())
        return pair

    async def _follow(self, slot: int, command: tuple[Argument, ...], writes: bool) -> Reply:
        """Send ``command`` to the owner of ``slot``, and where it redirects to."""
        address, asking = self._owners[slot], False
        for _ in range(MOST_REDIRECTIONS):
            if address is None:
                raise NotSent(f"no node of the cluster owns slot {slot}")
            link = self._pair(address).link(writes)
            try:
                if asking:
                    return (await link.call_together(("ASKING",), command))[1]
                return await link.call(*command)
            except (NotSent, NoReply):
                self._learn_later()  # another node may have taken its slots over
                raise
            except ReplyError as error:
                if error.code in DEMOTED or error.code == "CLUSTERDOWN":
                    self._learn_later()
                if error.code not in ("MOVED", "ASK"):
                    raise
                address, asking = _target(error, address), error.code == "ASK"
                if not asking:
                    self._owners[slot] = address
                    self._learn_later()
        raise NotSent(f"the cluster redirects slot {slot} in circles")

    async def _read_shard(
        self, owner: Address | None, commands: Sequence[tuple[Argument, ...]]
    ) -> list[Reply]:
        """Send commands that only read to the owner of their slots, and on where those moved."""
        try:
            if owner is not None:
                return await self._pair(owner).reads.call_together(*commands)
        except (NotSent, NoReply):
            self._learn_later()
            raise
        except ReplyError:
            pass  # of a slot that moved, or it comes again
        return await asyncio.gather(
            *(self._follow(slot_of(str(command[1])), command, False) for command in commands)
        )

    def _learn_later(self) -> None:
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._learn_quietly())

    async def _learn_quietly(self) -> None:
        with contextlib.suppress(NotSent):  # the next call that fails tries again
            await self.learn()

    async def learn(self) -> None:
        """Ask any node who owns what. Raises NotSent when none tells."""
        problems = []
        for address in dict.fromkeys([*self.primaries(), *self._seeds]):
            try:
                rows = await ask(address, self.login, self._timeout_s / 3, "CLUSTER", "SLOTS")
            except (NotSent, NoReply, ReplyError) as error:
                problems.append(f"{address}: {error}")
                continue
            await self._take_over(rows, address)
            return
        raise NotSent(f"no node of the cluster answers ({'; '.join(problems)})")

    async def _take_over(self, rows: Reply, told_by: Address) -> None:
        owners: list[Address | None] = [None] * SLOTS
        for first, last, primary, *_ in rows:
            # A node that does not know its own name yet leaves it empty: it is who we asked.
            owner = Address(primary[0].decode() or told_by.host, int(primary[1]))
            owners[first : last + 1] = [owner] * (last + 1 - first)
        self._owners = owners
        for address in self._pairs.keys() - set(self.primaries()):
            await self._pairs.pop(address).close()


def _target(error: ReplyError, asked: Address) -> Address:
    """Return the address in ``MOVED 3999 127.0.0.1:6381``."""
    host, _, port = error.text.split(" ")[2].rpartition(":")
    return Address(host or asked.host, int(port))
