from stretto_server.presence.interface import PRESENCE_TTL_S, Presence
from stretto_server.presence.redis import RedisPresence
from stretto_server.presence.redis_session import RedisSession


def test_redis_keeps_presence() -> None:
    presence: Presence = RedisPresence(RedisSession("redis://127.0.0.1"), "n1", idle_ttl=1)
    assert presence.node == "n1"


def test_a_dead_node_is_gone_within_fifteen_seconds() -> None:
    assert PRESENCE_TTL_S == 15
