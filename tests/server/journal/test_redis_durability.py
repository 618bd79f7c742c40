import pytest

from stretto_server.journal.redis_durability import find_weaknesses, is_old, parse_info

SAFE = {"maxmemory-policy": "noeviction", "appendfsync": "always"}
INFO = {"role": "master", "aof_enabled": "1", "maxmemory_policy": "noeviction"}


def test_info_is_read() -> None:
    text = b"# Server\r\nredis_version:7.0.15\r\nrole:master\r\n\r\n# CPU\r\nodd line\r\n"
    assert parse_info(text) == {"redis_version": "7.0.15", "role": "master"}


@pytest.mark.parametrize(
    ("version", "old"),
    [("7.0.15", False), ("8.2", False), ("6.2.9", True), ("5", True), ("", True), ("10.0", False)],
)
def test_old_versions_are_known(version: str, old: bool) -> None:
    assert is_old({"redis_version": version}) is old


def test_a_safe_redis_has_no_weakness() -> None:
    assert find_weaknesses(INFO, SAFE) == []


@pytest.mark.parametrize(
    ("info", "config", "said"),
    [
        ({}, {"maxmemory-policy": "allkeys-lru"}, "maxmemory-policy is allkeys-lru"),
        ({"maxmemory_policy": "volatile-ttl"}, None, "maxmemory-policy is volatile-ttl"),
        ({"role": "slave"}, {}, "it is a replica"),
        ({"aof_enabled": "0"}, {}, "appendonly is no"),
        ({}, {"appendfsync": "everysec"}, "the last second or two"),
        ({}, {"appendfsync": "no"}, "half a minute"),
        ({}, None, "settings cannot be read"),
    ],
)
def test_weaknesses(info: dict[str, str], config: dict[str, str] | None, said: str) -> None:
    found = find_weaknesses(INFO | info, None if config is None else SAFE | config)
    assert any(said in text for text in found)
    assert len(found) <= 2
