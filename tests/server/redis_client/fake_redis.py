"""A server that answers what a test tells it to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from stretto_server.redis_client.link import Address, Login, RedisLink

NOBODY = Login()
Answer = Callable[[list[bytes]], bytes | None]


class FakeRedis:
    """Answers each command by ``answer``: bytes, or None for silence. Counts connections."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.commands: list[list[bytes]] = []
        self.connections = 0
        self.address = Address("127.0.0.1", 0)
        self.writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.address.port)
        port = self._server.sockets[0].getsockname()[1]
        self.address = Address("127.0.0.1", port)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self.writers:
            writer.close()
        self.writers.clear()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                command = await self._command(reader)
                self.commands.append(command)
                answer = b"+PONG\r\n" if command == [b"PING"] else self.answer(command)
                if answer is None:  # like Redis, it answers nothing behind what it does not
                    await reader.read()
                    return
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @staticmethod
    async def _command(reader: asyncio.StreamReader) -> list[bytes]:
        count = int((await reader.readuntil(b"\r\n"))[1:])
        parts = []
        for _ in range(count):
            length = int((await reader.readuntil(b"\r\n"))[1:])
            parts.append((await reader.readexactly(length + 2))[:-2])
        return parts


@asynccontextmanager
async def linked(
    answer: Answer, login: Login = NOBODY, timeout_s: float = 0.2
) -> AsyncIterator[tuple[FakeRedis, RedisLink]]:
    """Give a fake server and a link to it, started."""
    fake = FakeRedis(answer)
    await fake.start()

    async def find() -> Address:
        return fake.address

    link = RedisLink(find, login, timeout_s=timeout_s, patience_s=0.1)
    try:
        await link.start()
        yield fake, link
    finally:
        await link.close()
        await fake.stop()
