"""The journal that keeps everything in memory: the reference for all others.

Nothing here survives the process. No method awaits anything, so each is atomic on its
event loop and cancelling one either happens before it or not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from stretto_core.entries import ClientRecord, Entry
from stretto_core.errors import Forbidden, NotFound, VersionGone
from stretto_core.protocol import NO_HASH
from stretto_server.journal.interface import (
    Appended,
    AppendResult,
    Conflict,
    DocumentInfo,
    Head,
    Loaded,
    Page,
    Snapshot,
    StaleClient,
)
from stretto_server.journal.rules import (
    advance_clients,
    clients_of,
    fill_page,
    require_history,
    require_readable,
)


@dataclass(slots=True)
class _History:
    """One document. ``hashes[i]`` is the hash at version ``floor + i``."""

    epoch: str
    created_ms: int
    updated_ms: int
    floor: int = 0
    entries: list[Entry] = field(default_factory=list)
    hashes: list[str] = field(default_factory=lambda: [NO_HASH])
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(0, NO_HASH, ""))
    clients: dict[str, ClientRecord] = field(default_factory=dict)
    used_ms: dict[str, int] = field(default_factory=dict)

    @property
    def head(self) -> Head:
        return Head(self.epoch, self.floor + len(self.entries), self.hashes[-1], self.floor)

    def after(self, version: int) -> tuple[Entry, ...]:
        """Return the entries after ``version``, which must not be below the floor."""
        return tuple(self.entries[version - self.floor :])

    def extend(
        self,
        entries: Sequence[Entry],
        hashes: Sequence[str],
        clients: dict[str, ClientRecord],
    ) -> None:
        """Add ``entries`` with their hashes, and the records that they leave."""
        self.entries.extend(entries)
        self.hashes.extend(hashes)
        self.clients.update(clients)
        for entry in entries:
            self.used_ms[entry.client] = self.updated_ms = entry.at_ms


class MemoryJournal:
    """A :class:`~stretto_server.journal.interface.Journal` without durability.

    Closing keeps what was written, so that a test can open it again.
    """

    def __init__(self) -> None:
        self._histories: dict[str, _History] = {}

    async def start(self) -> None:
        """Do nothing: there is nothing to open."""

    async def close(self) -> None:
        """Do nothing: what was written stays."""

    async def create(self, doc: str, epoch: str, at_ms: int) -> Head:
        """Create ``doc`` empty, or leave the one that exists."""
        return self._histories.setdefault(doc, _History(epoch, at_ms, at_ms)).head

    async def load(self, doc: str) -> Loaded | None:
        """Return the newest snapshot and all entries after it; None when unknown."""
        history = self._histories.get(doc)
        if history is None:
            return None
        return Loaded(history.head, history.snapshot, history.after(history.snapshot.version))

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
        """Append ``entries`` at versions ``base + 1 …``, all or none."""
        if len(entries) != len(hashes):
            raise ValueError("one hash is needed for each entry")
        history = self._history(doc, epoch)
        head = history.head
        if base < head.floor:
            raise VersionGone(details={"floor": head.floor})
        if base != head.version or base_hash not in (None, head.hash):
            return Conflict(head, history.after(base))
        advanced = advance_clients(history.clients, base, entries)
        if isinstance(advanced, StaleClient):
            return advanced
        history.extend(entries, hashes, advanced)
        return Appended()

    async def read(
        self, doc: str, epoch: str, first: int, limit: int, max_bytes: int | None = None
    ) -> Page:
        """Return up to ``limit`` entries from version ``first`` on (0: only the hash)."""
        history = self._history(doc, epoch)
        require_readable(history.head, first)
        start = first - 1 - history.floor
        end = start + max(limit, 0)
        kept = zip(history.entries[start:end], history.hashes[start + 1 : end + 1], strict=True)
        entries, last = fill_page(kept, max_bytes)
        return Page(first, entries, last or history.hashes[start], history.head)

    async def heads(self, docs: Sequence[str]) -> list[Head | None]:
        """Return where the histories of ``docs`` stand; None for one that does not exist."""
        found = map(self._histories.get, docs)
        return [None if history is None else history.head for history in found]

    async def renew(self, doc: str, epoch: str, new_epoch: str) -> Head:
        """Give the history of ``epoch`` as it stands the epoch ``new_epoch``."""
        history = self._histories.get(doc)
        if history is None:
            raise NotFound(f"there is no document {doc}")
        if history.epoch == epoch:
            history.epoch = new_epoch
        return history.head

    async def client(self, doc: str, client: str) -> ClientRecord | None:
        """Return what is known of a replica; None when unknown or expired."""
        history = self._histories.get(doc)
        return None if history is None else history.clients.get(client)

    async def fence(self, doc: str, epoch: str, client: str, user: str, at_ms: int) -> int:
        """Stop ``client`` from committing anything more; return its ``last_seq``."""
        history = self._history(doc, epoch)
        record = history.clients.get(client, ClientRecord(user=user))
        if record.user != user:
            raise Forbidden("this client belongs to another user")
        history.clients[client] = replace(record, fenced=True)
        history.used_ms[client] = at_ms
        return record.last_seq

    async def snapshot(self, doc: str, epoch: str, snapshot: Snapshot) -> None:
        """Keep ``snapshot`` if it is newer than the kept one and of this epoch."""
        history = self._histories.get(doc)
        if history is None or history.epoch != epoch:
            return
        if not history.snapshot.version < snapshot.version <= history.head.version:
            return
        if history.hashes[snapshot.version - history.floor] == snapshot.hash:
            history.snapshot = snapshot

    async def compact(self, doc: str, epoch: str, floor: int) -> Head:
        """Forget entries up to version ``floor``, but none above the snapshot."""
        history = self._history(doc, epoch)
        count = min(floor, history.snapshot.version) - history.floor
        if count > 0:
            del history.entries[:count]
            del history.hashes[:count]
            history.floor += count
        return history.head

    async def replace(
        self,
        doc: str,
        epoch: str,
        entries: Sequence[Entry],
        hashes: Sequence[str],
        at_ms: int,
    ) -> Head:
        """Start another history under a new ``epoch``; the old one is gone."""
        if len(entries) != len(hashes):
            raise ValueError("one hash is needed for each entry")
        old = self._histories.get(doc)
        history = _History(epoch, at_ms if old is None else old.created_ms, at_ms)
        history.extend(entries, hashes, clients_of(entries))
        history.updated_ms = at_ms
        self._histories[doc] = history
        return history.head

    async def delete(
        self, doc: str, *, epoch: str | None = None, unless_written: bool = False
    ) -> bool:
        """Delete the document with all it has; tell whether there was something to delete."""
        history = self._histories.get(doc)
        if history is None or (epoch is not None and history.epoch != epoch):
            return False
        if unless_written and history.head.version > 0:
            return False
        del self._histories[doc]
        return True

    async def documents(
        self, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[DocumentInfo]:
        """Return documents by id, those after ``after`` whose id starts with ``prefix``."""
        found = sorted(doc for doc in self._histories if doc.startswith(prefix) and doc > after)
        return [
            DocumentInfo(doc, history.head, history.created_ms, history.updated_ms)
            for doc in found[: max(limit, 0)]
            for history in (self._histories[doc],)
        ]

    async def expire_clients(self, before_ms: int) -> int:
        """Forget client records last used before ``before_ms``; return how many."""
        forgotten = 0
        for history in self._histories.values():
            expired = [client for client, used in history.used_ms.items() if used < before_ms]
            for client in expired:
                del history.clients[client], history.used_ms[client]
            forgotten += len(expired)
        return forgotten

    def _history(self, doc: str, epoch: str) -> _History:
        """Return the history of ``doc`` if it is that of ``epoch``."""
        history = self._histories.get(doc)
        require_history(doc, None if history is None else history.head, epoch)
        return self._histories[doc]
