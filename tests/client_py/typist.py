"""A process that types and is killed: ``python typist.py URL TOKEN OUTBOX FIRST``.

It inserts ``<FIRST>``, ``<FIRST + 1>`` … and prints each number once it is in the outbox.
"""

import asyncio
import sys

from stretto_client import RealtimeClient


async def main(url: str, token: str, outbox: str, first: int) -> None:
    client = RealtimeClient(url, token, outbox=outbox)
    doc = await client.open("notes")
    assert client._outbox is not None
    for number in range(first, first + 2_000):
        await doc.insert(len(doc.text), f"<{number}>")
        await client._outbox.stored()
        print(number, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
