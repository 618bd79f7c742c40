"""A document's log as the journal has it, replayed from nothing."""

from collections.abc import Mapping, Sequence

from stretto_client.replay.audit import entries_of_history, replay_log
from stretto_core.entries import Entry, next_hash
from stretto_core.protocol import NO_HASH
from tests.faults.evidence import ClientLog, JournalCopy, Seen


class History:
    """A document's log, from version 1 on even where the journal forgot its beginning."""

    def __init__(self, copy: JournalCopy, clients: Sequence[ClientLog]) -> None:
        self.doc = copy.doc
        self.problems: list[str] = []
        self._earlier = copy.earlier
        kept = list(copy.lines)
        self.floor = int(kept[0]["version"]) - 1 if kept else 0
        forgotten = self._forgotten(clients)
        lines = [*forgotten, *kept]
        self.entries, problems = entries_of_history(lines)
        self.problems += problems
        replayed = replay_log(self.entries)
        self.problems += replayed.problems
        self.text, self.hash = replayed.text, replayed.hash
        self.hashes = [NO_HASH]
        for entry in self.entries:
            self.hashes.append(next_hash(self.hashes[-1], entry))

    def _forgotten(self, clients: Sequence[ClientLog]) -> list[Mapping[str, object]]:
        """Return what is below the floor, as it was seen before; the hashes prove it."""
        seen: dict[int, Entry] = {}
        for log in clients:
            for step in log.trail:
                if isinstance(step, Seen) and step.version <= self.floor:
                    seen.setdefault(step.version, step.entry)
        for line in self._earlier:
            seen.setdefault(int(line["version"]), Entry.from_payload(line))
        rows: list[Mapping[str, object]] = []
        reached = NO_HASH
        for version in range(1, self.floor + 1):
            entry = seen.get(version)
            if entry is None:
                self.problems.append(f"nobody saw version {version} of {self.doc}, now forgotten")
                return []
            reached = next_hash(reached, entry)
            rows.append({"version": version, "hash": reached, **entry.to_payload()})
        return rows

    @property
    def version(self) -> int:
        return len(self.entries)

    def holds(self, version: int, client: str, seq: int) -> bool:
        if not 1 <= version <= len(self.entries):
            return False
        entry = self.entries[version - 1]
        return (entry.client, entry.seq) == (client, seq)
