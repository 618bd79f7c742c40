from stretto_core.protocol import Limits
from stretto_server.presence.redis import RedisPresence
from stretto_server.presence.redis_session import RedisSession
from stretto_server.room_store.interface import RoomStore
from stretto_server.room_store.memory import MemoryRoomStore
from stretto_server.room_store.redis import RedisRoomStore
from tests.server.stubs import SilentBus


def test_both_stores_are_stores() -> None:
    session = RedisSession("redis://127.0.0.1")
    presence = RedisPresence(session, "n1", idle_ttl=1)
    stores: list[RoomStore] = [
        MemoryRoomStore(SilentBus(), Limits(), idle_ttl=1),
        RedisRoomStore(session, presence, Limits()),
    ]
    assert len(stores) == 2
