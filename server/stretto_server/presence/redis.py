"""Presence in Redis: members of all nodes, and for how long each node is believed to live.

A node says every few seconds that it lives, room by room, and with that looks whether
others still do. All times are Redis' own.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

from stretto_core.errors import Unavailable
from stretto_core.roster import Member
from stretto_server.presence.interface import PRESENCE_TTL_S, RosterSnapshot, Sharing
from stretto_server.presence.records import member_record, read_record
from stretto_server.presence.redis_session import RedisSession
from stretto_server.redis_client.names import ROOMS_TAG, tag_of
from stretto_server.redis_client.resp import Argument
from stretto_server.redis_client.scripts import load_script, load_text

logger = logging.getLogger(__name__)

PACKAGE: Final = "stretto_server.presence"
FUNCTIONS: Final = load_text(PACKAGE, "functions.lua")
WRITE: Final = load_script(PACKAGE, "write.lua", functions=FUNCTIONS)
SNAPSHOT: Final = load_script(PACKAGE, "snapshot.lua", functions=FUNCTIONS)

BATCH: Final = 100
"""Leases renewed at once; the loop turns between batches."""
FAREWELL_S: Final = 1.0
"""So long a node that stops tries to say that its members are gone."""


def keys_of(room: str) -> list[str]:
    """Return the keys of members, leases and number; of a room its own keys as well."""
    kind, _, name = room.partition(":")
    tag = ROOMS_TAG if kind == "room" else tag_of(name)
    keys = [f"{tag}:{part}:{room}" for part in ("members", "leases", "seq")]
    if kind == "room":
        keys += [f"{tag}:{part}:{name}" for part in ("room", "state", "metadata")]
    return keys


def read_members(flat: Sequence[bytes], node: str) -> tuple[dict[str, Member], frozenset[str]]:
    """Return the members in what HGETALL answers, and the ids of those of ``node``."""
    members, own = {}, set()
    for field, record in zip(flat[::2], flat[1::2], strict=True):
        member = read_record(record)
        if member is not None:
            members[member.id] = member
            if field.startswith(f"{node}/".encode()):
                own.add(member.id)
    return members, frozenset(own)


class RedisPresence:
    """A :class:`~stretto_server.presence.interface.Presence` in Redis.

    Rooms outlive their members by ``idle_ttl`` seconds.
    """

    def __init__(
        self,
        session: RedisSession,
        node: str,
        *,
        idle_ttl: float,
        ttl_s: float = PRESENCE_TTL_S,
    ) -> None:
        self.node = node
        self.chores: list[Callable[[], Awaitable[None]]] = []
        """What else is to be done every few seconds; each may raise Unavailable."""
        self._session = session
        self._ttl_s = ttl_s
        # The others look every third of the time, so two thirds are what a lease may last.
        self._lease: tuple[Argument, ...] = (node, int(ttl_s * 2000 / 3), int(idle_ttl * 1000))
        self._kept: dict[Sharing, None] = {}
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def lease(self) -> tuple[Argument, ...]:
        """The node, and for how long it is believed and rooms live on, in milliseconds."""
        return self._lease

    def start(self) -> None:
        """Keep the leases of this node from now on."""
        self._refreshing = asyncio.create_task(self._refresh())

    async def stop(self) -> None:
        """Tell the others that the members of this node are gone, as far as that is possible."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])
        kept, self._kept = [one for one in self._kept if not one.is_settled], {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await asyncio.gather(
                    *(self._part(sharing.room) for sharing in kept), return_exceptions=True
                )

    async def write(
        self, room: str, entered: Collection[Member], left: Collection[str], *, stays: bool
    ) -> bool:
        """Enter members of this node or change them, and take others out; tell all nodes."""
        records: list[str] = []
        for member in entered:
            records += (member.id, member_record(member))
        known = await self._session.run(
            WRITE,
            keys_of(room),
            *self._lease,
            *self._session.publishing(room),
            int(stays),
            len(entered),
            *records,
            *left,
        )
        return bool(known)

    async def snapshot(self, room: str) -> RosterSnapshot:
        """Return who is there on all nodes."""
        seq, flat = await self._session.run(
            SNAPSHOT, keys_of(room)[:3], self.node, *self._session.publishing(room)
        )
        members, own = read_members(flat, self.node)
        return RosterSnapshot(int(seq), members, own)

    def keep(self, sharing: Sharing) -> None:
        """Renew the lease of a roster while it is occupied."""
        self._kept[sharing] = None

    def forget(self, sharing: Sharing) -> None:
        """Renew it no longer."""
        self._kept.pop(sharing, None)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_s / 3)
            try:
                await self._renew_all()
                for chore in self.chores:
                    await chore()
            except Unavailable:
                pass  # next time
            except Exception:
                logger.exception("leases were not renewed")

    async def _renew_all(self) -> None:
        occupied = [one for one in self._kept if one.occupied]
        for first in range(0, len(occupied), BATCH):
            batch = occupied[first : first + BATCH]
            await asyncio.gather(*(self._renew(sharing) for sharing in batch))

    async def _renew(self, sharing: Sharing) -> None:
        try:
            known = await self.write(sharing.room, (), (), stays=True)
        except Unavailable as error:
            logger.info("a lease was not renewed: %s", error)
            return
        if not known:
            sharing.lapsed()

    async def _part(self, room: str) -> None:
        snapshot = await self.snapshot(room)
        await self.write(room, (), snapshot.own, stays=False)
