"""A bus that remembers and a journal that misbehaves on demand, for tests of services."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from stretto_core.entries import Entry
from stretto_server.bus.interface import Follower
from stretto_server.journal.interface import AppendResult
from stretto_server.journal.memory import MemoryJournal


class SilentBus:
    """Delivers to nobody; tests override what they listen to."""

    shared = False

    async def broadcast(
        self,
        namespace: str,
        room: str,
        event: str,
        payload: dict[str, Any],
        *,
        skip: str | None = None,
        binary: bool = False,
    ) -> None:
        self.deliver(namespace, room, event, payload)

    def deliver(self, namespace: str, room: str, event: str, payload: dict[str, Any]) -> None:
        """Send to this node's members."""

    def deliver_json(
        self, namespace: str, room: str, event: str, payload: str, *, skip: str | None = None
    ) -> None:
        self.deliver(namespace, room, event, json.loads(payload))

    async def send(self, namespace: str, sid: str, event: str, payload: dict[str, Any]) -> None:
        """Send to one connection."""

    async def join(self, namespace: str, sid: str, room: str) -> None:
        """Let a connection in."""

    async def leave(self, namespace: str, sid: str, room: str) -> None:
        """Take a connection out."""

    async def publish(self, room: str, message: bytes) -> None:
        """Tell other nodes."""

    async def follow(self, room: str, follower: Follower) -> None:
        """Hear other nodes."""

    async def unfollow(self, room: str, follower: Follower) -> None:
        """Hear nobody."""


class RecordingBus(SilentBus):
    """Delivers to nobody and remembers everything."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, str, dict[str, Any]]] = []
        self.members: dict[str, set[str]] = {}

    def deliver(self, namespace: str, room: str, event: str, payload: dict[str, Any]) -> None:
        self.frames.append((room, event, payload))

    async def send(self, namespace: str, sid: str, event: str, payload: dict[str, Any]) -> None:
        self.frames.append((sid, event, payload))

    async def join(self, namespace: str, sid: str, room: str) -> None:
        self.members.setdefault(room, set()).add(sid)

    async def leave(self, namespace: str, sid: str, room: str) -> None:
        self.members[room].discard(sid)

    def texts(self, event: str = "ops") -> list[list[Any]]:
        """Return the operations of every frame, frame by frame."""
        return [
            [entry["op"] for entry in payload["ops"]]
            for _, name, payload in self.frames
            if name == event
        ]


class UnreliableJournal(MemoryJournal):
    """A memory journal whose appends can be held up, fail, or be answered by nobody.

    ``before`` and ``after`` are exceptions to raise around the next appends, in order;
    None lets one through.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Exception | None] = []
        self.after: list[Exception | None] = []
        self.gate: asyncio.Event | None = None
        self.appends: list[int] = []

    async def append(
        self,
        doc: str,
        epoch: str,
        base: int,
        entries: Sequence[Entry],
        hashes: Sequence[str],
        *,
        base_hash: str | None = None,
    ) -> AppendResult:
        self.appends.append(len(entries))
        if self.gate is not None:
            await self.gate.wait()
        _raise(self.before)
        result = await super().append(doc, epoch, base, entries, hashes, base_hash=base_hash)
        _raise(self.after)
        return result


def _raise(failures: list[Exception | None]) -> None:
    failure = failures.pop(0) if failures else None
    if failure is not None:
        raise failure
