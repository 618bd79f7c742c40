"""The Redis journal's way to Redis: scripts by name, and errors in the journal's own terms."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from stretto_core.errors import EpochChanged, NotFound, Unavailable
from stretto_server.journal.interface import OutcomeUnknown
from stretto_server.journal.redis_durability import find_weaknesses, is_old, parse_info
from stretto_server.journal.redis_records import DAMAGE, FORMAT, FORMAT_KEY, keys_of
from stretto_server.redis_client.discovery import discover
from stretto_server.redis_client.link import NoReply, NotSent
from stretto_server.redis_client.resp import Argument, Reply, ReplyError
from stretto_server.redis_client.scripts import load_script
from stretto_server.redis_client.servers import Servers
from stretto_server.redis_client.url import RedisUrl

logger = logging.getLogger(__name__)

SCRIPTS: Final = {
    name: load_script("stretto_server.journal", f"redis_{name}.lua")
    for name in (
        *("append", "create", "load", "read", "fence", "snapshot", "compact", "replace"),
        *("renew", "delete", "expire"),
    )
}

_REMEDIES: Final = {
    "OOM": "its memory is full: raise maxmemory, or delete documents",
    "MISCONF": "it cannot write to its disk: look at its log",
    "NOAUTH": "it wants a password: put it into the URL",
    "WRONGPASS": "it refuses the user or the password",
    "NOPERM": "its user lacks a right: allow keys and channels stretto:*, and scripts",
    "READONLY": "it is a replica (now): give the address of the primary",
    "LOADING": "it is still loading its data",
}
_DAMAGED: Final = frozenset({"ERR", "WRONGTYPE"})
"""A script that stumbles over what it reads ends with one of these, before it writes."""


class RedisSession:
    """Runs the journal's scripts. Its methods raise Unavailable, or OutcomeUnknown."""

    def __init__(self, url: str, *, read_only: bool, timeout_s: float) -> None:
        self.url = RedisUrl.parse(url)
        self._read_only = read_only
        self._timeout_s = timeout_s
        self._servers: Servers | None = None

    @property
    def sharded(self) -> bool:
        """Whether channels want ``SPUBLISH``."""
        return self._servers is not None and self._servers.sharded

    async def start(self) -> None:
        """Connect, and look whether this Redis will do. Raises Unavailable."""
        with self._translated():
            self._servers = await discover(self.url, timeout_s=self._timeout_s)
            await self._servers.start()
        await self._require_new_enough()
        await self._require_format()

    async def close(self) -> None:
        """Give the connections up; twice is fine."""
        if self._servers is not None:
            await self._servers.close()

    async def run(self, name: str, doc: str, *arguments: Argument) -> list[Any]:
        """Run a script on the keys of ``doc``; return the list that it answers.

        Raises NotFound, EpochChanged where it says so.
        """
        script = SCRIPTS[name]
        if script.writes and self._read_only:
            raise Unavailable(f"the journal {self.url} was opened for reading alone")
        with self._translated(doc, writes=script.writes):
            reply: list[Any]
            reply = await self._reached().run(script, keys_of(doc), *arguments)
        if reply[0] == b"missing":
            raise NotFound(f"there is no document {doc}")
        if reply[0] == b"epoch":
            raise EpochChanged(details={"epoch": reply[1].decode()})
        if reply[0] == b"damaged":
            raise self._damaged(doc, ValueError(reply[1].decode(errors="replace")))
        return reply

    async def read(self, key: str, command: str, *arguments: Argument) -> Reply:
        """Run a command that only reads ``key``."""
        with self._translated():
            return await self._reached().call(key, command, key, *arguments, writes=False)

    async def read_each(
        self, keys: Sequence[str], command: str, *arguments: Argument
    ) -> list[Reply]:
        """Run a command that only reads on each of ``keys``, all sent together."""
        with self._translated():
            return await self._reached().read_together([(command, key, *arguments) for key in keys])

    async def weaknesses(self) -> list[str]:
        """Return what makes these servers lose acknowledged edits, with what to do about it."""
        found: list[str] = []
        with self._translated():
            infos = await self._reached().everywhere("INFO")
        configs = await self._configs(len(infos))
        for info, config in zip(infos, configs, strict=True):
            found += find_weaknesses(parse_info(info), config)
        return list(dict.fromkeys(found))

    @contextmanager
    def intact(self, doc: str) -> Iterator[None]:
        """Turn what comes of data that no Stretto wrote into Unavailable."""
        try:
            yield
        except DAMAGE as error:
            raise self._damaged(doc, error) from error

    def _reached(self) -> Servers:
        if self._servers is None:
            raise Unavailable(f"the journal {self.url} is not open")
        return self._servers

    async def _configs(self, count: int) -> Sequence[dict[str, str] | None]:
        """Return the settings of each server; None where they may not be read."""
        try:
            replies = await self._reached().everywhere(
                "CONFIG", "GET", "appendfsync", "maxmemory-policy"
            )
        except (ReplyError, NotSent, NoReply):
            return [None] * count
        texts = [[one.decode() for one in reply] for reply in replies]
        return [dict(zip(text[::2], text[1::2], strict=True)) for text in texts]

    async def _require_new_enough(self) -> None:
        with self._translated():
            infos = map(parse_info, await self._reached().everywhere("INFO", "server"))
        if old := [info for info in infos if is_old(info)]:
            version = old[0].get("redis_version", "of unknown version")
            raise Unavailable(
                f"the journal {self.url}: Redis {version} is too old: "
                "install Redis 7 or newer, or Valkey"
            )

    async def _require_format(self) -> None:
        """Check that what is kept there is laid out as we know it, or mark it as ours."""
        writes = not self._read_only
        command = ("SET", FORMAT_KEY, FORMAT, "NX", "GET") if writes else ("GET", FORMAT_KEY)
        with self._translated(writes=writes):
            found = await self._reached().call(FORMAT_KEY, *command, writes=writes)
        if found is not None and found != FORMAT.encode():
            raise Unavailable(
                f"the journal {self.url} has format {found.decode(errors='replace')}, this "
                f"version of Stretto knows {FORMAT}: install the version that wrote it"
            )

    @contextmanager
    def _translated(self, doc: str = "", *, writes: bool = False) -> Iterator[None]:
        """Turn the client's errors into the journal's."""
        try:
            yield
        except NotSent as error:
            raise Unavailable(f"cannot reach the journal {self.url}: {error}") from error
        except NoReply as error:
            told = f"the journal {self.url} did not answer: {error}"
            raise (OutcomeUnknown if writes else Unavailable)(told) from error
        except ReplyError as error:
            if doc and error.code in _DAMAGED:
                raise self._damaged(doc, error) from error
            remedy = _REMEDIES.get(error.code, "it refuses")
            raise Unavailable(f"the journal {self.url}: {remedy} ({error})") from error
        except ValueError as error:
            raise Unavailable(f"the journal {self.url}: {error}") from error

    def _damaged(self, doc: str, error: Exception) -> Unavailable:
        logger.error("the journal %s: document %s is damaged: %s", self.url, doc, error)
        return Unavailable(
            f"the journal {self.url}: what it keeps of document {doc} is damaged "
            f"({error}): restore a backup"
        )
