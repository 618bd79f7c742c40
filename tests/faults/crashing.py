"""A user whose process is killed: ``python crashing.py URL DOC NAME OUTBOX FIRST COUNT``.

It opens the document, says so, and waits for a line. Then it marks COUNT edits from number
FIRST on, and prints each number once the outbox has it; what it prints it must never lose.
"""

import asyncio
import sys

from stretto_client import RealtimeClient
from stretto_server.auth import issue_token
from tests.faults.evidence import marker
from tests.faults.nodes import SECRET


async def main(url: str, doc: str, name: str, outbox: str, first: int, edits: int) -> None:
    token = issue_token(SECRET, name, grants={f"docs/{doc}": "editor"})
    client = RealtimeClient(url, token, outbox=outbox, backoff_scale=0.2)
    document = await client.open(doc)
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    assert client._outbox is not None
    for number in range(first, first + edits):
        await document.insert(0, marker(number))
        await client._outbox.stored()
        print(number, flush=True)
        await asyncio.sleep(0.005)
    await asyncio.Event().wait()


if __name__ == "__main__":
    url, doc, name, outbox, first, edits = sys.argv[1:]
    asyncio.run(main(url, doc, name, outbox, int(first), int(edits)))
