"""A process that appends to eight documents until it is killed, and prints what was acknowledged.

Each line is ``<document> <version>``, written once the append has returned.
"""

import asyncio
import sys
from pathlib import Path

from stretto_core.entries import Entry, next_hash
from stretto_core.protocol import NO_HASH
from stretto_server.journal.interface import Appended
from stretto_server.journal.sqlite import SqliteJournal


async def write_for_ever(journal: SqliteJournal, doc: str) -> None:
    digest = NO_HASH
    await journal.create(doc, "epoch", 0)
    for version in range(10**9):
        entry = Entry("client-000000000000", version + 1, (f"{doc}:{version},",), "user", version)
        digest = next_hash(digest, entry)
        assert await journal.append(doc, "epoch", version, [entry], [digest]) == Appended()
        print(doc, version + 1, flush=True)


async def main() -> None:
    journal = SqliteJournal(Path(sys.argv[1]))
    await journal.start()
    await asyncio.gather(*(write_for_ever(journal, f"doc-{number}") for number in range(8)))


asyncio.run(main())
