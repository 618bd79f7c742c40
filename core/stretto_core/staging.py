"""A document as it will be, while a batch of operations is decided."""

from stretto_core.entries import ClientRecord, Entry, seal
from stretto_core.ot import length_change
from stretto_core.ot.run import Run


class Stage:
    """The world as it will be after the entries staged so far."""

    __slots__ = ("entries", "hash", "hashes", "length", "lengths", "records", "run", "version")

    def __init__(self, version: int, length: int, hash: str) -> None:
        self.version = version
        self.length = length
        self.hash = hash
        self.entries: list[Entry] = []
        self.hashes: list[str] = []
        self.run = Run()
        self.lengths: list[int] = []
        self.records: dict[str, ClientRecord] = {}

    def add(self, entry: Entry, place: int, size: int) -> int:
        """Put an entry behind those staged so far; return its version."""
        self.version += 1
        self.hash = seal(self.hash, entry)
        self.entries.append(entry)
        self.hashes.append(self.hash)
        self.run.append(entry.op, place, size)
        self.length += size or length_change(entry.op)
        self.lengths.append(self.length)
        return self.version
