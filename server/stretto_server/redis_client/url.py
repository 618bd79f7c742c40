"""Redis URLs: one server, Sentinels, or a cluster."""

import ssl
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from stretto_server.redis_client.link import Address

SCHEMES: Final = ("redis", "rediss")
PORT: Final = 6379
SENTINEL_PORT: Final = 26379
OPTIONS: Final = frozenset(
    {"sentinel", "sentinel_username", "sentinel_password", "ssl_ca_certs", "ssl_cert_reqs"}
)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """What a URL says. ``sentinel`` names the primary that the servers there know."""

    addresses: tuple[Address, ...]
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: bool = False
    ssl_ca_certs: str | None = None
    ssl_cert_reqs: str = "required"

    def __str__(self) -> str:
        """Return it without secrets, for messages."""
        places = ",".join(map(str, self.addresses))
        named = f"?sentinel={self.sentinel}" if self.sentinel else ""
        return f"{'rediss' if self.tls else 'redis'}://{places}/{self.database}{named}"

    @classmethod
    def parse(cls, url: str) -> Self:
        """Return what ``url`` says. Raises ValueError, without repeating secrets.

        ``redis[s]://[user:password@]host[:port][,host[:port]…][/database][?option=…]``.
        Several hosts are Sentinels (``sentinel=NAME``) or nodes of a cluster.
        """
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise ValueError("a Redis URL starts with redis:// or rediss://")
        login, _, places = parts.netloc.rpartition("@")
        username, _, password = login.partition(":")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := sorted(options.keys() - OPTIONS):
            raise ValueError(f"a Redis URL has no option {', '.join(unknown)}")
        if options.get("ssl_cert_reqs", "required") not in ("required", "none"):
            raise ValueError("ssl_cert_reqs is required or none")
        database = parts.path.strip("/") or "0"
        if not database.isascii() or not database.isdigit():
            raise ValueError("the path of a Redis URL is the number of a database")
        port = SENTINEL_PORT if "sentinel" in options else PORT
        return cls(
            tuple(_address(place, port) for place in places.split(",")),
            int(database),
            unquote(username) or None,
            unquote(password) or None,
            tls=parts.scheme == "rediss",
            **options,
        )

    def tls_context(self) -> ssl.SSLContext | None:
        """Return how to check the servers' certificates; None where TLS is not used.

        Raises ValueError when the file of certificates cannot be read.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ssl_ca_certs)
        except OSError as error:
            raise ValueError(f"cannot read ssl_ca_certs: {error.strerror}") from error
        if self.ssl_cert_reqs == "none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _address(place: str, port: int) -> Address:
    """Return the address in ``host``, ``host:port`` or ``[IPv6]:port``."""
    try:
        parts = urlsplit(f"//{place}")
        if not parts.hostname:
            raise ValueError
        return Address(parts.hostname, parts.port or port)
    except ValueError:
        raise ValueError(f"{place!r} is no host of a Redis URL") from None
