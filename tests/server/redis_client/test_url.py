from pathlib import Path

import pytest

from stretto_server.redis_client.link import Address
from stretto_server.redis_client.url import RedisUrl


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis://host", RedisUrl((Address("host", 6379),))),
        ("redis://host:7000/3", RedisUrl((Address("host", 7000),), 3)),
        ("redis://:p%40ss@host", RedisUrl((Address("host", 6379),), password="p@ss")),
        (
            "rediss://ann:pw@[::1]:7/",
            RedisUrl((Address("::1", 7),), username="ann", password="pw", tls=True),
        ),
        (
            "redis://a,b:1,c/2?sentinel=main&sentinel_password=s",
            RedisUrl(
                (Address("a", 26379), Address("b", 1), Address("c", 26379)),
                2,
                sentinel="main",
                sentinel_password="s",
            ),
        ),
        (
            "rediss://host?ssl_cert_reqs=none",
            RedisUrl((Address("host", 6379),), tls=True, ssl_cert_reqs="none"),
        ),
    ],
)
def test_what_urls_say(url: str, wanted: RedisUrl) -> None:
    assert RedisUrl.parse(url) == wanted


@pytest.mark.parametrize(
    "url",
    [
        *("http://u:hunter2@host", "redis://u:hunter2@", "redis://u:hunter2@host/notes"),
        *("redis://u:hunter2@host:port", "redis://u:hunter2@host?retries=3"),
        *("rediss://u:hunter2@host?ssl_cert_reqs=maybe", "redis://u:hunter2@a,,b"),
    ],
)
def test_what_is_no_url_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(ValueError) as raised:
        RedisUrl.parse(url)
    assert "hunter2" not in str(raised.value)


def test_secrets_are_never_shown() -> None:
    url = RedisUrl.parse("rediss://ann:hunter2@a,b:1/2?sentinel=main&sentinel_password=hunter3")
    assert str(url) == "rediss://a:26379,b:1/2?sentinel=main"
    assert "hunter" not in repr(url) + str(url)


def test_certificates_are_checked_unless_told_otherwise(tmp_path: Path) -> None:
    assert RedisUrl.parse("redis://host").tls_context() is None
    checked = RedisUrl.parse("rediss://host").tls_context()
    assert checked is not None
    assert checked.check_hostname
    unchecked = RedisUrl.parse("rediss://host?ssl_cert_reqs=none").tls_context()
    assert unchecked is not None
    assert not unchecked.check_hostname
    with pytest.raises(ValueError, match="ssl_ca_certs"):
        RedisUrl.parse(f"rediss://host?ssl_ca_certs={tmp_path}/missing").tls_context()
