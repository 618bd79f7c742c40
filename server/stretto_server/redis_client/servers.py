"""The Redis behind a URL: which server a key lies on, and a connection to it."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

from stretto_server.redis_client.link import Address, Login, NoReply, NotSent, RedisLink
from stretto_server.redis_client.resp import Argument, ProtocolError, Reply, ReplyError
from stretto_server.redis_client.scripts import Script
from stretto_server.redis_client.url import RedisUrl

TIMEOUT_S: Final = 1.5
PATIENCE_S: Final = 0.25
"""Together below 2 s: so long a call takes at most while Redis hangs."""

DEMOTED: Final = frozenset({"READONLY", "MASTERDOWN"})
"""This server takes no writes (any more): look for the one that does."""


class Servers(Protocol):
    """Sends commands to the server that a key lies on.

    Commands that only read have connections of their own, so that a large answer holds
    up no write. Every method may raise ReplyError, NotSent, NoReply, as a link does.
    """

    sharded: bool
    """Whether this is a cluster: its channels want ``SPUBLISH``."""

    async def start(self) -> None:
        """Connect. Raises NotSent with what is wrong."""

    async def close(self) -> None:
        """Give all connections up; twice is fine."""

    async def call(self, key: str, *arguments: Argument, writes: bool) -> Reply:
        """Send a command about ``key`` alone."""

    async def read_together(self, commands: Sequence[tuple[Argument, ...]]) -> list[Reply]:
        """Send commands that only read, each about its first argument, in one go per server."""

    async def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Reply:
        """Run ``script`` on ``keys``, which lie in one slot."""

    async def everywhere(self, *arguments: Argument) -> list[Reply]:
        """Send a command to each server that takes writes; return their replies."""


class LinkPair:
    """The two connections to one server: for writes, and for reads."""

    def __init__(self, writes: RedisLink, reads: RedisLink) -> None:
        self.writes = writes
        self.reads = reads
        # Whoever reads what became of a write must not wait for the same server once more.
        # A read that takes long says less: its answer may be large.
        writes.on_hang = reads.drop

    def link(self, writes: bool) -> RedisLink:
        """Return the one for commands that write, or that do not."""
        return self.writes if writes else self.reads

    def drop(self, problem: str) -> None:
        """Make both anew."""
        self.writes.drop(problem)
        self.reads.drop(problem)

    async def start(self) -> None:
        """Connect both. Raises NotSent."""
        await asyncio.gather(self.writes.start(), self.reads.start())

    async def close(self) -> None:
        """Give both up."""
        await self.writes.close()
        await self.reads.close()


async def run_script(
    link: RedisLink, script: Script, keys: Sequence[str], arguments: Sequence[Argument]
) -> Reply:
    """Run ``script``, and where Redis does not know it (any more), send it along."""
    try:
        return await link.call("EVALSHA", script.sha, len(keys), *keys, *arguments)
    except ReplyError as error:
        if error.code != "NOSCRIPT":  # else it did not run
            raise
    return await link.call("EVAL", script.text, len(keys), *keys, *arguments)


class SingleServer:
    """One Redis, at a fixed address or where the Sentinels say."""

    sharded = False

    def __init__(self, url: RedisUrl, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._timeout_s = timeout_s
        tls = url.tls_context()
        self.login = Login(
            url.username, url.password, url.database, tls, must_be_primary=bool(url.sentinel)
        )
        make = partial(RedisLink, self.find, self.login, timeout_s=timeout_s, patience_s=PATIENCE_S)
        self._pair = LinkPair(make(), make())
        self._sentinel_login = Login(url.sentinel_username, url.sentinel_password, tls=tls)

    async def start(self) -> None:
        """Connect. Raises NotSent with what is wrong."""
        await self._pair.start()

    async def close(self) -> None:
        """Give all connections up; twice is fine."""
        await self._pair.close()

    async def call(self, key: str, *arguments: Argument, writes: bool) -> Reply:
        """Send a command about ``key`` alone."""
        try:
            return await self._pair.link(writes).call(*arguments)
        except ReplyError as error:
            raise self._judged(error) from None

    async def read_together(self, commands: Sequence[tuple[Argument, ...]]) -> list[Reply]:
        """Send commands that only read, in one go."""
        try:
            return await self._pair.reads.call_together(*commands)
        except ReplyError as error:
            raise self._judged(error) from None

    async def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Reply:
        """Run ``script`` on ``keys``."""
        try:
            return await run_script(self._pair.link(script.writes), script, keys, arguments)
        except ReplyError as error:
            raise self._judged(error) from None

    async def everywhere(self, *arguments: Argument) -> list[Reply]:
        """Send a command to the server; return its reply, in a list."""
        return [await self._pair.reads.call(*arguments)]

    def _judged(self, error: ReplyError) -> ReplyError:
        """Return ``error``, having left a server that is no longer the primary."""
        if error.code in DEMOTED:
            self._pair.drop(error.text)
        return error

    async def find(self) -> Address:
        """Return where the server is now. Raises NotSent."""
        if self._url.sentinel is None:
            return self._url.addresses[0]
        return await find_primary(
            self._url.addresses, self._url.sentinel, self._sentinel_login, self._timeout_s
        )


async def find_primary(
    sentinels: Sequence[Address], name: str, login: Login, timeout_s: float
) -> Address:
    """Return where the primary ``name`` is, by the first Sentinel that knows. Raises NotSent."""
    problems = []
    for sentinel in sentinels:
        try:
            reply = await ask(
                sentinel, login, timeout_s / 3, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name
            )
        except (NotSent, NoReply, ReplyError, ProtocolError) as error:
            problems.append(f"{sentinel}: {error}")
            continue
        if reply is not None:
            host, port = reply
            return Address(host.decode(), int(port))
        problems.append(f"{sentinel}: does not know {name}")
    raise NotSent(f"no Sentinel tells where {name} is ({'; '.join(problems)})")


async def ask(address: Address, login: Login, timeout_s: float, *arguments: Argument) -> Reply:
    """Send one command on a connection of its own. Raises as a link does."""

    async def find() -> Address:
        return address

    link = RedisLink(find, login, timeout_s=timeout_s, patience_s=timeout_s)
    try:
        return await link.call(*arguments)
    finally:
        await link.close()
