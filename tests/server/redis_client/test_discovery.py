import pytest

from stretto_server.redis_client.cluster import Cluster
from stretto_server.redis_client.discovery import discover
from stretto_server.redis_client.link import Address, NotSent
from stretto_server.redis_client.servers import SingleServer
from stretto_server.redis_client.url import RedisUrl
from tests.server.redis_client.fake_redis import FakeRedis

NOBODY = Address("127.0.0.1", 1)


async def kind_of(info: bytes, *others: Address) -> object:
    fake = FakeRedis(lambda _: b"$%d\r\n%b\r\n" % (len(info), info))
    await fake.start()
    try:
        return await discover(RedisUrl((*others, fake.address)), timeout_s=0.5)
    finally:
        await fake.stop()


async def test_servers_say_whether_they_are_a_cluster() -> None:
    assert isinstance(await kind_of(b"cluster_enabled:0\r\n"), SingleServer)
    assert isinstance(await kind_of(b"cluster_enabled:1\r\n"), Cluster)
    assert isinstance(await kind_of(b"cluster_enabled:1\r\n", NOBODY), Cluster)


async def test_sentinels_are_named_as_such() -> None:
    url = RedisUrl((NOBODY,), sentinel="main")
    assert isinstance(await discover(url), SingleServer)
    with pytest.raises(NotSent, match="several hosts"):
        await kind_of(b"cluster_enabled:0\r\n", NOBODY)


async def test_nobody_there_is_told() -> None:
    with pytest.raises(NotSent):
        await discover(RedisUrl((NOBODY,)), timeout_s=0.2)
