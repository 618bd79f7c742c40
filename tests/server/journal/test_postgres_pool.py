import asyncio

import pytest

from stretto_server.journal.postgres_pool import PostgresPool, Unreachable


class Connection:
    def __init__(self) -> None:
        self.closed = False

    def is_closed(self) -> bool:
        return self.closed

    def terminate(self) -> None:
        self.closed = True


class Server:
    """Opens connections, fails to, or hangs."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.problem: Exception | None = None
        self.hangs = False

    async def connect(self) -> Connection:
        if self.hangs:
            await asyncio.Event().wait()
        if self.problem is not None:
            raise self.problem
        self.connections.append(Connection())
        return self.connections[-1]

    def pool(self, size: int = 2) -> PostgresPool:
        return PostgresPool(self.connect, size=size, timeout_s=0.1, patience_s=0.05)


async def test_connections_are_lent_again() -> None:
    server = Server()
    pool = server.pool()
    await pool.start()
    for _ in range(5):
        async with pool.connection():
            pass
    async with pool.connection() as one, pool.connection() as other:
        assert one is not other
        with pytest.raises(Unreachable, match="busy"):
            async with pool.connection():
                pass
    assert len(server.connections) == 2
    await pool.close()
    await pool.close()
    assert all(connection.closed for connection in server.connections)
    with pytest.raises(Unreachable, match="not open"):
        async with pool.connection():
            pass


async def test_a_connection_that_was_closed_is_not_lent_again() -> None:
    server = Server()
    pool = server.pool()
    await pool.start()
    async with pool.connection() as connection:
        connection.terminate()
    async with pool.connection() as another:
        assert another is not connection
    await pool.close()


async def test_one_that_comes_back_after_the_end_is_closed() -> None:
    server = Server()
    pool = server.pool()
    await pool.start()
    async with pool.connection() as connection:
        await pool.close()
    assert connection.closed


async def test_a_server_that_is_away_is_looked_for_and_found() -> None:
    server = Server()
    pool = server.pool()
    await pool.start()
    server.problem = ConnectionRefusedError("refused")
    pool.fail("it hangs")
    assert server.connections[0].closed
    for _ in range(3):
        with pytest.raises(Unreachable):
            async with pool.connection():
                pass
    server.problem = None
    async with asyncio.timeout(10):
        while True:
            try:
                async with pool.connection():
                    break
            except Unreachable:
                continue
    await pool.close()


async def test_failing_to_connect_counts_as_away() -> None:
    server = Server()
    pool = server.pool()
    await pool.start()
    async with pool.connection():
        server.hangs = True
        with pytest.raises(Unreachable, match="no answer within"):
            async with pool.connection():
                pass
    with pytest.raises(Unreachable):
        async with pool.connection():
            pass
    await pool.close()


async def test_starting_says_what_is_wrong() -> None:
    server = Server()
    server.problem = ConnectionRefusedError("refused")
    with pytest.raises(Unreachable, match="refused"):
        await server.pool().start()
